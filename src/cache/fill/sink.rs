//! Where a fill's bytes go: hash, checksums and file, or memory alone.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::supply::Head;
use super::{Complete, Fill};
use crate::cache::disk::Writer;
use crate::cache::error::FillError;
use crate::cache::memory::{Object, Share};
use crate::cache::shared::Shared;
use crate::oci::Hasher;

/// Up to this size a content is held in memory whole and written to disk after it was served.
pub(in crate::cache) const SMALL: u64 = 1 << 20;
/// Hashing less than this on an async thread is cheaper than changing threads.
const INLINE: usize = 64 << 10;

pub(super) struct Sink {
    hasher: Hasher,
    written: u64,
    place: Destination,
}

enum Destination {
    File(Box<Writer>),
    /// In the fill's window, within a share of the memory for fills.
    Memory(Share),
}

/// A chunk that did not fit.
pub(super) struct NoPlace {
    pub(super) bytes: Bytes,
}

impl Sink {
    /// Chooses the place; `None` when there is none.
    pub(super) async fn begin(shared: &Arc<Shared>, fill: &Fill, head: &Head) -> Option<Sink> {
        let sink = |place| Some(Sink { hasher: Hasher::new(fill.digest.algorithm()), written: 0, place });
        let in_memory = || {
            let size = head.total.unwrap_or(0);
            let takes = shared.memory.takes(size);
            takes.then(|| shared.memory.filling.take(size)).flatten().map(Destination::Memory)
        };
        if head.total.is_some_and(|total| total <= SMALL)
            && let Some(place) = in_memory()
        {
            return sink(place);
        }
        if shared.disk.writable() {
            let (disk, total) = (shared.disk.clone(), head.total);
            let created = tokio::task::spawn_blocking(move || disk.create(total)).await;
            match created.unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok(writer) => {
                    _ = fill.growing.set(writer.growing());
                    return sink(Destination::File(Box::new(writer)));
                }
                Err(error) => tracing::debug!(digest = %fill.digest, %error, "no place on the cache disk"),
            }
        }
        sink(in_memory()?)
    }

    /// Whether absorbing `len` bytes belongs on a thread that may block.
    pub(super) fn blocks(&self, len: usize) -> bool {
        len > INLINE || matches!(self.place, Destination::File(_))
    }

    pub(super) fn in_memory(&self) -> bool {
        matches!(self.place, Destination::Memory(_))
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn into_hasher(self) -> Hasher {
        self.hasher
    }

    /// Keeps and hashes the parts, gathered into one piece, which is returned for the window.
    pub(super) fn absorb(&mut self, parts: Vec<Bytes>, shared: &Shared) -> Result<Bytes, NoPlace> {
        let bytes = gather(parts);
        let end = self.written + bytes.len() as u64;
        let kept = match &mut self.place {
            Destination::File(writer) => writer.write(&bytes).is_ok(),
            Destination::Memory(share) => shared.memory.takes(end) && share.grow(end),
        };
        if !kept {
            return Err(NoPlace { bytes });
        }
        self.hasher.update(&bytes);
        self.written = end;
        Ok(bytes)
    }

    /// All bytes came: proves the digest and makes the content complete. Blocks.
    pub(super) fn finish(self, fill: &Fill) -> Result<Complete, FillError> {
        if self.hasher.finish() != fill.digest {
            return Err(FillError::Mismatched);
        }
        let media_type = fill.head().and_then(|head| head.media_type.as_deref());
        Ok(match self.place {
            Destination::File(writer) => {
                let asked = fill.joined.load(std::sync::atomic::Ordering::Relaxed) > 1;
                Complete::File(writer.commit(&fill.digest, media_type, || fill.keeps(), asked))
            }
            Destination::Memory(_) => {
                let parts: Vec<Bytes> = fill.state.borrow().window.rest(0).into();
                Complete::Memory(Arc::new(Object::new(compact(&parts), media_type)))
            }
        })
    }
}

/// One piece; without a copy when it is one already.
fn gather(mut parts: Vec<Bytes>) -> Bytes {
    match parts.len() {
        1 => parts.pop().unwrap_or_default(),
        _ => compact(&parts),
    }
}

/// A copy in an allocation of its own size.
pub(in crate::cache) fn compact(parts: &[Bytes]) -> Bytes {
    let mut whole = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    parts.iter().for_each(|part| whole.extend_from_slice(part));
    whole.freeze()
}
