//! What a collection took away and somebody needs after all is brought back by whoever asks for it.
//!
//! - *Bytes*: a link leads to them, and they are in the trash.
//! - *Links*: the repository has none, but a collection took it away, as its journal says, and a manifest of the repository, or
//!   a tag, names the content. That happens where another program took a manifest by what it remembered. What clients deleted
//!   is in no such journal, or it is written down that they deleted it since: it stays deleted. And what only another repository
//!   ever held is not given away to whoever names it.
//!
//! Where no collection ever ran nothing is asked, but whether that is so, now and then.

mod below;
mod deleted;
mod named;
mod taken;

use std::hash::RandomState;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::Registry;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::storage::{Error, Link, Storage};
pub(super) use below::{Held, Restored, held, kind_of, read, restore};
pub(super) use deleted::deleted;
use named::{Among, Named};
use taken::{Journals, Written};

/// How often it is asked whether a collection has ever run, until one has: for so long the first of all may be missed.
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// How long it is remembered that none of the manifests of a repository names some content.
const REMEMBERED: Duration = Duration::from_secs(2);
/// How long journals that nobody asks for are kept.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// Bytes of all journals that are remembered together, and answers.
const KEPT: u64 = 32 << 20;
const ANSWERS: u64 = 10_000;
/// Searches at once, and journals of repositories that are read; further ones wait.
const AT_ONCE: usize = 4;

pub(super) struct Rescue {
    ran: Mutex<Ran>,
    journals: Cache<RepositoryName, Arc<Journals>>,
    /// What was searched for and is named by none of the repository's manifests; and which those were.
    unnamed: Cache<(RepositoryName, Digest), Among>,
    /// Of searches.
    turns: Semaphore,
    /// Of journals.
    reading: Semaphore,
    hasher: RandomState,
}

/// Whether a collection has ever run.
enum Ran {
    Unknown,
    /// Not yet, when it was asked.
    No(Instant),
    Yes,
}

/// Which link is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Layer,
    Revision,
}

impl Rescue {
    pub(super) fn new() -> Self {
        let weigh =
            |_: &RepositoryName, journals: &Arc<Journals>| u32::try_from(journals.weight() + 200).unwrap_or(u32::MAX);
        let journals = Cache::builder().max_capacity(KEPT).weigher(weigh).time_to_live(KEPT_FOR).build();
        let unnamed = Cache::builder().max_capacity(ANSWERS).time_to_live(REMEMBERED).build();
        Rescue {
            ran: Mutex::new(Ran::Unknown),
            journals,
            unnamed,
            turns: Semaphore::new(AT_ONCE),
            reading: Semaphore::new(AT_ONCE),
            hasher: RandomState::new(),
        }
    }

    /// Whether anything can have been taken away. That nothing was is believed for a few seconds; then all who need to know it ask,
    /// since what was true before may be long over.
    pub(super) async fn may_be_needed(&self, storage: &Storage) -> Result<bool, Error> {
        match *self.ran.lock() {
            Ran::Yes => return Ok(true),
            Ran::No(asked) if asked.elapsed() < ASKED_EVERY => return Ok(false),
            _ => {}
        }
        let asked = Instant::now();
        let ran = storage.has_collected().await?;
        let mut told = self.ran.lock();
        // Who asked sooner may come later.
        match *told {
            Ran::Yes => return Ok(true),
            _ if ran => *told = Ran::Yes,
            _ => *told = Ran::No(asked),
        }
        Ok(ran)
    }

    /// As if it had never been asked: tests do not wait.
    #[cfg(test)]
    pub(super) fn forget(&self) {
        *self.ran.lock() = Ran::Unknown;
        self.journals.invalidate_all();
        self.unnamed.invalidate_all();
    }

    /// Whether collections took it from the repository, of all that they took until `since` or later, and no client has deleted it since.
    async fn taken(
        &self,
        storage: &Storage,
        (name, digest): (&RepositoryName, &Digest),
        since: Instant,
    ) -> Result<bool, Error> {
        // That it was taken stays true, however old the knowledge is.
        let known = self.journals.get(name).and_then(|kept| kept.taken(digest));
        let deleted = match known {
            Some(written) => match storage.deleted_at(name, digest).await? {
                Some(deleted) if written.is_before(deleted) => Some(deleted),
                _ => return Ok(true),
            },
            None => None,
        };
        let Some(written) = self.journaled(storage, (name, digest), since).await? else { return Ok(false) };
        let deleted = match deleted {
            None => storage.deleted_at(name, digest).await?,
            deleted => deleted,
        };
        Ok(deleted.is_none_or(|deleted| !written.is_before(deleted)))
    }

    /// What a journal of the repository tells of the digest. A collection says in the epoch that it takes something before it writes
    /// that down: what was read under the same epoch tells of all.
    async fn journaled(
        &self,
        storage: &Storage,
        (name, digest): (&RepositoryName, &Digest),
        since: Instant,
    ) -> Result<Option<Written>, Error> {
        let known =
            |kept: Option<Arc<Journals>>| kept.filter(|kept| kept.are_since(since)).map(|kept| kept.taken(digest));
        if let Some(taken) = known(self.journals.get(name)) {
            return Ok(taken);
        }
        let epoch = storage.epoch().await?;
        if let Some(kept) = self.journals.get(name).filter(|kept| kept.are_of(&epoch)) {
            return Ok(kept.taken(digest));
        }
        // Nobody closes it. Who waits may find what another has read; who reads waits for nothing else.
        let _reading = self.reading.acquire().await;
        let before = self.journals.get(name);
        if let Some(taken) = known(before.clone()) {
            return Ok(taken);
        }
        let journals = Arc::new(Journals::read(storage, name, before.as_deref()).await?);
        self.journals.insert(name.clone(), journals.clone());
        Ok(journals.taken(digest))
    }

    /// Whether a manifest of the repository names it, or the tag leads to it.
    async fn named(
        &self,
        registry: &Registry,
        (name, digest): (&RepositoryName, &Digest),
        tag: Option<&Tag>,
    ) -> Result<bool, Error> {
        let key = (name.clone(), *digest);
        let known = self.unnamed.get(&key);
        match named::is_named(registry, (name, digest), tag, known).await? {
            Named::Yes => return Ok(true),
            Named::NoneOf(among) => self.unnamed.insert(key, among),
            Named::Unknown | Named::Remembered => {}
        }
        Ok(false)
    }
}

/// Size of the bytes that a link leads to, brought back from the trash if they are not in their place.
pub(super) async fn bytes(registry: &Registry, target: &Digest) -> Result<Option<u64>, Error> {
    match registry.stores.storage.blob_size(target).await? {
        Some(size) => Ok(Some(size)),
        None => brought_back(registry, target).await,
    }
}

/// The same of bytes that were not in their place a moment ago.
pub(super) async fn brought_back(registry: &Registry, target: &Digest) -> Result<Option<u64>, Error> {
    if registry.settings.load().config.read_only {
        return Ok(None);
    }
    let size = registry.stores.storage.blob_rescue(target).await?;
    if size.is_some() {
        registry.metrics.rescued("bytes");
        tracing::warn!(digest = %target, "bytes that a collection had moved to the trash are needed, and were brought back");
    }
    Ok(size)
}

/// Size of the bytes, whether a link leads to them or not; brought back from the trash where something can be in it.
pub(super) async fn anywhere(registry: &Registry, digest: &Digest) -> Result<Option<u64>, Error> {
    let storage = &registry.stores.storage;
    match storage.blob_size(digest).await? {
        None if registry.rescue.may_be_needed(storage).await? => brought_back(registry, digest).await,
        size => Ok(size),
    }
}

/// Whether a collection took a link to it away from the repository, which has none.
pub(super) async fn was_taken(registry: &Registry, name: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
    let (storage, since) = (&registry.stores.storage, Instant::now());
    Ok(registry.rescue.may_be_needed(storage).await? && registry.rescue.taken(storage, (name, digest), since).await?)
}

/// Whether the repository, which has no link to this blob, has it all the same: a collection took the link away, and a manifest
/// of the repository names it. It is linked again then.
pub(super) async fn layer(registry: &Registry, name: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
    needed(registry, (name, digest), Kind::Layer, None).await
}

/// The same of a manifest, to which `tag` led.
pub(super) async fn revision(
    registry: &Registry,
    name: &RepositoryName,
    digest: &Digest,
    tag: Option<&Tag>,
) -> Result<bool, Error> {
    needed(registry, (name, digest), Kind::Revision, tag).await
}

async fn needed(
    registry: &Registry,
    (name, digest): (&RepositoryName, &Digest),
    kind: Kind,
    tag: Option<&Tag>,
) -> Result<bool, Error> {
    let (storage, rescue, since) = (&registry.stores.storage, &registry.rescue, Instant::now());
    if !rescue.may_be_needed(storage).await? {
        return Ok(false);
    }
    if storage.blob_size(digest).await?.is_none() && storage.trashed(digest).await?.is_none() {
        return Ok(false);
    }
    if !rescue.taken(storage, (name, digest), since).await? {
        return Ok(false);
    }
    // Nobody closes it.
    let _turn = rescue.turns.acquire().await;
    if !rescue.named(registry, (name, digest), tag).await? {
        return Ok(false);
    }
    if bytes(registry, digest).await?.is_none() {
        return Ok(false);
    }
    let read_only = registry.settings.load().config.read_only;
    if !read_only && (kind == Kind::Layer || below::is_complete(registry, name, digest).await?) {
        // That it cannot be written keeps nobody from what is there.
        _ = write(registry, name, digest, kind).await;
    }
    Ok(true)
}

async fn write(registry: &Registry, name: &RepositoryName, digest: &Digest, kind: Kind) -> Result<(), Error> {
    let (link, word) = match kind {
        Kind::Layer => (Link::Layer(name.clone(), *digest), "layer"),
        Kind::Revision => (Link::Revision(name.clone(), *digest), "revision"),
    };
    registry.metrics.rescued(word);
    tracing::warn!(%name, %digest, kind = word, "a link that a collection took away is needed, and is written again");
    let written = registry.stores.storage.link_put(&link, digest).await;
    written.inspect_err(|error| tracing::warn!(%name, %digest, %error, "it could not be written"))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::storage::tests::hooked::{self, Hook};

    /// Somebody else comes in between whatever is asked.
    struct Slow;

    #[async_trait]
    impl Hook for Slow {
        async fn before(&self, _: &str) -> Result<(), Error> {
            tokio::task::yield_now().await;
            Ok(())
        }

        async fn after(&self, _: &str) -> Result<(), Error> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_was_true_before_is_told_to_nobody_who_asks_while_it_is_asked_for() {
        let (rescue, storage) = (Rescue::new(), hooked::in_memory(Arc::new(Slow)));
        assert!(!rescue.may_be_needed(&storage).await.unwrap());
        storage.epoch_moving().await.unwrap();
        assert!(!rescue.may_be_needed(&storage).await.unwrap(), "that was asked just now");
        *rescue.ran.lock() = Ran::No(Instant::now().checked_sub(ASKED_EVERY).unwrap());
        let all = futures::future::join_all((0..8).map(|_| rescue.may_be_needed(&storage))).await;
        assert!(all.into_iter().all(|needed| needed.unwrap()));
    }
}
