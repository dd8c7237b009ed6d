//! One header field.

use std::ops::Range;

use super::{is_authority, is_token};
use crate::listener::refusal::Refusal;

/// What a field says about framing or authority.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Field {
    Other,
    /// Where in the line its value is.
    Host(Range<usize>),
    Length(u64),
    Chunked,
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
    match name.len() {
        4 if name.eq_ignore_ascii_case(b"host") => host(value, colon + 1),
        7 if name.eq_ignore_ascii_case(b"upgrade") => Err(Refusal::malformed("Upgrade is not supported")),
        10 if name.eq_ignore_ascii_case(b"connection") => connection(value),
        14 if name.eq_ignore_ascii_case(b"content-length") => length(value),
        17 if name.eq_ignore_ascii_case(b"transfer-encoding") => coding(value),
        _ => Ok(Field::Other),
    }
}

fn host(value: &[u8], start: usize) -> Result<Field, Refusal> {
    let skipped = value.len() - value.trim_ascii_start().len();
    let host = value.trim_ascii();
    if !is_authority(host) {
        return Err(Refusal::malformed("the Host field is not a host"));
    }
    Ok(Field::Host(start + skipped..start + skipped + host.len()))
}

fn connection(value: &[u8]) -> Result<Field, Refusal> {
    for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        if END_TO_END.iter().any(|name| option.eq_ignore_ascii_case(name)) {
            return Err(Refusal::malformed("the Connection field names a field that is not of the connection"));
        }
    }
    Ok(Field::Other)
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
