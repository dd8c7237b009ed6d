//! A multipart upload to an object store, with a note in storage of its id: whatever happens, a purge can abort it.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::clock::to_millis;
use super::inner::Inner;
use super::keys;
use super::parts::{LARGE_PART, PART, Part};
use super::state::MOST_PIECES;
use crate::storage::driver::{Part as Stored, PartOf, WholeOf};
use crate::storage::format::{self, Format};
use crate::storage::{Error, Precondition, blocking, io_error};

/// Parts that one upload sends at once.
pub(super) const IN_FLIGHT: usize = 3;

/// What is noted of one that is under way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    /// Milliseconds since 1970.
    pub(super) began: u64,
    pub(super) key: String,
    pub(super) id: String,
}

impl Format for Note {
    const WHAT: &'static str = "the note of a multipart upload";
    const VERSION: u32 = 1;
}

/// Aborted when dropped, unless it was completed.
pub(super) struct Multipart {
    inner: Arc<Inner>,
    key: String,
    id: String,
    note: String,
    /// Bytes of its parts.
    size: AtomicU64,
    over: bool,
}

impl Multipart {
    pub(super) async fn begin(inner: &Arc<Inner>, key: String) -> Result<Self, Error> {
        let id = inner.store().multipart_begin(&key).await?;
        let note = keys::multipart(&uuid::Uuid::new_v4());
        let multipart = Multipart { inner: inner.clone(), key, id, note, size: AtomicU64::new(0), over: false };
        let began = to_millis(inner.clock.begin());
        let note = Note { began, key: multipart.key.clone(), id: multipart.id.clone() };
        inner.store().put(&multipart.note, format::write(&note)?.into(), Precondition::None).await?;
        Ok(multipart)
    }

    pub(super) async fn put(&self, index: usize, bytes: Bytes) -> Result<Stored, Error> {
        self.size.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.inner.store().multipart_put(self.part(index), bytes).await
    }

    pub(super) async fn copy(&self, index: usize, from: &str, range: std::ops::Range<u64>) -> Result<Stored, Error> {
        self.size.fetch_add(range.end.saturating_sub(range.start), Ordering::Relaxed);
        self.inner.store().multipart_copy(self.part(index), from, range).await
    }

    fn part(&self, index: usize) -> PartOf<'_> {
        PartOf { key: &self.key, id: &self.id, index }
    }

    /// Sends parts as they come, [`IN_FLIGHT`] at once.
    pub(super) async fn send(&self, parts: impl Stream<Item = (usize, Part)>) -> Result<Vec<Stored>, Error> {
        let sending = parts.map(|(index, part)| async move {
            if index >= MOST_PIECES {
                return Err(Error::TooLarge(index as u64 * LARGE_PART));
            }
            let stored = self.put(index, part.bytes.clone()).await?;
            drop(part);
            Ok((index, stored))
        });
        in_order(sending.buffer_unordered(IN_FLIGHT)).await
    }

    /// Sends a file's first `size` bytes.
    pub(super) async fn send_file(&self, file: &Arc<File>, size: u64, budget: &Budget) -> Result<Vec<Stored>, Error> {
        let sending = cut(0, size).enumerate().map(|(index, (at, length))| async move {
            let _share = budget.take(length).await?;
            Ok((index, self.put(index, read(file, at, length).await?).await?))
        });
        in_order(futures::stream::iter(sending).buffer_unordered(IN_FLIGHT)).await
    }

    /// The object is there, whole, when this returns.
    pub(super) async fn complete(mut self, parts: Vec<Stored>) -> Result<(), Error> {
        let size = self.size.load(Ordering::Relaxed);
        self.inner.store().multipart_complete(WholeOf { key: &self.key, id: &self.id, parts, size }).await?;
        self.over = true;
        _ = self.inner.store().delete(&self.note).await; // at worst a purge does it
        Ok(())
    }

    pub(super) async fn abort(mut self) {
        self.over = true;
        end(&self.inner, &self.key, &self.id, &self.note).await;
    }
}

impl Drop for Multipart {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.over {
            let inner = self.inner.clone();
            let (key, id, note) = (self.key.clone(), self.id.clone(), self.note.clone());
            runtime.spawn(async move { end(&inner, &key, &id, &note).await });
        }
    }
}

/// The note stays until the store has no parts any more.
async fn end(inner: &Inner, key: &str, id: &str, note: &str) {
    match inner.store().multipart_abort(key, id).await {
        Ok(()) => _ = inner.store().delete(note).await, // at worst a purge does it
        Err(error) => tracing::warn!(%error, "a multipart upload stays until the next purge"),
    }
}

/// Cuts a range into parts, as (offset, length).
pub(super) fn cut(from: u64, to: u64) -> impl Iterator<Item = (u64, u64)> {
    let size = (to - from).div_ceil(MOST_PIECES as u64).clamp(PART, LARGE_PART);
    let mut at = from;
    std::iter::from_fn(move || {
        let length = size.min(to - at);
        at += length;
        (length > 0).then_some((at - length, length))
    })
}

/// A part of a file.
pub(super) async fn read(file: &Arc<File>, at: u64, length: u64) -> Result<Bytes, Error> {
    let file = file.clone();
    blocking(move || {
        let length = usize::try_from(length).map_err(|error| Error::Failed(error.to_string()))?;
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let position = at + bytes.len() as u64;
            let read = rustix::io::pread(&file, rustix::buffer::spare_capacity(&mut bytes), position)
                .map_err(|error| io_error(error.into()))?;
            if read == 0 {
                return Err(Error::Damaged("a spooled upload is short".to_owned()));
            }
        }
        bytes.truncate(length); // the allocator may have given more than was asked for
        Ok(Bytes::from(bytes))
    })
    .await
}

/// What was stored, by index.
pub(super) async fn in_order<T, E>(stored: impl Stream<Item = Result<(usize, T), E>>) -> Result<Vec<T>, E> {
    let mut stored: Vec<(usize, T)> = stored.try_collect().await?;
    stored.sort_unstable_by_key(|(index, _)| *index);
    Ok(stored.into_iter().map(|(_, part)| part).collect())
}
