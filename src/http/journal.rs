//! A request's line in the access log, and its part in the metrics.

use std::borrow::Cow;
use std::time::SystemTime;

use http::header::USER_AGENT;
use http::{Method, Version};

use super::Shared;
use super::hit::Hit;
use super::{pulls, recording, traced};
use crate::exchange::{CacheUse, RequestContext};
use crate::front::pass::Pass;
use crate::listener::{Connection, Exchange, Plain, Refusal};
use crate::oci::Resource;
use crate::telemetry::{Ended, Entry, RequestId, RouteKind, Trace};

/// A request that is over, however it ended. `error`: why it did not end well; `pass`: its way to a peer, if it had one.
pub fn answered(
    shared: &Shared,
    exchange: &Exchange,
    error: Option<&str>,
    ctx: &mut RequestContext,
    pass: Option<&Pass>,
) {
    if let Some((Some(peer), took)) = pass.map(Pass::peer) {
        (ctx.peer, ctx.peer_time) = (Some(peer), Some(took));
    }
    let duration = ctx.started.elapsed();
    let request = exchange.head();
    let status = exchange.status().map_or(0, |status| status.as_u16());
    let kind = kind(ctx, pass.is_some());
    let (bytes_in, bytes_out) = (exchange.received(), exchange.sent());
    let (method, received) = (&request.method, Some(bytes_in));
    shared.metrics.end(&Ended { kind, method, status, duration, received, sent: bytes_out });
    if ctx.cache == CacheUse::Bypass {
        shared.front.cache().bypassed();
    }
    recording::ended(shared, exchange, ctx, status);
    traced::ended(ctx, exchange, &traced::Outcome { kind, status, bytes_in, bytes_out, error });
    pulls::answered(shared, ctx, status);
    if let Some(error) = error.filter(|_| status != 0 && ctx.problem.is_none()) {
        // The answer had begun when it broke off: the line below says how far it came, this says why.
        tracing::debug!(id = ctx.id.as_str(), %error, "an answer broke off");
    }
    if !shared.access_log.enabled() {
        return;
    }
    let reference = ctx.resource().and_then(|resource| reference(resource, ctx.target.path()));
    let client = ctx.client.as_ref().map(|client| client.address);
    let identity = ctx.identity.log_name();
    shared.access_log.write(&Entry {
        time: SystemTime::now(),
        id: ctx.id.as_str(),
        trace: ctx.trace.logged(),
        client: client.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into()),
        identity: identity.as_deref(),
        method: request.method.as_str(),
        host: (!ctx.authority.is_empty()).then_some(ctx.authority.as_bytes()),
        // As it was asked, whatever the canonical name is.
        path: request.target.path().as_bytes(),
        repository: ctx.resource().and_then(Resource::repository).map(|name| name.as_str()),
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
        tls: ctx.connection.tls().map(|tls| tls.version),
        user_agent: request.headers.get(USER_AGENT).map(|agent| agent.as_bytes()),
        problem: ctx.problem.as_deref(),
    });
}

/// A request that was answered with what was at hand; `sent` as [`Handler::given`](crate::listener::Handler::given) has it.
pub fn hit(shared: &Shared, request: &Plain<'_>, connection: &Connection, hit: &Hit, sent: Option<u64>) {
    let duration = hit.started.elapsed();
    // Whose answer did not begin has no status, here as on the long way.
    let (status, sent) = sent.map_or((0, 0), |sent| (200, sent));
    shared.metrics.end(&Ended { kind: hit.kind, method: &Method::GET, status, duration, received: None, sent });
    pulls::given(shared, request, hit, status);
    traced::hit(hit, request, &traced::Outcome { kind: hit.kind, status, bytes_in: 0, bytes_out: sent, error: None });
    if !shared.access_log.enabled() {
        return;
    }
    shared.access_log.write(&Entry {
        time: SystemTime::now(),
        id: hit.id.as_str(),
        trace: hit.trace.as_ref().and_then(Trace::logged),
        client: connection.client().ip(),
        identity: hit.identity.as_deref(),
        method: "GET",
        host: Some(request.host.as_bytes()),
        path: request.target.as_bytes(),
        repository: request.target.get(hit.repository.clone()),
        reference: request.target.get(hit.digest.clone()),
        status,
        bytes_in: 0,
        bytes_out: sent,
        cache: Some(CacheUse::Memory.as_str()),
        peer: None,
        duration,
        first_byte: (status != 0).then_some(hit.first_byte),
        peer_time: None,
        protocol: request.protocol,
        tls: connection.tls().map(|tls| tls.version),
        user_agent: request.user_agent,
        problem: None,
    });
}

/// A request whose head was refused before it could be parsed.
pub fn refused(shared: &Shared, connection: &Connection, refusal: Refusal, line: &[u8]) {
    let status = refusal.status;
    let mut words = line.split(|byte| *byte == b' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let method = std::str::from_utf8(method).unwrap_or_default();
    shared.metrics.end(&Ended {
        kind: RouteKind::Other,
        method: &method.parse().unwrap_or(Method::TRACE),
        status,
        duration: std::time::Duration::ZERO,
        received: Some(0),
        sent: 0,
    });
    if !shared.access_log.enabled() {
        return;
    }
    let id = RequestId::new();
    shared.access_log.write(&Entry {
        time: SystemTime::now(),
        id: id.as_str(),
        trace: None,
        client: connection.client().ip().to_canonical(),
        identity: None,
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
        protocol: if line.ends_with(b" HTTP/2") { "HTTP/2" } else { "HTTP/1.1" },
        tls: connection.tls().map(|tls| tls.version),
        user_agent: None,
        problem: Some(refusal.reason),
    });
}

/// The label of metrics: what is outside `/v2/` counts as forwarded only if it was.
fn kind(ctx: &RequestContext, passed: bool) -> RouteKind {
    match ctx.resource() {
        Some(Resource::Outside) if !passed => RouteKind::Other,
        Some(resource) => resource.into(),
        None if ctx.target.path() == "/healthz" => RouteKind::Health,
        None => RouteKind::Other,
    }
}

/// Tag or digest: as the path has it, unless its colon came encoded.
fn reference<'a>(resource: &Resource, path: &'a str) -> Option<Cow<'a, str>> {
    let written = path.rsplit('/').next().filter(|last| !last.contains('%'));
    match (resource, written) {
        (Resource::Manifest { .. } | Resource::Blob { .. } | Resource::Referrers { .. }, Some(last)) => {
            Some(last.into())
        }
        (Resource::Manifest { reference, .. }, None) => Some(reference.to_string().into()),
        (Resource::Blob { digest, .. } | Resource::Referrers { digest, .. }, None) => Some(digest.text().into()),
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
