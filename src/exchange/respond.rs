//! Small answers, and the one place where what went wrong on the client's side of us becomes HTTP.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER, WARNING};
use http::{HeaderValue, Method, Response, StatusCode};

use super::context::RequestContext;
use super::fields::REQUEST_ID;
use super::realm;
use crate::listener::{Exchange, Result};
use crate::oci::{ErrorCode, error_body};

pub const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Seconds after which a client may try again when no peer was left.
const RETRY_AFTER_SECONDS: &str = "5";

/// What clients are told when the cache speaks for peers that do not answer (distribution-spec, "Warnings").
pub const STALE_WARNING: &str = "299 - \"no registry answers: served from Entrepot's cache as last known\"";

/// An error in OCI's JSON.
pub fn problem(code: ErrorCode, message: &str) -> Response<Bytes> {
    problem_with_status(code.status(), code, message)
}

/// The same, with what it is about.
pub fn with_detail(code: ErrorCode, message: &str, detail: Option<serde_json::Value>) -> Response<Bytes> {
    let mut response = problem(code, message);
    *response.body_mut() = Bytes::from(error_body(code, message, detail));
    response
}

/// An error in OCI's JSON, with another status than the code's own.
pub fn problem_with_status(status: StatusCode, code: ErrorCode, message: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(error_body(code, message, None)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    response
}

/// 405 with what is allowed (RFC 9110 §15.5.6).
pub fn not_allowed(allow: &str, message: &str) -> Response<Bytes> {
    let mut response = problem(ErrorCode::Unsupported, message);
    if let Ok(allow) = HeaderValue::from_str(allow) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

/// Marks an answer that speaks for peers which do not.
pub fn warn_stale(response: &mut Response<Bytes>) {
    response.headers_mut().insert(WARNING, HeaderValue::from_static(STALE_WARNING));
}

/// Sends a small answer. A HEAD gets the fields without the body; a `Content-Length` already set (a HEAD's) is kept.
///
/// # Errors
/// The client has gone.
pub async fn send(exchange: &mut Exchange, ctx: &mut RequestContext, mut response: Response<Bytes>) -> Result<()> {
    realm::mend(exchange.headers(), ctx, response.headers_mut());
    let head = exchange.head().method == Method::HEAD;
    let (parts, body) = response.into_parts();
    let mut headers = parts.headers;
    headers.entry(API_VERSION).or_insert(HeaderValue::from_static("registry/2.0"));
    let bodiless = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    // What is not known of a HEAD's content is not invented.
    let unknown = head && body.is_empty() && parts.status == StatusCode::OK;
    let told = head && headers.contains_key(CONTENT_LENGTH);
    if !bodiless && !told && !unknown {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    if let Ok(id) = HeaderValue::from_str(ctx.id.as_str()) {
        headers.insert(REQUEST_ID, id);
    }
    ctx.answer_begins();
    let end = head || bodiless || body.is_empty();
    exchange.write_head(parts.status, headers, end).await?;
    match end {
        true => Ok(()),
        false => exchange.write_body(body, true).await,
    }
}

/// A refusal of the peer's that concerns who asks: handed on with its challenge.
pub fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// `308` to the same address over https.
pub fn redirect_to_https(host: &str, target: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(location) = HeaderValue::from_str(&format!("https://{host}{target}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}
