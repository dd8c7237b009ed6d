//! `POST …?mount=<digest>`: a blob that is already here is linked instead of sent.

use super::membership;
use super::reply::Refusal;
use super::{Registry, Reply, blob};
use crate::oci::route::query_value;
use crate::oci::{Digest, RepositoryName};
use crate::storage::Link;

/// `None`: nothing was mounted, so that an upload begins instead. That is also the answer to names and digests that are
/// none, because a mount is only a wish (distribution-spec, "Mounting a blob from another repository").
///
/// Without `from`, whatever is stored can be mounted: this registry has one circle of users, so that there is no
/// repository that somebody who may push could not read.
pub(super) async fn try_mount(
    registry: &Registry,
    name: &RepositoryName,
    query: &str,
) -> Result<Option<Reply>, Refusal> {
    let Some(digest) = query_value(query, "mount").and_then(|text| text.parse::<Digest>().ok()) else {
        return Ok(None);
    };
    let target = match query_value(query, "from") {
        Some(from) => match from.parse::<RepositoryName>() {
            Ok(from) => membership::layer(registry, &from, &digest, true).await?.map(|layer| layer.target),
            Err(_) => None,
        },
        None => registry.storage.blob_size(&digest).await?.map(|_| digest),
    };
    let Some(target) = target else { return Ok(None) };
    registry.storage.link_put(&Link::Layer(name.clone(), digest), &target).await?;
    Ok(Some(Reply::created(blob::location(name, &digest), &digest)))
}
