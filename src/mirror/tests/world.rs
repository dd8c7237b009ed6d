//! A mirror of one scripted registry, which keeps in the integrated registry over storage in memory.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use prometheus::Registry as Prometheus;
use serde_json::{Value, json};

use super::Fake;
use crate::cache::{self, BlobCache};
use crate::fleet::{self, Fleet, FleetSecret};
use crate::mirror::{Blob, Body, Fetching, Metrics, Mirror, Parts, Reply, Request, StorageKeep};
use crate::oci::{Action, Digest, RepositoryName, Tag, media_type};
use crate::outbound::OwnAddresses;
use crate::registry::{self, Registry, Stores};
use crate::remote::{self, Asker, Remote, Surroundings};
use crate::storage::config::DriverKind;
use crate::storage::{self, Storage};
use crate::units::Size;
use crate::uploads::Uploads;

pub(super) struct World {
    pub(super) fake: Fake,
    pub(super) mirror: Arc<Mirror>,
    pub(super) registry: Arc<Registry>,
    storage: Arc<Storage>,
    config: remote::Config,
    folder: tempfile::TempDir,
}

/// What a client would see.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// Of content.
    pub(super) digest: Option<Digest>,
    pub(super) media_type: String,
    pub(super) body: Bytes,
}

impl Seen {
    pub(super) fn is_stale(&self) -> bool {
        self.headers.contains_key("warning")
    }

    pub(super) fn code(&self) -> String {
        let json: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        json["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl World {
    /// With more keys of `[remote.NAME]`. Tags are always asked unless they say otherwise.
    pub(super) async fn new(more: &str) -> Self {
        let fake = Fake::new().await;
        let ttl = if more.contains("tag_ttl") { "" } else { "tag_ttl = \"0s\"" };
        let text = format!("registry = \"fake.test\"\nurl = \"http://{}\"\n{ttl}\n{more}", fake.address);
        let config: remote::Config = toml::from_str(&text).unwrap();
        let metrics = Arc::new(storage::Metrics::new(&Prometheus::new()).unwrap());
        let memory = storage::Config { driver: DriverKind::Memory, ..storage::Config::default() };
        let storage = Storage::open(&memory, metrics).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (mirror, registry) = build(&config, &storage, folder.path()).await;
        World { fake, mirror, registry, storage, config, folder }
    }

    /// The same storage, in another process.
    pub(super) async fn restarted(self) -> Self {
        let (mirror, registry) = build(&self.config, &self.storage, self.folder.path()).await;
        World { mirror, registry, ..self }
    }

    pub(super) async fn get(&self, target: &str) -> Seen {
        self.send("GET", target, Asker::Mirror, false).await
    }

    pub(super) async fn head(&self, target: &str) -> Seen {
        self.send("HEAD", target, Asker::Mirror, false).await
    }

    pub(super) async fn over(&self, target: &str) -> Seen {
        self.send("GET", target, Asker::Mirror, true).await
    }

    pub(super) async fn as_caller(&self, authorization: Option<&str>, target: &str) -> Seen {
        let shown = authorization.map(|text| HeaderValue::from_str(text).unwrap());
        self.send("GET", target, Asker::Caller(shown), false).await
    }

    async fn send(&self, method: &str, target: &str, asker: Asker, overlay: bool) -> Seen {
        seen(self.mirror.answer(request(method, target, asker, overlay)).await)
    }

    /// A blob that the repository holds here.
    pub(super) async fn keeps(&self, name: &str, bytes: &'static [u8]) -> Digest {
        let digest = Digest::of(crate::oci::Algorithm::Sha256, bytes);
        let body = &mut *crate::mirror::bodies::body(crate::mirror::KeptBlob::Whole(bytes.into()));
        self.registry.keep_blob(&repository(name), &digest, body).await.unwrap();
        digest
    }

    pub(super) async fn record(&self, name: &str, tag: &str) -> Option<crate::mirror::TagRecord> {
        self.mirror.parts.keep.tag(&repository(name), &self::tag(tag)).await.unwrap()
    }
}

pub(super) fn repository(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

pub(super) fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

pub(super) fn request(method: &str, target: &str, asker: Asker, overlay: bool) -> Request {
    let method: Method = method.parse().unwrap();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let action = Action::parse(&method, path, query).unwrap();
    Request { action, range: None, asker, overlay }
}

pub(super) fn seen(reply: Reply) -> Seen {
    let Reply { status, headers, body, .. } = reply;
    let (digest, media_type, body) = match body {
        Body::Bytes(bytes) => (None, String::new(), bytes),
        Body::Content { digest, media_type, blob: Blob::Whole(bytes), .. } => (Some(digest), media_type, bytes),
        Body::Content { digest, media_type, .. } => (Some(digest), media_type, Bytes::new()),
        Body::Piece { digest, .. } => (Some(digest), String::new(), Bytes::new()),
    };
    Seen { status: status.as_u16(), headers, digest, media_type, body }
}

async fn build(
    config: &remote::Config,
    storage: &Arc<Storage>,
    folder: &std::path::Path,
) -> (Arc<Mirror>, Arc<Registry>) {
    let prometheus = Prometheus::new();
    let fleet = Fleet::open(None, false, Arc::new(fleet::Metrics::new(&prometheus).unwrap())).await;
    let settings = registry::Config { spool: folder.to_owned(), ..registry::Config::default() };
    let uploads = Uploads::open(storage, settings.upload_limits()).await.unwrap();
    let stores = Stores { storage: storage.clone(), uploads, fleet: fleet.clone() };
    let metrics = Arc::new(registry::Metrics::new(&prometheus).unwrap());
    let registry = Registry::open(&settings, stores, metrics, Vec::new());
    let cache = cache::Config { disk: Size(0), ..cache::Config::default() };
    let cache = BlobCache::open(&cache, Arc::new(cache::Metrics::new(&prometheus).unwrap())).await.unwrap();
    let metrics = Arc::new(remote::Metrics::new(&prometheus).unwrap());
    let around = Surroundings { fleet: fleet.clone(), own: OwnAddresses::default(), metrics };
    let remote = Remote::new("fake", config, around, None).unwrap();
    let keep = Arc::new(StorageKeep::new(registry.clone()));
    let fetching = Fetching::new(&prometheus, Arc::new(FleetSecret::default())).unwrap();
    let metrics = Arc::new(Metrics::new(&prometheus).unwrap());
    let parts = Parts { keep, cache, fleet, fetching, registry: Some(registry.clone()), metrics };
    (Mirror::new(remote, parts), registry)
}

/// A manifest of an image that names these blobs.
pub(super) fn image(blobs: &[Digest]) -> Value {
    let blob = |digest: &Digest| json!({"mediaType": "application/x", "digest": digest.text(), "size": 1});
    let (config, layers) = blobs.split_first().unwrap();
    let layers: Vec<_> = layers.iter().map(blob).collect();
    json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": blob(config), "layers": layers})
}

/// An index of manifests by platform (`os/arch`).
pub(super) fn index(manifests: &[(&str, Digest)]) -> Value {
    let listed = manifests.iter().map(|(platform, digest)| {
        let (os, architecture) = platform.split_once('/').unwrap();
        let platform = json!({"os": os, "architecture": architecture});
        json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest.text(), "size": 1, "platform": platform})
    });
    let listed: Vec<_> = listed.collect();
    json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": listed})
}
