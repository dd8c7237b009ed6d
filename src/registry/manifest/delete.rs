//! DELETE of a tag, or of a manifest with all tags that lead to it. Order: tags, then the link; the bytes are a garbage
//! collector's.

use futures::{StreamExt, TryStreamExt, stream};
use http::StatusCode;

use super::{put, unknown};
use crate::oci::{Digest, Reference, RepositoryName, Tag};
use crate::registry::reply::{Answer, Refusal, unsupported};
use crate::registry::{Registry, Reply, referrers, tags};
use crate::storage::{Error, Link};

/// Tags that are read or deleted at once. Fewer than others ask for: a deletion that has thousands to read takes its time, not
/// the others'.
const AT_ONCE: usize = 2;

pub(crate) async fn delete(registry: &Registry, name: &RepositoryName, reference: &Reference) -> Answer {
    if !registry.settings.load().config.delete {
        return Err(unsupported("tags and manifests cannot be deleted here: [registry] delete = false"));
    }
    let _alone = registry.locks.deleting(name).await;
    let deleted = match reference {
        Reference::Tag(tag) => {
            keep_immutable(registry, name, tag)?;
            registry.storage.tag_delete(name, tag).await?
        }
        Reference::Digest(digest) => revision(registry, name, digest).await?,
    };
    // Also when nothing was there: an earlier one may have failed before it told anybody.
    announce(registry, name).await?;
    match deleted {
        true => Ok(Reply::empty(StatusCode::ACCEPTED)),
        false => Err(unknown()),
    }
}

/// Tells every instance that lists have changed.
async fn announce(registry: &Registry, name: &RepositoryName) -> Result<(), Error> {
    registry.existing.invalidate(name);
    referrers::deleted(registry, name);
    let there = registry.storage.repository_exists(name).await?;
    if registry.storage.is_local() {
        return if there { registry.storage.stamp_changed(Some(name)).await } else { Ok(()) };
    }
    registry.storage.stamp_changed(Some(name)).await?;
    // On an object store, a repository ends with its last object.
    if there { Ok(()) } else { registry.storage.stamp_changed(None).await }
}

fn keep_immutable(registry: &Registry, name: &RepositoryName, tag: &Tag) -> Result<(), Refusal> {
    let immutable = registry.settings.load().immutable.matches(name, tag);
    if immutable { Err(put::immutable(tag)) } else { Ok(()) }
}

async fn revision(registry: &Registry, name: &RepositoryName, digest: &Digest) -> Result<bool, Refusal> {
    let link = Link::Revision(name.clone(), *digest);
    if !registry.storage.link_exists(&link).await? {
        return Ok(false);
    }
    let leading = tags_to(registry, name, digest).await?;
    leading.iter().try_for_each(|tag| keep_immutable(registry, name, tag))?;
    let deleting = registry.fleet.deleting(name).await?;
    let deleted = delete_links(registry, name, &leading, &link).await;
    deleting.done().await;
    if deleted.is_err() && !leading.is_empty() {
        // Some tags may be gone; if this cannot be told either, lists show them until `list_ttl` is over.
        let _ = registry.storage.stamp_changed(Some(name)).await;
    }
    Ok(deleted?)
}

/// All tags that lead to the digest now. Storage has no way back from a digest, so each tag is read.
async fn tags_to(registry: &Registry, name: &RepositoryName, digest: &Digest) -> Result<Vec<Tag>, Error> {
    let tags = registry.storage.tags(name).await?.unwrap_or_default();
    stream::iter(tags)
        .map(|tag| async move {
            let leads = registry.fan.ask(tags::read(registry, name, &tag)).await? == Some(*digest);
            Ok(leads.then_some(tag))
        })
        .buffer_unordered(AT_ONCE)
        .try_filter_map(|leading| async move { Ok(leading) })
        .try_collect()
        .await
}

async fn delete_links(registry: &Registry, name: &RepositoryName, tags: &[Tag], link: &Link) -> Result<bool, Error> {
    stream::iter(tags.to_vec())
        .map(|tag| async move { registry.fan.ask(registry.storage.tag_delete(name, &tag)).await })
        .buffer_unordered(AT_ONCE)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    registry.storage.link_delete(link).await
}
