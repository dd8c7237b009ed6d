//! A registry over storage in memory, and requests as a client would write them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use parking_lot::Mutex;
use prometheus::Registry as Prometheus;
use serde_json::{Value, json};

use crate::auth::Permit;
use crate::events::{self, Change, Listener};
use crate::fleet::{self, Fleet};
use crate::oci::{Action, Algorithm, Digest, media_type};
use crate::registry::{Body, BodyError, Config, ContentBytes, Metrics, Registry, Reply, ReplyBody, Request, Stores};
use crate::storage::config::DriverKind;
use crate::storage::{self, Storage};
use crate::telemetry::RequestId;
use crate::uploads::Uploads;

pub struct Harness {
    pub registry: Arc<Registry>,
    pub storage: Arc<Storage>,
    pub notes: Arc<Notes>,
    _spool: tempfile::TempDir,
}

/// Every change that was told of, since it was asked last.
#[derive(Default)]
pub struct Notes(Mutex<Vec<Change>>);

impl Listener for Notes {
    fn changed(&self, change: &Change) {
        self.0.lock().push(change.clone());
    }
}

impl Notes {
    pub fn take(&self) -> Vec<Change> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// A request's body; its length is told unless it is `chunked`.
pub struct Whole {
    pieces: Vec<Bytes>,
    length: Option<u64>,
}

impl Whole {
    pub fn new(bytes: &[u8], chunked: bool) -> Self {
        let mut pieces: Vec<Bytes> = bytes.chunks(64 << 10).map(Bytes::copy_from_slice).collect();
        pieces.reverse();
        Whole { pieces, length: (!chunked).then_some(bytes.len() as u64) }
    }
}

#[async_trait]
impl Body for Whole {
    fn length(&self) -> Option<u64> {
        self.length
    }

    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        self.pieces.pop().map(Ok)
    }
}

/// An answer with its body read.
#[derive(Debug)]
pub struct Seen {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Of content: its digest and media type.
    pub content: Option<(Digest, String)>,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Status and error code.
    pub fn error(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned())
    }
}

impl Harness {
    pub async fn new() -> Self {
        Harness::with(Config::default()).await
    }

    pub async fn with(config: Config) -> Self {
        Harness::over(config, in_memory().await).await
    }

    pub async fn over(config: Config, storage: Arc<Storage>) -> Self {
        Harness::sharing(config, storage, state(false).await).await
    }

    /// With what counts the calls to storage until now.
    pub async fn counted() -> (Self, impl Fn() -> u64) {
        let counted = Prometheus::new();
        let metrics = Arc::new(storage::Metrics::new(&counted).unwrap());
        let config = storage::Config { driver: DriverKind::Memory, ..storage::Config::default() };
        let harness = Harness::over(Config::default(), Storage::open(&config, metrics).await.unwrap()).await;
        let calls = move || {
            let families = counted.gather();
            let all = families.iter().flat_map(|family| family.get_metric());
            all.map(|metric| metric.get_histogram().get_sample_count()).sum()
        };
        (harness, calls)
    }

    /// Instances that remember together, as over one Redis.
    pub async fn fleet() -> [Self; 2] {
        let (storage, state) = (in_memory().await, state(true).await);
        let one = Harness::sharing(Config::default(), storage.clone(), state.clone()).await;
        [one, Harness::sharing(Config::default(), storage, state).await]
    }

    async fn sharing(mut config: Config, storage: Arc<Storage>, fleet: Arc<Fleet>) -> Self {
        let spool = tempfile::tempdir().unwrap();
        config.spool = spool.path().to_owned();
        let metrics = Arc::new(Metrics::new(&Prometheus::new()).unwrap());
        let uploads = Uploads::open(&storage, config.upload_limits()).await.unwrap();
        let stores = Stores { storage: storage.clone(), uploads, fleet };
        let notes = Arc::new(Notes::default());
        let registry = Registry::open(&config, stores, metrics, vec![notes.clone(), Arc::new(events::Log)]);
        Harness { registry, storage, notes, _spool: spool }
    }

    pub async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Seen {
        self.send_body(method, target, headers, &mut Whole::new(body, false)).await
    }

    pub async fn send_body(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &mut dyn Body) -> Seen {
        let method: Method = method.parse().unwrap();
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let action = match Action::parse(&method, path, query) {
            Ok(action) => action,
            Err(error) => {
                let body = crate::oci::error_body(error.code(), &error.to_string(), None).into();
                return Seen { status: error.status(), headers: HeaderMap::new(), body, content: None };
            }
        };
        let field =
            |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        let headers = headers.iter().map(field).collect();
        let request =
            Request { id: RequestId::new(), permit: Permit::open(), action, headers, listener: None, absent: None };
        let reply = is_send(self.registry.answer(request, body)).await;
        self.read(reply).await
    }

    async fn read(&self, reply: Reply) -> Seen {
        let (body, content) = match reply.body {
            ReplyBody::Bytes(bytes) => (bytes, None),
            ReplyBody::Content(content) => {
                let bytes = match content.bytes {
                    ContentBytes::Whole(bytes) => bytes,
                    ContentBytes::Local(blob) => {
                        let mut bytes = Vec::new();
                        std::io::Read::read_to_end(&mut &blob.file, &mut bytes).unwrap();
                        bytes.into()
                    }
                    ContentBytes::Remote(size) => {
                        let stream = self.registry.open_blob(&content.digest, 0).await.unwrap().unwrap();
                        assert_eq!(stream.total, size);
                        let pieces: Vec<Bytes> = futures::TryStreamExt::try_collect(stream.body).await.unwrap();
                        pieces.concat().into()
                    }
                };
                (bytes, Some((content.digest, content.media_type)))
            }
        };
        Seen { status: reply.status, headers: reply.headers, body, content }
    }

    pub async fn get(&self, target: &str) -> Seen {
        self.send("GET", target, &[], b"").await
    }

    pub async fn status(&self, method: &str, target: &str) -> u16 {
        self.send(method, target, &[], b"").await.status.as_u16()
    }

    /// In one POST.
    pub async fn push_blob(&self, name: &str, bytes: &[u8]) -> Digest {
        let digest = sha256(bytes);
        let seen = self.send("POST", &format!("/v2/{name}/blobs/uploads/?digest={digest}"), &[], bytes).await;
        assert_eq!(seen.status, 201, "{seen:?}");
        digest
    }

    pub async fn push_manifest(&self, name: &str, reference: &str, manifest: &Value) -> Seen {
        self.send("PUT", &format!("/v2/{name}/manifests/{reference}"), &[], manifest.to_string().as_bytes()).await
    }

    /// An image with one config and one layer, both pushed before; returns its manifest.
    pub async fn push_image(&self, name: &str, tag: &str, content: &str) -> Value {
        let config = self.push_blob(name, format!("{{\"config\":\"{content}\"}}").as_bytes()).await;
        let layer = self.push_blob(name, content.as_bytes()).await;
        let manifest = image(&config, &layer);
        let seen = self.push_manifest(name, tag, &manifest).await;
        assert_eq!(seen.status, 201, "{seen:?}");
        manifest
    }
}

/// What is asked of a registry while time passes as the test says.
pub fn with_time<F: Future>(
    later: impl Fn() -> Duration + Send + Sync + 'static,
    asks: F,
) -> impl Future<Output = F::Output> {
    crate::registry::settling::LATER.scope(Arc::new(later), asks)
}

async fn state(remembers: bool) -> Arc<Fleet> {
    let metrics = Arc::new(fleet::Metrics::new(&Prometheus::new()).unwrap());
    Fleet::open(None, remembers, metrics).await
}

async fn in_memory() -> Arc<Storage> {
    open(storage::Config { driver: DriverKind::Memory, ..storage::Config::default() }).await
}

pub async fn on_disk(root: &std::path::Path) -> Arc<Storage> {
    open(storage::Config { driver: DriverKind::Filesystem, root: root.to_owned(), ..storage::Config::default() }).await
}

async fn open(config: storage::Config) -> Arc<Storage> {
    let metrics = Arc::new(storage::Metrics::new(&Prometheus::new()).unwrap());
    Storage::open(&config, metrics).await.unwrap()
}

/// The frontend answers on any thread.
fn is_send<F: Send>(future: F) -> F {
    future
}

pub fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

pub fn digest_of(manifest: &Value) -> Digest {
    sha256(manifest.to_string().as_bytes())
}

pub fn image(config: &Digest, layer: &Digest) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": {"mediaType": media_type::OCI_CONFIG, "digest": config.text(), "size": 1},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.text(), "size": 1}],
    })
}

pub fn index(manifests: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests})
}

/// An artifact without blobs, about `subject`. An image would have a config.
pub fn artifact(subject: &Digest, artifact_type: &str, note: &str) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "artifactType": artifact_type,
        "manifests": [],
        "annotations": {"note": note},
        "subject": {"mediaType": media_type::OCI_MANIFEST, "digest": subject.text(), "size": 1},
    })
}
