//! Stores to run uploads over, and bodies to send.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use rand::{Rng, SeedableRng};

use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::storage::config::DriverKind;
use crate::storage::tests::azurite::Azurite;
use crate::storage::{Body, BodyError, Config, Metrics, Storage};
use crate::uploads::{Limits, Uploads};

/// One empty store.
pub(super) struct World {
    pub(super) storage: Arc<Storage>,
    pub(super) folder: tempfile::TempDir,
    config: Config,
}

pub(super) const MIB: usize = 1 << 20;

impl World {
    pub(super) async fn open(config: Config) -> World {
        let folder = tempfile::tempdir().unwrap();
        let config = match config.driver {
            DriverKind::Filesystem => Config { root: folder.path().join("root"), ..config },
            _ => config,
        };
        let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
        World { storage: Storage::open(&config, metrics).await.unwrap(), folder, config }
    }

    /// The same store, opened by another process. Gone with this one's folder.
    pub(super) async fn again(&self) -> World {
        let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
        let storage = Storage::open(&self.config, metrics).await.unwrap();
        World { storage, folder: tempfile::tempdir().unwrap(), config: self.config.clone() }
    }

    pub(super) async fn filesystem() -> World {
        World::open(Config { driver: DriverKind::Filesystem, ..Config::default() }).await
    }

    pub(super) async fn memory() -> World {
        World::open(Config { driver: DriverKind::Memory, ..Config::default() }).await
    }

    /// A part of the container that all tests of this process share.
    pub(super) async fn azurite(part: &str) -> World {
        let config = tokio::task::spawn_blocking(|| Azurite::shared().config()).await.unwrap();
        World::open(Config { prefix: format!("{}{part}", config.prefix), ..config }).await
    }

    /// One instance, with a spool of so many bytes.
    pub(super) async fn instance(&self, spool_size: u64) -> Arc<Uploads> {
        let limits = Limits { memory: 0, spool: self.folder.path().join("spool"), spool_size };
        Uploads::open(&self.storage, limits).await.unwrap()
    }

    pub(super) fn local(&self) -> bool {
        self.storage.is_local()
    }

    /// Every key that is in storage, with its size.
    pub(super) async fn keys(&self) -> BTreeMap<String, u64> {
        let mut keys = BTreeMap::new();
        let mut folders = vec!["entrepot".to_owned(), "docker".to_owned()];
        while let Some(folder) = folders.pop() {
            let (more, names) = self.storage.store().list(&folder).await.unwrap().names();
            folders.extend(more.iter().map(|name| format!("{folder}/{name}")));
            for name in names {
                let key = format!("{folder}/{name}");
                let size = self.storage.store().size(&key).await.unwrap();
                keys.extend(size.map(|size| (key, size)));
            }
        }
        keys
    }

    /// What is left of uploads, once what cleans up behind a dropped request has had its turn.
    pub(super) async fn leftovers(&self) -> Vec<String> {
        for _ in 0..100 {
            if self.own_keys().await.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.own_keys().await
    }

    async fn own_keys(&self) -> Vec<String> {
        let own = |key: &String| key.starts_with("entrepot/v1/uploads") || key.starts_with("entrepot/v1/multiparts");
        self.keys().await.into_keys().filter(own).collect()
    }

    pub(super) async fn blobs(&self) -> Vec<String> {
        self.keys().await.into_keys().filter(|key| key.contains("/blobs/")).collect()
    }

    pub(super) async fn assert_blob(&self, digest: &Digest, bytes: &[u8]) {
        let stored = self.storage.blob_bytes(digest, u64::MAX >> 1).await.unwrap();
        assert!(stored.expect("the blob is there") == bytes, "the blob has other bytes");
    }
}

/// MinIO of its own, stopped when dropped.
pub(super) struct Minio {
    process: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Minio {
    pub(super) async fn start() -> Minio {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bucket")).unwrap();
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (one, two) = (free(), free());
        let (port, console) = (one.local_addr().unwrap().port(), two.local_addr().unwrap().port());
        drop((one, two));
        let binary = std::env::var_os("HOME").map(std::path::PathBuf::from).unwrap().join(".cache/entrepot/bin/minio");
        let process = Command::new(binary)
            .args(["server", "--quiet", "--address", &format!("127.0.0.1:{port}")])
            .args(["--console-address", &format!("127.0.0.1:{console}")])
            .arg(folder.path())
            .envs([("MINIO_ROOT_USER", "minio"), ("MINIO_ROOT_PASSWORD", "minio123456")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let minio = Minio { process, folder, port };
        let world = minio.world("ready").await;
        for _ in 0..200 {
            if world.storage.check().await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        world.storage.check().await.unwrap();
        minio
    }

    /// A part of the bucket.
    pub(super) async fn world(&self, prefix: &str) -> World {
        World::open(Config {
            driver: DriverKind::S3,
            bucket: "bucket".into(),
            prefix: prefix.into(),
            endpoint: Some(format!("http://127.0.0.1:{}", self.port)),
            access_key_id: Some("minio".into()),
            secret_access_key: Some("minio123456".into()),
            ..Config::default()
        })
        .await
    }

    /// Unfinished multipart uploads that MinIO holds.
    pub(super) fn multiparts(&self) -> usize {
        let folder = self.folder.path().join(".minio.sys/multipart");
        let of = |entry: std::fs::DirEntry| std::fs::read_dir(entry.path()).map_or(0, Iterator::count);
        std::fs::read_dir(folder).map_or(0, |entries| entries.flatten().map(of).sum())
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// A body of pieces, which may break off, hang, or yield between pieces.
pub(super) struct Pieces {
    pieces: std::vec::IntoIter<Bytes>,
    length: Option<u64>,
    end: End,
    /// Before each piece.
    pause: Duration,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum End {
    Clean,
    Broken,
    Hangs,
}

impl Pieces {
    pub(super) fn new(bytes: &[u8], piece: usize) -> Pieces {
        let pieces: Vec<Bytes> = bytes.chunks(piece.max(1)).map(Bytes::copy_from_slice).collect();
        Pieces { pieces: pieces.into_iter(), length: None, end: End::Clean, pause: Duration::ZERO }
    }

    pub(super) fn empty() -> Pieces {
        Pieces::announced(&[])
    }

    pub(super) fn announced(bytes: &[u8]) -> Pieces {
        Pieces { length: Some(bytes.len() as u64), ..Pieces::new(bytes, 64 << 10) }
    }

    /// Whatever it has.
    pub(super) fn announcing(self, length: u64) -> Pieces {
        Pieces { length: Some(length), ..self }
    }

    pub(super) fn pausing(self, pause: Duration) -> Pieces {
        Pieces { pause, ..self }
    }

    pub(super) fn ending(self, end: End) -> Pieces {
        Pieces { end, ..self }
    }
}

#[async_trait]
impl Body for Pieces {
    fn length(&self) -> Option<u64> {
        self.length
    }

    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        tokio::task::yield_now().await;
        if !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
        match (self.pieces.next(), self.end) {
            (Some(piece), _) => Some(Ok(piece)),
            (None, End::Clean) => None,
            (None, End::Broken) => Some(Err(BodyError("reset".into()))),
            (None, End::Hangs) => std::future::pending().await,
        }
    }
}

/// Bytes that no other seed gives.
pub(super) fn bytes(seed: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    rand::rngs::StdRng::seed_from_u64(seed).fill(bytes.as_mut_slice());
    bytes
}

pub(super) fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

pub(super) fn name() -> RepositoryName {
    "team/app".parse().unwrap()
}

/// A behaviour that every store shows.
pub(super) type Scenario = for<'a> fn(&'a World) -> BoxFuture<'a, ()>;
