//! What is counted about permissions.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// How a request came by its permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermissionResult {
    /// A peer had said so lately.
    Remembered,
    /// A peer was asked and said yes.
    Asked,
    /// No peer answered, and one had said so not too long ago.
    Stale,
    /// No.
    Refused,
}

/// In the order of their declaration.
const RESULTS: [PermissionResult; 4] =
    [PermissionResult::Remembered, PermissionResult::Asked, PermissionResult::Stale, PermissionResult::Refused];

pub struct Metrics {
    /// By result, resolved once.
    permissions: [IntCounter; RESULTS.len()],
    pub(super) entries: IntGaugeVec,
    pub(super) journal_bytes: IntGauge,
    pub(super) journal_errors: IntCounter,
    pub(super) journal_dropped: IntCounter,
}

impl Metrics {
    /// Registers under names that begin with `entrepot_`; fails if they are taken.
    pub fn new(registry: &Registry) -> prometheus::Result<Metrics> {
        let permissions = IntCounterVec::new(
            Opts::new("entrepot_permission_total", "Requests by how they came by their permission"),
            &["result"],
        )?;
        registry.register(Box::new(permissions.clone()))?;
        let metrics = Metrics {
            permissions: RESULTS.map(|result| permissions.with_label_values(&[result.label()])),
            entries: IntGaugeVec::new(
                Opts::new("entrepot_memory_entries", "Answers of peers that are remembered"),
                &["kind"],
            )?,
            journal_bytes: IntGauge::new("entrepot_memory_journal_bytes", "Length of the memory's file")?,
            journal_errors: IntCounter::new(
                "entrepot_memory_journal_errors_total",
                "Failed writes of the memory's file",
            )?,
            journal_dropped: IntCounter::new(
                "entrepot_memory_journal_dropped_total",
                "Answers that a restart would forget, since the disk was too slow or failed",
            )?,
        };
        registry.register(Box::new(metrics.entries.clone()))?;
        registry.register(Box::new(metrics.journal_bytes.clone()))?;
        registry.register(Box::new(metrics.journal_errors.clone()))?;
        registry.register(Box::new(metrics.journal_dropped.clone()))?;
        Ok(metrics)
    }

    /// Counts one request.
    pub fn permission(&self, result: PermissionResult) {
        if let Some(counter) = self.permissions.get(result as usize) {
            counter.inc();
        }
    }
}

impl PermissionResult {
    fn label(self) -> &'static str {
        match self {
            PermissionResult::Remembered => "remembered",
            PermissionResult::Asked => "asked",
            PermissionResult::Stale => "stale",
            PermissionResult::Refused => "refused",
        }
    }
}
