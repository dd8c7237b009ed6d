//! An event as a line: text for people, or JSON.

use std::fmt::{self, Write as _};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};

use crate::telemetry::clock::push_rfc3339;
use crate::telemetry::escape::{push_json, push_text, push_value};

/// How lines are written.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// `TIME LEVEL TARGET MESSAGE key=value …`
    Text { colour: bool },
    /// `{"time":…,"level":…,"target":…,"message":…,"fields":{…}}`
    Json,
}

impl Form {
    pub(super) fn event(self, event: &Event<'_>, metadata: &Metadata<'_>) -> String {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.write(*metadata.level(), metadata.target(), &fields)
    }

    /// One of our own that is no event.
    pub(super) fn line(self, level: Level, target: &str, message: &str) -> String {
        self.write(level, target, &Fields { message: message.to_owned(), others: Vec::new() })
    }

    fn write(self, level: Level, target: &str, fields: &Fields) -> String {
        match self {
            Form::Text { colour } => text(level, target, fields, colour),
            Form::Json => json(level, target, fields),
        }
    }
}

/// What an event says, without its fields.
pub(super) fn message(event: &Event<'_>) -> String {
    let mut fields = Fields::default();
    event.record(&mut fields);
    fields.message
}

fn text(level: Level, target: &str, fields: &Fields, colour: bool) -> String {
    let mut line = String::with_capacity(256);
    line.push_str(&String::from_utf8_lossy(&now()));
    line.push(' ');
    push_level(&mut line, level, colour);
    line.push(' ');
    push_text(&mut line, target);
    if !fields.message.is_empty() {
        line.push(' ');
        push_text(&mut line, &fields.message);
    }
    for (name, value) in &fields.others {
        line.push(' ');
        push_text(&mut line, name);
        line.push('=');
        match value {
            Value::Plain(value) => line.push_str(value),
            Value::Text(value) => push_value(&mut line, value),
        }
    }
    line.push('\n');
    line
}

fn json(level: Level, target: &str, fields: &Fields) -> String {
    let mut line = Vec::with_capacity(256);
    line.extend(b"{\"time\":\"");
    line.extend(now());
    line.extend(b"\",\"level\":\"");
    line.extend(level.as_str().as_bytes());
    line.extend(b"\",\"target\":");
    push_json(&mut line, target.as_bytes());
    line.extend(b",\"message\":");
    push_json(&mut line, fields.message.as_bytes());
    if !fields.others.is_empty() {
        line.extend(b",\"fields\":{");
        for (index, (name, value)) in fields.others.iter().enumerate() {
            if index > 0 {
                line.push(b',');
            }
            push_json(&mut line, name.as_bytes());
            line.push(b':');
            match value {
                Value::Plain(value) => line.extend(value.as_bytes()),
                Value::Text(value) => push_json(&mut line, value.as_bytes()),
            }
        }
        line.push(b'}');
    }
    line.extend(b"}\n");
    String::from_utf8_lossy(&line).into_owned()
}

fn now() -> Vec<u8> {
    let mut time = Vec::with_capacity(32);
    push_rfc3339(&mut time, SystemTime::now());
    time
}

fn push_level(line: &mut String, level: Level, colour: bool) {
    let code = match level {
        Level::ERROR => "31",
        Level::WARN => "33",
        Level::INFO => "32",
        Level::DEBUG => "34",
        Level::TRACE => "35",
    };
    if colour {
        line.extend(["\u{1b}[", code, "m", level.as_str(), "\u{1b}[0m"]);
    } else {
        line.push_str(level.as_str());
    }
}

/// An event's fields: the message apart.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

enum Value {
    /// A number, true or false: needs no quotes anywhere.
    Plain(String),
    Text(String),
}

impl Fields {
    fn push(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => match value {
                Value::Plain(text) | Value::Text(text) => self.message.push_str(&text),
            },
            // tracing-log's own bookkeeping, already in the metadata.
            name if name.starts_with("log.") => {}
            name => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Value::Plain(value.to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, Value::Plain(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Value::Plain(value.to_string()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, Value::Text(value.to_owned()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(source) = cause {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {source}");
            cause = source.source();
        }
        self.push(field, Value::Text(text));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, Value::Text(format!("{value:?}")));
    }
}
