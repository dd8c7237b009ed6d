//! What is seen from outside: logs, access log, metrics, traces, and the ids that tie them together.
//!
//! Owns the metrics registry's process-wide part and every byte that leaves as a log line. Does not own other rooms'
//! metrics: each room registers its own.

pub mod access_log;
pub mod clock;
pub mod config;
pub mod escape;
pub mod http;
pub mod logs;
pub mod metrics;
mod process;
pub mod request_id;
pub mod sink;
pub mod spans;
pub mod trace_parent;

pub use access_log::{AccessLog, Entry};
pub use config::{AccessTarget, LogConfig};
pub use http::{Ended, Metrics as HttpMetrics, RouteKind, UnderWay};
pub use logs::{LogHandle, init_logs};
pub use request_id::RequestId;
pub use spans::{Trace, Tracer};
pub use trace_parent::TraceParent;
