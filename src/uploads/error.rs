//! Why an upload did not do it.

use std::io;

use crate::oci::Digest;
use crate::storage::{BodyError, Error};

/// Why an upload did not do it.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error(transparent)]
    Storage(#[from] Error),
    /// What had arrived until then is kept, as far as it is durable: `Upload::offset` tells.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The bytes are not those of the digest. The upload is gone.
    #[error("the content is {found}, not {expected}")]
    Mismatch { expected: Digest, found: Digest },
    /// Another request writes to the same upload at this moment.
    #[error("another request writes to this upload")]
    Busy,
    /// It was ended meanwhile.
    #[error("the upload is gone")]
    Gone,
}

/// By who can act on it.
pub(super) fn io_error(error: io::Error) -> Error {
    crate::storage::disk::io_error(&error)
}

/// Runs what blocks on a thread for that. It runs to its end even if nobody waits for it any more.
pub(super) async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(E::from(Error::Failed(error.to_string()))),
    }
}
