//! A request's line in the access log, and its part in the metrics.

use std::borrow::Cow;
use std::time::SystemTime;

use http::header::USER_AGENT;
use http::{Method, Version};
use pingora::Error;
use pingora::proxy::Session;

use super::context::{CacheUse, RequestContext};
use super::listener::{Connection, Refusal};
use super::{Front, proxy};
use crate::oci::Route;
use crate::telemetry::{Entry, RequestId, RouteKind};

/// A request that is over, however it ended.
pub fn answered(front: &Front, session: &Session, error: Option<&Error>, ctx: &mut RequestContext) {
    proxy::passed(ctx);
    let duration = ctx.started.elapsed();
    let request = session.req_header();
    // A `100 Continue` is no answer.
    let written = session.response_written().filter(|written| !written.status.is_informational());
    let status = written.map_or(0, |written| written.status.as_u16());
    let kind = kind(ctx, request.uri.path());
    let bytes_out = session.body_bytes_sent() as u64;
    let bytes_in = session.body_bytes_read() as u64;
    front.metrics.end(kind, &request.method, status, duration);
    front.metrics.request_bytes(bytes_in);
    front.metrics.response_bytes(bytes_out);
    if let Some(error) = error.filter(|_| status != 0 && ctx.problem.is_none()) {
        // The answer had begun when it broke off: the line below says how far it came, this says why.
        tracing::debug!(id = ctx.id.as_str(), %error, "an answer broke off");
    }
    if !front.access_log.enabled() {
        return;
    }
    let reference = ctx.route.as_ref().and_then(|route| reference(route, request.uri.path()));
    let client = ctx.client.as_ref().map(|client| client.address);
    front.access_log.write(&Entry {
        time: SystemTime::now(),
        id: ctx.id.as_str(),
        client: client.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into()),
        method: request.method.as_str(),
        host: (!ctx.authority.is_empty()).then_some(ctx.authority.as_bytes()),
        path: request.uri.path().as_bytes(),
        repository: ctx.route.as_ref().and_then(Route::repository).map(|name| name.as_str()),
        reference: reference.as_deref(),
        status,
        bytes_in,
        bytes_out,
        cache: (ctx.cache != CacheUse::None).then(|| ctx.cache.as_str()),
        peer: ctx.peer.as_deref(),
        duration,
        first_byte: ctx.first_byte,
        peer_time: ctx.peer_time,
        protocol: protocol(request.version),
        tls: ctx.connection.as_ref().and_then(|connection| connection.tls()).map(|tls| tls.version),
        user_agent: request.headers.get(USER_AGENT).map(|agent| agent.as_bytes()),
        problem: ctx.problem.as_deref(),
    });
}

/// A request whose head was refused before it could be parsed.
pub fn refused(front: &Front, connection: &Connection, refusal: Refusal, line: &[u8]) {
    let status = refusal.status;
    let mut words = line.split(|byte| *byte == b' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let method = std::str::from_utf8(method).unwrap_or_default();
    front.metrics.end(RouteKind::Other, &method.parse().unwrap_or(Method::TRACE), status, std::time::Duration::ZERO);
    if !front.access_log.enabled() {
        return;
    }
    let id = RequestId::new();
    front.access_log.write(&Entry {
        time: SystemTime::now(),
        id: id.as_str(),
        client: connection.client().ip().to_canonical(),
        method,
        host: None,
        path,
        repository: None,
        reference: None,
        status,
        bytes_in: 0,
        bytes_out: 0,
        cache: None,
        peer: None,
        duration: std::time::Duration::ZERO,
        first_byte: None,
        peer_time: None,
        protocol: "HTTP/1.1",
        tls: connection.tls().map(|tls| tls.version),
        user_agent: None,
        problem: Some(refusal.reason),
    });
}

fn kind(ctx: &RequestContext, path: &str) -> RouteKind {
    match &ctx.route {
        Some(Route::Base) => RouteKind::Ping,
        Some(Route::Catalog) => RouteKind::Catalog,
        Some(Route::Tags { .. }) => RouteKind::Tags,
        Some(Route::Manifest { .. }) => RouteKind::Manifest,
        Some(Route::Blob { .. }) => RouteKind::Blob,
        Some(Route::UploadStart { .. } | Route::Upload { .. }) => RouteKind::Upload,
        Some(Route::Referrers { .. }) => RouteKind::Referrers,
        Some(Route::Outside) if ctx.pass.is_some() => RouteKind::Forward,
        None if path == "/healthz" => RouteKind::Health,
        Some(Route::Outside) | None => RouteKind::Other,
    }
}

/// Tag or digest: as the path has it, unless its colon came encoded.
fn reference<'a>(route: &Route, path: &'a str) -> Option<Cow<'a, str>> {
    let written = path.rsplit('/').next().filter(|last| !last.contains('%'));
    match (route, written) {
        (Route::Manifest { .. } | Route::Blob { .. } | Route::Referrers { .. }, Some(last)) => Some(last.into()),
        (Route::Manifest { reference, .. }, None) => Some(reference.to_string().into()),
        (Route::Blob { digest, .. } | Route::Referrers { digest, .. }, None) => Some(digest.text().into()),
        _ => None,
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}
