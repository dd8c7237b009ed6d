//! What the admin endpoint says to each request.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use prometheus::Registry;
use serde_json::{Value, json};

use super::order::{API, Needs};
use super::{AdminState, Long, Operator, Refusal, api, gate, mirror};
use crate::oci::digest::Digest;
use crate::telemetry::metrics;

/// Most requests need no body; a small one is read and ignored so that the answer reaches its sender.
const MAX_BODY: usize = 4 << 10;

/// Of a path that there is not.
pub const NOTHING_HERE: &str = "there is nothing here; GET / lists what there is";

const SEC_FETCH_SITE: &str = "sec-fetch-site";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

const INDEX: &str = "Entrepot admin\n\n\
    GET  /metrics                   metrics for Prometheus\n\
    GET  /healthz                   200 while the process lives\n\
    GET  /readyz                    200 if requests should be sent here, else 503 and why\n\
    GET  /status                    clusters and their peers as JSON\n\
    GET  /explain?ref=IMAGE         what is known of an image, and where it is, as JSON\n\
    GET  /mirror/status             remotes and what is kept of them as JSON; ?remote=NAME, ?limit=IMAGES\n\
    POST /mirror/warm               brings images whole; {\"images\": [...], \"platforms\": [...]}, a line of JSON for each step\n\
    POST /cache/purge?digest=DIGEST takes a blob or manifest out of the cache\n\
    GET  /openapi.json              all of these, and what there is below /api/v1: collection, retention, quotas, repair, repositories,\n\
    \x20                               uploads, maintenance\n";

/// What machines ask that have no login.
const OPEN: [&str; 4] = ["/metrics", "/healthz", "/readyz", DEBUG_HEALTH];
/// As probes of distribution ask its `http.debug.addr`: answered as /healthz is.
const DEBUG_HEALTH: &str = "/debug/health";

pub(super) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Answers one request that came from there; never fails, as there is nobody to fail to.
pub async fn answer<B>(
    request: Request<B>,
    from: IpAddr,
    (state, registry): (&Arc<dyn AdminState>, &Registry),
    long: &Long,
) -> Answer
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let most = if path == mirror::WARM || path.starts_with(API) { mirror::MAX_ORDER } else { MAX_BODY };
    let too_large = || {
        let message = format!("a body has {most} bytes at most");
        self::error(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", &message)
    };
    // What says that it is too large is not waited for.
    if body.size_hint().lower() > most as u64 {
        return too_large();
    }
    let body = match Limited::new(body, most).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return too_large(),
        Err(_) => return self::error(StatusCode::BAD_REQUEST, "UNSUPPORTED", "the body broke off"),
    };
    let method = &head.method;
    if OPEN.contains(&path) {
        return get(method, || match path {
            "/metrics" => exposition(registry),
            "/readyz" => readiness(state.as_ref()),
            _ => text(StatusCode::OK, "ok\n"),
        });
    }
    let operator = match gate::identify(&head, from, state.as_ref()).await {
        Ok(operator) => operator,
        Err(answer) => return *answer,
    };
    if path.starts_with(API) {
        return api::answer(&head, &body, &operator, (state, long)).await;
    }
    if let Err(answer) = gate::admit(&operator, &Needs::Everything, (method, path), state.as_ref()) {
        return *answer;
    }
    if !matches!(*method, Method::GET | Method::HEAD) && from_browser(&head.headers) {
        return error(StatusCode::FORBIDDEN, "DENIED", "a web page may not change anything here");
    }
    match path {
        "/" => get(method, || text(StatusCode::OK, INDEX)),
        "/openapi.json" => get(method, || respond(StatusCode::OK, JSON, api::DOCUMENT)),
        "/status" => get(method, || json_answer(StatusCode::OK, &state.status())),
        "/cache/purge" if method == Method::POST => purge(head.uri.query(), &operator, state.as_ref()).await,
        "/cache/purge" => wrong_method("POST"),
        mirror::STATUS | mirror::EXPLAIN if matches!(*method, Method::GET | Method::HEAD) => {
            mirror::tell(path, head.uri.query(), state.as_ref(), long).await
        }
        mirror::STATUS | mirror::EXPLAIN => wrong_method("GET, HEAD"),
        mirror::WARM if *method == Method::POST => mirror::warm(&body, &operator, state, long),
        mirror::WARM => wrong_method("POST"),
        _ => absent(),
    }
}

pub(super) fn absent() -> Answer {
    error(StatusCode::NOT_FOUND, "UNSUPPORTED", NOTHING_HERE)
}

/// HEAD is answered as GET; hyper leaves the body out.
fn get(method: &Method, answer: impl FnOnce() -> Answer) -> Answer {
    if method == Method::GET || method == Method::HEAD { answer() } else { wrong_method("GET, HEAD") }
}

fn exposition(registry: &Registry) -> Answer {
    match metrics::expose(registry) {
        Ok(body) => respond(StatusCode::OK, metrics::CONTENT_TYPE, body),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be told");
            self::error(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "metrics cannot be told; see the log")
        }
    }
}

fn readiness(state: &dyn AdminState) -> Answer {
    let readiness = state.ready();
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_answer(status, &json!({ "ready": readiness.is_ready(), "reasons": readiness.reasons }))
}

async fn purge(query: Option<&str>, operator: &Operator, state: &dyn AdminState) -> Answer {
    let mut digests = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .filter_map(|(key, value)| (key == "digest").then_some(value));
    let (Some(digest), None) = (digests.next(), digests.next()) else {
        return error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "exactly one ?digest=sha256:… is needed");
    };
    match digest.parse::<Digest>() {
        Ok(digest) => {
            let purged = state.purge(&digest, operator).await;
            tracing::info!(%digest, purged, "cache purge");
            json_answer(StatusCode::OK, &json!({ "purged": purged }))
        }
        Err(reason) => error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", &reason.to_string()),
    }
}

/// Browsers send at least one of these with a POST, wherever the page comes from; tools send neither. No page has business
/// here, so it is not asked which site it is of (a name that is made to point at our address has our own as its origin).
pub(super) fn from_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) || headers.contains_key(SEC_FETCH_SITE)
}

pub(super) fn wrong_method(allowed: &'static str) -> Answer {
    let message = format!("there is no such method here, but {allowed}");
    let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", &message);
    answer.headers_mut().insert(ALLOW, http::HeaderValue::from_static(allowed));
    answer
}

pub(super) fn refusal(refusal: &Refusal) -> Answer {
    error(refusal.status, refusal.code, &refusal.message)
}

/// An error in the shape of the distribution specification, which our own command line reads as well.
pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    json_answer(status, &json!({ "errors": [{ "code": code, "message": message }] }))
}

pub(super) fn json_answer(status: StatusCode, value: &Value) -> Answer {
    respond(status, JSON, format!("{value}\n"))
}

fn text(status: StatusCode, body: &'static str) -> Answer {
    respond(status, TEXT, body)
}

fn respond(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Answer {
    streamed(status, media_type, Full::new(body.into()).boxed_unsync())
}

pub(super) fn streamed(status: StatusCode, media_type: &'static str, body: UnsyncBoxBody<Bytes, Infallible>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let fields = [(CONTENT_TYPE, media_type), (CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    answer.headers_mut().extend(fields.map(|(name, value)| (name, http::HeaderValue::from_static(value))));
    answer
}
