//! The cache's metrics. Handles are resolved once, so that counting is one atomic addition.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Counters and gauges of this room.
pub struct Metrics {
    pub(super) hit_memory: IntCounter,
    pub(super) hit_disk: IntCounter,
    pub(super) miss: IntCounter,
    pub(super) collapsed: IntCounter,
    bypass: IntCounter,
    pub(super) completed: IntCounter,
    pub(super) failed: IntCounter,
    pub(super) mismatched: IntCounter,
    pub(super) abandoned: IntCounter,
    pub(super) given_up: IntCounter,
    pub(super) corruptions: IntCounter,
    /// 1 while nothing is taken because the file system is nearly full.
    pub(super) low: IntGauge,
    pub(super) memory: TierMetrics,
    pub(super) disk: TierMetrics,
}

/// What both tiers count.
#[derive(Clone)]
pub(super) struct TierMetrics {
    pub(super) bytes: IntGauge,
    pub(super) entries: IntGauge,
    pub(super) evictions: IntCounter,
}

impl Metrics {
    /// Registers everything on `registry`; fails only when it is registered twice.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, label: &str| {
            let family = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(family.clone()))?;
            prometheus::Result::Ok(family)
        };
        let gauges = |name: &str, help: &str| {
            let family = IntGaugeVec::new(Opts::new(name, help), &["tier"])?;
            registry.register(Box::new(family.clone()))?;
            prometheus::Result::Ok(family)
        };
        let requests = counters("entrepot_cache_requests_total", "Cache lookups by result", "result")?;
        let fills = counters("entrepot_cache_fills_total", "Downloads into the cache by result", "result")?;
        let evictions = counters("entrepot_cache_evictions_total", "Entries evicted to make room", "tier")?;
        let bytes = gauges("entrepot_cache_bytes", "Bytes used, trailers and entry overhead included")?;
        let entries = gauges("entrepot_cache_entries", "Entries kept")?;
        let corruptions = IntCounter::new("entrepot_cache_corruptions_total", "Damaged cache files found and dropped")?;
        registry.register(Box::new(corruptions.clone()))?;
        let low = IntGauge::new("entrepot_cache_disk_low", "1 while the disk tier takes nothing: too little is free")?;
        registry.register(Box::new(low.clone()))?;
        let tier = |name: &str| TierMetrics {
            bytes: bytes.with_label_values(&[name]),
            entries: entries.with_label_values(&[name]),
            evictions: evictions.with_label_values(&[name]),
        };
        let request = |result: &str| requests.with_label_values(&[result]);
        let fill = |result: &str| fills.with_label_values(&[result]);
        Ok(Metrics {
            hit_memory: request("hit_memory"),
            hit_disk: request("hit_disk"),
            miss: request("miss"),
            collapsed: request("collapsed"),
            bypass: request("bypass"),
            completed: fill("completed"),
            failed: fill("failed"),
            mismatched: fill("mismatched"),
            abandoned: fill("abandoned"),
            given_up: fill("given_up"),
            corruptions,
            low,
            memory: tier("memory"),
            disk: tier("disk"),
        })
    }

    /// Counts a request that the caller decided to answer without the cache.
    pub fn bypassed(&self) {
        self.bypass.inc();
    }
}
