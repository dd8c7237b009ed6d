//! What is seen from outside: logs, access log, metrics, the admin endpoint, and the ids that tie them together.
//!
//! Owns the metrics registry's process-wide part and every byte that leaves as a log line. Does not own other rooms'
//! metrics (each room registers its own) nor the meaning of readiness (the app says, through [`AdminState`]).

pub mod access_log;
pub mod admin;
mod clock;
pub mod config;
mod escape;
pub mod http;
pub mod logs;
pub mod metrics;
mod process;
pub mod request_id;
pub mod trace_parent;

pub use access_log::{AccessLog, Entry};
pub use admin::{Admin, AdminState, Readiness};
pub use config::{AccessTarget, AdminConfig, Level, LogConfig};
pub use http::{Metrics as HttpMetrics, RouteKind};
pub use logs::{LogHandle, init_logs};
pub use request_id::RequestId;
pub use trace_parent::TraceParent;
