//! `entrepot_verify_*`.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::VerifyError;
use super::report::Report;
use super::wrong::Kind;

/// Registered once per process.
pub struct Metrics {
    runs: IntCounterVec,
    ended: IntGauge,
    blobs: IntCounterVec,
    bytes: IntCounter,
    damages: IntCounterVec,
    repaired: IntCounter,
}

impl Metrics {
    /// Registers everything; fails only when it is registered twice.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, label: &str, values: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counters.clone()))?;
            // There from the start, so that the first of a kind is seen as one.
            values.iter().for_each(|value| drop(counters.with_label_values(&[value])));
            prometheus::Result::Ok(counters)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let ended =
            IntGauge::new("entrepot_verify_last_run_seconds", "When the last look for damage ended, in Unix time")?;
        registry.register(Box::new(ended.clone()))?;
        Ok(Metrics {
            runs: counters(
                "entrepot_verify_runs_total",
                "Looks for damage that ended",
                "result",
                &["well", "damaged", "failed"],
            )?,
            ended,
            blobs: counters("entrepot_verify_blobs_total", "Blobs that were read", "result", &["right", "wrong"])?,
            bytes: counter("entrepot_verify_bytes_total", "Bytes that were read for that")?,
            damages: counters(
                "entrepot_verify_damages_total",
                "Damages that were found and not repaired by the same run",
                "kind",
                &Kind::ALL.map(Kind::word),
            )?,
            repaired: counter("entrepot_verify_repaired_total", "Damages that were repaired")?,
        })
    }

    pub(super) fn blob(&self, right: bool) {
        self.blobs.with_label_values(&[if right { "right" } else { "wrong" }]).inc();
    }

    pub(super) fn read(&self, bytes: u64) {
        self.bytes.inc_by(bytes);
    }

    pub(super) fn ended(&self, outcome: &Result<Report, VerifyError>) {
        let result = match outcome {
            Ok(report) if report.is_well() => "well",
            Ok(_) => "damaged",
            Err(_) => "failed",
        };
        self.runs.with_label_values(&[result]).inc();
        let Ok(report) = outcome else { return };
        self.ended.set(chrono::Utc::now().timestamp());
        self.repaired.inc_by(report.repaired);
        for (kind, count) in &report.left_by_kind {
            self.damages.with_label_values(&[kind.word()]).inc_by(*count);
        }
    }
}
