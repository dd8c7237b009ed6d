//! Why an upload did not do it.

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
