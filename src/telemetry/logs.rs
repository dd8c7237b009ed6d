//! Our own log: one line per event to stderr, for people first.
//!
//! `2026-01-31T23:59:59.123Z INFO entrepot::app listening address=127.0.0.1:5000`. Owns the level and what other crates
//! may say; pingora and others log through `log`, which is bridged here. Does not own the access log.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::time::SystemTime;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_log::NormalizeEvent as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::{Layer, Registry, reload};

use super::clock::push_rfc3339;
use super::config::{Level, LogConfig};
use super::escape::{push_text, push_value};

/// Changes the level of the running process's log.
#[derive(Clone)]
pub struct LogHandle(Option<reload::Handle<Targets, Registry>>);

/// Makes this process log to stderr. Only the first call in a process counts; later ones return a handle without effect.
pub fn init_logs(config: &LogConfig) -> LogHandle {
    let (filter, handle) = reload::Layer::new(targets(config.level));
    let stderr = io::stderr();
    let lines = Lines { colour: stderr.is_terminal(), out: Mutex::new(stderr) };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        return LogHandle(None);
    }
    // Fails only when another logger was installed before us: then its records go their own way.
    let _ = tracing_log::LogTracer::init();
    let handle = LogHandle(Some(handle));
    handle.set_level(config.level);
    handle
}

impl LogHandle {
    /// Takes effect for the next event, in every thread.
    pub fn set_level(&self, level: Level) {
        let Some(handle) = &self.0 else { return };
        if handle.reload(targets(level)).is_ok() {
            // Without this every record of `log` is formatted before it is thrown away.
            log::set_max_level(level.log());
        }
    }
}

/// What is let through. Other crates describe each connection's troubles at INFO, which says nothing to an operator who
/// has not asked for details; and whole heads, with their credentials, from DEBUG on, which therefore nothing lets out.
fn targets(level: Level) -> Targets {
    let others = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn | Level::Info => LevelFilter::WARN,
        Level::Debug | Level::Trace => LevelFilter::INFO,
    };
    Targets::new().with_default(others).with_target("entrepot", level.filter())
}

impl Level {
    fn filter(self) -> LevelFilter {
        match self {
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
            Level::Trace => LevelFilter::TRACE,
        }
    }

    fn log(self) -> log::LevelFilter {
        match self {
            Level::Error => log::LevelFilter::Error,
            Level::Warn => log::LevelFilter::Warn,
            Level::Info => log::LevelFilter::Info,
            Level::Debug => log::LevelFilter::Debug,
            Level::Trace => log::LevelFilter::Trace,
        }
    }
}

/// Writes each event as one line. A writer that fails is ignored: there is nowhere left to say so.
struct Lines<W> {
    out: Mutex<W>,
    colour: bool,
}

impl<S: Subscriber, W: Write + Send + 'static> Layer<S> for Lines<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let bridged = event.normalized_metadata();
        let line = line(event, bridged.as_ref().unwrap_or(event.metadata()), self.colour);
        let mut out = self.out.lock();
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}

fn line(event: &Event<'_>, metadata: &Metadata<'_>, colour: bool) -> String {
    let mut time = Vec::with_capacity(32);
    push_rfc3339(&mut time, SystemTime::now());
    let mut line = String::with_capacity(256);
    line.push_str(&String::from_utf8_lossy(&time));
    line.push(' ');
    push_level(&mut line, *metadata.level(), colour);
    line.push(' ');
    push_text(&mut line, metadata.target());

    let mut fields = Fields::default();
    event.record(&mut fields);
    if !fields.message.is_empty() {
        line.push(' ');
        push_text(&mut line, &fields.message);
    }
    line.push_str(&fields.rest);
    line.push('\n');
    line
}

fn push_level(line: &mut String, level: tracing::Level, colour: bool) {
    let code = match level {
        tracing::Level::ERROR => "31",
        tracing::Level::WARN => "33",
        tracing::Level::INFO => "32",
        tracing::Level::DEBUG => "34",
        tracing::Level::TRACE => "35",
    };
    if colour {
        line.extend(["\u{1b}[", code, "m", level.as_str(), "\u{1b}[0m"]);
    } else {
        line.push_str(level.as_str());
    }
}

/// An event's fields as text: the message apart, the rest as ` key=value`.
#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
}

impl Fields {
    fn push(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            // tracing-log's own bookkeeping, already in the metadata.
            name if name.starts_with("log.") => {}
            name => {
                self.rest.push(' ');
                push_text(&mut self.rest, name);
                self.rest.push('=');
                push_value(&mut self.rest, value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(source) = cause {
            let _ = write!(text, ": {source}");
            cause = source.source();
        }
        self.push(field, &text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `events` logged at `level`, without the time.
    fn logged(level: Level, events: impl FnOnce(&LogHandle)) -> Vec<String> {
        let out = Shared::default();
        let (filter, handle) = reload::Layer::new(targets(level));
        let lines = Lines { out: Mutex::new(out.clone()), colour: false };
        let subscriber = tracing_subscriber::registry().with(filter).with(lines);
        tracing::subscriber::with_default(subscriber, || events(&LogHandle(Some(handle))));
        let text = String::from_utf8(out.0.lock().clone()).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    #[test]
    fn an_event_is_one_line_of_message_and_fields() {
        let lines = logged(Level::Info, |_| {
            tracing::info!(target: "entrepot::app", address = %"127.0.0.1:80", count = 2, ok = true, name = "a b", "listening");
        });
        assert_eq!(lines, [r#"INFO entrepot::app listening address=127.0.0.1:80 count=2 ok=true name="a b""#]);
    }

    #[test]
    fn nothing_from_outside_begins_a_line_of_its_own() {
        let evil = "x\n2026-01-01T00:00:00Z ERROR forged\r\u{1b}[2J\u{2028}";
        let lines = logged(Level::Info, |_| {
            tracing::warn!(target: "entrepot", display = %evil, debug = ?evil, text = evil, "said: {evil}");
        });
        assert_eq!(lines.len(), 1);
        assert!(!lines[0].chars().any(|c| c.is_control() || c == '\u{2028}'), "{:?}", lines[0]);
    }

    #[test]
    fn errors_are_told_with_their_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::other("inner"));
        let lines = logged(Level::Info, |_| {
            tracing::error!(target: "entrepot", error = &error as &dyn std::error::Error, "failed");
        });
        assert_eq!(lines, [r#"ERROR entrepot failed error="outer: inner""#]);
    }

    #[test]
    fn the_level_changes_while_running() {
        let lines = logged(Level::Warn, |handle| {
            tracing::info!(target: "entrepot", "one");
            handle.set_level(Level::Debug);
            tracing::debug!(target: "entrepot", "two");
            handle.set_level(Level::Error);
            tracing::warn!(target: "entrepot", "three");
        });
        assert_eq!(lines, ["DEBUG entrepot two"]);
    }

    #[test]
    fn pingora_is_capped_at_warn_unless_debug() {
        let say = || {
            tracing::info!(target: "pingora_core::server", "info");
            tracing::warn!(target: "pingora_proxy", "warn");
        };
        assert_eq!(logged(Level::Info, |_| say()), ["WARN pingora_proxy warn"]);
        assert_eq!(logged(Level::Debug, |_| say()).len(), 2);
    }

    #[test]
    fn records_of_log_keep_their_target() {
        let lines = logged(Level::Info, |_| {
            for (target, level) in [("pingora_core", log::Level::Info), ("pingora_core", log::Level::Error)] {
                let record = log::Record::builder().target(target).level(level).args(format_args!("from log")).build();
                tracing_log::format_trace(&record).unwrap();
            }
        });
        assert_eq!(lines, ["ERROR pingora_core from log"]);
    }
}
