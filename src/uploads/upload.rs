//! One push of one blob between POST and PUT.

use std::sync::Arc;

use super::inner::Inner;
use super::state::UploadState;
use super::ways::Session;
use super::{UploadError, UploadId};
use crate::oci::Digest;
use crate::storage::{Body, Error, Version};

/// One push of one blob between POST and PUT, of one repository. As it was when it was begun or resumed: if another request
/// has written to it since, `append` and `commit` are `Busy`.
pub struct Upload {
    pub(super) inner: Arc<Inner>,
    pub(super) id: UploadId,
    pub(super) state: UploadState,
    /// Of the state, on an object store.
    pub(super) version: Version,
}

/// A blob in its place, whose upload can still be asked for it again.
#[must_use = "the upload stays until `done`"]
pub struct Committed {
    inner: Arc<Inner>,
    id: UploadId,
    /// Of the blob, in bytes.
    pub size: u64,
}

impl Committed {
    /// Whoever pushed can rely on the blob, in its repository: the upload goes. What cannot be removed now, a purge removes.
    pub async fn done(self) {
        self.inner.remove_finished(&self.id).await;
    }
}

impl Upload {
    pub fn id(&self) -> &UploadId {
        &self.id
    }

    /// Who began it, as they were told to be.
    pub fn owner(&self) -> Option<&str> {
        self.state.owner.as_deref()
    }

    /// Bytes received and durable.
    pub fn offset(&self) -> u64 {
        self.state.offset
    }

    /// Takes the whole body and makes it durable, with the state to go on from; returns the new offset.
    ///
    /// When the body breaks off, what is durable is kept: on a filesystem everything that arrived, on an object store whole
    /// segments, and nothing of a first body that was still in the spool. Dropped half-way, the upload stays at the offset
    /// where it was.
    pub async fn append(&mut self, body: &mut dyn Body) -> Result<u64, UploadError> {
        let appended = self.inner.way().append(self.session(), body).await;
        let (state, version, outcome) = self.inner.count(appended)?;
        (self.state, self.version) = (state, version);
        outcome.map(|()| self.state.offset)
    }

    /// Takes a last body, verifies, and puts the blob under its digest, durably. The upload is gone after a mismatch;
    /// otherwise it stays until [`Committed::done`], so that the same can be asked again, with the same body.
    pub async fn commit(self, digest: &Digest, body: &mut dyn Body) -> Result<Committed, UploadError> {
        let size = self.inner.way().commit(self.session(), digest, body).await;
        let size = self.inner.count(size)?;
        Ok(Committed { inner: self.inner, id: self.id, size })
    }

    /// Whoever writes to it at this moment finds it gone.
    pub async fn cancel(self) -> Result<(), Error> {
        self.inner.remove(&self.id).await
    }

    /// Commits, with nothing left to do.
    #[cfg(test)]
    pub(super) async fn commit_all(self, digest: &Digest, body: &mut dyn Body) -> Result<u64, UploadError> {
        let committed = self.commit(digest, body).await?;
        let size = committed.size;
        committed.done().await;
        Ok(size)
    }

    fn session(&self) -> Session<'_> {
        Session { inner: &self.inner, id: &self.id, state: &self.state, version: &self.version }
    }
}
