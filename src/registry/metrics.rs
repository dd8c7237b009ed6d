//! What is seen of the registry from outside, by distribution's names where it has them, so that its dashboards and alerts
//! go on. Requests are counted where they end, whoever answers them: `telemetry`.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::events::{Change, Listener, What};

/// Registered once per process.
pub struct Metrics {
    pub(super) storage_used: IntGauge,
    pub(super) storage_total: IntGauge,
    pub(super) disk_level: IntGauge,
    storage_up: IntGaugeVec,
    pub(super) maintenance: IntGauge,
    pub(super) repositories: IntGauge,
    pub(super) uploads: IntGauge,
    pub(super) purged: prometheus::IntCounter,
    changes: IntCounterVec,
    pub(super) quota: super::quota::Metrics,
    pub(super) rescued: IntCounterVec,
    pub(super) second_looks: IntCounterVec,
}

/// What a probe of storage tried.
#[derive(Clone, Copy)]
pub(super) enum Access {
    Read,
    Write,
}

/// What [`Metrics::rescued`] counts, and how a second look ended.
const RESCUED: [&str; 3] = ["bytes", "layer", "revision"];
const SECOND_LOOKS: [&str; 3] = ["well", "missing", "failed"];

impl Metrics {
    /// Registers everything; fails only when it is registered twice.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        let up = Opts::new("entrepot_storage_up", "1 while storage can be read, or written to, by the last probe");
        let storage_up = IntGaugeVec::new(up, &["access"])?;
        registry.register(Box::new(storage_up.clone()))?;
        let purged = prometheus::IntCounter::new("entrepot_registry_uploads_purged_total", "Expired uploads removed")?;
        registry.register(Box::new(purged.clone()))?;
        let changes = Opts::new("entrepot_registry_changes_total", "Changes that requests to this instance made");
        let changes = IntCounterVec::new(changes, &["change"])?;
        registry.register(Box::new(changes.clone()))?;
        // There from the start, so that the first change of a kind is seen as one.
        What::NAMES.iter().for_each(|name| drop(changes.with_label_values(&[name])));
        let rescued = Opts::new(
            "entrepot_registry_rescued_total",
            "What a garbage collection took away and was brought back because somebody needs it",
        );
        let rescued = IntCounterVec::new(rescued, &["kind"])?;
        registry.register(Box::new(rescued.clone()))?;
        RESCUED.iter().for_each(|kind| drop(rescued.with_label_values(&[kind])));
        let second_looks = Opts::new(
            "entrepot_registry_second_looks_total",
            "Pushed manifests whose references were looked at again because a garbage collection was moving bytes",
        );
        let second_looks = IntCounterVec::new(second_looks, &["result"])?;
        registry.register(Box::new(second_looks.clone()))?;
        SECOND_LOOKS.iter().for_each(|result| drop(second_looks.with_label_values(&[result])));
        Ok(Metrics {
            storage_used: gauge("registry_storage_used_bytes", "Used bytes of the file system that holds the storage")?,
            storage_total: gauge("registry_storage_total_bytes", "Size of the file system that holds the storage")?,
            disk_level: gauge(
                "entrepot_registry_disk_level",
                "0: room, 1: disk_warn is reached, 2: writes are refused",
            )?,
            storage_up,
            maintenance: gauge("entrepot_registry_maintenance", "1 while nothing is written at the operator's wish")?,
            repositories: gauge("entrepot_registry_repositories", "Repositories, counted every few minutes")?,
            uploads: gauge("entrepot_registry_uploads", "Uploads under way, counted every few minutes")?,
            purged,
            changes,
            quota: super::quota::Metrics::new(registry)?,
            rescued,
            second_looks,
        })
    }

    /// What a probe of storage found: there once it was looked at, so that an alert on 0 means something.
    pub(super) fn probed(&self, access: Access, well: bool) {
        let access = match access {
            Access::Read => "read",
            Access::Write => "write",
        };
        self.storage_up.with_label_values(&[access]).set(well.into());
    }

    /// `kind` is one of [`RESCUED`].
    pub(super) fn rescued(&self, kind: &str) {
        self.rescued.with_label_values(&[kind]).inc();
    }

    /// `result` is one of [`SECOND_LOOKS`].
    pub(super) fn looked_twice(&self, result: &str) {
        self.second_looks.with_label_values(&[result]).inc();
    }
}

impl Listener for Metrics {
    fn changed(&self, change: &Change) {
        self.changes.with_label_values(&[change.what.name()]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Identity;
    use crate::oci::{Algorithm, Digest};
    use crate::telemetry::RequestId;

    #[test]
    fn changes_are_counted_by_their_kind() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let (actor, request, repository) = (Identity::Anonymous, RequestId::new(), "a".parse().unwrap());
        let what = What::ManifestDeleted { digest: Digest::of(Algorithm::Sha256, b"x") };
        metrics.changed(&Change { actor, request, repository, what });
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            r#"entrepot_registry_changes_total{change="manifest_deleted"} 1"#,
            r#"entrepot_registry_changes_total{change="tag_moved"} 0"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
