//! Reads HTTP/1 request heads strictly.
//!
//! One pass, line by line as the bytes come; nothing is allocated. What this lets through has one
//! reading only: one framing, one authority, no byte that another parser could take for a line end.

mod field;
mod line;

use std::ops::Range;

use super::body::Framing;
use super::refusal::Refusal;
use field::Field;
use line::Target;

/// More fields than any client sends.
pub(super) const MAX_FIELDS: usize = 100;

/// A head that may be served; what its bytes hold is where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Of the head, with its empty line, in bytes.
    pub(super) length: usize,
    pub(super) framing: Framing,
    pub(super) http_10: bool,
    pub(super) method: Range<usize>,
    /// Path and query; empty where an absolute target has neither.
    pub(super) target: Range<usize>,
    /// Of an absolute target.
    pub(super) authority: Option<Range<usize>>,
    /// The value of `Host`.
    pub(super) host: Option<Range<usize>>,
    /// Where the fields begin, and how many there are.
    pub(super) fields_at: usize,
    pub(super) fields: usize,
    pub(super) noted: Noted,
}

/// What an answer that is at hand needs of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Noted {
    /// A condition, a range, a second `Authorization`: the answer may be another than the usual.
    pub(super) unusual: bool,
    pub(super) authorization: Option<Range<usize>>,
    pub(super) user_agent: Option<Range<usize>>,
    pub(super) request_id: Option<Range<usize>>,
    pub(super) trace_parent: Option<Range<usize>>,
    /// There is an `Origin`.
    pub(super) origin: bool,
}

/// How far we have read a head, and what it said so far.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// Where the present line begins, and how far it was searched for its end.
    line: usize,
    searched: usize,
    fields: usize,
    begun: bool,
    http_10: bool,
    method: Range<usize>,
    target: Range<usize>,
    fields_at: usize,
    authority: Option<Range<usize>>,
    host: Option<Range<usize>>,
    length: Option<u64>,
    chunked: bool,
    noted: Noted,
}

impl Scanner {
    /// Goes on with `bytes`, all that came since the head's begin; `None` when it has not ended.
    pub(super) fn advance(&mut self, bytes: &[u8], limit: usize) -> Result<Option<Head>, Refusal> {
        while let Some(end) = bytes.get(self.searched..).and_then(|rest| memchr::memchr(b'\n', rest)) {
            let end = self.searched + end;
            if end >= limit {
                return Err(TOO_LARGE);
            }
            let line = bytes.get(self.line..end).unwrap_or_default();
            let Some(line) = line.strip_suffix(b"\r") else {
                return Err(Refusal::malformed("a line of the head does not end in CR LF"));
            };
            let start = self.line;
            (self.line, self.searched) = (end + 1, end + 1);
            if !self.begun {
                self.request_line(line, start)?;
            } else if line.is_empty() {
                return self.finish(bytes).map(Some);
            } else {
                self.field(line, start)?;
            }
        }
        self.searched = bytes.len();
        match bytes.len() >= limit {
            true if self.begun => Err(TOO_LARGE),
            true => Err(Refusal::too_long()),
            false => Ok(None),
        }
    }

    fn request_line(&mut self, line: &[u8], start: usize) -> Result<(), Refusal> {
        let request = line::parse(line)?;
        self.begun = true;
        self.http_10 = request.http_10;
        self.method = start..start + request.method.len();
        self.target = start + request.path.start..start + request.path.end;
        self.fields_at = start + line.len() + 2;
        if let Target::Absolute(authority) = request.target {
            self.authority = Some(start + authority.start..start + authority.end);
        }
        Ok(())
    }

    fn field(&mut self, line: &[u8], start: usize) -> Result<(), Refusal> {
        self.fields += 1;
        if self.fields > MAX_FIELDS {
            return Err(Refusal::too_large("the request has more than 100 header fields"));
        }
        match field::parse(line)? {
            Field::Other => {}
            Field::Host(host) => {
                let host = start + host.start..start + host.end;
                if self.host.replace(host).is_some() {
                    return Err(Refusal::malformed("the Host field appears twice"));
                }
            }
            Field::Length(length) => {
                if self.length.replace(length).is_some() {
                    return Err(Refusal::malformed("the Content-Length field appears twice"));
                }
            }
            Field::Chunked => {
                if std::mem::replace(&mut self.chunked, true) {
                    return Err(Refusal::malformed("the Transfer-Encoding field appears twice"));
                }
            }
            Field::Unusual => self.noted.unusual = true,
            Field::Origin => self.noted.origin = true,
            Field::Authorization(at) => self.noted.unusual |= note(&mut self.noted.authorization, start, at),
            Field::UserAgent(at) => self.noted.unusual |= note(&mut self.noted.user_agent, start, at),
            Field::RequestId(at) => self.noted.unusual |= note(&mut self.noted.request_id, start, at),
            Field::TraceParent(at) => self.noted.unusual |= note(&mut self.noted.trace_parent, start, at),
        }
        Ok(())
    }

    fn finish(&self, bytes: &[u8]) -> Result<Head, Refusal> {
        let at = |range: &Range<usize>| bytes.get(range.clone()).unwrap_or_default();
        match (&self.host, &self.authority) {
            (None, _) if !self.http_10 => return Err(Refusal::malformed("the Host field is missing")),
            (Some(host), Some(authority)) if !at(host).eq_ignore_ascii_case(at(authority)) => {
                return Err(Refusal::malformed("the request target and the Host field name different hosts"));
            }
            _ => {}
        }
        let framing = match (self.length, self.chunked) {
            (Some(_), true) => return Err(Refusal::malformed("Content-Length beside Transfer-Encoding")),
            (None, true) if self.http_10 => return Err(Refusal::malformed("Transfer-Encoding in HTTP/1.0")),
            (None, true) => Framing::Chunked,
            (Some(0) | None, false) => Framing::None,
            (Some(length), false) => Framing::Length(length),
        };
        Ok(Head {
            length: self.line,
            framing,
            http_10: self.http_10,
            method: self.method.clone(),
            target: self.target.clone(),
            authority: self.authority.clone(),
            host: self.host.clone(),
            fields_at: self.fields_at,
            fields: self.fields,
            noted: self.noted.clone(),
        })
    }
}

/// Notes where a field is; true when one was noted before.
fn note(noted: &mut Option<Range<usize>>, start: usize, at: Range<usize>) -> bool {
    noted.replace(start + at.start..start + at.end).is_some()
}

const TOO_LARGE: Refusal = Refusal::too_large("the request head is too large");

/// Bytes of a `token`: methods, field names, connection options.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = is_token_byte(byte as u8);
        byte += 1;
    }
    table
};

/// Bytes of a request target (RFC 3986), with nothing that another parser could take for its end.
pub(super) fn is_uri(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| line::URI[usize::from(*byte)])
}

pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| TOKEN[usize::from(*byte)])
}

/// A host and, perhaps, a port, with nothing that another parser could read differently.
pub(super) fn is_authority(bytes: &[u8]) -> bool {
    let (host, port) = if bytes.first() == Some(&b'[') {
        let Some(end) = memchr::memchr(b']', bytes) else { return false };
        let (host, port) = bytes.split_at(end + 1);
        let inside = host.get(1..end).unwrap_or_default();
        if inside.is_empty() || !inside.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')) {
            return false;
        }
        (host, port)
    } else {
        let end = memchr::memchr(b':', bytes).unwrap_or(bytes.len());
        let (host, port) = bytes.split_at(end);
        let plain = |byte: &u8| {
            byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'.' | b'-'
                        | b'_'
                        | b'~'
                        | b'%'
                        | b'!'
                        | b'$'
                        | b'&'
                        | b'\''
                        | b'('
                        | b')'
                        | b'*'
                        | b'+'
                        | b';'
                        | b'='
                )
        };
        if !host.iter().all(plain) {
            return false;
        }
        (host, port)
    };
    let port_is_number = match port.strip_prefix(b":") {
        Some(digits) => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        None => port.is_empty(),
    };
    !host.is_empty() && port_is_number
}

#[cfg(test)]
mod tests;
