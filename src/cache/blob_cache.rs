//! The cache's door: lookups, fills, inserts, purges. The work is done in the tiers and in `fill`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::buffers::Buffers;
use super::config::Config;
use super::content::Content;
use super::error::{Error, FillError, Mismatch};
use super::fill::sink::compact;
use super::fill::supply::{ByteStream, Origins, Supply};
use super::fill::{Complete, FIRST_SHOWN};
use super::groups::Groups;
use super::memory::Object;
use super::metrics::Metrics;
use super::origin::Origin;
use super::shared::Shared;
use crate::oci::Digest;

/// Lookups of one request, while contents come and go under it, before it fills without looking.
const LOOKUPS: usize = 3;
/// Hashing less than this on an async thread is cheaper than changing threads.
const INLINE: usize = 64 << 10;
/// At shutdown, so long we wait for small contents to reach the disk.
const FINISH_WAIT: Duration = Duration::from_secs(5);

/// Where a content came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Memory,
    Disk,
    /// This request began the fill.
    Miss,
    /// It joined a fill that others began.
    Collapsed,
}

/// Verified bytes by digest. Cheap to share behind an `Arc`.
pub struct BlobCache {
    pub(super) shared: Arc<Shared>,
}

/// How far a fill is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coming {
    pub got: u64,
    pub total: Option<u64>,
}

/// In which tiers a content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiers {
    pub memory: bool,
    pub disk: bool,
}

/// The stream, once its first bytes are there or it is whole; an error instead of a stream that gives nothing.
async fn begun(mut stream: ByteStream) -> Result<ByteStream, FillError> {
    let (mut first, mut length) = (Vec::new(), 0);
    while length < FIRST_SHOWN {
        match stream.next().await {
            Some(bytes) => {
                let bytes = bytes?;
                length += bytes.len() as u64;
                first.push(Ok(bytes));
            }
            None => break,
        }
    }
    Ok(stream::iter(first).chain(stream).fuse().boxed())
}

/// A whole content in memory, and held there.
pub struct InMemory(Arc<Object>);

impl InMemory {
    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// What the origin called it.
    pub fn media_type(&self) -> Option<&str> {
        self.0.media_type.as_deref()
    }
}

impl BlobCache {
    /// Takes the folder and lists what it holds; nothing is read but names, and sizes of what the saved index does not
    /// know. With `disk = 0` the folder is not touched.
    pub async fn open(config: &Config, metrics: Arc<Metrics>) -> Result<Arc<Self>, Error> {
        let shared = Shared::new(config, metrics);
        if config.disk.0 > 0 {
            let disk = shared.disk.clone();
            let panicked = |error| Error::Folder { path: config.path.clone(), source: std::io::Error::other(error) };
            tokio::task::spawn_blocking(move || disk.load()).await.map_err(panicked)??;
        }
        Ok(Arc::new(BlobCache { shared }))
    }

    /// The same while another process has the folder, and writes there: this one reads, until [`Self::take_over`].
    pub async fn open_beside(config: &Config, metrics: Arc<Metrics>) -> Arc<Self> {
        let shared = Shared::new(config, metrics);
        if config.disk.0 > 0 {
            let disk = shared.disk.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || disk.load_as_guest()).await {
                tracing::error!(%error, "reading the cache folder panicked");
            }
        }
        Arc::new(BlobCache { shared })
    }

    /// Writes down in which order contents go, which another process can begin with.
    pub async fn save(&self) {
        let disk = self.shared.disk.clone();
        let saving = move || {
            if disk.is_on() {
                disk.save();
            }
        };
        if let Err(error) = tokio::task::spawn_blocking(saving).await {
            tracing::error!(%error, "saving the cache's order panicked");
        }
    }

    /// Another process writes to the folder from now on; this one reads there, and what it fills passes through.
    pub async fn hand_over(&self) {
        let disk = self.shared.disk.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || disk.hand_over()).await {
            tracing::error!(%error, "handing the cache folder over panicked");
        }
    }

    /// This process writes to the folder from now on.
    ///
    /// # Errors
    /// The other one has not let it go, or it cannot be written to.
    pub async fn take_over(&self) -> Result<(), Error> {
        let disk = self.shared.disk.clone();
        let panicked = |error| Error::Folder { path: std::path::PathBuf::new(), source: std::io::Error::other(error) };
        tokio::task::spawn_blocking(move || disk.take_over()).await.map_err(panicked)??;
        let disk = self.shared.disk.clone();
        // Until then what the other has added counts as absent.
        tokio::task::spawn_blocking(move || disk.catch_up());
        Ok(())
    }

    /// A peer was asked for content whose answer is not kept: counted.
    pub fn bypassed(&self) {
        self.shared.metrics.bypassed();
    }

    /// Read buffers, for those who read other files for clients.
    pub fn buffers(&self) -> &Arc<Buffers> {
        self.shared.disk.buffers()
    }

    /// Takes new bounds over; `path` cannot change. Evicts what no longer fits, off the async threads when called on one.
    pub fn reconfigure(&self, config: &Config) {
        self.shared.memory.reconfigure(config);
        self.shared.fills.reconfigure(config.max_fills);
        let (disk, cap) = (self.shared.disk.clone(), config.disk.0);
        let work = move || {
            let switched_on = disk.resize(cap) == 0 && cap > 0;
            if switched_on && let Err(error) = disk.load() {
                tracing::error!(%error, "the disk tier stays off");
                disk.resize(0);
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(work)),
            Err(_) => work(),
        }
    }

    /// What is whole in memory.
    pub fn in_memory(&self, digest: &Digest) -> Option<InMemory> {
        let object = self.shared.memory.get(digest)?;
        self.shared.metrics.hit_memory.inc();
        Some(InMemory(object))
    }

    /// What is complete, in memory or else on disk. A memory hit neither waits nor allocates.
    pub async fn get(&self, digest: &Digest) -> Option<Content> {
        Some(self.lookup(digest).await?.0)
    }

    /// The same, and from where.
    pub async fn lookup(&self, digest: &Digest) -> Option<(Content, Source)> {
        if let Some(object) = self.shared.memory.get(digest) {
            self.shared.metrics.hit_memory.inc();
            let complete = Complete::Memory(object);
            return Some((Content::complete(&self.shared, *digest, complete), Source::Memory));
        }
        let complete = self.shared.find_on_disk(digest).await?;
        self.shared.metrics.hit_disk.inc();
        Some((Content::complete(&self.shared, *digest, complete), Source::Disk))
    }

    /// What is complete, or else the fill of this digest, joined or begun with `origin`. Resolves when the origin's head is
    /// known, for contents up to 64 KiB when they are proven. The fill belongs to no client: it goes on without them, unless
    /// its origins say otherwise.
    ///
    /// The caller must have been authorised: a joined fill, or another waiter's origin, never asks this origin. Where the
    /// answer to the GET is itself the permission, open the origin first and hand over one that begins with that stream.
    /// A refusal is given to the waiter whose origin it came from, and only when no other waiter's origin did better.
    ///
    /// The content keeps `origin` to go on by itself: when a cached file proves damaged, or when there is no place for the
    /// fill. In the latter case each waiter reads from its own origin.
    pub async fn get_or_fill(&self, digest: &Digest, origin: Arc<dyn Origin>) -> Result<(Content, Source), FillError> {
        for lookup in 1..=LOOKUPS {
            if let Some((content, source)) = self.lookup(digest).await {
                return Ok((content.with_origin(origin), source));
            }
            if let Some(following) = self.shared.follow(digest, origin.clone(), lookup == LOOKUPS) {
                let source = if following.new { Source::Miss } else { Source::Collapsed };
                match source {
                    Source::Miss => self.shared.metrics.miss.inc(),
                    _ => self.shared.metrics.collapsed.inc(),
                }
                let content = match following.fill.wait_for_head(following.ticket).await? {
                    Some(_) => Content::filling(&self.shared, following.fill),
                    None => self.pass_through(digest, &origin).await?,
                };
                return Ok((content.with_origin(origin), source));
            }
        }
        // Not reached: the last lookup always follows a fill.
        Err(FillError::Unavailable("the content came and went".into()))
    }

    /// What is complete or coming; never begins anything. For a running fill it resolves as [`Self::get_or_fill`] does.
    ///
    /// The caller must have been authorised, as for everything here.
    pub async fn coming(&self, digest: &Digest) -> Result<Option<(Content, Source)>, FillError> {
        if let Some(found) = self.lookup(digest).await {
            return Ok(Some(found));
        }
        let Some(fill) = self.shared.fills.running(digest) else { return Ok(self.lookup(digest).await) };
        let head = fill.wait_for_head(None).await?;
        Ok(head.is_some().then(|| (Content::filling(&self.shared, fill), Source::Collapsed)))
    }

    /// How far a running fill is; `None`: there is none.
    pub fn progress(&self, digest: &Digest) -> Option<Coming> {
        let fill = self.shared.fills.running(digest)?;
        let got = fill.subscribe().borrow().window.end();
        Some(Coming { got, total: fill.head().and_then(|head| head.total) })
    }

    /// Whether it is complete here. Counts no hit, and opens nothing: a damaged file may say yes.
    pub fn holds(&self, digest: &Digest) -> bool {
        self.shared.memory.contains(digest) || self.shared.disk.contains(digest)
    }

    /// Where it is complete. As [`Self::holds`].
    pub fn tiers(&self, digest: &Digest) -> Tiers {
        Tiers { memory: self.shared.memory.contains(digest), disk: self.shared.disk.contains(digest) }
    }

    /// From now on this one is asked which contents leave together.
    pub fn group_by(&self, groups: Arc<dyn Groups>) {
        self.shared.disk.group_by(groups);
    }

    /// From now on the disk tier lets contents go, and takes none, before its file system is full.
    pub fn leave_disk_free(&self) {
        self.shared.disk.leave_free();
    }

    /// No fill could be begun: the request's own origin says how large the content is, and feeds it.
    async fn pass_through(&self, digest: &Digest, origin: &Arc<dyn Origin>) -> Result<Content, FillError> {
        let mut supply = Supply::new(Origins::of(origin.clone()), 0, None);
        let head = supply.open().await?;
        let stream = begun(supply.into_stream()).await?;
        Ok(Content::through(&self.shared, *digest, head, stream))
    }

    /// Keeps `bytes` under `digest`, after checking that this is their name.
    pub async fn insert(&self, digest: &Digest, media_type: Option<&str>, bytes: Bytes) -> Result<(), Mismatch> {
        let algorithm = digest.algorithm();
        let hash = move |bytes: &Bytes| Digest::of(algorithm, bytes);
        let found = match bytes.len() {
            0..=INLINE => hash(&bytes),
            _ => {
                let copy = bytes.clone();
                // A panic in there would be a bug of the hash; then it is done here.
                tokio::task::spawn_blocking(move || hash(&copy)).await.unwrap_or_else(|_| hash(&bytes))
            }
        };
        if found != *digest {
            return Err(Mismatch { expected: *digest, found });
        }
        let object = Arc::new(Object::new(compact(&[bytes]), media_type));
        self.shared.memory.insert(*digest, object.clone());
        let (shared, digest) = (self.shared.clone(), *digest);
        let stored = tokio::task::spawn_blocking(move || shared.persist(&digest, &object, || true)).await;
        if let Err(error) = stored {
            tracing::error!(%error, "writing a content panicked");
        }
        Ok(())
    }

    /// Forgets `digest` in both tiers and keeps nothing of a fill under way; true when it was there. Those who read it go on.
    pub async fn purge(&self, digest: &Digest) -> bool {
        let (shared, digest) = (self.shared.clone(), *digest);
        tokio::task::spawn_blocking(move || shared.purge(&digest)).await.unwrap_or_default()
    }

    /// Saves the eviction order and gives the folder free. Fills still downloading are given up by the runtime's end.
    pub async fn shutdown(&self) {
        let finished = async {
            while self.shared.fills.any_finishing() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        _ = tokio::time::timeout(FINISH_WAIT, finished).await;
        let disk = self.shared.disk.clone();
        let saved = tokio::task::spawn_blocking(move || {
            if disk.is_on() {
                disk.save();
            }
            disk.close();
        });
        _ = saved.await;
    }
}
