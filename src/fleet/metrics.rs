//! What is seen of the shared state from outside; distribution's names where it has them.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

/// Registered once per process.
pub struct Metrics {
    pub(super) requests: IntCounter,
    pub(super) hits: IntCounter,
    pub(super) errors: IntCounter,
    seconds: HistogramVec,
    up: IntGaugeVec,
}

/// Seconds. A Redis in the same network answers in 0.2 ms; the default timeout is 50 ms.
const BUCKETS: [f64; 10] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.25];

impl Metrics {
    /// Registers everything on `registry`; fails only when it is registered twice.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let options = HistogramOpts::new("registry_storage_cache_redis_seconds", "Commands to Redis by operation");
        let seconds = HistogramVec::new(options.buckets(BUCKETS.to_vec()), &["operation"])?;
        registry.register(Box::new(seconds.clone()))?;
        let up = Opts::new("entrepot_redis_up", "1 while Redis answers, 0 while we do without");
        let up = IntGaugeVec::new(up, &["server"])?;
        registry.register(Box::new(up.clone()))?;
        Ok(Metrics {
            requests: counter(
                "registry_storage_cache_requests_total",
                "Questions whether a repository holds something",
            )?,
            hits: counter("registry_storage_cache_hits_total", "Those answered without asking storage")?,
            errors: counter(
                "registry_storage_cache_errors_total",
                "Those that Redis should have answered and did not",
            )?,
            seconds,
            up,
        })
    }

    pub(super) fn operation(&self, operation: &str) -> Histogram {
        self.seconds.with_label_values(&[operation])
    }

    /// Exists only where a Redis is configured, so that an alert on 0 means something.
    pub(super) fn up(&self, server: &str) -> IntGauge {
        self.up.with_label_values(&[server])
    }
}
