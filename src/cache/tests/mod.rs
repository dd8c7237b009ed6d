//! Behaviour of the whole cache, by a programmable origin.

mod attended;
mod broken_origin;
mod chaos;
mod damage;
mod disk_full;
mod groups;
mod keeping;
mod ranges;
mod restart;
mod single_flight;
mod succession;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::error::ReadError;
use super::{BlobCache, Config, Content, Metrics, Origin, OriginError, OriginStream, Reader, Refusal};
use crate::oci::{Algorithm, Digest};
use crate::units::Size;

pub(super) const MIB: usize = 1 << 20;

/// What one opening of an origin does; the last one is repeated.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Whole,
    /// The connection breaks before the byte at this offset of the content.
    DieAt(usize),
    /// The body ends there as if it were whole.
    EndAt(usize),
    /// So many bytes too many.
    Surplus(usize),
    /// The byte at this offset is wrong.
    FlipAt(usize),
    Refuse(u16),
    Unavailable,
    OpenBroken,
}

/// A programmable origin of one content.
pub(super) struct Script {
    data: Bytes,
    says_total: bool,
    acts: Mutex<VecDeque<Act>>,
    /// Offsets of all openings.
    pub(super) opened: Mutex<Vec<u64>>,
    /// Chunks that may leave; `None` = all.
    gate: Option<Arc<Semaphore>>,
    chunk: usize,
}

impl Script {
    pub(super) fn new(data: &Bytes, acts: &[Act]) -> Self {
        Script {
            data: data.clone(),
            says_total: true,
            acts: Mutex::new(acts.iter().cloned().collect()),
            opened: Mutex::default(),
            gate: None,
            chunk: 10_007,
        }
    }

    pub(super) fn whole(data: &Bytes) -> Arc<Self> {
        Arc::new(Script::new(data, &[Act::Whole]))
    }

    pub(super) fn without_total(mut self) -> Self {
        self.says_total = false;
        self
    }

    /// Lets a chunk of 64 KiB go for each permit.
    pub(super) fn gated(mut self, gate: &Arc<Semaphore>) -> Self {
        self.gate = Some(gate.clone());
        self.chunk = 64 << 10;
        self
    }

    pub(super) fn opens(&self) -> usize {
        self.opened.lock().len()
    }

    fn items(&self, offset: usize, act: &Act) -> Vec<Result<Bytes, OriginError>> {
        let data = match act {
            Act::DieAt(at) | Act::EndAt(at) => self.data.slice(..*at),
            Act::Surplus(count) => [self.data.to_vec(), vec![9; *count]].concat().into(),
            Act::FlipAt(at) => {
                let mut data = self.data.to_vec();
                data[*at] ^= 1;
                data.into()
            }
            _ => self.data.clone(),
        };
        let rest = data.slice(offset.min(data.len())..);
        let mut items: Vec<_> =
            (0..rest.len()).step_by(self.chunk).map(|at| Ok(rest.slice(at..rest.len().min(at + self.chunk)))).collect();
        if matches!(act, Act::DieAt(_)) {
            items.push(Err(OriginError::Broken("died".into())));
        }
        items
    }
}

#[async_trait]
impl Origin for Script {
    async fn open(&self, offset: u64) -> Result<OriginStream, OriginError> {
        self.opened.lock().push(offset);
        let act = {
            let mut acts = self.acts.lock();
            if acts.len() > 1 { acts.pop_front().unwrap() } else { acts[0].clone() }
        };
        match act {
            Act::Refuse(status) => {
                let response = http::Response::builder().status(status).body(Bytes::new()).unwrap();
                return Err(OriginError::Refused(Refusal::new(response)));
            }
            Act::Unavailable => return Err(OriginError::Unavailable("no peer".into())),
            Act::OpenBroken => return Err(OriginError::Broken("reset".into())),
            _ => {}
        }
        let gate = self.gate.clone();
        let items = futures::stream::iter(self.items(offset as usize, &act));
        let body = items.then(move |item| {
            let gate = gate.clone();
            async move {
                if let Some(gate) = gate {
                    gate.acquire().await.unwrap().forget();
                }
                item
            }
        });
        let total = self.says_total.then_some(self.data.len() as u64);
        Ok(OriginStream { total, media_type: Some("application/x-test".into()), body: body.boxed() })
    }
}

/// A cache over a folder of its own.
pub(super) struct Fixture {
    pub(super) cache: Arc<BlobCache>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) config: Config,
    _folder: Option<tempfile::TempDir>,
}

impl Fixture {
    pub(super) async fn new(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { path: folder.path().join("cache"), ..Config::default() };
        change(&mut config);
        Fixture { _folder: Some(folder), ..Fixture::open(config).await }
    }

    pub(super) async fn open(config: Config) -> Self {
        let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
        let cache = BlobCache::open(&config, metrics.clone()).await.unwrap();
        Fixture { cache, metrics, config, _folder: None }
    }

    /// As after a restart, over the same folder.
    pub(super) async fn reopen(&mut self) {
        self.cache.shutdown().await;
        let fresh = Fixture::open(self.config.clone()).await;
        self.cache = fresh.cache;
        self.metrics = fresh.metrics;
    }

    pub(super) async fn fill(&self, digest: &Digest, origin: &Arc<Script>) -> Result<Bytes, ReadError> {
        let (content, _) = self.cache.get_or_fill(digest, origin.clone()).await?;
        collect(content.read(0, None)).await
    }

    /// Brings `data` in, and waits until it is where it stays.
    pub(super) async fn warm(&self, data: &Bytes) -> Digest {
        let digest = sha256(data);
        assert_eq!(self.fill(&digest, &Script::whole(data)).await.unwrap(), data);
        self.settled().await;
        digest
    }

    pub(super) async fn settled(&self) {
        while self.cache.shared.fills.any_finishing() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(super) fn file(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.config.path.join("blobs/sha256").join(&hex[..2]).join(hex)
    }

    pub(super) async fn get(&self, digest: &Digest) -> Option<Content> {
        self.cache.get(digest).await
    }
}

/// All bytes, or the error; never both.
pub(super) async fn collect(reader: Reader) -> Result<Bytes, ReadError> {
    collect_partly(reader).await.1
}

/// Also the number of bytes that came before an error.
pub(super) async fn collect_partly(mut reader: Reader) -> (usize, Result<Bytes, ReadError>) {
    let mut all = Vec::new();
    loop {
        // No reader in these tests may hang.
        match tokio::time::timeout(Duration::from_secs(60), reader.next()).await.expect("a reader hangs") {
            Some(Ok(bytes)) => {
                assert!(!bytes.is_empty());
                all.extend_from_slice(&bytes);
            }
            Some(Err(error)) => {
                assert!(reader.next().await.is_some_and(|again| again.is_err()), "an error is final");
                return (all.len(), Err(error));
            }
            None => return (all.len(), Ok(all.into())),
        }
    }
}

/// Bytes that no two of which are alike in a block, cheap to make.
pub(super) fn data(len: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

pub(super) fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

pub(super) fn size(bytes: usize) -> Size {
    Size(bytes as u64)
}

/// Bytes of all files below a folder.
pub(super) fn folder_bytes(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(about) if about.is_dir() => folder_bytes(&entry.path()),
            Ok(about) => about.len(),
            Err(_) => 0,
        })
        .sum()
}
