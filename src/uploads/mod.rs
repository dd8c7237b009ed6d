//! Pushes of blobs under way: bytes and state are in storage, so that any instance can go on with them.
//!
//! - `upload`: one session; `state`: what is kept of it; `keys`: where
//! - `ways`: the two ways of keeping them
//! - on a filesystem (`local`, `disk`), a file of our own grows, and gets the blob's name at the end
//! - on an object store (`remote`, `segments`), a first body goes by way of the `spool` straight under its digest; other
//!   bodies become segments, which the store joins at the end (`finish`, `assemble`, `multipart`)
//! - `pump` and `parts` receive: bytes are hashed while they are written, within the `budget`; a slow client's part waits
//!   on local disk (`gather`)
//! - `purge` ends what nobody went on with; `tally` counts what is held; `open` tells what is under way
//!
//! Two writers of one session cannot harm each other. On a filesystem its file is locked. On an object store each writes
//! objects of its own, and the state is replaced only if it is still the one that was read.
//!
//! A blob of an upload whose length is not announced can have 148 GiB on an object store; one that comes in requests of few
//! bytes, 10,000 pieces of 5 MiB at least. The worst mixture of small and large requests ends at about 3 GiB: small ones are
//! joined only once 16 of them have come in a row.

#![allow(clippy::result_large_err)] // an error with two digests, by value: it is rare

mod assemble;
mod batch;
mod budget;
mod clock;
mod disk;
mod error;
mod finish;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gather;
mod inner;
mod keys;
mod line;
mod local;
mod multipart;
mod open;
mod others;
mod parts;
mod pump;
mod purge;
mod rehash;
mod remote;
mod segments;
mod spool;
mod state;
mod tally;
mod upload;
mod ways;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::storage::{Body, Error, Storage};
use inner::Inner;
use state::UploadState;

pub use error::UploadError;
pub use open::OpenUpload;
pub use others::OtherUpload;
pub use upload::Upload;

/// All uploads of one storage.
pub struct Uploads {
    inner: Arc<Inner>,
}

/// Bounds of this process.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Memory of all uploads together, in bytes: they wait for their share. At least 32 MiB.
    pub memory: u64,
    /// Folder on local disk for bytes on their way to an object store, and how many bytes it may hold (0: none).
    pub spool: std::path::PathBuf,
    pub spool_size: u64,
}

/// When an upload is too old: which comes first.
#[derive(Clone, Copy, Debug)]
pub struct Ages {
    /// Since it was begun. All that is known of distribution's.
    pub begun: Duration,
    /// Since bytes came for it last.
    pub idle: Duration,
    /// Such uploads are only counted: nothing is removed.
    pub dry: bool,
}

/// Uploads whose bytes are counted, so that whoever begins many makes counting no longer: 100,000 questions are minutes.
pub const MOST_TALLIED: usize = 100_000;
/// Bytes in a repository that are worth counting.
pub const LEAST_TALLIED: u64 = 1 << 20;

/// A random UUID, in distribution's form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UploadId(uuid::Uuid);

impl Uploads {
    /// Sweeps what a crash left of this process's spool.
    pub async fn open(storage: &Arc<Storage>, limits: Limits) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Uploads { inner: Arc::new(Inner::new(storage, limits).await?) }))
    }

    /// Takes new limits over (reload): the memory's also for uploads that run.
    pub fn reconfigure(&self, limits: Limits) {
        self.inner.reconfigure(limits);
    }

    /// Begins an upload, known to every instance when it returns. (On a filesystem, durable with its first bytes: a power
    /// failure loses a session that holds none.) `algorithm` is a guess that saves hashing again at the end;
    /// `owner` is kept for who asks later whose it is.
    pub async fn begin_for(
        &self,
        name: &RepositoryName,
        algorithm: Algorithm,
        owner: Option<String>,
    ) -> Result<Upload, Error> {
        let id = UploadId::random();
        let state = UploadState::new(name, clock::to_millis(self.inner.clock.begin()), algorithm, owner);
        let created = self.inner.way().create(&self.inner, &id, &state).await;
        let version = created.map_err(|error| self.inner.failed(error))?;
        Ok(Upload { inner: self.inner.clone(), id, state, version })
    }

    /// Nobody's.
    #[cfg(test)]
    pub async fn begin(&self, name: &RepositoryName, algorithm: Algorithm) -> Result<Upload, Error> {
        self.begin_for(name, algorithm, None).await
    }

    /// Goes on with one; `None` if this repository has none of this id.
    pub async fn resume(&self, name: &RepositoryName, id: &UploadId) -> Result<Option<Upload>, Error> {
        let found = self.inner.find(name, id).await?;
        Ok(found.map(|(state, version)| Upload { inner: self.inner.clone(), id: id.clone(), state, version }))
    }

    /// A whole blob whose digest is known before its bytes: straight to its key, complete only when it is proven.
    /// Returns its size. The closing PUT of an upload that holds no bytes yet does the same.
    pub async fn put(&self, digest: &Digest, body: &mut dyn Body) -> Result<u64, UploadError> {
        let put = self.inner.way().put(&self.inner, digest, body).await;
        self.inner.count(put)
    }

    /// Ends uploads that `ages` says are too old, with everything that they left (multiparts too), ours and distribution's
    /// (`_uploads` of the tree). Returns how many. Done by one instance of the fleet: the caller holds the lease. What is
    /// from the future, by this machine's clock or by the time since start, is left alone. `ages.dry`: returns how many it would end.
    pub async fn purge(&self, ages: Ages) -> Result<usize, Error> {
        self.inner.purge(ages).await
    }

    /// Bytes that uploads under way hold now, by repository, from what storage says: one question for each upload. Those of
    /// [`MOST_TALLIED`] uploads at most, and nothing of repositories where they hold less than [`LEAST_TALLIED`].
    pub async fn held(&self) -> Result<HashMap<String, u64>, Error> {
        self.inner.held().await
    }

    /// Uploads under way in storage.
    pub async fn count(&self) -> Result<usize, Error> {
        Ok(self.inner.store().list(keys::UPLOADS).await?.folders.len())
    }
}

impl UploadId {
    fn random() -> Self {
        UploadId(uuid::Uuid::new_v4())
    }
}

impl std::str::FromStr for UploadId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Ok(UploadId(uuid::Uuid::try_parse(text)?))
    }
}

impl std::fmt::Display for UploadId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}
