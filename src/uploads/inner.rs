//! What all uploads of one storage share.

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::budget::Budget;
use super::clock::Clock;
use super::local::OnDisk;
use super::remote::AsObjects;
use super::spool::Spool;
use super::state::{LIMIT, Piece, PieceAt, UploadState};
use super::ways::Way;
use super::{Limits, UploadError, UploadId, keys};
use crate::oci::{Digest, RepositoryName};
use crate::storage::{Error, Precondition, Storage, Store, Version, blocking, io_error, layout};

pub(super) struct Inner {
    storage: Arc<Storage>,
    pub(super) clock: Clock,
    bounds: ArcSwap<Bounds>,
    way: Box<dyn Way>,
    /// Sessions that a request of this process writes to. Other instances are kept out by conditional writes of the state,
    /// and on a filesystem everybody is by a lock.
    writing: Mutex<HashSet<UploadId>>,
}

/// Replaced on reload, but for the budget: there is one, whose size changes, since what runs counts too.
pub(super) struct Bounds {
    pub(super) budget: Arc<Budget>,
    /// What the budget was made or resized for.
    memory: u64,
    pub(super) spool: Spool,
}

/// The right to write to a session, in this process.
pub(super) struct Turn<'a> {
    inner: &'a Inner,
    id: UploadId,
}

/// What bodies may take of the memory that was promised: the allocator keeps about half as much again of parts that come
/// and go (measured: 32 pushes of 100 MiB at once).
fn for_bodies(promised: u64) -> u64 {
    promised / 3 * 2
}

impl Inner {
    pub(super) async fn new(storage: &Arc<Storage>, limits: Limits) -> Result<Self, Error> {
        let (disk, memory) = (storage.store().files().cloned(), for_bodies(limits.memory));
        let way: Box<dyn Way> = match &disk {
            Some(disk) => Box::new(OnDisk(disk.clone())),
            None => Box::new(AsObjects),
        };
        let opened = blocking(move || -> Result<_, Error> {
            match disk.map_or(Ok(()), |disk| disk.make_folder(keys::UPLOADS, true)).map_err(io_error) {
                // Reads may go on; whoever pushes is told.
                Err(Error::Refused(why)) => tracing::error!(why, "no uploads can be kept in storage"),
                outcome => outcome?,
            }
            let spool = Spool::new(limits.spool, limits.spool_size, Arc::default());
            spool.sweep();
            Ok(spool)
        });
        let spool = opened.await?;
        let bounds = ArcSwap::from_pointee(Bounds { budget: Arc::new(Budget::new(memory)), memory, spool });
        Ok(Inner { storage: storage.clone(), clock: Clock::start(), bounds, way, writing: Mutex::default() })
    }

    pub(super) fn reconfigure(&self, limits: Limits) {
        let (old, memory) = (self.bounds.load(), for_bodies(limits.memory));
        old.budget.resize(old.memory, memory);
        let spool = Spool::new(limits.spool, limits.spool_size, old.spool.used());
        self.bounds.store(Arc::new(Bounds { budget: old.budget.clone(), memory, spool }));
    }

    pub(super) fn bounds(&self) -> Arc<Bounds> {
        self.bounds.load_full()
    }

    pub(super) fn store(&self) -> &Store {
        self.storage.store()
    }

    pub(super) fn storage(&self) -> &Storage {
        &self.storage
    }

    pub(super) fn way(&self) -> &dyn Way {
        &*self.way
    }

    pub(super) fn blob_key(&self, digest: &Digest) -> String {
        layout::blob(digest)
    }

    pub(super) fn piece_key(&self, id: &UploadId, piece: &Piece) -> Result<String, Error> {
        match &piece.at {
            PieceAt::Segment(name) => Ok(keys::segment(id, name)),
            PieceAt::Blob(digest) => {
                let digest =
                    digest.parse().map_err(|_| Error::Damaged("a piece of an upload is nowhere".to_owned()))?;
                Ok(self.blob_key(&digest))
            }
        }
    }

    pub(super) fn turn(&self, id: &UploadId) -> Result<Turn<'_>, UploadError> {
        match self.writing.lock().insert(id.clone()) {
            true => Ok(Turn { inner: self, id: id.clone() }),
            false => Err(UploadError::Busy),
        }
    }

    /// Whether a request of this process writes to it, on an object store.
    pub(super) fn is_writing(&self, id: &UploadId) -> bool {
        self.writing.lock().contains(id)
    }

    /// A session of this repository. The version is empty on a filesystem.
    pub(super) async fn find(
        &self,
        name: &RepositoryName,
        id: &UploadId,
    ) -> Result<Option<(UploadState, Version)>, Error> {
        let found = self.way.state(self, id).await.map_err(|error| self.failed(error))?;
        Ok(found.filter(|(state, _)| state.repository == name.as_str()))
    }

    /// In an object store.
    pub(super) async fn state(&self, id: &UploadId) -> Result<Option<(UploadState, Version)>, Error> {
        let Some((bytes, version)) = self.store().get(&keys::state(id), LIMIT).await? else { return Ok(None) };
        Ok(Some((UploadState::decode(&bytes)?, version)))
    }

    /// Replaces a session's state in an object store, if nobody else did. `Busy` and `Gone` are certain; after any other
    /// error it may have been replaced or not.
    pub(super) async fn replace_state(
        &self,
        id: &UploadId,
        old: &UploadState,
        version: &Version,
        new: &UploadState,
    ) -> Result<Version, UploadError> {
        let unchanged = Precondition::Unchanged(version.clone());
        match self.store().put(&keys::state(id), new.encode()?.into(), unchanged).await {
            Ok(version) => Ok(version),
            // It may have been our own first attempt, whose answer was lost.
            Err(Error::Conflict) => match self.state(id).await? {
                None => Err(UploadError::Gone),
                Some((now, version)) if now.nonce == new.nonce => Ok(version),
                Some((now, _)) if now.nonce == old.nonce => {
                    Err(Error::Unavailable("the state of an upload cannot be replaced".to_owned()).into())
                }
                Some(_) => Err(UploadError::Busy),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a session with all its files.
    pub(super) async fn remove(&self, id: &UploadId) -> Result<(), Error> {
        self.way.remove(self, id).await.map_err(|error| self.failed(error))
    }

    /// Counts what went wrong on a disk; what goes wrong in an object store is counted there.
    pub(super) fn failed(&self, error: Error) -> Error {
        self.way.failed(self, error)
    }

    /// As [`Self::failed`].
    pub(super) fn count<T>(&self, outcome: Result<T, UploadError>) -> Result<T, UploadError> {
        match outcome {
            Err(UploadError::Storage(error)) => Err(self.failed(error).into()),
            other => other,
        }
    }

    /// The blob is in its place: what cannot be removed now, a purge removes.
    pub(super) async fn remove_finished(&self, id: &UploadId) {
        if let Err(error) = self.remove(id).await {
            tracing::warn!(%error, upload = %id, "the remains of an upload stay until the next purge");
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.inner.writing.lock().remove(&self.id);
    }
}
