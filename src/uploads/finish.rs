//! The end of an upload to an object store: the digest is proven, and the blob gets its key.

use std::sync::Arc;

use bytes::BytesMut;
use futures::StreamExt;

use super::UploadError;
use super::assemble::{COPIED_WHOLE, Source, plan};
use super::budget::Budget;
use super::inner::{Bounds, Inner};
use super::multipart::{IN_FLIGHT, Multipart, in_order};
use super::parts::{PART, Part, Parts};
use super::pump::Pump;
use super::remote::{Arrived, segments};
use super::segments::Unrecorded;
use super::state::{MOST_PIECES, Piece};
use super::ways::Session;
use crate::oci::{Digest, Hasher};
use crate::storage::driver::Part as Stored;
use crate::storage::{Body, Error, Precondition, io_error};

/// Requests at once when the store copies everything itself.
const COPIES_IN_FLIGHT: usize = 4;

impl Session<'_> {
    /// Takes the last body, verifies and names the blob. The session is over after a mismatch; otherwise it stays, and the
    /// same body again finds the blob in its place.
    pub(super) async fn commit(&self, expected: &Digest, body: &mut dyn Body) -> Result<u64, UploadError> {
        let _turn = self.inner.turn(self.id)?;
        let result = match self.state.offset {
            0 => put(self.inner, expected, body).await,
            _ => self.complete(expected, body).await,
        };
        match &result {
            Ok(_) => self.inner.storage().blob_healed(expected),
            Err(UploadError::Mismatch { .. }) => self.remove_unchanged().await?,
            Err(_) => {}
        }
        result
    }

    /// The bytes were wrong, unless somebody else wrote more of them meanwhile.
    async fn remove_unchanged(&self) -> Result<(), UploadError> {
        match self.inner.state(self.id).await? {
            Some((now, _)) if now.nonce != self.state.nonce => Err(UploadError::Busy),
            _ => Ok(self.inner.remove(self.id).await?),
        }
    }

    async fn complete(&self, expected: &Digest, body: &mut dyn Body) -> Result<u64, UploadError> {
        let bounds = self.inner.bounds();
        // Dropped when this ends: the last body is not part of the session, so that it can be sent again.
        let unrecorded = Unrecorded::new(self.inner, self.id, self.state.began);
        let same = self.state.algorithm() == expected.algorithm();
        let hasher = if same { Some(self.hasher(&bounds).await?) } else { None };
        let arrived = match body.length() {
            Some(0) => Arrived { pieces: Vec::new(), hasher, outcome: Ok(()) },
            _ => segments(Parts::new(body, hasher, &bounds), &unrecorded).await?,
        };
        arrived.outcome?;
        let mut pieces = self.state.pieces.clone();
        pieces.extend(arrived.pieces);
        let found = match arrived.hasher {
            Some(hasher) => hasher.finish(),
            None => self.inner.hash_pieces(self.id, &pieces, expected.algorithm(), &bounds.budget).await?.finish(),
        };
        if found != *expected {
            return Err(UploadError::Mismatch { expected: *expected, found });
        }
        let size = pieces.iter().map(|piece| piece.size).sum();
        let key = self.inner.blob_key(expected);
        // Its only piece may be the blob itself, just written.
        let there = match pieces.as_slice() {
            [piece] if self.inner.piece_key(self.id, piece)? == key => {
                self.inner.store().size(&key).await? == Some(size)
            }
            _ => self.inner.storage().blob_serves(expected, size).await?,
        };
        if !there {
            self.assemble(&pieces, size, key, &bounds).await?;
        }
        Ok(size)
    }

    /// Makes the blob of the pieces. Bytes that the store can copy do not pass through us.
    async fn assemble(&self, pieces: &[Piece], size: u64, key: String, bounds: &Bounds) -> Result<(), UploadError> {
        let (inner, budget) = (self.inner, &bounds.budget);
        if let [piece] = pieces {
            let from = inner.piece_key(self.id, piece)?;
            // A piece under this very key would have been found: somebody deleted it.
            if from == key || inner.store().size(&from).await? != Some(size) {
                return Err(UploadError::Gone);
            }
            // By parts it goes below, with a note for the purge.
            let whole = size <= COPIED_WHOLE || !inner.store().copies_parts();
            if whole && inner.store().abilities().copies {
                return Ok(inner.store().copy(&from, &key).await?);
            }
        }
        if size <= PART {
            let _share = budget.take(size).await?;
            let bytes = inner.read_pieces(self.id, pieces).await?;
            inner.store().put(&key, bytes, Precondition::None).await?;
            return Ok(());
        }
        let sizes: Vec<u64> = pieces.iter().map(|piece| piece.size).collect();
        let sources = plan(&sizes, inner.store().copies_parts());
        if sources.len() > MOST_PIECES {
            return Err(Error::TooLarge(size).into());
        }
        let in_flight = if sources.iter().all(|source| source.memory() == 0) { COPIES_IN_FLIGHT } else { IN_FLIGHT };
        let multipart = Multipart::begin(inner, key).await?;
        let making = sources.into_iter().enumerate().map(|(index, source)| {
            let part = self.part(&multipart, index, source, pieces, budget);
            async move { Ok::<_, UploadError>((index, part.await?)) }
        });
        let parts = in_order(futures::stream::iter(making).buffer_unordered(in_flight)).await?;
        Ok(multipart.complete(parts).await?)
    }

    async fn part(
        &self,
        multipart: &Multipart,
        index: usize,
        source: Source,
        pieces: &[Piece],
        budget: &Budget,
    ) -> Result<Stored, UploadError> {
        let _share = budget.take(source.memory()).await?;
        let key = |piece: usize| match pieces.get(piece) {
            Some(piece) => self.inner.piece_key(self.id, piece),
            None => Err(Error::Failed("an upload has no such piece".to_owned())),
        };
        match source {
            Source::Copy { piece, range } => Ok(multipart.copy(index, &key(piece)?, range).await?),
            Source::Join(ranges) => {
                let mut bytes = BytesMut::new();
                for (piece, range) in ranges {
                    self.inner.read_range(&key(piece)?, range, &mut bytes).await?;
                }
                Ok(multipart.put(index, bytes.freeze()).await?)
            }
        }
    }
}

/// A whole blob of known digest, without a session. Nothing is under its key until it is proven.
pub(super) async fn put(inner: &Arc<Inner>, expected: &Digest, body: &mut dyn Body) -> Result<u64, UploadError> {
    let bounds = inner.bounds();
    let key = inner.blob_key(expected);
    let hasher = Hasher::new(expected.algorithm());
    if let Some(length) = body.length()
        && inner.storage().blob_serves(expected, length).await?
    {
        // It is there: the client has only to prove that it has it too.
        let pump = Pump { target: None, at: 0, hasher: Some(hasher), budget: &bounds.budget, room: None };
        let pumped = pump.run(body).await;
        if let Some(failed) = pumped.failed {
            return Err(io_error(failed.error).into());
        }
        pumped.ended.unwrap_or(Ok(()))?;
        return prove(expected, pumped.hasher).map(|()| pumped.at);
    }
    let mut parts = Parts::new(body, Some(hasher), &bounds).uncut();
    let first = parts.next().await;
    let size = first.as_ref().map_or(0, |part| part.bytes.len() as u64);
    if parts.at_end().await {
        let (hasher, outcome) = parts.finish().await;
        outcome?;
        prove(expected, hasher)?;
        if !inner.storage().blob_serves(expected, size).await? {
            let bytes = first.as_ref().map(|part| part.bytes.clone()).unwrap_or_default();
            inner.store().put(&key, bytes, Precondition::None).await?;
        }
        return Ok(size);
    }
    put_parts(inner, expected, key, first, parts).await
}

async fn put_parts(
    inner: &Arc<Inner>,
    expected: &Digest,
    key: String,
    first: Option<Part>,
    mut parts: Parts<'_>,
) -> Result<u64, UploadError> {
    let multipart = Multipart::begin(inner, key.clone()).await?;
    let first = futures::stream::iter(first.map(|part| (0, part)));
    let sent = multipart.send(first.chain(parts.stream())).await;
    let size = parts.received();
    let proven = async {
        let stored = sent?;
        let (hasher, outcome) = parts.finish().await;
        outcome?;
        prove(expected, hasher)?;
        Ok(stored)
    };
    match proven.await {
        Err(error) => {
            multipart.abort().await;
            Err(error)
        }
        Ok(_) if inner.storage().blob_serves(expected, size).await? => {
            multipart.abort().await;
            Ok(size)
        }
        Ok(stored) => {
            multipart.complete(stored).await?;
            Ok(size)
        }
    }
}

fn prove(expected: &Digest, hasher: Option<Hasher>) -> Result<(), UploadError> {
    let hasher = hasher.ok_or_else(|| Error::Failed("a thread that hashed has died".to_owned()))?;
    match hasher.finish() {
        found if found == *expected => Ok(()),
        found => Err(UploadError::Mismatch { expected: *expected, found }),
    }
}
