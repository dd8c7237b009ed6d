//! The ground that several programs share: a volume, a bucket of MinIO, or a container of Azurite. Entrepot and distribution
//! stand on it at once.

#![allow(dead_code, reason = "the quick tests and the proofs share it, and each uses its part")]

pub mod pieces;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{Azurite, Bucket, Container, Entrepot, Minio, Registry, Serving, Setup, scratch};

pub enum Ground {
    Volume(tempfile::TempDir),
    Bucket(Box<Minio>, Bucket),
    Container(Box<Azurite>, Container),
}

/// Files by their paths, with their bytes.
pub type Tree = BTreeMap<String, Vec<u8>>;

impl Ground {
    pub fn volume() -> Self {
        Ground::Volume(scratch())
    }

    pub fn bucket() -> Self {
        let minio = Minio::start(&["ground"]);
        let bucket = minio.bucket("ground");
        Ground::Bucket(Box::new(minio), bucket)
    }

    pub fn container() -> Self {
        let azurite = Azurite::start(&["ground"]);
        let container = azurite.container("ground");
        Ground::Container(Box::new(azurite), container)
    }

    /// Entrepot as the registry on this ground.
    pub fn setup(&self) -> Setup {
        match self {
            Ground::Volume(folder) => Setup::registry().storage_at(folder.path()),
            Ground::Bucket(_, bucket) => bucket.set(Setup::registry()),
            Ground::Container(_, container) => container.set(Setup::registry()),
        }
    }

    pub fn entrepot(&self) -> Entrepot {
        self.setup().start()
    }

    /// Distribution v3 on this ground.
    pub fn v3(&self) -> Serving {
        self.under(Registry::v3())
    }

    /// Debian's 2.8.2: on volumes only, since its S3 driver panics when it starts.
    pub fn debian(&self) -> Serving {
        assert!(matches!(self, Ground::Volume(_)), "2.8.2 has no S3 here");
        self.under(Registry::debian())
    }

    fn under(&self, registry: Registry) -> Serving {
        match self {
            Ground::Volume(folder) => registry.volume(folder.path()).start(),
            Ground::Bucket(_, bucket) => registry.bucket(bucket).start(),
            Ground::Container(..) => panic!("distribution is not asked to stand on Azurite here"),
        }
    }

    pub fn minio(&mut self) -> &mut Minio {
        match self {
            Ground::Bucket(minio, _) => minio,
            _ => panic!("no MinIO is here"),
        }
    }

    /// Multipart uploads that nobody has ended.
    pub fn open_multiparts(&self) -> usize {
        match self {
            // On Azure, blocks that nobody made part of a blob go by themselves after a week.
            Ground::Volume(_) | Ground::Container(..) => 0,
            Ground::Bucket(minio, _) => minio.open_multiparts(),
        }
    }

    /// The paths of all files.
    pub fn keys(&self) -> Vec<String> {
        match self {
            Ground::Volume(folder) => walk(folder.path()),
            Ground::Bucket(_, bucket) => bucket.keys(),
            Ground::Container(_, container) => container.keys(),
        }
    }

    /// Files below one folder of `docker/registry/v2`, their paths relative to that.
    pub fn tree(&self, under: &str) -> Tree {
        let root = "docker/registry/v2/";
        let wanted = format!("{root}{under}");
        let keys = self.keys().into_iter().filter(|key| key.starts_with(&wanted));
        keys.map(|key| (key[root.len()..].to_owned(), self.read(&key).unwrap_or_default())).collect()
    }

    pub fn read(&self, key: &str) -> Option<Vec<u8>> {
        match self {
            Ground::Volume(folder) => std::fs::read(folder.path().join(key)).ok(),
            Ground::Bucket(_, bucket) => bucket.get(key),
            Ground::Container(_, container) => container.get(key),
        }
    }

    pub fn write(&self, key: &str, bytes: &[u8]) {
        match self {
            Ground::Volume(folder) => std::fs::write(folder.path().join(key), bytes).expect("a file is written"),
            Ground::Bucket(_, bucket) => bucket.put(key, bytes),
            Ground::Container(_, container) => container.put(key, bytes),
        }
    }

    /// What is left of uploads, ours and distribution's.
    pub fn uploads(&self) -> Vec<String> {
        let ours = |key: &String| key.contains("entrepot/v1/uploads/") || key.contains("entrepot/v1/multiparts/");
        self.keys().into_iter().filter(|key| key.contains("/_uploads/") || ours(key)).collect()
    }

    /// Every upload under way was begun two hours earlier than it was, and nobody has purged yet.
    pub fn age_uploads(&self) {
        let earlier = Duration::from_secs(2 * 3600);
        for key in self.keys() {
            let Some(bytes) = self.read(&key) else { continue };
            if key.ends_with("/startedat") {
                let text = String::from_utf8(bytes).expect("a date");
                let began = humantime::parse_rfc3339(&text).expect("a date") - earlier;
                self.write(&key, humantime::format_rfc3339_seconds(began).to_string().as_bytes());
            } else if key.starts_with("entrepot/v1/uploads/") && key.ends_with("/state") {
                let mut state: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
                let began = state["began"].as_u64().expect("milliseconds");
                state["began"] = (began - earlier.as_millis() as u64).into();
                self.write(&key, state.to_string().as_bytes());
            } else if key.starts_with("entrepot/v1/leases/") {
                self.write(&key, b"");
            }
        }
    }
}

/// Longer than a purge ever waits after a start.
pub fn until_purged(what: &str, purged: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(200);
    while !purged() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Every file below a folder, by its path from there, in order.
pub fn walk(folder: &Path) -> Vec<String> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) => files.extend(entry.path().strip_prefix(folder).map(|path| path.display().to_string())),
                Err(_) => {}
            }
        }
    }
    files.sort();
    files
}
