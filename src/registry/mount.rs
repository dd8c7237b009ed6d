//! `POST …?mount=<digest>`: a blob that is already here is linked instead of sent.

use super::membership;
use super::reply::Refusal;
use super::{Registry, Reply, blob};
use crate::oci::RepositoryName;
use crate::oci::action::Mount;
use crate::storage::Link;

/// `None`: nothing was mounted, so that an upload begins instead (distribution-spec, "Mounting a blob from another repository").
///
/// Without `from`, whatever is stored can be mounted: this registry has one circle of users, so that there is no
/// repository that somebody who may push could not read.
pub(super) async fn try_mount(
    registry: &Registry,
    name: &RepositoryName,
    mount: &Mount,
) -> Result<Option<Reply>, Refusal> {
    let digest = mount.digest;
    let target = match &mount.from {
        Some(from) => membership::layer(registry, from, &digest, true).await?.map(|layer| layer.target),
        None => registry.storage.blob_size(&digest).await?.map(|_| digest),
    };
    let Some(target) = target else { return Ok(None) };
    registry.storage.link_put(&Link::Layer(name.clone(), digest), &target).await?;
    Ok(Some(Reply::created(blob::location(name, &digest), &digest)))
}
