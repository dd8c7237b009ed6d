//! `traceparent` (W3C Trace Context): we take part in a trace by handing it on with our own span. Whether that span is told to anybody,
//! `spans` decides.

use std::fmt;

use http::{HeaderMap, HeaderValue};

pub const TRACEPARENT: &str = "traceparent";

/// `version-traceid-parentid-flags` of version 00.
const LENGTH: usize = 55;
/// Of `flags`: somebody records the trace.
const SAMPLED: u8 = 1;

/// A valid `traceparent`: neither id is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: u128,
    parent: u64,
    flags: u8,
}

impl TraceParent {
    /// A trace that begins here, and that nobody records.
    pub fn root() -> Self {
        TraceParent { trace: rand::random::<u128>().max(1), parent: new_span(), flags: 0 }
    }

    /// The same trace with a new span of ours as the parent of what follows.
    #[must_use]
    pub fn child(self) -> Self {
        TraceParent { parent: new_span(), ..self }
    }

    /// Reads a field's value. A later version is read by the rules of version 00, as the specification asks.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        if !text.bytes().take(LENGTH).all(|b| b == b'-' || b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return None;
        }
        let mut parts = text.splitn(5, '-');
        let version = fixed(parts.next()?, 2)?;
        let trace = fixed(parts.next()?, 32)?;
        let parent = u64::try_from(fixed(parts.next()?, 16)?).ok()?;
        let flags = u8::try_from(fixed(parts.next()?, 2)?).ok()?;
        let more = parts.next().is_some();
        if trace == 0 || parent == 0 || version == 0xff || (version == 0 && more) {
            return None;
        }
        // Of a version that we do not know, only the sampled flag has a meaning.
        Some(TraceParent { trace, parent, flags: if version == 0 { flags } else { flags & SAMPLED } })
    }

    /// Where a request says that it belongs: exactly one valid `traceparent`. Without one a new trace begins, and a `tracestate` that
    /// belongs to none must not be handed on.
    pub fn of(inbound: &HeaderMap) -> Option<Self> {
        let mut values = inbound.get_all(TRACEPARENT).iter();
        match (values.next().and_then(|value| Self::parse(value.as_bytes())), values.next()) {
            (Some(parent), None) => Some(parent),
            _ => None,
        }
    }

    /// The same, recorded by somebody.
    #[must_use]
    pub fn sampled(self) -> Self {
        TraceParent { flags: self.flags | SAMPLED, ..self }
    }

    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    pub fn trace(&self) -> u128 {
        self.trace
    }

    /// The span that is the parent of what follows.
    pub fn span(self) -> u64 {
        self.parent
    }

    /// The field's value.
    pub fn header(&self) -> HeaderValue {
        // Hex and dashes are always a valid value; an empty one is ignored by every reader.
        HeaderValue::try_from(self.to_string()).unwrap_or(HeaderValue::from_static(""))
    }

    #[cfg(test)]
    /// The trace's id in hex, for log lines.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.parent, self.flags)
    }
}

fn new_span() -> u64 {
    rand::random::<u64>().max(1)
}

fn fixed(digits: &str, length: usize) -> Option<u128> {
    if digits.len() == length { u128::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_traceparent_round_trips_and_its_child_keeps_the_trace() {
        let parent = TraceParent::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(parent.to_string(), GOOD);
        let child = parent.child();
        assert_eq!((child.trace, child.flags), (parent.trace, parent.flags));
        assert_ne!(child.parent, parent.parent);
        assert_eq!(TraceParent::parse(child.header().as_bytes()), Some(child));
        assert_eq!(parent.trace_id(), &GOOD[3..35]);
    }

    #[test]
    fn a_later_version_is_read_as_ours() {
        let later = GOOD.replacen("00-", "cc-", 1).replace("-01", "-07-what-comes");
        assert_eq!(TraceParent::parse(later.as_bytes()).unwrap().to_string(), GOOD);
    }

    #[test]
    fn what_is_invalid_is_refused() {
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let zero_parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        let upper = GOOD.to_uppercase();
        let longer = format!("{GOOD}-x");
        let version_ff = GOOD.replacen("00-", "ff-", 1);
        let glued = GOOD.replacen("00-", "01-", 1) + "2";
        let signs = GOOD.replace("4b", "+b");
        for bad in ["", "00", &GOOD[..54], &zero_trace, &zero_parent, &upper, &longer, &version_ff, &glued, &signs] {
            assert_eq!(TraceParent::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(TraceParent::parse(&[0xff; 55]), None);
    }

    #[test]
    fn a_request_belongs_to_one_trace_or_none() {
        let mut headers = HeaderMap::new();
        assert!(TraceParent::of(&headers).is_none());
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        let found = TraceParent::of(&headers).unwrap();
        assert!(found.is_sampled() && found.trace_id() == GOOD[3..35]);
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert!(TraceParent::of(&headers).is_none());
    }
}
