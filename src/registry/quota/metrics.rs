//! What is seen of quotas from outside, by their patterns.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::amount::Amount;

/// Registered once per process.
#[derive(Clone)]
pub struct Metrics {
    used_bytes: IntGaugeVec,
    limit_bytes: IntGaugeVec,
    used_tags: IntGaugeVec,
    limit_tags: IntGaugeVec,
    refused: IntCounterVec,
}

impl Metrics {
    /// Registers everything; fails only when it is registered twice.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGaugeVec::new(Opts::new(name, help), &["quota"])?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        let refused = Opts::new("entrepot_registry_quota_refused_total", "Requests that a quota had no room for");
        let refused = IntCounterVec::new(refused, &["quota"])?;
        registry.register(Box::new(refused.clone()))?;
        Ok(Metrics {
            used_bytes: gauge("entrepot_registry_quota_used_bytes", "Distinct content of a quota's repositories")?,
            limit_bytes: gauge("entrepot_registry_quota_limit_bytes", "How much of it there may be")?,
            used_tags: gauge("entrepot_registry_quota_used_tags", "Tags of a quota's repositories")?,
            limit_tags: gauge("entrepot_registry_quota_limit_tags", "How many of them there may be")?,
            refused,
        })
    }

    /// A quota is there, and nothing was refused yet: so that the first refusal is seen as one.
    pub(super) fn begin(&self, quota: &str) {
        drop(self.refused.with_label_values(&[quota]));
    }

    pub(super) fn tell(&self, quota: &str, used: Amount, limit: Amount) {
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.used_bytes.with_label_values(&[quota]).set(gauge(used.bytes));
        self.used_tags.with_label_values(&[quota]).set(gauge(used.tags));
        for (family, limit) in [(&self.limit_bytes, limit.bytes), (&self.limit_tags, limit.tags)] {
            match limit {
                u64::MAX => drop(family.remove_label_values(&[quota])),
                limit => family.with_label_values(&[quota]).set(gauge(limit)),
            }
        }
    }

    pub(super) fn refused(&self, quota: &str) {
        self.refused.with_label_values(&[quota]).inc();
    }

    /// A quota is no longer there.
    pub(super) fn end(&self, quota: &str) {
        for family in [&self.used_bytes, &self.limit_bytes, &self.used_tags, &self.limit_tags] {
            drop(family.remove_label_values(&[quota]));
        }
        drop(self.refused.remove_label_values(&[quota]));
    }
}
