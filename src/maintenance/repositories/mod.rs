//! What an operator does with repositories: tags are set and taken away, manifests removed, images and whole repositories copied or
//! removed. No content passes through whoever asks, and none is copied: links are written.
//!
//! - `image`: how an operator names what is meant
//! - `asking`: the registry is asked as a client would, so that whatever it minds (locks, lists, immutable tags, quotas, a collection
//!   that runs) it minds here too
//! - `copy`: one image with all that it needs, in the order in which a push writes it; `plan`: all of that, found and judged before
//!   anything is linked; `whole`: each tag of a repository
//! - `remove`: tags, manifests, a whole repository; `taken`: the journal by which they can be brought back, written before

mod asking;
mod copy;
mod image;
mod plan;
mod remove;
mod taken;
#[cfg(test)]
mod tests;
mod whole;

use std::sync::Arc;

use serde::Serialize;

use crate::events::Listener;
use crate::oci::Digest;
use crate::registry::Registry;
use crate::storage::Error;
pub use image::{Image, Place, PlaceError};

/// What is done on behalf of one operator.
pub struct Repositories<'a> {
    pub registry: &'a Arc<Registry>,
    /// Who is told of each change, beside those who are told of all.
    pub listener: Option<Arc<dyn Listener>>,
    /// Is told of each step.
    pub tell: &'a (dyn Fn(Step) + Send + Sync),
}

/// What was done a moment ago.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Step {
    /// A manifest is in the other repository, with its blobs.
    Manifest { digest: Digest, blobs: usize },
    /// A tag of so many leads there.
    Tag { tag: String, digest: Digest, n: usize, of: usize },
    /// A tag of so many could not be copied.
    TagFailed { tag: String, message: String, n: usize, of: usize },
    /// What the other repository has about the image under this tag is not what this one has, and stays.
    Stays { tag: String, digest: Digest },
    /// Links were found that are to go.
    Found { tags: usize, manifests: usize, blobs: usize },
}

/// Why it is not done, for whoever asked.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// There is no such thing.
    #[error("{0}")]
    Absent(String),
    /// It cannot be meant.
    #[error("{0}")]
    Useless(String),
    /// The registry refuses it as it would a client, with this status.
    #[error("{message}")]
    Refused { status: u16, code: String, message: String },
    #[error(transparent)]
    Storage(#[from] Error),
}

impl RepositoryError {
    /// Whether the next such thing would fail for the same reason.
    fn is_of_all(&self) -> bool {
        match self {
            RepositoryError::Absent(_) | RepositoryError::Useless(_) => false,
            RepositoryError::Refused { status, .. } => *status >= 500 || *status == 405,
            RepositoryError::Storage(_) => true,
        }
    }
}
