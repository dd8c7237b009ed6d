//! What is counted of certificates that come by themselves. How long each lasts is the listeners' to tell.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::names::Names;

pub struct Metrics {
    orders: IntCounterVec,
    next: IntGaugeVec,
    failures: IntGaugeVec,
}

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Issued,
    /// It worked where it does not count.
    Rehearsed,
    Failed,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Outcome::Issued => "issued",
            Outcome::Rehearsed => "rehearsed",
            Outcome::Failed => "failed",
        }
    }
}

impl Metrics {
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGaugeVec> {
            let metric = IntGaugeVec::new(Opts::new(name, help), &["name"])?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let options = Opts::new(
            "entrepot_acme_orders_total",
            "Certificates that were ordered by this instance, by how it ended.",
        );
        let orders = IntCounterVec::new(options, &["result"])?;
        registry.register(Box::new(orders.clone()))?;
        for outcome in [Outcome::Issued, Outcome::Rehearsed, Outcome::Failed] {
            orders.with_label_values(&[outcome.word()]);
        }
        Ok(Metrics {
            orders,
            next: gauge(
                "entrepot_acme_next_order_seconds",
                "When the certificate of a name is ordered next, in seconds of Unix time.",
            )?,
            failures: gauge(
                "entrepot_acme_failures",
                "Orders of the certificate of a name that failed since the last one that did not.",
            )?,
        })
    }

    pub fn ordered(&self, outcome: Outcome) {
        self.orders.with_label_values(&[outcome.word()]).inc();
    }

    pub fn tell(&self, names: &Names, next: u64, failures: u32) {
        for name in names.iter() {
            self.next.with_label_values(&[name]).set(i64::try_from(next).unwrap_or(i64::MAX));
            self.failures.with_label_values(&[name]).set(i64::from(failures));
        }
    }

    pub fn forget(&self, names: &Names) {
        for name in names.iter() {
            let _ = self.next.remove_label_values(&[name]);
            let _ = self.failures.remove_label_values(&[name]);
        }
    }
}
