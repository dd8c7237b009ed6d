//! The disk tier: files by digest below a cap in bytes, each verified block by block whenever it is read. Knows neither
//! origins nor fills' waiters. Its calls may block unless they say otherwise.

mod blob_file;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod index;
mod layout;
pub(super) mod leaving;
mod open_files;
mod piece;
mod room;
mod scan;
mod snapshot;
mod start;
mod succession;
pub(super) mod trailer;
mod writer;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use self::blob_file::{How, OpenError, Opened};
use self::index::Index;
use self::layout::Layout;
use self::open_files::OpenFiles;
use super::buffers::{Buffers, FilePermit};
use super::config::Config;
use super::groups::Groups;
use super::memory::Object;
use super::metrics::Metrics;
use crate::oci::Digest;

pub(super) use self::blob_file::BlobFile;
pub(super) use self::index::Found;
pub(super) use self::piece::{Damaged, Pieces};
pub(super) use self::writer::{Growing, Writer};

/// After a failed write the disk is left alone for so long.
const PAUSE: Duration = Duration::from_secs(10);

pub(super) struct Disk {
    layout: Layout,
    /// Bytes that files and fills may take; 0 = the tier is off.
    cap: AtomicU64,
    state: Mutex<Books>,
    open: OpenFiles,
    buffers: Arc<Buffers>,
    paused: Mutex<Option<Instant>>,
    next_fill: AtomicU64,
    saved_at: Mutex<Instant>,
    saving: Mutex<()>,
    lock: Mutex<Option<File>>,
    /// Another process writes here, and this one only reads: its successor before it takes over, its predecessor after that.
    guest: RwLock<bool>,
    metrics: Arc<Metrics>,
    /// Who says what leaves together.
    groups: Mutex<Option<Arc<dyn Groups>>>,
    /// Whether some of the file system is left free.
    leaves_free: AtomicBool,
}

/// What opening a file gives.
pub(super) enum OnDisk {
    File(Arc<BlobFile>),
    /// All of a small one, verified.
    Whole(Object),
}

#[derive(Default)]
struct Books {
    index: Index,
    /// Bytes that fills have taken, see `room`.
    taken: u64,
    promised: u64,
}

impl Disk {
    /// Touches no file: see `load`.
    pub(super) fn new(config: &Config, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Disk {
            layout: Layout::new(&config.path),
            cap: AtomicU64::new(config.disk.0),
            state: Mutex::default(),
            open: OpenFiles::new(),
            buffers: Arc::default(),
            paused: Mutex::default(),
            next_fill: AtomicU64::new(0),
            saved_at: Mutex::new(Instant::now()),
            saving: Mutex::default(),
            lock: Mutex::default(),
            guest: RwLock::new(false),
            metrics,
            groups: Mutex::default(),
            leaves_free: AtomicBool::new(false),
        })
    }

    /// Size of all files, trailers included. Does not block.
    pub(super) fn bytes(&self) -> u64 {
        self.state.lock().index.bytes()
    }

    /// Does not block.
    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.state.lock().index.contains(digest)
    }

    /// Whether writing makes sense at this time. Does not block.
    pub(super) fn writable(&self) -> bool {
        self.cap.load(Ordering::Relaxed) > 0
            && self.paused.lock().is_none_or(|until| until <= Instant::now())
            && !*self.guest.read_recursive()
    }

    /// Bytes taken and promised by fills.
    #[cfg(test)]
    pub(super) fn under_way(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.taken, state.promised)
    }

    /// Counts a hit. Does not block.
    pub(super) fn find(&self, digest: &Digest) -> Option<Found> {
        self.state.lock().index.touch(digest)
    }

    /// The file if a reader had it open lately. Does not block.
    pub(super) fn opened(&self, digest: &Digest, found: Found) -> Option<Arc<BlobFile>> {
        self.open.get(digest, found.seq)
    }

    /// Opens the file and verifies its trailer. A damaged one is dropped.
    pub(super) fn open(&self, digest: &Digest, found: Found, permit: Option<FilePermit>) -> Option<OnDisk> {
        let opened = BlobFile::open(&self.layout.blob(digest), digest, found.seq, &self.buffers, How::Wait);
        let opened = opened.inspect_err(|error| self.cannot_open(digest, found.seq, error)).ok()?;
        Some(self.kept(digest, opened, permit))
    }

    /// The same if the kernel has all of it in memory, else the permit is given back, which says nothing. Does not block.
    pub(super) fn open_now(
        &self,
        digest: &Digest,
        found: Found,
        permit: Option<FilePermit>,
    ) -> Result<OnDisk, Option<FilePermit>> {
        match BlobFile::open(&self.layout.blob(digest), digest, found.seq, &self.buffers, How::Now) {
            Ok(opened) => Ok(self.kept(digest, opened, permit)),
            Err(_) => Err(permit),
        }
    }

    fn kept(&self, digest: &Digest, opened: Opened, permit: Option<FilePermit>) -> OnDisk {
        match opened.whole {
            // Opening such a file again costs no more than finding it open.
            Some(bytes) => OnDisk::Whole(Object::new(bytes, opened.file.media_type())),
            None => {
                let file = Arc::new(opened.file.with_permit(permit));
                self.keep_open(digest, &file);
                OnDisk::File(file)
            }
        }
    }

    /// What was just opened or written is likely to be read again.
    fn keep_open(&self, digest: &Digest, file: &Arc<BlobFile>) {
        self.open.insert(digest, file);
        if !self.contains(digest) {
            self.open.remove(digest); // purged or evicted in between
        }
    }

    fn cannot_open(&self, digest: &Digest, seq: u64, error: &OpenError) {
        match error {
            OpenError::Gone => {
                tracing::warn!(%digest, "a cache file was removed from outside");
                self.drop_exact(digest, seq);
            }
            OpenError::Damaged => self.drop_damaged(digest, seq),
            OpenError::MustWait => {}
            OpenError::Io(error) => tracing::warn!(%digest, %error, "a cache file cannot be opened"),
        }
    }

    /// A reader found that file damaged: it goes, unless another took its place already.
    pub(super) fn drop_damaged(&self, digest: &Digest, seq: u64) {
        if self.drop_exact(digest, seq) {
            self.metrics.corruptions.inc();
            tracing::warn!(%digest, "a damaged cache file was dropped");
        }
    }

    fn drop_exact(&self, digest: &Digest, seq: u64) -> bool {
        let mut state = self.state.lock();
        let dropped = state.index.remove_exact(digest, seq);
        self.show(&state);
        if dropped {
            // Under the lock, so that it cannot hit a new file that is given this name meanwhile.
            self.unlink(digest);
        }
        dropped
    }

    pub(super) fn remove(&self, digest: &Digest) -> bool {
        let mut state = self.state.lock();
        let removed = state.index.remove(digest);
        self.show(&state);
        if removed {
            self.unlink(digest);
        }
        removed
    }

    /// Sets the cap, returning the old one; lowering it evicts.
    pub(super) fn resize(&self, cap: u64) -> u64 {
        let old = self.cap.swap(cap, Ordering::Relaxed);
        self.shrink();
        old
    }

    pub(super) fn buffers(&self) -> &Arc<Buffers> {
        &self.buffers
    }

    pub(super) fn is_on(&self) -> bool {
        self.cap.load(Ordering::Relaxed) > 0
    }

    fn unlink(&self, digest: &Digest) {
        self.open.remove(digest);
        let guest = self.guest.read_recursive();
        if *guest {
            return; // the name may be the other's new file by now
        }
        match std::fs::remove_file(self.layout.blob(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%digest, %error, "a cache file cannot be removed");
            }
            _ => {}
        }
    }

    /// A write failed: further fills do not try for a while. Logged once per pause.
    fn pause(&self, error: &io::Error) {
        let mut paused = self.paused.lock();
        if paused.is_none_or(|until| until <= Instant::now()) {
            tracing::warn!(%error, pause = ?PAUSE, "the cache disk cannot be written; contents pass through");
        }
        *paused = Some(Instant::now() + PAUSE);
    }

    fn show(&self, state: &Books) {
        self.metrics.disk.bytes.set(i64::try_from(state.index.bytes() + state.taken).unwrap_or(i64::MAX));
        self.metrics.disk.entries.set(i64::try_from(state.index.len()).unwrap_or(i64::MAX));
    }
}
