//! Which fields of a peer's answer reach the client.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, DATE, HeaderName};
use http::{HeaderMap, Response};

use crate::outbound::hop::{is_hop_by_hop, named_by_connection};

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A peer's answer as it may be handed on: its end-to-end fields.
pub fn relayed(answer: &Response<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(answer.body().clone());
    *response.status_mut() = answer.status();
    let named = named_by_connection(answer.headers());
    for (name, value) in answer.headers() {
        if !is_hop_by_hop(name)
            && *name != DATE
            && !named.contains(name)
            && !ONE_ASKER_S.contains(&name.as_str())
            && *name != CONTENT_LENGTH
        {
            response.headers_mut().append(name.clone(), value.clone());
        }
    }
    response
}

/// What is meant for the one who asked, or names the peer's own address: simultaneous askers share an answer.
const ONE_ASKER_S: [&str; 3] = ["set-cookie", "alt-svc", "proxy-authenticate"];

/// Fields that we write ourselves beside content or an error of ours, or that speak of another body than the client's:
/// a HEAD's, a whole one's. All others are the peer's to say and the client's to read: `Access-Control-*`, `RateLimit-*`,
/// `Retry-After`, `Warning`, `Link`, `OCI-*`, `X-*` and what nobody knows yet.
const OURS_BESIDE_CONTENT: [&str; 22] = [
    "accept-ranges",
    "age",
    "cache-control",
    "cache-status",
    "content-disposition",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "docker-content-digest",
    "docker-distribution-api-version",
    "etag",
    "expires",
    "last-modified",
    "location",
    "pragma",
    "server",
    "traceparent",
    "tracestate",
    "via",
    "www-authenticate",
    "x-request-id",
];

/// What a peer said beside the content or the refusal that it was asked for, to be handed on with ours. Only of an answer
/// to this very request: a cache does not repeat what was said to somebody else.
pub fn beside_content(headers: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(headers);
    let kept = headers.iter().filter(|(name, _)| {
        let text = name.as_str();
        let other = ONE_ASKER_S.contains(&text) || OURS_BESIDE_CONTENT.contains(&text);
        !other && *name != DATE && !is_hop_by_hop(name) && !named.contains(name)
    });
    let mut said = HeaderMap::new();
    for (name, value) in kept {
        said.append(name.clone(), value.clone());
    }
    said
}
