//! One header field.

use std::ops::Range;

use super::{is_authority, is_token};
use crate::listener::refusal::Refusal;

/// What a field says that we judge or use.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Field {
    Other,
    /// Where in the line its value is.
    Host(Range<usize>),
    Length(u64),
    Chunked,
    /// What an answer that is at hand needs, and where in the line it is.
    Authorization(Range<usize>),
    UserAgent(Range<usize>),
    RequestId(Range<usize>),
    TraceParent(Range<usize>),
    Origin,
    /// A condition, a range or the like: the answer may be another than the usual.
    Unusual,
}

/// Fields that a client must not have removed on the way by naming them in `Connection`.
const END_TO_END: [&[u8]; 4] = [b"content-length", b"transfer-encoding", b"authorization", b"host"];

/// Reads `name: value`, without its line end.
pub(super) fn parse(line: &[u8]) -> Result<Field, Refusal> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Refusal::malformed("a header field is folded over two lines"));
    }
    let Some(colon) = memchr::memchr(b':', line) else {
        return Err(Refusal::malformed("a header field has no colon"));
    };
    let (name, value) = (line.get(..colon).unwrap_or_default(), line.get(colon + 1..).unwrap_or_default());
    if !is_token(name) {
        return Err(Refusal::malformed("the name of a header field is not a token"));
    }
    // A fold without early exit, so that the compiler can take many bytes at a time.
    let clean = value.iter().fold(true, |clean, &byte| clean & ((byte >= 0x20) & (byte != 0x7f) | (byte == b'\t')));
    if !clean {
        return Err(Refusal::malformed("the value of a header field has control bytes"));
    }
    let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
    match name.len() {
        3 if is("via") => Ok(Field::Unusual),
        4 if is("host") => host(value, colon + 1),
        5 if is("range") => Ok(Field::Unusual),
        6 if is("expect") => Ok(Field::Unusual),
        6 if is("origin") => Ok(Field::Origin),
        7 if is("upgrade") => Err(Refusal::malformed("Upgrade is not supported")),
        8 if is("if-range") || is("if-match") => Ok(Field::Unusual),
        10 if is("connection") => connection(value),
        10 if is("user-agent") => Ok(Field::UserAgent(inside(value, colon + 1))),
        11 if is("traceparent") => Ok(Field::TraceParent(inside(value, colon + 1))),
        12 if is("x-request-id") => Ok(Field::RequestId(inside(value, colon + 1))),
        13 if is("authorization") => Ok(Field::Authorization(inside(value, colon + 1))),
        13 if is("if-none-match") => Ok(Field::Unusual),
        14 if is("content-length") => length(value),
        17 if is("transfer-encoding") => coding(value),
        17 if is("if-modified-since") => Ok(Field::Unusual),
        19 if is("if-unmodified-since") => Ok(Field::Unusual),
        _ => Ok(Field::Other),
    }
}

/// Where in the line a value is that begins at `start`, without white space around it.
fn inside(value: &[u8], start: usize) -> Range<usize> {
    let begin = start + value.len() - value.trim_ascii_start().len();
    begin..begin + value.trim_ascii().len()
}

fn host(value: &[u8], start: usize) -> Result<Field, Refusal> {
    if !is_authority(value.trim_ascii()) {
        return Err(Refusal::malformed("the Host field is not a host"));
    }
    Ok(Field::Host(inside(value, start)))
}

fn connection(value: &[u8]) -> Result<Field, Refusal> {
    if value.trim_ascii().eq_ignore_ascii_case(b"keep-alive") {
        return Ok(Field::Other);
    }
    for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        if END_TO_END.iter().any(|name| option.eq_ignore_ascii_case(name)) {
            return Err(Refusal::malformed("the Connection field names a field that is not of the connection"));
        }
    }
    Ok(Field::Unusual)
}

fn length(value: &[u8]) -> Result<Field, Refusal> {
    let malformed = Refusal::malformed("the Content-Length field is not a length");
    let digits = value.trim_ascii();
    if digits.is_empty() {
        return Err(malformed);
    }
    let length = digits.iter().try_fold(0u64, |length, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit).filter(|length| i64::try_from(*length).is_ok())
    });
    length.map(Field::Length).ok_or(malformed)
}

fn coding(value: &[u8]) -> Result<Field, Refusal> {
    let mut chunked = 0;
    for coding in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        if coding.eq_ignore_ascii_case(b"chunked") {
            chunked += 1;
        } else if is_token(coding) {
            return Err(Refusal::coding());
        } else {
            return Err(Refusal::malformed("the Transfer-Encoding field is malformed"));
        }
    }
    match chunked {
        1 => Ok(Field::Chunked),
        _ => Err(Refusal::malformed("the Transfer-Encoding field names chunked twice")),
    }
}
