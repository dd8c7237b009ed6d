//! That clients deleted what collections had taken away before.

use std::time::Instant;

use crate::oci::{Digest, RepositoryName};
use crate::registry::Registry;
use crate::storage::Error;

/// Writes down of links that were deleted just now, because somebody wished it, that nobody brings them back: where no journal of a
/// collection tells of them, nobody would. To be called when they are gone: of one that is written down and stays, a collection that
/// takes it next could not be mended.
///
/// # Errors
/// They are gone all the same; whoever is told so deletes them again, and finds what was brought back meanwhile.
pub(in crate::registry) async fn deleted(
    registry: &Registry,
    name: &RepositoryName,
    digests: &[Digest],
) -> Result<(), Error> {
    let (storage, rescue, since) = (&registry.stores.storage, &registry.rescue, Instant::now());
    if !rescue.may_be_needed(storage).await? {
        return Ok(());
    }
    for digest in digests {
        if rescue.taken(storage, (name, digest), since).await? {
            storage.deleted_put(name, digest).await?;
        }
    }
    Ok(())
}
