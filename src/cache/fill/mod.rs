//! One running download of one digest, shared by any number of readers. Owns what readers may see of it and when; the
//! work is in `task`, the bytes' way in `sink`, the origins in `supply`.
//!
//! Bytes become visible as they come, except the last ones, which wait for the proof of the digest. Memory of a fill: a
//! chunk being gathered, one being hashed and written (and, gathered from several parts, its copy), and a window of the
//! newest bytes: 4 × 256 KiB, and one item of the origin's stream. Small contents, and others while the disk is of no use,
//! are held whole; these share a quarter of the memory tier's size.

mod attended;
pub(super) mod sink;
pub(super) mod supply;
mod table;
mod task;
mod window;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use self::supply::{ByteStream, Head, Origins, Ticket};
use self::window::Window;
use super::disk::{BlobFile, Growing};
use super::error::FillError;
use super::memory::Object;
use super::origin::Origin;
use crate::oci::{Digest, Hasher};

pub(super) use self::attended::Attended;
pub(super) use self::table::{Fills, Joined};

/// The last bytes of a content of known size, kept back until its digest is proven. One write's worth rather than one
/// byte: the client waits for the proof in any case, and a last segment of one byte costs a packet.
const HELD_BACK: u64 = 64 << 10;

/// Bytes that must be there before a reader is told that the content comes. An origin that promises a content and gives
/// none of it, or a byte, is then an error with a status instead of an answer that breaks off.
pub(super) const FIRST_SHOWN: u64 = 4 << 10;

/// How many of the `received` bytes may be shown before the digest is proven: never all of them.
pub(super) fn visible(received: u64, total: Option<u64>) -> u64 {
    match total {
        Some(total) => received.min(total.saturating_sub(HELD_BACK)),
        // Any byte may prove to be the last.
        None => received.saturating_sub(1),
    }
}

pub(super) struct Fill {
    pub(super) digest: Digest,
    pub(super) origins: Arc<Origins>,
    state: watch::Sender<Progress>,
    head: OnceLock<Head>,
    growing: OnceLock<Arc<Growing>>,
    complete: OnceLock<Complete>,
    /// Cleared by a purge or when the file proves bad: readers go on, but nothing is kept.
    keep: AtomicBool,
    joined: AtomicU32,
    /// Those who wait for it or read it: see [`Attended`].
    attending: AtomicUsize,
    /// Told when the last of them has left.
    deserted: Notify,
}

/// What changes while a fill runs.
pub(super) struct Progress {
    /// Bytes that readers may take.
    pub(super) visible: u64,
    pub(super) window: Window,
    pub(super) phase: Phase,
}

#[derive(Clone)]
pub(super) enum Phase {
    /// `Fill::head` says whether the origin answered.
    Running,
    /// Whole and proven: see `Fill::complete`.
    Done,
    /// We have no place for it: each reader goes on alone.
    Abandoned(Arc<Abandoned>),
    Failed(FillError),
}

/// Whole and proven content, wherever it is.
#[derive(Clone)]
pub(super) enum Complete {
    Memory(Arc<Object>),
    File(Arc<BlobFile>),
}

/// Where a fill stopped, and what a reader needs to go on.
pub(super) struct Abandoned {
    pub(super) offset: u64,
    /// Over the bytes `0..offset`.
    pub(super) hasher: Hasher,
    /// The stream that the fill had open, at `offset`: for the first reader that gets there.
    leftover: Mutex<Option<ByteStream>>,
}

impl Abandoned {
    pub(super) fn take_leftover(&self) -> Option<ByteStream> {
        self.leftover.lock().take()
    }
}

impl Fill {
    fn new(digest: Digest) -> Self {
        let state = Progress { visible: 0, window: Window::default(), phase: Phase::Running };
        Fill {
            digest,
            origins: Arc::default(),
            state: watch::Sender::new(state),
            head: OnceLock::new(),
            growing: OnceLock::new(),
            complete: OnceLock::new(),
            keep: AtomicBool::new(true),
            joined: AtomicU32::new(0),
            attending: AtomicUsize::new(0),
            deserted: Notify::new(),
        }
    }

    fn join(&self, origin: Arc<dyn Origin>) -> Ticket {
        self.joined.fetch_add(1, Ordering::Relaxed);
        self.origins.add(origin)
    }

    pub(super) fn head(&self) -> Option<&Head> {
        self.head.get()
    }

    pub(super) fn complete(&self) -> Option<&Complete> {
        self.complete.get()
    }

    pub(super) fn growing(&self) -> Option<&Arc<Growing>> {
        self.growing.get()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Progress> {
        self.state.subscribe()
    }

    /// Nothing of it is to be kept. Its readers go on. False when that was said before.
    pub(super) fn forbid_keeping(&self) -> bool {
        self.keep.swap(false, Ordering::SeqCst)
    }

    fn keeps(&self) -> bool {
        self.keep.load(Ordering::SeqCst)
    }

    /// Waits until it is whole and proven.
    pub(super) async fn wait_for_end(&self) -> Result<Complete, FillError> {
        let mut states = self.subscribe();
        loop {
            let phase = states.borrow_and_update().phase.clone();
            match phase {
                Phase::Running => {}
                Phase::Done => return self.complete().cloned().ok_or(FillError::Mismatched),
                Phase::Abandoned(_) => return Err(FillError::Unavailable("there is no place for the content".into())),
                Phase::Failed(error) => return Err(error),
            }
            _ = states.changed().await; // the sender lives in `self`
        }
    }

    /// Waits until the head and the first bytes are there, or everything, when the content is so small that nothing shows
    /// before the proof.
    /// `Ok(None)`: abandoned before anything was asked.
    pub(super) async fn wait_for_head(&self, ticket: Ticket) -> Result<Option<&Head>, FillError> {
        let mut states = self.subscribe();
        loop {
            let (phase, visible) = {
                let state = states.borrow_and_update();
                (state.phase.clone(), state.visible)
            };
            match (phase, self.head()) {
                (Phase::Failed(error), _) => return Err(self.origins.refusal(ticket).unwrap_or(error)),
                (Phase::Running, Some(head)) if visible >= FIRST_SHOWN => return Ok(Some(head)),
                (Phase::Running, _) => {}
                (Phase::Done | Phase::Abandoned(_), head) => return Ok(head),
            }
            // The sender lives in `self`, so this cannot fail.
            _ = states.changed().await;
        }
    }
}

impl Complete {
    pub(super) fn len(&self) -> u64 {
        match self {
            Complete::Memory(object) => object.bytes.len() as u64,
            Complete::File(file) => file.len(),
        }
    }

    pub(super) fn media_type(&self) -> Option<&str> {
        match self {
            Complete::Memory(object) => object.media_type.as_deref(),
            Complete::File(file) => file.media_type(),
        }
    }
}
