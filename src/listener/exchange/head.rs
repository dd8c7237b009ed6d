//! The head of a request, parsed once.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use crate::listener::head::Head;

/// A request's head. It has been judged: one framing, one authority, nothing that has two readings.
#[derive(Debug)]
pub struct RequestHead {
    pub method: Method,
    /// HTTP/1.0, HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// Path and query as received, without an authority.
    pub target: PathAndQuery,
    /// `:authority`, that of an absolute target, or the `Host` field, as the client wrote it.
    pub authority: Option<String>,
    /// On HTTP/2 without `Host`: `authority` says it.
    pub headers: HeaderMap,
}

impl RequestHead {
    /// From the bytes of an HTTP/1 head that [`Head`] was read from. `None` cannot happen to one that was let through.
    pub(in crate::listener) fn of_h1(bytes: &Bytes, head: &Head) -> Option<RequestHead> {
        let text =
            |range: &std::ops::Range<usize>| bytes.get(range.clone()).and_then(|part| std::str::from_utf8(part).ok());
        let authority = head.authority.as_ref().or(head.host.as_ref());
        Some(RequestHead {
            method: Method::from_bytes(bytes.get(head.method.clone())?).ok()?,
            version: if head.http_10 { Version::HTTP_10 } else { Version::HTTP_11 },
            target: target(bytes.get(head.target.clone()).map(|_| bytes.slice(head.target.clone()))?)?,
            authority: authority.and_then(text).map(str::to_owned),
            headers: fields(bytes, head)?,
        })
    }
}

/// A path and query; an absolute target may have no path.
fn target(text: Bytes) -> Option<PathAndQuery> {
    match text.first() {
        Some(b'/' | b'*') => PathAndQuery::from_maybe_shared(text).ok(),
        _ => PathAndQuery::try_from([b"/", &text[..]].concat().as_slice()).ok(),
    }
}

fn fields(bytes: &Bytes, head: &Head) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(head.fields);
    let mut at = head.fields_at;
    while let Some(end) = bytes.get(at..head.length).and_then(|rest| memchr::memchr(b'\n', rest)) {
        let end = at + end;
        let line = bytes.get(at..end)?.strip_suffix(b"\r")?;
        let Some(colon) = memchr::memchr(b':', line) else { break };
        let value = line.get(colon + 1..)?.trim_ascii();
        let start = value.as_ptr() as usize - bytes.as_ptr() as usize;
        let name = HeaderName::from_bytes(line.get(..colon)?).ok()?;
        headers.append(name, HeaderValue::from_maybe_shared(bytes.slice(start..start + value.len())).ok()?);
        at = end + 1;
    }
    Some(headers)
}
