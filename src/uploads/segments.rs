//! Bytes of a session in objects of its own, on an object store.

use std::fs::File;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use parking_lot::Mutex;

use super::batch::Batch;
use super::budget::Budget;
use super::inner::Inner;
use super::multipart::{IN_FLIGHT, cut, in_order, read};
use super::parts::{LARGE_PART, Part};
use super::state::{MOST_PIECES, Piece, PieceAt};
use super::{UploadError, UploadId, keys};
use crate::storage::{Error, Precondition};

/// The least size of a part that S3 copies.
pub(super) const SMALL: u64 = 5 << 20;
/// Runs of so many small segments are joined to one, so that many small requests do not make too many pieces.
const RUN: usize = 16;

/// Segments that no state knows yet: deleted when dropped.
pub(super) struct Unrecorded {
    inner: Arc<Inner>,
    id: UploadId,
    began: u64,
    keys: Mutex<Vec<String>>,
}

impl Unrecorded {
    pub(super) fn new(inner: &Arc<Inner>, id: &UploadId, began: u64) -> Self {
        Unrecorded { inner: inner.clone(), id: id.clone(), began, keys: Mutex::default() }
    }

    /// A state may know them from now on: they are the caller's.
    pub(super) fn into_keys(self) -> Vec<String> {
        std::mem::take(&mut *self.keys.lock())
    }

    async fn put(&self, bytes: Bytes) -> Result<Piece, Error> {
        let name = keys::segment_name(self.began);
        let key = keys::segment(&self.id, &name);
        self.keys.lock().push(key.clone()); // before it is sent: a request that was given up may still arrive
        let size = bytes.len() as u64;
        self.inner.store().put(&key, bytes, Precondition::None).await?;
        Ok(Piece { at: PieceAt::Segment(name), size })
    }

    /// One segment of what has its share of memory already.
    pub(super) async fn put_batch(&self, batch: Batch) -> Result<Option<Piece>, Error> {
        if batch.is_empty() {
            return Ok(None);
        }
        let (bytes, shares) = batch.into_bytes();
        let piece = self.put(bytes).await?;
        drop(shares);
        Ok(Some(piece))
    }

    /// Segments of a file's first `size` bytes.
    pub(super) async fn put_file(&self, file: &Arc<File>, size: u64, budget: &Budget) -> Result<Vec<Piece>, Error> {
        let putting = cut(0, size).enumerate().map(|(index, (at, length))| async move {
            let _share = budget.take(length).await?;
            Ok((index, self.put(read(file, at, length).await?).await?))
        });
        in_order(futures::stream::iter(putting).buffer_unordered(IN_FLIGHT)).await
    }

    pub(super) async fn put_parts(&self, parts: impl Stream<Item = (usize, Part)>) -> Result<Vec<Piece>, Error> {
        let putting = parts.map(|(index, part)| async move {
            if index >= MOST_PIECES {
                return Err(Error::TooLarge(index as u64 * LARGE_PART));
            }
            let piece = self.put(part.bytes.clone()).await?;
            drop(part);
            Ok((index, piece))
        });
        in_order(putting.buffer_unordered(IN_FLIGHT)).await
    }

    /// Joins the last pieces to one when many small ones have come together; returns those that it replaced.
    pub(super) async fn join_small(&self, pieces: &mut Vec<Piece>, budget: &Budget) -> Result<Vec<Piece>, UploadError> {
        let small = |piece: &&Piece| piece.size < SMALL && matches!(piece.at, PieceAt::Segment(_));
        let run = pieces.iter().rev().take_while(small).count();
        if run < RUN {
            return Ok(Vec::new());
        }
        let mut size = 0;
        let fit = pieces.iter().rev().take(run).take_while(|piece| {
            size += piece.size;
            size <= LARGE_PART
        });
        let replaced = pieces.split_off(pieces.len() - fit.count());
        let size: u64 = replaced.iter().map(|piece| piece.size).sum();
        let _share = budget.take(size).await?;
        let bytes = self.inner.read_pieces(&self.id, &replaced).await?;
        pieces.push(self.put(bytes).await?);
        Ok(replaced)
    }
}

impl Drop for Unrecorded {
    fn drop(&mut self) {
        let keys = std::mem::take(self.keys.get_mut());
        if let (Ok(runtime), false) = (tokio::runtime::Handle::try_current(), keys.is_empty()) {
            let inner = self.inner.clone();
            runtime.spawn(async move { inner.delete_keys(&keys).await });
        }
    }
}

impl Inner {
    /// Small pieces, joined; who calls has the share of memory.
    pub(super) async fn read_pieces(&self, id: &UploadId, pieces: &[Piece]) -> Result<Bytes, UploadError> {
        let size: u64 = pieces.iter().map(|piece| piece.size).sum();
        let mut whole = BytesMut::with_capacity(usize::try_from(size).unwrap_or_default());
        for piece in pieces {
            self.read_range(&self.piece_key(id, piece)?, 0..piece.size, &mut whole).await?;
        }
        Ok(whole.freeze())
    }

    /// Appends bytes of an object. One that is not there: `Gone`.
    pub(super) async fn read_range(
        &self,
        key: &str,
        range: std::ops::Range<u64>,
        into: &mut BytesMut,
    ) -> Result<(), UploadError> {
        let wanted = range.end - range.start;
        let opened = self.store().open(key, range.start, Some(range.end)).await?;
        let (_, mut body) = opened.ok_or(UploadError::Gone)?;
        let mut left = wanted;
        while let Some(bytes) = body.next().await {
            let bytes = bytes?;
            left = left.checked_sub(bytes.len() as u64).ok_or_else(other_size)?;
            into.extend_from_slice(&bytes);
        }
        if left > 0 { Err(other_size().into()) } else { Ok(()) }
    }

    /// At worst a purge does it.
    pub(super) async fn delete_keys(&self, keys: &[String]) {
        for key in keys {
            if let Err(error) = self.store().delete(key).await {
                tracing::debug!(%error, key, "a segment stays until its upload ends");
            }
        }
    }

    pub(super) async fn delete_pieces(&self, id: &UploadId, pieces: &[Piece]) {
        let segment = |piece: &Piece| match &piece.at {
            PieceAt::Segment(name) => Some(keys::segment(id, name)),
            PieceAt::Blob(_) => None,
        };
        self.delete_keys(&pieces.iter().filter_map(segment).collect::<Vec<_>>()).await;
    }
}

fn other_size() -> Error {
    Error::Damaged("a piece of an upload has another size".to_owned())
}
