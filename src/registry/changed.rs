//! What the kept lists of tags, the catalog and the lists of referrers make of a write: those that are kept here take it in,
//! and every other instance is told that they have changed.

use super::lists::Base;
use super::{Registry, referrers, tags};
use crate::oci::{Digest, Manifest, RepositoryName, Tag};
use crate::storage::{Error, Stamp};

/// The lists that were kept before anything was written: only those may grow by it.
pub(super) struct Bases {
    tags: Base,
    catalog: Base,
}

/// A manifest that was pushed, as far as lists change by it.
pub(super) struct Pushed<'a> {
    pub bases: Bases,
    pub digest: &'a Digest,
    pub manifest: &'a Manifest,
    pub media_type: &'a str,
    /// In bytes.
    pub size: u64,
    /// The tags that it was to have, each with what it led to before. Some may not lead to it, if that failed.
    pub tags: Vec<(&'a Tag, Option<Digest>)>,
    /// The lists of referrers change, too.
    pub about: bool,
    /// It was there, or a part of it: whoever pushed it may have failed before it told anybody.
    pub again: bool,
    /// The repository was there, and catalogs were told of it.
    pub repository: bool,
}

/// To be asked for before anything is written.
pub(super) fn bases(registry: &Registry, name: &RepositoryName) -> Bases {
    Bases { tags: registry.tag_lists.base(name), catalog: registry.catalog.base(&()) }
}

/// A tag that moved changes no list.
pub(super) async fn pushed(registry: &Registry, name: &RepositoryName, pushed: Pushed<'_>) -> Result<(), Error> {
    let storage = &registry.storage;
    // One that was there may be what another push has written that failed then, or has not told yet.
    let listed = registry.tag_lists.lists.peek(name);
    let is_listed = |tag: &Tag| listed.as_ref().is_some_and(|list| tags::lists_tag(list, tag));
    let is_new = |(tag, old): &&(&Tag, Option<Digest>)| old.is_none_or(|old| old == *pushed.digest) || !is_listed(tag);
    let new: Vec<Tag> = pushed.tags.iter().filter(is_new).map(|(tag, _)| (*tag).clone()).collect();
    let write = async |of: Option<&RepositoryName>, expected: Option<&Stamp>| match expected {
        Some(stamp) => storage.stamp_follows(of, stamp).await,
        None => storage.stamp_changed(of).await.map(|()| None),
    };
    if !new.is_empty() || pushed.about || pushed.again || !pushed.repository {
        let write = async |expected: Option<&Stamp>| write(Some(name), expected).await;
        registry.tag_lists.tell(name, pushed.bases.tags, new, write).await?;
    }
    if pushed.again || !pushed.repository {
        let write = async |expected: Option<&Stamp>| write(None, expected).await;
        registry.catalog.tell(&(), pushed.bases.catalog, vec![name.clone()], write).await?;
    }
    registry.existing.insert(name.clone(), ());
    referrers::pushed(registry, name, &pushed);
    Ok(())
}

/// Every instance is told, too, when nothing was there: an earlier deletion may have failed before it told anybody.
pub(super) async fn deleted(registry: &Registry, name: &RepositoryName) -> Result<(), Error> {
    registry.existing.invalidate(name);
    referrers::deleted(registry, name);
    let storage = &registry.storage;
    if !storage.is_local() {
        storage.stamp_changed(Some(name)).await?;
    }
    match (storage.repository_exists(name).await?, storage.is_local()) {
        (true, true) => storage.stamp_changed(Some(name)).await,
        // On an object store, a repository ends with its last object.
        (false, false) => storage.stamp_changed(None).await,
        _ => Ok(()),
    }
}
