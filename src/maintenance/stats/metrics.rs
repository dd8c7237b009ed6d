//! How much there is, and who has it, as gauges: of the largest repositories only, so that a registry of a hundred thousand of them
//! does not fill a monitoring.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

use super::Measured;

/// Registered once per process. Repositories are told of when something was counted; before that there are none.
pub struct Metrics {
    content: IntGauge,
    counted: IntGauge,
    bytes: IntGaugeVec,
    tags: IntGaugeVec,
}

impl Metrics {
    /// Registers everything; fails only when it is registered twice.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let content = IntGauge::new("entrepot_content_bytes", "Bytes of blobs in place when they were last counted")?;
        let counted = IntGauge::new("entrepot_content_counted_seconds", "When it was last counted, in Unix time")?;
        let bytes = Opts::new("entrepot_repository_bytes", "What each of the largest repositories takes alone");
        let bytes = IntGaugeVec::new(bytes, &["repository"])?;
        let tags = Opts::new("entrepot_repository_tags", "Tags of each of the largest repositories");
        let tags = IntGaugeVec::new(tags, &["repository"])?;
        registry.register(Box::new(content.clone()))?;
        registry.register(Box::new(counted.clone()))?;
        registry.register(Box::new(bytes.clone()))?;
        registry.register(Box::new(tags.clone()))?;
        Ok(Metrics { content, counted, bytes, tags })
    }

    /// What was counted just now, in the place of what was counted before.
    pub fn show(&self, measured: &Measured) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.content.set(number(measured.bytes));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.counted.set(number(now.as_secs()));
        self.bytes.reset();
        self.tags.reset();
        for one in &measured.repositories {
            self.bytes.with_label_values(&[one.repository.as_str()]).set(number(one.bytes));
            self.tags.with_label_values(&[one.repository.as_str()]).set(number(one.tags));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MEASURED, measure};
    use super::*;
    use crate::oci::{Algorithm, Digest};
    use crate::storage::Link;
    use crate::storage::tests::in_memory;

    fn told(registry: &Registry, name: &str) -> Vec<(String, f64)> {
        let families = registry.gather();
        let metrics = families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
        let value = |metric: &prometheus::proto::Metric| {
            let label = metric.get_label().first().map(|label| label.value().to_owned()).unwrap_or_default();
            (label, metric.get_gauge().get_value())
        };
        metrics.map(value).collect()
    }

    #[tokio::test]
    async fn the_largest_repositories_are_told_of_and_no_more() {
        let storage = in_memory().await;
        for number in 0..=MEASURED {
            let name: crate::oci::RepositoryName = format!("r{number}").parse().unwrap();
            // The last one is the smallest.
            let text = "x".repeat(2 * MEASURED - number);
            let digest = Digest::of(Algorithm::Sha256, text.as_bytes());
            storage.blob_put(&digest, text.into()).await.unwrap();
            storage.link_put(&Link::Revision(name.clone(), digest), &digest).await.unwrap();
            storage.link_put(&Link::Tag(name, "v1".parse().unwrap()), &digest).await.unwrap();
        }
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        assert!(told(&registry, "entrepot_repository_bytes").is_empty(), "nothing was counted");
        let measured = measure(&storage, None).await.unwrap();
        metrics.show(&measured);
        let bytes = told(&registry, "entrepot_repository_bytes");
        assert_eq!(bytes.len(), MEASURED);
        assert!(bytes.contains(&("r0".to_owned(), 200.0)), "{bytes:?}");
        assert!(bytes.iter().all(|(name, _)| *name != format!("r{MEASURED}")));
        assert!(told(&registry, "entrepot_repository_tags").contains(&("r0".to_owned(), 1.0)));
        assert_eq!(told(&registry, "entrepot_content_bytes")[0].1, measured.bytes as f64);
        // One that is gone is told of no more.
        metrics.show(&Measured::default());
        assert!(told(&registry, "entrepot_repository_bytes").is_empty());
    }
}
