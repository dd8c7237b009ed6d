//! DELETE of a tag, or of a manifest with all tags that lead to it. Order: tags, then the link; the bytes are a garbage
//! collector's.

use futures::{StreamExt, TryStreamExt, stream};

use super::{put, unknown};
use crate::events::What;
use crate::oci::{Digest, Reference, RepositoryName, Tag};
use crate::registry::publish::{ForLists, Writing, Written, publish};
use crate::registry::reply::{Refusal, unsupported};
use crate::registry::{Registry, rescue, tags};
use crate::storage::{Error, Link};

/// Tags that are read or deleted at once. Fewer than others ask for: a deletion that has thousands to read takes its time, not
/// the others'.
const AT_ONCE: usize = 4;

pub(crate) async fn delete(writing: Writing<'_>, reference: &Reference) -> Result<Written, Refusal> {
    let Writing { registry, name, .. } = writing;
    if !registry.settings.load().config.delete {
        return Err(unsupported("tags and manifests cannot be deleted here: [registry] delete = false"));
    }
    let _alone = registry.bounds.locks.deleting(name).await;
    let (was_there, deleted) = match reference {
        Reference::Tag(tag) => self::tag(registry, name, tag).await?,
        Reference::Digest(digest) => revision(writing, digest).await?,
    };
    // Also when nothing was there: an earlier one may have failed before it told anybody.
    let published = publish(writing, deleted, ForLists::Deleted).await?;
    if was_there { Ok(published.deleted()) } else { Err(unknown()) }
}

/// Whether it was there, and what was deleted.
async fn tag(registry: &Registry, name: &RepositoryName, tag: &Tag) -> Result<(bool, Vec<What>), Refusal> {
    keep_immutable(registry, name, tag)?;
    let old = match tags::read(&registry.stores.storage, name, tag).await {
        // It would not answer for the deletion either, and the client has waited long enough.
        Err(error @ Error::Unavailable(_)) => return Err(error.into()),
        // Only told: one that cannot be read is deleted all the same.
        found => found.ok().flatten(),
    };
    let storage = &registry.stores.storage;
    let seen = storage.tag_files(name, tag).await?;
    // One that another instance sets at this moment stays, as if it had been set a moment later: that was told to whoever did it.
    let gone = storage.tag_drop(name, tag, &seen).await?;
    let was_there = seen.changed.is_some();
    let deleted = (was_there && gone).then(|| What::TagDeleted { tag: tag.clone(), old });
    Ok((was_there, deleted.into_iter().collect()))
}

fn keep_immutable(registry: &Registry, name: &RepositoryName, tag: &Tag) -> Result<(), Refusal> {
    let immutable = registry.settings.load().immutable.matches(name, tag);
    if immutable { Err(put::immutable(tag)) } else { Ok(()) }
}

/// Whether it was there, and what was deleted.
async fn revision(writing: Writing<'_>, digest: &Digest) -> Result<(bool, Vec<What>), Refusal> {
    let Writing { registry, name, .. } = writing;
    let linked = registry.stores.storage.link_exists(&Link::Revision(name.clone(), *digest)).await?;
    if !linked && !rescue::was_taken(registry, name, digest).await? {
        return Ok((false, Vec::new()));
    }
    let leading = tags_to(registry, name, digest).await?;
    // A collection took its link. What a tag leads to, or an index names, would be linked again: that is as good as there.
    if !linked && leading.is_empty() && !rescue::revision(registry, name, digest, None).await? {
        return Ok((false, Vec::new()));
    }
    leading.iter().try_for_each(|tag| keep_immutable(registry, name, tag))?;
    let deleting = registry.stores.fleet.deleting(name).await?;
    let mut deleted = Vec::new();
    let outcome = delete_links(registry, name, (leading, digest), &mut deleted).await;
    deleting.done().await;
    match outcome {
        // A collection that takes it meanwhile has not made it absent to whoever asked for it to go.
        Ok(_) => Ok((true, deleted)),
        Err(error) => {
            // Some tags may be gone; if this cannot be told either, lists show them until `list_ttl` is over.
            let _ = publish(writing, deleted, ForLists::Deleted).await;
            Err(error.into())
        }
    }
}

/// All tags that lead to the digest now. Storage has no way back from a digest, so each tag is read.
pub(crate) async fn tags_to(registry: &Registry, name: &RepositoryName, digest: &Digest) -> Result<Vec<Tag>, Error> {
    let tags = registry.stores.storage.tags(name).await?.unwrap_or_default();
    stream::iter(tags)
        .map(|tag| async move {
            let leads =
                registry.bounds.fan.ask(tags::read(&registry.stores.storage, name, &tag)).await? == Some(*digest);
            Ok(leads.then_some(tag))
        })
        .buffer_unordered(AT_ONCE)
        .try_filter_map(|leading| async move { Ok(leading) })
        .try_collect()
        .await
}

/// Whether the manifest was there. Notes in `deleted` what is gone, also when it fails then. It stays if another instance has pushed it
/// under one of the tags at this moment.
pub(crate) async fn delete_links(
    registry: &Registry,
    name: &RepositoryName,
    (tags, digest): (Vec<Tag>, &Digest),
    deleted: &mut Vec<What>,
) -> Result<bool, Error> {
    let mut dropped = stream::iter(tags)
        .map(|tag| async move {
            let dropped = registry.bounds.fan.ask(drop_tag(registry, name, (&tag, digest))).await?;
            Ok::<_, Error>((tag, dropped))
        })
        .buffer_unordered(AT_ONCE);
    let mut pushed = false;
    while let Some((tag, dropped)) = dropped.try_next().await? {
        match dropped {
            Dropped::Gone => deleted.push(What::TagDeleted { tag, old: Some(*digest) }),
            Dropped::Pushed => pushed = true,
            Dropped::Moved => {}
        }
    }
    if pushed {
        return Ok(true);
    }
    let was_there = registry.stores.storage.link_delete(&Link::Revision(name.clone(), *digest)).await?;
    deleted.extend(was_there.then_some(What::ManifestDeleted { digest: *digest }));
    rescue::deleted(registry, name, &[*digest]).await?;
    Ok(was_there)
}

/// What became of a tag that led to a manifest which goes.
enum Dropped {
    Gone,
    /// It leads elsewhere, or nowhere, by now.
    Moved,
    /// Somebody has pushed the manifest under it meanwhile.
    Pushed,
}

async fn drop_tag(
    registry: &Registry,
    name: &RepositoryName,
    (tag, digest): (&Tag, &Digest),
) -> Result<Dropped, Error> {
    let storage = &registry.stores.storage;
    let seen = storage.tag_files(name, tag).await?;
    if tags::read(storage, name, tag).await? != Some(*digest) {
        return Ok(Dropped::Moved);
    }
    if storage.tag_drop(name, tag, &seen).await? {
        return Ok(Dropped::Gone);
    }
    let pushed = tags::read(storage, name, tag).await? == Some(*digest);
    Ok(if pushed { Dropped::Pushed } else { Dropped::Moved })
}
