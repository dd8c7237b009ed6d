//! Why a collection does not go on, by who can act.

use crate::fleet::Unreachable;
use crate::oci::{Digest, RepositoryName};
use crate::storage::Error;

/// Said to people as it is.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GcError {
    #[error(transparent)]
    Storage(#[from] Error),
    /// Other instances would go on believing in what is deleted.
    #[error("nothing was deleted further: {0}")]
    Fleet(#[from] Unreachable),
    #[error(
        "another program pushes into this storage (something below {0}/_uploads is younger than a day): it does not know of this \
         collection. If it is distribution without a cache of blob descriptors (storage.cache), [gc] foreign = \"careful\" collects \
         beside it, and so does this one run with --careful; never run its own `registry garbage-collect` meanwhile"
    )]
    Foreign(RepositoryName),
    #[error(
        "nothing in docker/registry/v2/repositories links anything, and there are blobs ({0} is one) of which nothing says that they \
         were taken from a repository: was a backup put back by half, or is it another mount, bucket or prefix? Nothing is collected. If \
         all repositories were deleted on purpose, `entrepot gc run --empty` collects what they have left"
    )]
    NoRepositories(Digest),
    #[error(
        "a collection is under way: {by}, since {since}; if it was cut off, another may begin two minutes after its end"
    )]
    UnderWay { by: String, since: String },
    /// It was thought to be dead, and another has begun: what it has done so far is good.
    #[error("another collection has taken over from this one, which was too slow: its own goes on")]
    Overtaken,
    #[error("collections are paused, by {by}, since {since}: `entrepot gc resume` lets them go on")]
    Paused { by: String, since: String },
    #[error(
        "looking at all links takes longer than a quarter of [gc] grace, so nothing may follow from it: a higher `rate`, or a longer \
         `grace`, is needed"
    )]
    Slow,
    #[error("{0}")]
    Unknown(String),
    #[error("[gc] {0} {1}")]
    Config(&'static str, String),
}
