//! Spans as OTLP has them (opentelemetry-proto, `trace/v1`): the numbers below are those of its fields.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::span::{Kind, Span, Value};
use super::wire::{Fields, Message, Read};

/// Of an error, in `Status.code`.
const ERROR: u64 = 2;
/// The parent of a request's span is another process' (`SpanFlags`), and what of `flags` is known.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;
const SAMPLED: u32 = 1;

/// Who tells of spans: the same in each batch.
pub(super) struct Source {
    pub(super) service: String,
    pub(super) version: &'static str,
    /// Of this process, made anew by each.
    pub(super) instance: String,
}

/// An `ExportTraceServiceRequest`.
pub(super) fn request(source: &Source, spans: &[Span]) -> Vec<u8> {
    let mut request = Message::default();
    request.message(1, |of_resource| {
        of_resource.message(1, |resource| {
            attribute(resource, 1, "service.name", &Value::from(source.service.as_str()));
            attribute(resource, 1, "service.version", &Value::from(source.version));
            attribute(resource, 1, "service.instance.id", &Value::from(source.instance.as_str()));
        });
        of_resource.message(2, |of_scope| {
            of_scope.message(1, |scope| {
                scope.bytes(1, b"entrepot");
                scope.bytes(2, source.version.as_bytes());
            });
            for one in spans {
                of_scope.message(2, |message| span(message, one));
            }
        });
    });
    request.into_bytes()
}

fn span(message: &mut Message, span: &Span) {
    message.bytes(1, &span.trace.to_be_bytes());
    message.bytes(2, &span.id.to_be_bytes());
    if let Some(parent) = span.parent {
        message.bytes(4, &parent.to_be_bytes());
    }
    message.bytes(5, span.name.as_bytes());
    message.number(
        6,
        match span.kind {
            Kind::Server => 2,
            Kind::Client => 3,
        },
    );
    message.fixed_64(7, nanoseconds(span.start));
    message.fixed_64(8, nanoseconds(span.start + span.took));
    for (key, value) in &span.attributes {
        attribute(message, 9, key, value);
    }
    if let Some(error) = &span.error {
        message.message(15, |status| {
            status.bytes(2, error.as_bytes());
            status.number(3, ERROR);
        });
    }
    let remote = if span.kind == Kind::Server && span.parent.is_some() { IS_REMOTE } else { 0 };
    message.fixed_32(16, SAMPLED | HAS_IS_REMOTE | remote);
}

fn attribute(message: &mut Message, field: u64, key: &str, value: &Value) {
    message.message(field, |pair| {
        pair.bytes(1, key.as_bytes());
        pair.message(2, |any| match value {
            Value::Text(text) => any.one_of_text(1, text),
            Value::Number(number) => any.one_of_number(3, *number),
        });
    });
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// How many spans an `ExportTraceServiceResponse` says were not taken.
pub(super) fn rejected(response: &[u8]) -> u64 {
    let inner = |bytes, wanted| Fields(bytes).find(|(field, _)| *field == wanted).map(|(_, value)| value);
    let Some(Read::Bytes(partial)) = inner(response, 1) else { return 0 };
    match inner(partial, 1) {
        Some(Read::Number(count)) => count,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans() -> Vec<Span> {
        let trace = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
        let start = UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789);
        let request = Span {
            trace,
            id: 0x00f0_67aa_0ba9_02b7,
            parent: Some(0xb7ad_6b71_6920_3331),
            name: "GET /v2/{name}/blobs/{digest}".into(),
            kind: Kind::Server,
            start,
            took: Duration::from_millis(5),
            attributes: vec![
                ("http.response.status_code", Value::Number(502)),
                ("entrepot.repository", "team/app".into()),
                ("zero", Value::Number(0)),
                ("empty", "".into()),
            ],
            error: Some("no peer".into()),
        };
        let waited = Span {
            id: 1,
            parent: Some(request.id),
            name: "peer GET".into(),
            kind: Kind::Client,
            attributes: Vec::new(),
            error: None,
            ..request.clone()
        };
        vec![request, waited]
    }

    /// Made of the same values by the Python package opentelemetry-proto 1.45.2.
    const MADE_BY_OTHERS: &str = include_str!("otlp_request.hex");

    #[test]
    fn a_batch_is_the_bytes_that_others_write() {
        let source = Source { service: "front".into(), version: "0.1.0", instance: "1234".into() };
        assert_eq!(hex::encode(request(&source, &spans())), MADE_BY_OTHERS.trim());
    }

    #[test]
    fn a_collector_may_take_some() {
        assert_eq!(rejected(&[]), 0);
        assert_eq!(rejected(&[0x0a, 0x02, 0x08, 0x07]), 7);
        assert_eq!(rejected(&[0x0a, 0x04, 0x12, 0x02, b'n', b'o']), 0);
        assert_eq!(rejected(b"<html>"), 0);
    }
}
