//! What can go wrong in the cache, typed by who can act on it. Nothing here is HTTP; `front` and `http` translate.

use std::path::PathBuf;
use std::sync::Arc;

use super::origin::Refusal;
use crate::oci::Digest;

/// The cache could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cache folder {path}: {source}")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("cache folder {0} is in use by another running entrepot")]
    InUse(PathBuf),
}

/// No content came from the origins.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FillError {
    /// An answer (401, 403, 404 …) that belongs to the client.
    #[error("refused by the origin with status {}", .0.status())]
    Refused(Refusal),
    /// No origin could be reached.
    #[error("no origin available: {0}")]
    Unavailable(Arc<str>),
    /// Origins were reached, but none delivered the whole content.
    #[error("origin broke: {0}")]
    Broken(Arc<str>),
    /// All bytes came, and they are not what the digest names.
    #[error("the origin's bytes do not have the digest asked for")]
    Mismatched,
}

/// A body that cannot go on. The reader must break the response off: it must never look complete.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Fill(#[from] FillError),
    /// The cached copy is damaged and there is no origin to go on from.
    #[error("the cached copy is damaged")]
    Corrupt,
    /// The cached copy was let go of while the client waited, and there is no origin to go on from.
    #[error("the cached copy went while the client took nothing of it")]
    Evicted,
}

/// Bytes given to `insert` that are not what the digest names.
#[derive(Debug, Clone, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct Mismatch {
    pub expected: Digest,
    pub found: Digest,
}
