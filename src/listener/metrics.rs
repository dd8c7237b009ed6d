//! What the listeners count.

use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::state::Deadline;
use crate::sockets::Address;

/// The metrics of all listeners of the process; registered once.
#[derive(Clone, Debug)]
pub struct Metrics {
    connections: IntGaugeVec,
    connections_total: IntCounterVec,
    handshakes: IntCounterVec,
    expiry: IntGaugeVec,
    lifetime: IntGaugeVec,
    expired: IntCounterVec,
    retired: IntCounterVec,
    refused: IntCounterVec,
}

impl Metrics {
    pub fn new(registry: &Registry) -> prometheus::Result<Metrics> {
        let counter = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntCounterVec> {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntGaugeVec> {
            let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        Ok(Metrics {
            connections: gauge("entrepot_connections", "Client connections that are open.", &["listener"])?,
            connections_total: counter("entrepot_connections_total", "Client connections accepted.", &["listener"])?,
            handshakes: counter("entrepot_tls_handshakes_total", "TLS handshakes with clients.", &["result"])?,
            expiry: gauge(
                "entrepot_certificate_expiry_seconds",
                "When a certificate expires, in seconds of Unix time.",
                &["listener", "name"],
            )?,
            lifetime: gauge(
                "entrepot_certificate_lifetime_seconds",
                "For how long a certificate was issued, in seconds.",
                &["listener", "name"],
            )?,
            expired: counter(
                "entrepot_connections_expired_total",
                "Client connections ended because the client was too slow.",
                &["listener", "deadline"],
            )?,
            retired: counter(
                "entrepot_connections_retired_total",
                "Client connections told to end because they were as old as max_age.",
                &["listener"],
            )?,
            refused: counter(
                "entrepot_requests_refused_total",
                "Requests refused for their framing or syntax, before they were routed.",
                &["listener", "code"],
            )?,
        })
    }

    /// The metrics of one listener, with its label resolved.
    pub(super) fn of(self: &Arc<Self>, address: &Address) -> ListenerMetrics {
        let listener = address.to_string();
        ListenerMetrics {
            open: self.connections.with_label_values(&[&listener]),
            accepted: self.connections_total.with_label_values(&[&listener]),
            handshakes_completed: self.handshakes.with_label_values(&["completed"]),
            handshakes_failed: self.handshakes.with_label_values(&["failed"]),
            handshakes_proven: self.handshakes.with_label_values(&["challenge"]),
            metrics: Arc::clone(self),
            listener,
        }
    }
}

/// The metrics of one listener.
#[derive(Debug)]
pub(super) struct ListenerMetrics {
    pub(super) open: IntGauge,
    pub(super) accepted: IntCounter,
    pub(super) handshakes_completed: IntCounter,
    pub(super) handshakes_failed: IntCounter,
    pub(super) handshakes_proven: IntCounter,
    metrics: Arc<Metrics>,
    listener: String,
}

impl ListenerMetrics {
    pub(super) fn expired(&self, deadline: Deadline) {
        self.metrics.expired.with_label_values(&[self.listener.as_str(), deadline.name()]).inc();
    }

    pub(super) fn retired(&self) {
        self.metrics.retired.with_label_values(&[self.listener.as_str()]).inc();
    }

    pub(super) fn refused(&self, status: u16) {
        self.metrics.refused.with_label_values(&[self.listener.as_str(), &status.to_string()]).inc();
    }

    /// Begin and end in seconds of Unix time.
    pub(super) fn certificate(&self, name: &str, from: i64, until: i64) {
        self.metrics.expiry.with_label_values(&[self.listener.as_str(), name]).set(until);
        self.metrics.lifetime.with_label_values(&[self.listener.as_str(), name]).set(until.saturating_sub(from));
    }

    pub(super) fn forget_certificate(&self, name: &str) {
        let _ = self.metrics.expiry.remove_label_values(&[self.listener.as_str(), name]);
        let _ = self.metrics.lifetime.remove_label_values(&[self.listener.as_str(), name]);
    }
}
