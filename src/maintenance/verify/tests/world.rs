//! A storage with images in it, and what a test does to it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use prometheus::Registry as Prometheus;
use serde_json::json;

use crate::fleet::{self, Fleet};
use crate::maintenance::verify::{Access, Metrics, Order, Parts, Report, Silent, Source, Sparse, Verifier};
use crate::oci::{Algorithm, Digest, RepositoryName, Tag, media_type};
use crate::storage::tests::minio::Minio;
use crate::storage::{self, Config, Link, Precondition, Storage, layout};
use crate::uploads::{Limits, Uploads};

/// Largest object of a test, in bytes.
const LIMIT: u64 = 64 << 20;

pub(super) struct World {
    pub(super) storage: Arc<Storage>,
    pub(super) verifier: Verifier,
    /// Of the storage on a disk; and for whatever else a test keeps.
    pub(super) folder: tempfile::TempDir,
}

/// An image, as it was pushed.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) name: RepositoryName,
    pub(super) tag: Tag,
    pub(super) manifest: Digest,
    pub(super) config: Digest,
    pub(super) layer: Digest,
}

impl World {
    pub(super) async fn on_disk() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { root: folder.path().join("registry"), ..Config::default() };
        World::open(config, folder, Sparse::default()).await
    }

    pub(super) async fn on_minio() -> Self {
        let config = tokio::task::spawn_blocking(|| Minio::shared().config()).await.unwrap();
        World::open(config, tempfile::tempdir().unwrap(), Sparse::default()).await
    }

    pub(super) async fn sparse(sparse: Sparse) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { root: folder.path().join("registry"), ..Config::default() };
        World::open(config, folder, sparse).await
    }

    async fn open(config: Config, folder: tempfile::TempDir, sparse: Sparse) -> Self {
        let metrics = Arc::new(storage::Metrics::new(&Prometheus::new()).unwrap());
        let storage = Storage::open(&config, metrics).await.unwrap();
        let limits = Limits { memory: 32 << 20, spool: folder.path().join("spool"), spool_size: 0 };
        let uploads = Uploads::open(&storage, limits).await.unwrap();
        let fleet = fleet().await;
        let metrics = Arc::new(Metrics::new(&Prometheus::new()).unwrap());
        let parts = Parts { storage: storage.clone(), uploads: Some(uploads), fleet, metrics, sparse };
        World { storage, verifier: Verifier::new(parts), folder }
    }

    /// Writes a blob, and links it as a layer.
    pub(super) async fn layer(&self, name: &RepositoryName, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        self.storage.blob_put(&digest, bytes).await.unwrap();
        self.storage.link_put(&Link::Layer(name.clone(), digest), &digest).await.unwrap();
        digest
    }

    /// Writes a manifest, and links it by its digest and a tag.
    pub(super) async fn manifest(&self, name: &RepositoryName, tag: &Tag, text: String) -> Digest {
        let digest = Digest::of(Algorithm::Sha256, text.as_bytes());
        self.storage.blob_put(&digest, text.into()).await.unwrap();
        for link in [
            Link::Revision(name.clone(), digest),
            Link::TagIndex(name.clone(), tag.clone(), digest),
            Link::Tag(name.clone(), tag.clone()),
        ] {
            self.storage.link_put(&link, &digest).await.unwrap();
        }
        digest
    }

    /// An image whose parts no other has.
    pub(super) async fn image(&self, name: &str, tag: &str) -> Image {
        let (name, tag): (RepositoryName, Tag) = (name.parse().unwrap(), tag.parse().unwrap());
        let config = self.layer(&name, json!({ "os": "linux", "of": format!("{name}:{tag}") }).to_string()).await;
        let layer = self.layer(&name, format!("the layer of {name}:{tag} ").repeat(100)).await;
        let manifest = self.manifest(&name, &tag, manifest(&config, &layer).to_string()).await;
        Image { name, tag, manifest, config, layer }
    }

    pub(super) async fn run(&self, order: &Order) -> Report {
        self.verifier.run(order, &Silent).await.unwrap()
    }

    /// All of it, and repairs nothing.
    pub(super) async fn look(&self) -> Report {
        self.run(&order(Vec::new())).await
    }

    pub(super) async fn repair(&self, source: Source) -> Report {
        self.run(&order(vec![source])).await
    }

    pub(super) async fn get(&self, key: &str) -> Option<Bytes> {
        self.storage.store().get(key, LIMIT).await.unwrap().map(|(bytes, _)| bytes)
    }

    pub(super) async fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        self.storage.store().put(key, bytes.into(), Precondition::None).await.unwrap();
    }

    pub(super) async fn delete(&self, key: &str) {
        assert!(self.storage.store().delete(key).await.unwrap(), "{key} was not there");
    }

    /// Every file of distribution's tree, with its bytes.
    pub(super) async fn tree(&self) -> BTreeMap<String, Bytes> {
        let mut tree = BTreeMap::new();
        let names: Vec<_> = self.storage.below(layout::TREE, None).try_collect().await.unwrap();
        for entry in names {
            let key = format!("{}/{}", layout::TREE, entry.name);
            let bytes = self.get(&key).await.unwrap();
            tree.insert(key, bytes);
        }
        tree
    }

    /// A copy of the tree in a folder of this machine, to repair from.
    pub(super) async fn copy(&self) -> (tempfile::TempDir, Source) {
        let copy = tempfile::tempdir().unwrap();
        for (key, bytes) in self.tree().await {
            write(&copy.path().join(key), &bytes);
        }
        let source = source(&copy.path().display().to_string()).await;
        (copy, source)
    }
}

pub(super) fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

pub(super) async fn source(name: &str) -> Source {
    Source::open(&name.parse().unwrap(), &Access::default(), &fleet().await).await.unwrap()
}

async fn fleet() -> Arc<Fleet> {
    let metrics = Arc::new(fleet::Metrics::new(&Prometheus::new()).unwrap());
    Fleet::open(None, true, metrics).await
}

/// Everything, with little patience.
pub(super) fn order(repair: Vec<Source>) -> Order {
    Order { repair, second_look: Duration::from_millis(20), ..Order::default() }
}

pub(super) fn manifest(config: &Digest, layer: &Digest) -> serde_json::Value {
    let of = |media_type: &str, digest: &Digest| json!({ "mediaType": media_type, "digest": digest, "size": 1 });
    json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": of(media_type::OCI_CONFIG, config),
        "layers": [of("application/vnd.oci.image.layer.v1.tar", layer)],
    })
}

pub(super) fn index(manifests: &[Digest]) -> serde_json::Value {
    let of = |digest: &Digest| json!({ "mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": 1 });
    let manifests: Vec<_> = manifests.iter().map(of).collect();
    json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests })
}
