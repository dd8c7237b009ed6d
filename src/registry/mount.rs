//! `POST …?mount=<digest>`: a blob that is already here is linked instead of sent.

use super::publish::{ForLists, Writing, Written, publish};
use super::reply::Refusal;
use super::{absent, blob, membership, settling};
use crate::auth::Permission;
use crate::events::{MountedFrom, What};
use crate::oci::action::Mount;

/// `None`: nothing was mounted, so that an upload begins instead (distribution-spec, "Mounting a blob from another repository").
///
/// Without `from`, whatever is stored can be mounted where no rules part readers from others.
pub(super) async fn try_mount(writing: Writing<'_>, mount: &Mount) -> Result<Option<Written>, Refusal> {
    let Writing { registry, name, request } = writing;
    let digest = mount.digest;
    // From where one may not read, nothing is there; and where not everybody may read everything, "whichever" is nowhere.
    let readable = match &mount.from {
        Some(from) => request.permit.may(Permission::Pull, from),
        None => !request.permit.is_ruled(),
    };
    if !readable {
        return Ok(None);
    }
    let (found, from) = match &mount.from {
        Some(from) => {
            let mut layer = membership::layer(registry, from, &digest, true).await?;
            if layer.is_none() && absent::bring(request, from, &digest).await {
                layer = membership::layer(registry, from, &digest, true).await?;
            }
            (layer.map(|layer| (layer.target, layer.size)), MountedFrom::Repository(from.clone()))
        }
        None => (registry.stores.storage.blob_size(&digest).await?.map(|size| (digest, size)), MountedFrom::Anywhere),
    };
    let Some((target, size)) = found else { return Ok(None) };
    let mut hold = registry.bounds.quotas.hold(name);
    hold.afford(vec![(digest, size)], 0).await?;
    if !settling::link(registry, name, &digest, &target).await? {
        // Taken away in between: an upload begins.
        return Ok(None);
    }
    hold.linked();
    let linked = What::BlobLinked { digest, size, mounted: Some(from) };
    let published = publish(writing, vec![linked], ForLists::Nothing).await?;
    Ok(Some(hold.warned(published.created(blob::location(name, &digest), &digest))))
}
