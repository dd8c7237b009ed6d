//! What is said of a request, and its one line of JSON.
//!
//! Hand-written because it runs once per request: no intermediate values, no allocation. Only the path is logged of a
//! target, never the query: an upload's `_state`, tokens and signatures travel there.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::telemetry::clock::push_rfc3339;
use crate::telemetry::escape::push_json;

/// Room for a usual line, so that a buffer grows once.
const USUAL_LINE: usize = 512;

/// One request, borrowed from its session. What came from outside may be any bytes.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// When the request ended.
    pub time: SystemTime,
    pub id: &'a str,
    /// The trace that it belongs to, where somebody may look for it.
    pub trace: Option<u128>,
    pub client: IpAddr,
    /// Who asked; None: nobody in particular.
    pub identity: Option<&'a str>,
    pub method: &'a str,
    pub host: Option<&'a [u8]>,
    /// The target; anything from the first `?` on is left out.
    pub path: &'a [u8],
    pub repository: Option<&'a str>,
    /// Tag or digest.
    pub reference: Option<&'a str>,
    /// The status sent; 0 when the client left before there was one.
    pub status: u16,
    /// Bytes of the request's body that were read.
    pub bytes_in: u64,
    /// Bytes of the answer's body that were sent.
    pub bytes_out: u64,
    /// `hit_memory`, `hit_disk`, `miss`, `collapsed`, `bypass`, `stale`; None where no cache is concerned.
    pub cache: Option<&'a str>,
    /// The peer that answered last.
    pub peer: Option<&'a str>,
    /// From the request's first byte to the answer's last.
    pub duration: Duration,
    /// From the request's first byte to the answer's first.
    pub first_byte: Option<Duration>,
    /// How long peers let us wait for heads.
    pub peer_time: Option<Duration>,
    /// `HTTP/1.1`, `HTTP/2`.
    pub protocol: &'a str,
    /// `TLSv1.3`; None for plain connections.
    pub tls: Option<&'a str>,
    pub user_agent: Option<&'a [u8]>,
    /// What went wrong, in a few words; None when nothing did.
    pub problem: Option<&'a str>,
}

impl Entry<'_> {
    /// Appends the line with its line end.
    pub(super) fn push_line(&self, out: &mut Vec<u8>) {
        out.reserve(USUAL_LINE);
        out.extend_from_slice(b"{\"time\":\"");
        push_rfc3339(out, self.time);
        out.extend_from_slice(b"\",\"id\":");
        push_json(out, self.id.as_bytes());
        push_trace(out, self.trace);
        out.extend_from_slice(b",\"client\":\"");
        push_ip(out, self.client);
        out.push(b'"');
        push_text(out, b",\"identity\":", self.identity.map(str::as_bytes));
        out.extend_from_slice(b",\"method\":");
        push_json(out, self.method.as_bytes());
        push_text(out, b",\"host\":", self.host);
        out.extend_from_slice(b",\"path\":");
        push_json(out, self.path.split(|byte| *byte == b'?').next().unwrap_or_default());
        push_text(out, b",\"repository\":", self.repository.map(str::as_bytes));
        push_text(out, b",\"reference\":", self.reference.map(str::as_bytes));
        push_number(out, b",\"status\":", self.status.into());
        push_number(out, b",\"bytes_in\":", self.bytes_in);
        push_number(out, b",\"bytes_out\":", self.bytes_out);
        push_text(out, b",\"cache\":", self.cache.map(str::as_bytes));
        push_text(out, b",\"peer\":", self.peer.map(str::as_bytes));
        push_millis(out, b",\"duration_ms\":", Some(self.duration));
        push_millis(out, b",\"first_byte_ms\":", self.first_byte);
        push_millis(out, b",\"peer_ms\":", self.peer_time);
        out.extend_from_slice(b",\"protocol\":");
        push_json(out, self.protocol.as_bytes());
        push_text(out, b",\"tls\":", self.tls.map(str::as_bytes));
        push_text(out, b",\"user_agent\":", self.user_agent);
        push_text(out, b",\"problem\":", self.problem.map(str::as_bytes));
        out.extend_from_slice(b"}\n");
    }
}

/// What is not known is left out: a fifth of a usual line would be the names of absent values.
fn push_text(out: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    if let Some(value) = value {
        out.extend_from_slice(key);
        push_json(out, value);
    }
}

fn push_trace(out: &mut Vec<u8>, trace: Option<u128>) {
    let mut hex = [0; 32];
    // Cannot fail: 16 bytes are 32 digits.
    if let Some(trace) = trace
        && hex::encode_to_slice(trace.to_be_bytes(), &mut hex).is_ok()
    {
        out.extend_from_slice(b",\"trace\":\"");
        out.extend_from_slice(&hex);
        out.push(b'"');
    }
}

fn push_number(out: &mut Vec<u8>, key: &[u8], value: u64) {
    out.extend_from_slice(key);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Milliseconds with three decimals.
fn push_millis(out: &mut Vec<u8>, key: &[u8], value: Option<Duration>) {
    let Some(value) = value else { return };
    let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
    push_number(out, key, micros / 1000);
    let digit = |count: u64| b'0' + (count % 10) as u8;
    out.extend_from_slice(&[b'.', digit(micros / 100), digit(micros / 10), digit(micros)]);
}

/// `fmt` costs several times as much as four numbers.
fn push_ip(out: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            }
        }
        // Writing to memory does not fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}
