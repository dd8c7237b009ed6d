//! `POST …?mount=<digest>`: a blob that is already here is linked instead of sent.

use super::publish::{ForLists, Writing, Written, publish};
use super::reply::Refusal;
use super::{blob, membership};
use crate::events::{MountedFrom, What};
use crate::oci::action::Mount;
use crate::storage::Link;

/// `None`: nothing was mounted, so that an upload begins instead (distribution-spec, "Mounting a blob from another repository").
///
/// Without `from`, whatever is stored can be mounted: this registry has one circle of users, so that there is no
/// repository that somebody who may push could not read.
pub(super) async fn try_mount(writing: Writing<'_>, mount: &Mount) -> Result<Option<Written>, Refusal> {
    let Writing { registry, name, .. } = writing;
    let digest = mount.digest;
    let (found, from) = match &mount.from {
        Some(from) => {
            let layer = membership::layer(&registry.stores, from, &digest, true).await?;
            (layer.map(|layer| (layer.target, layer.size)), MountedFrom::Repository(from.clone()))
        }
        None => (registry.stores.storage.blob_size(&digest).await?.map(|size| (digest, size)), MountedFrom::Anywhere),
    };
    let Some((target, size)) = found else { return Ok(None) };
    registry.stores.storage.link_put(&Link::Layer(name.clone(), digest), &target).await?;
    let linked = What::BlobLinked { digest, size, mounted: Some(from) };
    let published = publish(writing, vec![linked], ForLists::Nothing).await?;
    Ok(Some(published.created(blob::location(name, &digest), &digest)))
}
