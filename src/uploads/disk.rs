//! What an upload does on a filesystem: folders, locks, names, and syncs of all of them. Every call may block.

use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use super::UploadError;
use super::keys;
use super::rehash::hash_file;
use super::state::{LIMIT, UploadState};
use crate::oci::{Algorithm, Digest, Hasher};
use crate::storage::disk::{Disk, Output};
use crate::storage::{Error, blocking, io_error};

/// Others may give the file another name between our opening and our locking it: so often it is opened again.
const ATTEMPTS: usize = 3;

/// One session's folder.
#[derive(Clone)]
pub(super) struct Folder {
    pub(super) disk: Arc<Disk>,
    /// Key of the folder.
    pub(super) path: String,
}

impl Folder {
    /// Not durable: a session that holds no bytes is worth no sync. A process that dies loses nothing.
    pub(super) fn create(&self) -> Result<(), Error> {
        self.disk.make_folder(&self.path, false).map_err(io_error)
    }

    fn key(&self, file: &str) -> String {
        format!("{}/{file}", self.path)
    }

    /// `None` if there is none.
    pub(super) fn state(&self) -> Result<Option<UploadState>, Error> {
        match self.disk.read(&self.key(keys::STATE), LIMIT).map_err(io_error)? {
            Some(Ok(bytes)) => UploadState::decode(&bytes).map(Some),
            Some(Err(_)) => Err(Error::Damaged("an upload's state is too large".to_owned())),
            None => Ok(None),
        }
    }

    /// Replaces the state, or writes the first. `durable`: with the folder's own name. `Gone` if the folder was removed
    /// meanwhile.
    pub(super) fn put_state(&self, state: &UploadState, durable: bool) -> Result<(), UploadError> {
        let bytes = state.encode()?;
        self.disk.write_beside(&self.key(keys::STATE), &bytes, durable).map_err(gone_or_failed)
    }

    /// The session's bytes, for one writer: another one gets `Busy`. The lock lives as long as the file is open, so a crash
    /// leaves none. The file is made if it is not there.
    pub(super) fn lock(&self) -> Result<Output, UploadError> {
        let key = self.key(keys::DATA);
        for _ in 0..ATTEMPTS {
            let file = self.disk.grow(&key).map_err(gone_or_failed)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(UploadError::Busy),
                Err(error) => return Err(io_error(error.into()).into()),
            }
            // Whoever had the lock until now may have made a blob of the file: then it is nobody's to write to.
            if self.disk.is_at(&file, &key).map_err(io_error)? {
                return Ok(Output::new(file, &self.disk, key));
            }
        }
        Err(UploadError::Busy)
    }

    /// Makes the bytes, which are proven, the content of a blob, durably; also if there is one: it may be damaged, or not
    /// be durable yet.
    pub(super) fn install(&self, file: &File, blob: &str) -> Result<(), UploadError> {
        // Not there any more: cancelled meanwhile.
        self.disk.install(file, &self.key(keys::DATA), blob).map_err(gone_or_failed)
    }

    /// Makes sure that a blob of this size stays where it is; `Gone` if there is none.
    pub(super) fn settle(&self, blob: &str, size: u64) -> Result<(), UploadError> {
        match self.disk.size(blob).map_err(io_error)? {
            Some(there) if there == size => self.disk.settle(blob).map_err(gone_or_failed),
            _ => Err(UploadError::Gone),
        }
    }

    /// The digest of a blob of this size; `Gone` if there is none.
    pub(super) fn hash_blob(&self, blob: &str, size: u64, algorithm: Algorithm) -> Result<Digest, UploadError> {
        match self.disk.file(blob).map_err(io_error)? {
            Some((file, there)) if there == size => Ok(hash_file(&file, size, Hasher::new(algorithm))?.finish()),
            _ => Err(UploadError::Gone),
        }
    }

    /// False when it was gone already.
    pub(super) fn remove(&self) -> Result<bool, Error> {
        // The state first: without it, nobody goes on with a half-removed folder.
        self.disk.discard(&self.path, keys::STATE).map_err(io_error)
    }

    /// Removes what was never finished, when dropped.
    pub(super) fn scrap(self) -> Scrap {
        Scrap { folder: Some(self) }
    }
}

/// A folder that goes away, also when its user is dropped.
pub(super) struct Scrap {
    folder: Option<Folder>,
}

impl Scrap {
    pub(super) async fn remove(mut self) {
        if let Some(folder) = self.folder.take() {
            _ = blocking(move || folder.remove()).await; // at worst a purge does it
        }
    }
}

impl Drop for Scrap {
    fn drop(&mut self) {
        let Some(folder) = self.folder.take() else { return };
        let remove = move || _ = folder.remove(); // see above
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

fn gone_or_failed(error: io::Error) -> UploadError {
    if error.kind() == io::ErrorKind::NotFound { UploadError::Gone } else { io_error(error).into() }
}
