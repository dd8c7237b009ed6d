//! The two ways in which uploads are kept: as files of this machine (`local`), or as objects (`remote`). Which one it is is
//! asked once, when storage is opened.

use std::sync::Arc;

use async_trait::async_trait;

use super::inner::Inner;
use super::state::UploadState;
use super::{Ages, UploadError, UploadId};
use crate::oci::Digest;
use crate::storage::{Body, Error, Version};

/// A session as it was found.
#[derive(Clone, Copy)]
pub(super) struct Session<'a> {
    pub(super) inner: &'a Arc<Inner>,
    pub(super) id: &'a UploadId,
    pub(super) state: &'a UploadState,
    pub(super) version: &'a Version,
}

/// The state that is durable after a body, with its version, and why the body ended early, if it did.
pub(super) type Appended = (UploadState, Version, Result<(), UploadError>);

#[async_trait]
pub(super) trait Way: Send + Sync {
    /// Counts what went wrong, unless who did it has: objects are counted where they are asked for.
    fn failed(&self, inner: &Inner, error: Error) -> Error;

    /// Writes the first state of a session; its version.
    async fn create(&self, inner: &Inner, id: &UploadId, state: &UploadState) -> Result<Version, Error>;

    /// What is known of a session; `None` if there is none.
    async fn state(&self, inner: &Inner, id: &UploadId) -> Result<Option<(UploadState, Version)>, Error>;

    /// See [`Upload::append`](super::Upload::append).
    async fn append(&self, session: Session<'_>, body: &mut dyn Body) -> Result<Appended, UploadError>;

    /// See [`Upload::commit`](super::Upload::commit). The blob's size.
    async fn commit(&self, session: Session<'_>, digest: &Digest, body: &mut dyn Body) -> Result<u64, UploadError>;

    /// A whole blob, without a session. Its size.
    async fn put(&self, inner: &Arc<Inner>, digest: &Digest, body: &mut dyn Body) -> Result<u64, UploadError>;

    /// Removes a session with all its files. The state first: without it, nobody goes on with the rest.
    async fn remove(&self, inner: &Inner, id: &UploadId) -> Result<(), Error>;

    /// Removes it if it is too old; whether it was.
    async fn purge(&self, inner: &Inner, id: &UploadId, ages: Ages) -> Result<bool, Error>;
}
