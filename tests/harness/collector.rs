//! A collector of OpenTelemetry: takes OTLP over HTTP as protobuf, and keeps the spans. What it reads is read by the numbers of
//! `opentelemetry/proto/trace/v1/trace.proto`, with a reader of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::fault_proxy::Seen;
use super::{FaultProxy, Reply, eventually};

/// A span as it came.
#[derive(Clone, Debug)]
pub struct Span {
    pub service: String,
    pub trace: String,
    pub id: String,
    /// Empty: it has none.
    pub parent: String,
    pub name: String,
    /// 2: of a server, 3: of a client.
    pub kind: u64,
    pub start: u64,
    pub end: u64,
    pub attributes: BTreeMap<String, String>,
    /// The code and message of its status.
    pub status: (u64, String),
}

impl Span {
    pub fn attribute(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

pub struct Collector {
    pub server: FaultProxy,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    pub fn start() -> Self {
        let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
        let kept = Arc::clone(&spans);
        let server = FaultProxy::scripted(move |seen| {
            let right = seen.method == "POST"
                && seen.target == "/v1/traces"
                && seen.header("content-type") == Some("application/x-protobuf");
            if !right {
                return Reply::new(400).body("");
            }
            kept.lock().unwrap_or_else(PoisonError::into_inner).extend(read(&seen.body));
            Reply::new(200).header("Content-Type", "application/x-protobuf").body("")
        });
        Collector { server, spans }
    }

    /// The address, as `[tracing] otlp` has it.
    pub fn otlp(&self) -> String {
        format!("\"http://{}\"", self.server.address)
    }

    pub fn messages(&self) -> Vec<Seen> {
        self.server.seen_of("POST", "/v1/traces")
    }

    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All spans of a trace, once one of them is a request's with this name.
    pub fn trace(&self, id: &str, name: &str) -> Vec<Span> {
        let of = || self.spans().into_iter().filter(|span| span.trace == id).collect::<Vec<_>>();
        eventually(&format!("the span '{name}' of trace {id}"), || of().iter().any(|span| span.name == name));
        of()
    }
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    fn bytes(&self) -> &'a [u8] {
        match self {
            Value::Bytes(bytes) => bytes,
            Value::Number(number) => panic!("{number} where bytes should be"),
        }
    }

    fn number(&self) -> u64 {
        match self {
            Value::Number(number) => *number,
            Value::Bytes(bytes) => panic!("{bytes:?} where a number should be"),
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes().to_vec()).expect("text is UTF-8")
    }
}

/// The fields of a message; what is none fails the test.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Value<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = match key & 7 {
            0 => Value::Number(varint(&mut bytes)),
            1 => Value::Number(u64::from_le_bytes(take(&mut bytes, 8).try_into().expect("8 bytes"))),
            2 => {
                let length = varint(&mut bytes);
                Value::Bytes(take(&mut bytes, usize::try_from(length).expect("a length")))
            }
            5 => Value::Number(u32::from_le_bytes(take(&mut bytes, 4).try_into().expect("4 bytes")).into()),
            other => panic!("no such type of the wire: {other}"),
        };
        fields.push((key >> 3, value));
    }
    fields
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    panic!("a number does not end")
}

fn messages(bytes: &[u8], wanted: u64) -> impl Iterator<Item = &[u8]> {
    fields(bytes).into_iter().filter(move |(field, _)| *field == wanted).map(|(_, value)| value.bytes())
}

/// `ExportTraceServiceRequest`
fn read(bytes: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in messages(bytes, 1) {
        let resource: BTreeMap<_, _> =
            messages(of_resource, 1).flat_map(|resource| messages(resource, 1)).map(attribute).collect();
        let service = resource.get("service.name").expect("a service has a name");
        assert!(!resource["service.instance.id"].is_empty() && !resource["service.version"].is_empty());
        for of_scope in messages(of_resource, 2) {
            spans.extend(messages(of_scope, 2).map(|bytes| span(service, bytes)));
        }
    }
    assert!(!spans.is_empty(), "a message without spans");
    spans
}

fn span(service: &str, bytes: &[u8]) -> Span {
    let mut span = Span {
        service: service.into(),
        trace: String::new(),
        id: String::new(),
        parent: String::new(),
        name: String::new(),
        kind: 0,
        start: 0,
        end: 0,
        attributes: BTreeMap::new(),
        status: (0, String::new()),
    };
    for (field, value) in fields(bytes) {
        match field {
            1 => span.trace = hex::encode(value.bytes()),
            2 => span.id = hex::encode(value.bytes()),
            4 => span.parent = hex::encode(value.bytes()),
            5 => span.name = value.text(),
            6 => span.kind = value.number(),
            7 => span.start = value.number(),
            8 => span.end = value.number(),
            9 => span.attributes.extend([attribute(value.bytes())]),
            15 => {
                for (field, value) in fields(value.bytes()) {
                    match field {
                        2 => span.status.1 = value.text(),
                        3 => span.status.0 = value.number(),
                        other => panic!("a status has no field {other}"),
                    }
                }
            }
            16 => assert_eq!(value.number() & 1, 1, "what is told is sampled"),
            other => panic!("a span of ours has no field {other}"),
        }
    }
    assert!(span.trace.len() == 32 && span.id.len() == 16 && matches!(span.parent.len(), 0 | 16), "{span:?}");
    assert!(span.start <= span.end && span.start > 1_700_000_000_000_000_000, "{span:?}");
    span
}

fn attribute(bytes: &[u8]) -> (String, String) {
    let (mut key, mut text) = (String::new(), String::new());
    for (field, value) in fields(bytes) {
        match field {
            1 => key = value.text(),
            2 => {
                let any = fields(value.bytes());
                assert_eq!(any.len(), 1, "a value is one thing");
                text = match &any[0] {
                    (1, text) => text.text(),
                    (3, number) => number.number().to_string(),
                    (other, _) => panic!("a value of form {other}"),
                };
            }
            other => panic!("an attribute has no field {other}"),
        }
    }
    (key, text)
}
