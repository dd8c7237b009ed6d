//! What a request's span says of it (`telemetry::spans`), by the names that OpenTelemetry has where it has them. Neither who asked nor
//! any query stands in it: who may read traces need not be who may read the log, which has the same trace's id.

use std::borrow::Cow;

use http::header::USER_AGENT;
use http::{HeaderValue, Method};

use super::hit::Hit;
use crate::exchange::{CacheUse, RequestContext};
use crate::listener::{Exchange, Plain};
use crate::oci::Resource;
use crate::telemetry::RouteKind;
use crate::telemetry::spans::{Ended, Value};

/// What an answer came to.
pub struct Outcome<'a> {
    pub kind: RouteKind,
    /// 0: the client left before there was one.
    pub status: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Why it broke off, if it did.
    pub error: Option<&'a str>,
}

/// A request that is over.
pub fn ended(ctx: &RequestContext, exchange: &Exchange, outcome: &Outcome<'_>) {
    // Those who look whether the process lives would be most of what there is.
    if outcome.kind == RouteKind::Health {
        return;
    }
    ctx.trace.end(|| {
        let request = exchange.head();
        let route = ctx.resource().and_then(route);
        let mut attributes = common(&request.method, route, outcome);
        let mut add = |key: &'static str, value: Option<&str>| {
            attributes.extend(value.map(|value| (key, Value::from(value))));
        };
        add("entrepot.request_id", Some(ctx.id.as_str()));
        add("entrepot.repository", ctx.resource().and_then(Resource::repository).map(|name| name.as_str()));
        add("entrepot.cache", (ctx.cache != CacheUse::None).then(|| ctx.cache.as_str()));
        add("entrepot.peer", ctx.peer.as_deref());
        add("server.address", (!ctx.host.is_empty()).then_some(ctx.host.as_str()));
        add("url.scheme", ctx.client.as_ref().map(|client| if client.https { "https" } else { "http" }));
        add("user_agent.original", request.headers.get(USER_AGENT).and_then(|agent: &HeaderValue| agent.to_str().ok()));
        Ended {
            name: name(&request.method, route),
            started: ctx.started,
            attributes,
            error: failure(outcome, ctx.problem.as_deref()),
        }
    });
}

/// A request that was answered with what was at hand.
pub fn hit(hit: &Hit, request: &Plain<'_>, outcome: &Outcome<'_>) {
    let Some(trace) = &hit.trace else { return };
    trace.end(|| {
        let route = match hit.kind {
            RouteKind::Manifest => MANIFEST,
            _ => BLOB,
        };
        let mut attributes = common(&Method::GET, Some(route), outcome);
        attributes.push(("entrepot.request_id", hit.id.as_str().into()));
        attributes.push(("entrepot.cache", CacheUse::Memory.as_str().into()));
        let repository = request.target.get(hit.repository.clone());
        attributes.extend(repository.map(|name| ("entrepot.repository", Value::from(name))));
        Ended { name: name(&Method::GET, Some(route)), started: hit.started, attributes, error: failure(outcome, None) }
    });
}

fn common(method: &Method, route: Option<&'static str>, outcome: &Outcome<'_>) -> Vec<(&'static str, Value)> {
    let mut attributes = Vec::with_capacity(16);
    attributes.push(("http.request.method", method.as_str().into()));
    attributes.extend(route.map(|route| ("http.route", Value::Text(route.into()))));
    if outcome.status != 0 {
        attributes.push(("http.response.status_code", outcome.status.into()));
    }
    attributes.push(("http.request.body.size", outcome.bytes_in.into()));
    attributes.push(("http.response.body.size", outcome.bytes_out.into()));
    attributes
}

/// Refusals are answers; what is our side's fault, or broke off, is a failure.
fn failure(outcome: &Outcome<'_>, problem: Option<&str>) -> Option<String> {
    let why = problem.or(outcome.error);
    match outcome.status {
        0 => Some(why.unwrap_or("the client left before there was an answer").to_owned()),
        500.. => Some(why.map_or_else(|| format!("answered with {}", outcome.status), str::to_owned)),
        _ => outcome.error.map(str::to_owned),
    }
}

fn name(method: &Method, route: Option<&'static str>) -> Cow<'static, str> {
    match route {
        Some(route) => format!("{method} {route}").into(),
        None => method.as_str().to_owned().into(),
    }
}

const MANIFEST: &str = "/v2/{name}/manifests/{reference}";
const BLOB: &str = "/v2/{name}/blobs/{digest}";

/// The path as the specification writes it.
fn route(resource: &Resource) -> Option<&'static str> {
    Some(match resource {
        Resource::Base => "/v2/",
        Resource::Catalog { .. } => "/v2/_catalog",
        Resource::Tags { .. } => "/v2/{name}/tags/list",
        Resource::Manifest { .. } => MANIFEST,
        Resource::Blob { .. } => BLOB,
        Resource::UploadStart { .. } => "/v2/{name}/blobs/uploads/",
        Resource::Upload { .. } => "/v2/{name}/blobs/uploads/{id}",
        Resource::Referrers { .. } => "/v2/{name}/referrers/{digest}",
        Resource::Outside => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_no_failures_and_what_broke_off_is() {
        let outcome = |status, error| Outcome { kind: RouteKind::Blob, status, bytes_in: 0, bytes_out: 0, error };
        assert_eq!(failure(&outcome(404, None), None), None);
        assert_eq!(failure(&outcome(404, None), Some("noted")), None);
        assert_eq!(failure(&outcome(503, None), None).as_deref(), Some("answered with 503"));
        assert_eq!(failure(&outcome(502, None), Some("no peer")).as_deref(), Some("no peer"));
        assert_eq!(failure(&outcome(200, Some("reset")), None).as_deref(), Some("reset"));
        assert!(failure(&outcome(0, None), None).is_some());
    }

    #[test]
    fn a_span_is_named_by_what_is_asked_and_not_by_whom_it_is_about() {
        let action = |path| crate::oci::Action::parse(&Method::GET, path, None).unwrap();
        let named = |path| name(&Method::GET, route(&action(path).resource)).into_owned();
        assert_eq!(named("/v2/"), "GET /v2/");
        assert_eq!(named("/v2/team/app/manifests/v1"), "GET /v2/{name}/manifests/{reference}");
        assert_eq!(named("/v2/team/app/tags/list"), "GET /v2/{name}/tags/list");
        assert_eq!(named("/elsewhere"), "GET");
    }
}
