//! `[tracing]`: what requests waited for, told to a collector as OpenTelemetry has it (OTLP over HTTP, protobuf). Off by default, and
//! then nothing is made for it.
//!
//! Owns which requests are recorded ([`Tracer`]), what a span is, and its way to the collector: a queue, batches, a few tries. A request
//! carries its [`Trace`]; what is done because of it finds the same by the task that it runs in ([`waiting`]), also in the tasks that it
//! begins ([`carried`]). Does not own what spans say: whoever waits says for what.

mod config;
mod exporter;
mod headers;
mod otlp;
mod sender;
mod span;
mod trace;
mod tracer;
mod wire;

pub use config::{Config, MAX_SERVICE};
pub use headers::read as read_headers;
pub use span::Value;
pub use trace::{Ended, Trace, Waiting, carried, hand_on, waiting};
pub use tracer::Tracer;
