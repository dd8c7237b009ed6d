//! A registry, its storage, and a collection whose days pass as the test says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::TryStreamExt as _;
use parking_lot::Mutex;
use prometheus::Registry as Prometheus;
use serde_json::Value;

use super::super::time::Clock;
use super::super::{Collector, Config, GcError, Metrics, Order, Parts, Report, Step, Tell};
use crate::fleet::{self, Fleet};
use crate::oci::{Digest, RepositoryName};
use crate::registry;
use crate::registry::tests::harness::{Harness, digest_of, on_disk, sha256};
use crate::storage::tests::in_memory;
use crate::storage::{Link, OwnKey, Storage, layout};

pub struct Yard {
    pub harness: Harness,
    pub storage: Arc<Storage>,
    pub collector: Collector,
    /// Milliseconds.
    pub ahead: Arc<AtomicU64>,
    pub prometheus: Prometheus,
    pub _folder: Option<tempfile::TempDir>,
}

/// What was told.
#[derive(Default)]
pub struct Heard(pub Mutex<Vec<Step>>);

impl Tell for Heard {
    fn step(&self, step: &Step) {
        self.0.lock().push(step.clone());
    }
}

pub fn config() -> Config {
    Config { rate: None, ..Config::default() }
}

/// Also of a storage without repositories: tests have few.
pub fn order() -> Order {
    Order { by: "a test".into(), empty: true, ..Order::default() }
}

pub fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

/// A collection of this storage, by an instance of its own.
pub async fn collector(storage: &Arc<Storage>, config: Config, ahead: &Arc<AtomicU64>) -> (Collector, Prometheus) {
    let prometheus = Prometheus::new();
    let fleet = Fleet::open(None, false, Arc::new(fleet::Metrics::new(&Prometheus::new()).unwrap())).await;
    let metrics = Arc::new(Metrics::new(&prometheus).unwrap());
    let parts = Parts { storage: storage.clone(), fleet, metrics };
    (Collector::new(parts, config).with_clock(Clock::Ahead(ahead.clone())), prometheus)
}

impl Yard {
    pub async fn in_memory() -> Self {
        Yard::over(in_memory().await, config()).await
    }

    pub async fn on_disk() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let yard = Yard::over(on_disk(&folder.path().join("root")).await, config()).await;
        Yard { _folder: Some(folder), ..yard }
    }

    /// On both kinds of storage.
    pub async fn each() -> [Self; 2] {
        [Yard::in_memory().await, Yard::on_disk().await]
    }

    pub async fn over(storage: Arc<Storage>, config: Config) -> Self {
        let ahead = Arc::new(AtomicU64::new(0));
        let (collector, prometheus) = collector(&storage, config, &ahead).await;
        let harness = Harness::over(registry::Config::default(), storage.clone()).await;
        Yard { harness, storage, collector, ahead, prometheus, _folder: None }
    }

    pub async fn with(mut self, config: Config) -> Self {
        (self.collector, self.prometheus) = collector(&self.storage, config, &self.ahead).await;
        self
    }

    pub fn hours(&self, hours: u64) {
        self.ahead.fetch_add(hours * 3_600_000, Ordering::SeqCst);
    }

    pub async fn run(&self) -> Report {
        self.try_run(order()).await.unwrap()
    }

    pub async fn try_run(&self, order: Order) -> Result<Report, GcError> {
        self.collector.run(order, &()).await
    }

    /// What a collection condemns, waits for, moves and deletes, with all the time that it takes.
    pub async fn run_for_weeks(&self) {
        for hours in [25, 24 * 8, 25, 25, 25] {
            self.hours(hours);
            self.run().await;
        }
    }

    pub async fn place(&self, digest: &Digest) -> bool {
        self.storage.blob_size(digest).await.unwrap().is_some()
    }

    /// Copies in the trash.
    pub async fn trash(&self, digest: &Digest) -> usize {
        self.storage.trash_of(digest).await.unwrap().len()
    }

    pub async fn layer(&self, repository: &str, digest: &Digest) -> bool {
        self.storage.link_exists(&Link::Layer(name(repository), *digest)).await.unwrap()
    }

    pub async fn revision(&self, repository: &str, digest: &Digest) -> bool {
        self.storage.link_exists(&Link::Revision(name(repository), *digest)).await.unwrap()
    }

    /// A manifest as another program writes it, that has checked what it names in its own way.
    pub async fn foreign_manifest(&self, repository: &str, tag: Option<&str>, manifest: &Value) -> Digest {
        let (digest, name) = (digest_of(manifest), name(repository));
        self.storage.blob_put(&digest, Bytes::from(manifest.to_string())).await.unwrap();
        let mut links = vec![Link::Revision(name.clone(), digest)];
        if let Some(tag) = tag.map(|tag| tag.parse::<crate::oci::Tag>().unwrap()) {
            links.push(Link::TagIndex(name.clone(), tag.clone(), digest));
            links.push(Link::Tag(name, tag));
        }
        for link in links {
            self.storage.link_put(&link, &digest).await.unwrap();
        }
        digest
    }

    /// A blob of a repository, as another program writes it.
    pub async fn foreign_blob(&self, repository: &str, text: &str) -> Digest {
        let digest = sha256(text.as_bytes());
        self.storage.blob_put(&digest, Bytes::from(text.to_owned())).await.unwrap();
        self.storage.link_put(&Link::Layer(name(repository), digest), &digest).await.unwrap();
        digest
    }

    /// On a disk, a file gets the time that it is for the collection.
    pub fn written_now(&self, link: &Link) {
        let file = std::fs::File::options().write(true).open(self.storage.store().local_path(&link.key()).unwrap());
        let now = std::time::SystemTime::now() + std::time::Duration::from_millis(self.ahead.load(Ordering::SeqCst));
        file.unwrap().set_modified(now).unwrap();
    }

    /// Everything of an image is served, as it was pushed.
    pub async fn pulls(&self, repository: &str, reference: &str, manifest: &Value) {
        let seen = self.harness.get(&format!("/v2/{repository}/manifests/{reference}")).await;
        assert_eq!(seen.status, 200, "{repository}:{reference}: {seen:?}");
        assert_eq!(seen.body, manifest.to_string());
        for key in ["layers", "manifests"] {
            for named in manifest[key].as_array().into_iter().flatten() {
                self.pulls_content(repository, key, named["digest"].as_str().unwrap()).await;
            }
        }
        if let Some(config) = manifest["config"]["digest"].as_str() {
            self.pulls_content(repository, "layers", config).await;
        }
    }

    async fn pulls_content(&self, repository: &str, key: &str, digest: &str) {
        let kind = if key == "layers" { "blobs" } else { "manifests" };
        let seen = self.harness.get(&format!("/v2/{repository}/{kind}/{digest}")).await;
        assert_eq!(seen.status, 200, "{repository} {kind} {digest}: {seen:?}");
        assert_eq!(sha256(&seen.body).text(), digest);
    }

    /// Digests of all blobs in place.
    pub async fn blobs(&self) -> BTreeSet<Digest> {
        let folder = format!("{}/blobs/sha256", layout::TREE);
        let files: Vec<_> = self.storage.below(&folder, None).try_collect().await.unwrap();
        let digest = |file: &str| format!("sha256:{}", file.split('/').nth(1).unwrap()).parse().unwrap();
        files.iter().map(|file| digest(&file.name)).collect()
    }

    /// Names of our own files below a folder.
    pub async fn files(&self, folder: &str) -> Vec<String> {
        let files: Vec<_> = self.storage.below(&format!("{}/{folder}", layout::OWN), None).try_collect().await.unwrap();
        files.into_iter().map(|file| file.name).collect()
    }

    /// Nothing is left of collections but what is kept for the next one.
    pub async fn is_tidy(&self) {
        for folder in ["gc/unlinked", "gc/marked", "trash"] {
            assert_eq!(self.files(folder).await, [""; 0], "{folder}");
        }
        let lease = OwnKey::Lease("gc");
        assert!(self.storage.own(&lease, 1000).await.unwrap().is_none());
        assert!(!self.storage.epoch().await.unwrap().is_moving());
    }

    pub fn metric(&self, name: &str) -> f64 {
        let families = self.prometheus.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        let value =
            |metric: &prometheus::proto::Metric| metric.get_counter().get_value() + metric.get_gauge().get_value();
        family.get_metric().iter().map(value).sum()
    }
}
