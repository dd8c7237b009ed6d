//! What the kept lists of tags, the catalog and the lists of referrers make of a write: those that are kept here take it in,
//! and every other instance is told that they have changed.

use std::time::Duration;

use moka::sync::Cache;

use super::arriving::Arriving;
use super::catalog::{self, CatalogList};
use super::lists::Base;
use super::referrers::Referrers;
use super::tags::{self, TagLists};
use crate::oci::{Digest, Manifest, RepositoryName, Tag};
use crate::storage::{Error, Stamp, Storage};

/// Repositories that catalogs were told of a moment ago, so that a new tag need not ask whether they change by it.
const MAX_EXISTING: u64 = 10_000;
/// If another instance takes the last manifest from one in between, on an object store, and it comes again within this time,
/// catalogs may lack it until `list_ttl` is over.
const EXISTING_TIME: Duration = Duration::from_secs(5);

/// The lists that are kept here. Behind an `Arc`, since some are read anew in the background.
///
/// What always holds of a list with a stamp (tags, catalog, the index of referrers):
/// 1. Its stamp was asked of storage *before* the list was read, so a change since then has made it another one.
/// 2. Who changes a list tells *after* writing and before the request is answered; also when the write failed half-way,
///    since the manifest may be linked. Who cannot be sure that an earlier request told tells again ([`Pushed::again`],
///    [`Pushed::repository`], and each deletion).
/// 3. It grows by what was written here only if it is the very reading that was kept before anything was written
///    ([`Bases`]), and our stamp took the place of its own: then nobody else has told of a change in between.
/// 4. When telling fails or is given up, the list is forgotten: nobody will add to it what was written.
/// 5. One that is read anew in the background takes in what the old one has grown by meanwhile; one that another request has
///    read anew is left as it is.
/// 6. Other programs tell nobody, so it is good for `list_ttl` from when its reading began, however often it has grown.
///
/// Each kind has its own bound of memory, weighed anew whenever something in it changes; what was asked for longest ago
/// goes first, and costs reading it again.
pub(super) struct KeptLists {
    /// 32 MiB for all repositories together.
    pub tags: TagLists,
    /// 32 MiB.
    pub catalog: CatalogList,
    /// The names that the walk under way has found; they are the catalog's once it ends.
    pub walks: catalog::Walks,
    /// 64 MiB of indexes, 64 MiB of what was read of manifests (the lines are in both), 32 MiB of fallback tags and 16 MiB of
    /// what repositories hold.
    pub referrers: Referrers,
    /// 10,000 names, for 5 s.
    pub existing: Cache<RepositoryName, ()>,
    /// A name for each push under way that brings one.
    pub arriving: Arriving,
}

/// The lists that were kept before anything was written: only those may grow by it.
#[derive(Default)]
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

impl KeptLists {
    pub(super) fn new() -> Self {
        KeptLists {
            tags: tags::lists(),
            catalog: catalog::lists(),
            walks: catalog::Walks::new(),
            referrers: Referrers::new(),
            existing: Cache::builder().max_capacity(MAX_EXISTING).time_to_live(EXISTING_TIME).build(),
            arriving: Arriving::default(),
        }
    }

    /// To be asked for before anything is written.
    pub(super) fn bases(&self, name: &RepositoryName) -> Bases {
        Bases { tags: self.tags.base(name), catalog: self.catalog.base(&()) }
    }

    /// A tag that moved changes no list.
    pub(super) async fn pushed(
        &self,
        storage: &Storage,
        name: &RepositoryName,
        pushed: Pushed<'_>,
    ) -> Result<(), Error> {
        // One that was there may be what another push has written that failed then, or has not told yet.
        let listed = self.tags.lists.peek(name);
        let is_listed = |tag: &Tag| listed.as_ref().is_some_and(|list| tags::lists_tag(list, tag));
        let is_new =
            |(tag, old): &&(&Tag, Option<Digest>)| old.is_none_or(|old| old == *pushed.digest) || !is_listed(tag);
        let new: Vec<Tag> = pushed.tags.iter().filter(is_new).map(|(tag, _)| (*tag).clone()).collect();
        let write = async |of: Option<&RepositoryName>, expected: Option<&Stamp>| match expected {
            Some(stamp) => storage.stamp_follows(of, stamp).await,
            None => storage.stamp_changed(of).await.map(|()| None),
        };
        if !new.is_empty() || pushed.about || pushed.again || !pushed.repository {
            let write = async |expected: Option<&Stamp>| write(Some(name), expected).await;
            self.tags.tell(name, pushed.bases.tags, new, write).await?;
        }
        if pushed.again || !pushed.repository {
            let write = async |expected: Option<&Stamp>| write(None, expected).await;
            self.catalog.tell(&(), pushed.bases.catalog, vec![name.clone()], write).await?;
        }
        self.existing.insert(name.clone(), ());
        self.referrers.pushed(name, &pushed);
        Ok(())
    }

    /// Every instance is told, too, when nothing was there: an earlier deletion may have failed before it told anybody.
    pub(super) async fn deleted(&self, storage: &Storage, name: &RepositoryName) -> Result<(), Error> {
        self.existing.invalidate(name);
        self.referrers.deleted(name);
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
}
