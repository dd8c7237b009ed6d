//! What HTTP/2 lets a request head be, judged as strictly as on HTTP/1 (RFC 9113 §8.2, §8.3), before anything is made of it.

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, EXPECT, HOST, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, ORIGIN, RANGE, TE, TRANSFER_ENCODING, UPGRADE, USER_AGENT, VIA,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};

use super::Plain;
use super::connection::Connection;
use super::date;
use super::exchange::RequestHead;
use super::head::{MAX_FIELDS, is_authority, is_token, is_uri};
use super::refusal::Refusal;

/// Fields of one connection, which a message of HTTP/2 that has them is malformed by.
const OF_A_CONNECTION: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// A request that is not served, and how it is named in the access log.
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) line: Vec<u8>,
    to_head: bool,
}

impl Refused {
    /// Tells the client.
    pub(super) fn answer(&self, mut respond: SendResponse<Bytes>, connection: &Connection) {
        let body = self.refusal.to_json();
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(self.refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if let Some(date) = date::with(|date| HeaderValue::from_bytes(date).ok()) {
            headers.insert(DATE, date);
        }
        connection.settings().headers.set_in(headers);
        // Who has reset the stream meanwhile hears nothing.
        if let Ok(mut send) = respond.send_response(response, self.to_head)
            && !self.to_head
        {
            let _ = send.send_data(Bytes::from(body), true);
        }
    }
}

/// The head of a request that may be served, and its body.
pub(super) fn judged(
    request: Request<RecvStream>,
    connection: &Connection,
) -> Result<(RequestHead, RecvStream), Box<Refused>> {
    let (parts, body) = request.into_parts();
    match judge(&parts, connection.settings().max_header.as_usize()) {
        Ok((target, authority)) => {
            let Parts { method, headers, .. } = parts;
            Ok((RequestHead { method, version: Version::HTTP_2, target, authority, headers }, body))
        }
        Err(refusal) => {
            let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
            let line = line_of(&parts.method, path);
            Err(Box::new(Refused { refusal, line, to_head: parts.method == Method::HEAD }))
        }
    }
}

/// How much of a refused path the access log is shown.
const SHOWN: usize = 256;

/// A request as it is named in the access log when it is refused.
pub(super) fn line_of(method: &Method, path: &str) -> Vec<u8> {
    let path = path.get(..SHOWN).unwrap_or(path);
    format!("{method} {path} HTTP/2").into_bytes()
}

/// The request, if it is a plain GET.
pub(super) fn plain(head: &RequestHead) -> Option<Plain<'_>> {
    const UNUSUAL: [HeaderName; 8] =
        [VIA, RANGE, EXPECT, IF_RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];
    let headers = &head.headers;
    if head.method != Method::GET || UNUSUAL.iter().any(|name| headers.contains_key(name)) {
        return None;
    }
    let field = |name: &HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    if [AUTHORIZATION, TRACE_PARENT].iter().any(|name| headers.get_all(name).iter().nth(1).is_some()) {
        return None;
    }
    Some(Plain {
        target: head.target.as_str(),
        host: head.authority.as_deref()?,
        authorization: field(&AUTHORIZATION),
        user_agent: field(&USER_AGENT),
        request_id: field(&REQUEST_ID),
        trace_parent: field(&TRACE_PARENT),
        from_a_page: headers.contains_key(ORIGIN),
        protocol: "HTTP/2",
    })
}

fn judge(parts: &Parts, limit: usize) -> Result<(PathAndQuery, Option<String>), Refusal> {
    let headers = &parts.headers;
    if headers.len() > MAX_FIELDS {
        return Err(Refusal::too_large("the request has more than 100 header fields"));
    }
    let path = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    if path >= limit {
        return Err(Refusal::too_long());
    }
    let size = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    if size.saturating_add(path) >= limit {
        return Err(Refusal::too_large("the request head is too large"));
    }
    if parts.method == Method::CONNECT {
        return Err(Refusal::method("CONNECT is not supported"));
    }
    match parts.uri.scheme_str() {
        Some("http" | "https") => {}
        // The library forgets the scheme of a request without an authority.
        None if parts.uri.authority().is_none() => {}
        _ => return Err(Refusal::malformed("the scheme is neither http nor https")),
    }
    if headers.keys().any(|name| !is_token(name.as_str().as_bytes())) {
        return Err(Refusal::malformed("the name of a header field is not a token"));
    }
    if headers.values().any(|value| value.as_bytes().trim_ascii().len() != value.len()) {
        return Err(Refusal::malformed("the value of a header field begins or ends with white space"));
    }
    of_no_connection(headers)?;
    length(headers)?;
    let authority = authority(parts)?;
    Ok((target(parts)?, authority))
}

fn of_no_connection(headers: &HeaderMap) -> Result<(), Refusal> {
    if OF_A_CONNECTION.iter().any(|name| headers.contains_key(name)) {
        return Err(Refusal::malformed("a field of HTTP/1 connections in HTTP/2"));
    }
    if headers.get_all(TE).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"trailers")) {
        return Err(Refusal::malformed("TE other than trailers in HTTP/2"));
    }
    if headers.get_all(EXPECT).iter().nth(1).is_some() {
        return Err(Refusal::malformed("the Expect field appears twice"));
    }
    Ok(())
}

/// One length, of digits only: whoever reads it reads the same.
fn length(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(()) };
    if lengths.next().is_some() {
        return Err(Refusal::malformed("the Content-Length field appears twice"));
    }
    let digits = length.as_bytes();
    let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<i64>().ok());
    match number.is_some() && digits.iter().all(u8::is_ascii_digit) {
        true => Ok(()),
        false => Err(Refusal::malformed("the Content-Length field is not a length")),
    }
}

/// `:authority`, or `Host` where it is left out; both have to say the same (RFC 9113 §8.3.1).
fn authority(parts: &Parts) -> Result<Option<String>, Refusal> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::malformed("the Host field appears twice"));
    }
    let named = parts.uri.authority().map(|authority| authority.as_str());
    if let (Some(host), Some(named)) = (host, named)
        && !host.as_bytes().eq_ignore_ascii_case(named.as_bytes())
    {
        return Err(Refusal::malformed(":authority and the Host field name different hosts"));
    }
    let text = match (named, host) {
        (Some(named), _) => named,
        (None, Some(host)) => host.to_str().unwrap_or_default(),
        (None, None) => return Err(Refusal::malformed("neither :authority nor the Host field names a host")),
    };
    match is_authority(text.as_bytes()) {
        true => Ok(Some(text.to_owned())),
        false => Err(Refusal::malformed("the authority is not a host")),
    }
}

/// A path that a URI can have; `*` of OPTIONS.
fn target(parts: &Parts) -> Result<PathAndQuery, Refusal> {
    let target = parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let text = target.as_str();
    match text.starts_with('/') || (text == "*" && parts.method == Method::OPTIONS) {
        true if is_uri(text.as_bytes()) => Ok(target),
        _ => Err(Refusal::malformed("the request target has bytes that a URI cannot have")),
    }
}
