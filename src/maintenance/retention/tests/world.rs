//! A registry on a disk, whose tags can be made as old as one likes.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus::Registry as Prometheus;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fleet::{self, Fleet};
use crate::maintenance::gc;
use crate::maintenance::retention::report::Report;
use crate::maintenance::retention::{Config, Metrics, Order, Parts, Retention, Step};
use crate::oci::{Digest, media_type};
use crate::registry;
use crate::registry::tests::harness::{Harness, digest_of, on_disk};

pub struct World {
    pub harness: Harness,
    root: tempfile::TempDir,
    fleet: Arc<Fleet>,
}

pub fn configs(entries: &str) -> Vec<Config> {
    #[derive(Deserialize)]
    struct Entries {
        retention: Vec<Config>,
    }
    toml::from_str::<Entries>(entries).unwrap().retention
}

/// One entry for all repositories.
pub fn one(rules: &str) -> String {
    format!("[[retention]]\nrepositories = \"**\"\nmost = \"100%\"\n{rules}\n")
}

impl World {
    pub async fn new() -> Self {
        World::with(registry::Config::default()).await
    }

    pub async fn with(config: registry::Config) -> Self {
        let root = tempfile::tempdir().unwrap();
        let harness = Harness::over(config, on_disk(root.path()).await).await;
        let metrics = Arc::new(fleet::Metrics::new(&Prometheus::new()).unwrap());
        World { harness, root, fleet: Fleet::open(None, false, metrics).await }
    }

    pub fn retention(&self, entries: &str) -> Retention {
        self.try_retention(&configs(entries)).unwrap()
    }

    pub fn try_retention(&self, configs: &[Config]) -> Result<Retention, super::super::RetentionError> {
        let parts = Parts {
            registry: self.harness.registry.clone(),
            fleet: self.fleet.clone(),
            pulls: None,
            metrics: Arc::new(Metrics::new(&Prometheus::new()).unwrap()),
        };
        Retention::new(parts, configs)
    }

    /// Runs, and acts at once.
    pub async fn run(&self, entries: &str) -> Report {
        self.run_as(entries, Order { yes: true, ..Order::default() }).await
    }

    pub async fn run_as(&self, entries: &str, order: Order) -> Report {
        let report = self.retention(entries).run(&order, &nobody).await.unwrap();
        assert_eq!(report.failed.len(), 0, "{report:?}");
        report
    }

    pub fn collector(&self) -> gc::Collector {
        let metrics = Arc::new(gc::Metrics::new(&Prometheus::new()).unwrap());
        let parts = gc::Parts { storage: self.harness.storage.clone(), fleet: self.fleet.clone(), metrics };
        gc::Collector::new(parts, gc::Config::default())
    }

    /// An image that says when it was made, tagged so many days ago.
    pub async fn image(&self, name: &str, tag: &str, created: &str, days: f64) -> Digest {
        let config = json!({"created": created, "of": tag});
        let config = self.harness.push_blob(name, config.to_string().as_bytes()).await;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": {"mediaType": media_type::OCI_CONFIG, "digest": config.text(), "size": 1},
            "layers": [],
        });
        self.tag(name, tag, &manifest, days).await
    }

    /// Images of which nobody asks when they were made.
    pub async fn images(&self, name: &str, tags: &[(&str, f64)]) {
        for (tag, days) in tags {
            self.image(name, tag, "1970-01-01T00:00:00Z", *days).await;
        }
    }

    pub async fn tag(&self, name: &str, tag: &str, manifest: &Value, days: f64) -> Digest {
        let seen = self.harness.push_manifest(name, tag, manifest).await;
        assert_eq!(seen.status, 201, "{seen:?}");
        self.age(name, tag, days);
        digest_of(manifest)
    }

    pub async fn index(&self, name: &str, tag: &str, images: &[Digest], days: f64) -> Digest {
        let entry =
            |digest: &Digest| json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest.text(), "size": 1});
        let images: Vec<Value> = images.iter().map(entry).collect();
        self.tag(name, tag, &crate::registry::tests::harness::index(&images), days).await
    }

    pub fn age(&self, name: &str, tag: &str, days: f64) {
        let time = SystemTime::now() - Duration::from_secs_f64(days * 86_400.0);
        File::options().write(true).open(self.link(name, tag)).unwrap().set_modified(time).unwrap();
    }

    pub fn link(&self, name: &str, tag: &str) -> PathBuf {
        let below = format!("docker/registry/v2/repositories/{name}/_manifests/tags/{tag}/current/link");
        self.root.path().join(below)
    }

    /// As a client is told.
    pub async fn tags(&self, name: &str) -> Vec<String> {
        let seen = self.harness.get(&format!("/v2/{name}/tags/list")).await;
        let tags = seen.json()["tags"].as_array().cloned().unwrap_or_default();
        tags.iter().map(|tag| tag.as_str().unwrap().to_owned()).collect()
    }
}

pub fn nobody(_: &Step) {}

/// Tags that go, by a report.
pub fn going(report: &Report) -> Vec<String> {
    let mut tags: Vec<String> = report
        .told
        .iter()
        .filter(|told| told.ruling.is_gone())
        .map(|told| format!("{}:{}", told.repository, told.tag))
        .collect();
    tags.sort();
    tags
}
