//! Uploads to an object store: what arrives is spooled and put once under its digest; else it becomes segments.

use std::sync::Arc;

use async_trait::async_trait;

use super::batch::Target;
use super::budget::Budget;
use super::inner::{Bounds, Inner};
use super::multipart::{Multipart, read};
use super::parts::{PART, Parts};
use super::pump::{Pump, Pumped};
use super::segments::Unrecorded;
use super::spool::SpoolFile;
use super::state::{MOST_PIECES, Piece, PieceAt, UploadState};
use super::ways::{Appended, Session, Way};
use super::{Ages, UploadError, UploadId, finish, keys};
use crate::oci::{Digest, Hasher};
use crate::storage::{Body, Error, Precondition, Version, io_error};

/// Uploads are kept as objects.
pub(super) struct AsObjects;

#[async_trait]
impl Way for AsObjects {
    fn failed(&self, _inner: &Inner, error: Error) -> Error {
        error
    }

    async fn create(&self, inner: &Inner, id: &UploadId, state: &UploadState) -> Result<Version, Error> {
        inner.store().put(&keys::state(id), state.encode()?.into(), Precondition::None).await
    }

    async fn state(&self, inner: &Inner, id: &UploadId) -> Result<Option<(UploadState, Version)>, Error> {
        inner.state(id).await
    }

    async fn append(&self, session: Session<'_>, body: &mut dyn Body) -> Result<Appended, UploadError> {
        session.append(body).await
    }

    async fn commit(&self, session: Session<'_>, digest: &Digest, body: &mut dyn Body) -> Result<u64, UploadError> {
        session.commit(digest, body).await
    }

    async fn put(&self, inner: &Arc<Inner>, digest: &Digest, body: &mut dyn Body) -> Result<u64, UploadError> {
        let size = finish::put(inner, digest, body).await?;
        inner.storage().blob_healed(digest);
        Ok(size)
    }

    async fn remove(&self, inner: &Inner, id: &UploadId) -> Result<(), Error> {
        inner.store().delete(&keys::state(id)).await?;
        inner.store().delete_all(&keys::folder(id)).await
    }

    async fn purge(&self, inner: &Inner, id: &UploadId, ages: Ages) -> Result<bool, Error> {
        inner.purge_objects(id, ages).await
    }
}

/// What a body became.
pub(super) struct Arrived {
    pub(super) pieces: Vec<Piece>,
    pub(super) hasher: Option<Hasher>,
    /// Why it ended early.
    pub(super) outcome: Result<(), UploadError>,
}

impl Session<'_> {
    /// Takes the body; returns the state that is durable then, and why the body ended early, if it did.
    async fn append(&self, body: &mut dyn Body) -> Result<Appended, UploadError> {
        let _turn = self.inner.turn(self.id)?;
        let bounds = self.inner.bounds();
        let hasher = self.hasher(&bounds).await?;
        let unrecorded = Unrecorded::new(self.inner, self.id, self.state.began);
        let spooled = match self.state.offset {
            0 => bounds.spool_file(body.length()).await,
            _ => None,
        };
        let arrived = match spooled {
            Some(file) => self.spooled(file, body, hasher, &bounds, &unrecorded).await?,
            None => segments(Parts::new(body, Some(hasher), &bounds), &unrecorded).await?,
        };
        if arrived.pieces.is_empty() {
            return Ok((self.state.clone(), self.version.clone(), arrived.outcome));
        }
        let (state, version) = self.record(arrived.pieces, arrived.hasher, &bounds.budget, unrecorded).await?;
        Ok((state, version, arrived.outcome))
    }

    /// Of what has been received.
    pub(super) async fn hasher(&self, bounds: &Bounds) -> Result<Hasher, UploadError> {
        match self.state.hasher() {
            Some(hasher) => Ok(hasher),
            None => {
                let algorithm = self.state.algorithm();
                self.inner.hash_pieces(self.id, &self.state.pieces, algorithm, &bounds.budget).await
            }
        }
    }

    /// A first body, by way of the local disk. When that is full or broken, what it holds becomes segments, and so does the
    /// rest.
    async fn spooled(
        &self,
        mut spool: SpoolFile,
        body: &mut dyn Body,
        hasher: Hasher,
        bounds: &Arc<Bounds>,
        unrecorded: &Unrecorded,
    ) -> Result<Arrived, UploadError> {
        let (target, room) = (Some(Target::Spool(spool.file.clone())), Some(&mut spool.room));
        let budget = &bounds.budget;
        let pump = Pump { target, at: 0, hasher: Some(hasher), budget, room };
        let Pumped { at, hasher, ended, pending, failed } = pump.run(body).await;
        if let (None, None) = (&pending, &failed) {
            return self.spooled_whole(&spool, at, hasher, ended.unwrap_or(Ok(())), budget).await;
        }
        let unwritten = match failed {
            Some(failed) => {
                tracing::warn!(error = %failed.error, "the spool cannot be written: an upload goes on without it");
                failed.unwritten.ok_or_else(|| io_error(failed.error))?
            }
            None => Default::default(),
        };
        // First what holds memory already, and needs no more of it.
        let last = unrecorded.put_batch(unwritten).await?;
        let mut pieces = unrecorded.put_file(&spool.file, at, budget).await?;
        pieces.extend(last);
        drop(spool);
        let rest = segments(Parts::new(body, hasher, bounds).resumed(pending, ended), unrecorded).await?;
        pieces.extend(rest.pieces);
        Ok(Arrived { pieces, ..rest })
    }

    /// Everything is in the spool: most likely this is the blob. What broke off is dropped.
    async fn spooled_whole(
        &self,
        spool: &SpoolFile,
        size: u64,
        hasher: Option<Hasher>,
        outcome: Result<(), UploadError>,
        budget: &Budget,
    ) -> Result<Arrived, UploadError> {
        if outcome.is_err() || size == 0 {
            return Ok(Arrived { pieces: Vec::new(), hasher, outcome });
        }
        let hasher = hasher.ok_or_else(|| Error::Failed("a thread that hashed has died".to_owned()))?;
        let digest = hasher.clone().finish();
        put_file(self.inner, &digest, spool, size, budget).await?;
        self.inner.storage().blob_healed(&digest);
        let pieces = vec![Piece { at: PieceAt::Blob(digest.text()), size }];
        Ok(Arrived { pieces, hasher: Some(hasher), outcome })
    }

    /// Makes new pieces part of the session, unless somebody else wrote to it meanwhile.
    async fn record(
        &self,
        arrived: Vec<Piece>,
        hasher: Option<Hasher>,
        budget: &Budget,
        unrecorded: Unrecorded,
    ) -> Result<(UploadState, Version), UploadError> {
        let mut pieces = self.state.pieces.clone();
        pieces.extend(arrived);
        let replaced = unrecorded.join_small(&mut pieces, budget).await?;
        let offset = pieces.iter().map(|piece| piece.size).sum();
        if pieces.len() > MOST_PIECES {
            return Err(Error::TooLarge(self.state.offset).into());
        }
        let state = self.state.advanced(offset, hasher.as_ref(), pieces);
        let keys = unrecorded.into_keys();
        let result = self.inner.replace_state(self.id, self.state, self.version, &state).await;
        match &result {
            Ok(_) => self.inner.delete_pieces(self.id, &replaced).await,
            // Certainly not recorded. (What was joined is in `keys` too; after another error, all of it stays.)
            Err(UploadError::Busy | UploadError::Gone) => self.inner.delete_keys(&keys).await,
            Err(_) => {}
        }
        result.map(|version| (state, version))
    }
}

/// A body as segments. What was complete when it broke off is kept.
pub(super) async fn segments(mut parts: Parts<'_>, unrecorded: &Unrecorded) -> Result<Arrived, UploadError> {
    let pieces = unrecorded.put_parts(parts.stream()).await?;
    let (hasher, outcome) = parts.finish().await;
    Ok(Arrived { pieces, hasher, outcome })
}

/// A spooled blob under its true digest.
async fn put_file(
    inner: &Arc<Inner>,
    digest: &Digest,
    spool: &SpoolFile,
    size: u64,
    budget: &Budget,
) -> Result<(), Error> {
    let key = inner.blob_key(digest);
    if inner.storage().blob_serves(digest, size).await? {
        return Ok(());
    }
    if size <= PART {
        let _share = budget.take(size).await?;
        let bytes = read(&spool.file, 0, size).await?;
        inner.store().put(&key, bytes, Precondition::None).await?;
        return Ok(());
    }
    let multipart = Multipart::begin(inner, key).await?;
    let parts = multipart.send_file(&spool.file, size, budget).await?;
    multipart.complete(parts).await
}
