//! Our own log: one line per event to stderr, for people first; or as JSON, for what collects logs.
//!
//! `2026-01-31T23:59:59.123Z INFO entrepot::app listening address=127.0.0.1:5000`. Owns the level and what other crates
//! may say; pingora and others log through `log`, which is bridged here. Does not own the access log.
//!
//! Lines are put together here and not by `tracing_subscriber::fmt`, which lets line ends in messages and displayed values
//! through: what a peer or a client said could begin a line of its own.
//!
//! Nothing that a client does alone is above debug, but that it is over a limit: whoever can open a connection could fill the disk.
//! What repeats is limited: [`limit`].

pub mod limit;
mod line;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_log::NormalizeEvent as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::{Layer, Registry, reload};

use super::config::{Format, Level, LogConfig};
use limit::{LeftOut, Limit};
use line::{Form, message};

/// How often the ends of the windows of [`limit`] are looked for.
const LOOK: Duration = Duration::from_secs(5);

/// Targets that speak of nothing but what the other end of a connection did: what of it concerns an operator, we say
/// ourselves where we know whose fault it is.
const OF_CONNECTIONS: [&str; 6] = [
    "rustls",
    "h2",
    // "Error finish sending body to downstream": the client left before its answer's end.
    "pingora_proxy::proxy_h1",
    "pingora_proxy::proxy_h2",
    // Fields of a length that is none.
    "pingora_core::protocols::http::v1::common",
    "pingora_core::protocols::http::v2::server",
];

/// Changes the level of the running process's log.
#[derive(Clone)]
pub struct LogHandle(Option<reload::Handle<Targets, Registry>>);

/// Makes this process log to stderr. Only the first call in a process counts; later ones return a handle without effect.
pub fn init_logs(config: &LogConfig) -> LogHandle {
    let (filter, handle) = reload::Layer::new(targets(config.level));
    let stderr = io::stderr();
    let form = match config.format {
        Format::Json => Form::Json,
        Format::Text => Form::Text { colour: stderr.is_terminal() },
    };
    let lines = Lines::new(form, stderr);
    let subscriber = tracing_subscriber::registry().with(filter).with(lines.clone());
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        return LogHandle(None);
    }
    // Without the thread, which has no reason to fail, windows do not end: their kinds stay limited, and are counted.
    let _ = std::thread::Builder::new().name("log-limit".into()).spawn(move || {
        loop {
            std::thread::sleep(LOOK);
            lines.end_windows(Instant::now());
        }
    });
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
    let quiet = OF_CONNECTIONS.map(|target| (target, LevelFilter::OFF));
    Targets::new().with_default(others).with_targets(quiet).with_target("entrepot", level.filter())
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

/// pingora's own ERROR lines about a request tell of clients that it could not even say no to; failures of other kinds are
/// told by `Hooks::fail_to_proxy`. They may quote a whole head.
fn is_of_a_client(metadata: &Metadata<'_>) -> bool {
    *metadata.level() == tracing::Level::ERROR && metadata.target() == "pingora_proxy"
}

/// Writes each event as one line. A writer that fails is ignored: there is nowhere left to say so.
struct Lines<W>(Arc<Shared<W>>);

struct Shared<W> {
    out: Mutex<W>,
    form: Form,
    limit: Limit,
}

impl<W> Clone for Lines<W> {
    fn clone(&self) -> Self {
        Lines(self.0.clone())
    }
}

impl<W: Write> Lines<W> {
    fn new(form: Form, out: W) -> Self {
        Lines(Arc::new(Shared { out: Mutex::new(out), form, limit: Limit::default() }))
    }

    fn write(&self, line: &str) {
        let mut out = self.0.out.lock();
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }

    fn end_windows(&self, now: Instant) {
        for LeftOut { count, level, target, about } in self.0.limit.end_windows(now) {
            let text = format!("{count} more lines like this one were left out: {about}");
            self.write(&self.0.form.line(level, &target, &text));
        }
    }
}

impl<S: Subscriber, W: Write + Send + 'static> Layer<S> for Lines<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let bridged = event.normalized_metadata();
        let metadata = bridged.as_ref().unwrap_or(event.metadata());
        let admitted = !is_of_a_client(metadata) && self.0.limit.admits(metadata, Instant::now(), || message(event));
        if admitted {
            self.write(&self.0.form.event(event, metadata));
        }
    }
}

#[cfg(test)]
mod tests;
