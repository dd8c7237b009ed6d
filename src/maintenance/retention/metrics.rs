//! What is seen of retention from outside.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::report::Report;

/// Registered once per process.
pub struct Metrics {
    runs: IntCounterVec,
    deleted: IntCounter,
    stopped: IntGauge,
    last: IntGauge,
}

/// How a run ended.
pub(super) enum Ended<'a> {
    Well { report: &'a Report, now: SystemTime },
    Failed,
}

impl Metrics {
    /// Registers everything; fails only when it is registered twice.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let runs = Opts::new("entrepot_retention_runs_total", "Runs of retention, by what they did");
        let runs = IntCounterVec::new(runs, &["result"])?;
        for result in ["done", "shown", "incomplete", "failed"] {
            runs.with_label_values(&[result]);
        }
        let deleted = IntCounter::new("entrepot_retention_deleted_tags_total", "Tags that retention took away")?;
        let stopped = IntGauge::new(
            "entrepot_retention_stopped_repositories",
            "Repositories where the last run would take too much",
        )?;
        let last = IntGauge::new("entrepot_retention_last_run_seconds", "When the last run ended, in Unix time")?;
        registry.register(Box::new(runs.clone()))?;
        registry.register(Box::new(deleted.clone()))?;
        registry.register(Box::new(stopped.clone()))?;
        registry.register(Box::new(last.clone()))?;
        Ok(Metrics { runs, deleted, stopped, last })
    }

    pub(super) fn ended(&self, ended: Ended<'_>) {
        let Ended::Well { report, now } = ended else { return self.runs.with_label_values(&["failed"]).inc() };
        let result = match report {
            Report { only_shown: true, .. } => "shown",
            report if report.failed.is_empty() => "done",
            _ => "incomplete",
        };
        self.runs.with_label_values(&[result]).inc();
        self.deleted.inc_by(report.gone as u64);
        self.stopped.set(i64::try_from(report.stopped.len()).unwrap_or(i64::MAX));
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.last.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }
}
