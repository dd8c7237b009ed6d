//! The request line.

use std::ops::Range;

use super::{is_authority, is_token};
use crate::listener::refusal::Refusal;

pub(super) struct RequestLine<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: Target,
    /// Where in the line path and query are.
    pub(super) path: Range<usize>,
    pub(super) http_10: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `/path?query`, or `*` of OPTIONS.
    Origin,
    /// `http://authority/path`: where in the line its authority is.
    Absolute(Range<usize>),
}

/// The longest target that libraries behind us can hold.
const MAX_TARGET: usize = 65_535;

/// Bytes that a URI without a fragment can have (RFC 3986); `[` and `]` are often left bare in queries.
pub(super) static URI: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte] = !matches!(byte as u8, b'#' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}');
        byte += 1;
    }
    table
};

/// Reads `METHOD SP target SP HTTP/1.x`.
pub(super) fn parse(line: &[u8]) -> Result<RequestLine<'_>, Refusal> {
    let malformed = Refusal::malformed("the request line is malformed");
    let (Some(first), Some(last)) = (memchr::memchr(b' ', line), memchr::memrchr(b' ', line)) else {
        return Err(malformed);
    };
    let (Some(method), Some(version)) = (line.get(..first), line.get(last + 1..)) else { return Err(malformed) };
    let Some(target) = line.get(first + 1..last) else { return Err(malformed) };
    if target.len() >= MAX_TARGET {
        return Err(Refusal::too_long());
    }
    if !is_token(method) {
        return Err(Refusal::malformed("the method is not a token"));
    }
    let http_10 = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ if is_version(version) => return Err(Refusal::version()),
        _ => return Err(malformed),
    };
    if method == b"CONNECT" {
        return Err(Refusal::method("CONNECT is not supported"));
    }
    let target = parse_target(method, target, first + 1)?;
    let path = match &target {
        Target::Origin => first + 1..last,
        Target::Absolute(authority) => authority.end..last,
    };
    Ok(RequestLine { method, target, path, http_10 })
}

fn is_version(bytes: &[u8]) -> bool {
    matches!(bytes, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit())
}

fn parse_target(method: &[u8], target: &[u8], start: usize) -> Result<Target, Refusal> {
    if !target.iter().all(|byte| URI[usize::from(*byte)]) {
        return Err(Refusal::malformed("the request target has bytes that a URI cannot have"));
    }
    match target {
        [b'/', ..] => Ok(Target::Origin),
        b"*" if method == b"OPTIONS" => Ok(Target::Origin),
        _ => absolute(target)
            .map(|authority| Target::Absolute(start + authority.start..start + authority.end))
            .ok_or(Refusal::malformed("the request target is neither a path nor an http URI")),
    }
}

/// Where the authority of an absolute target is.
fn absolute(target: &[u8]) -> Option<Range<usize>> {
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))?;
    let rest = target.get(scheme.len()..)?;
    let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    is_authority(rest.get(..end)?).then_some(scheme.len()..scheme.len() + end)
}
