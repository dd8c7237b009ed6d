//! The catalog while it is read: whoever wants a page of it waits until the walk through storage has come so far.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Names, order, reply, shown};
use crate::auth::Permit;
use crate::oci::RepositoryName;
use crate::registry::Registry;
use crate::registry::changed::KeptLists;
use crate::registry::lists::{Grows, KeptList};
use crate::registry::reply::Answer;
use crate::registry::shared_read::SharedReads;
use crate::storage::{Error, Stamp, Storage};

pub(in crate::registry) struct Walks {
    /// The last one that was begun, until it ends.
    last: Mutex<Option<Arc<Walk>>>,
    asks: SharedReads<(), Result<Catalog, Error>>,
}

pub(super) struct Walk {
    /// The list that it is for.
    reading: u64,
    found: watch::Receiver<Found>,
}

#[derive(Default)]
struct Found {
    /// All, up to some place.
    names: Vec<RepositoryName>,
    end: Option<Result<(), Error>>,
}

/// Where the names are.
#[derive(Clone)]
pub(super) enum Catalog {
    KeptList(Arc<Names>),
    /// And those that were pushed here since the walk began: it may have been past them.
    Walk(Arc<Walk>, Arc<Names>),
}

impl Walks {
    pub(in crate::registry) fn new() -> Self {
        Walks { last: Mutex::new(None), asks: SharedReads::new() }
    }
}

/// The catalog as it was at some moment after this call began, or as another program may have changed it within `list_ttl`,
/// or, where that takes longer, since the walk began.
pub(super) async fn ask(registry: &Registry) -> Result<Catalog, Error> {
    registry.lists.walks.asks.get(&(), || find(registry)).await
}

async fn find(registry: &Registry) -> Result<Catalog, Error> {
    let mut stamp = stamp(registry).await?;
    if let Some(found) = present(registry, &stamp) {
        return Ok(found);
    }
    if let Some(walk) = running(&registry.lists.walks) {
        // One at a time: those who ask now wait together, for what it finds or for the next.
        let _ = walk.end().await;
        stamp = self::stamp(registry).await?;
        if let Some(found) = present(registry, &stamp) {
            return Ok(found);
        }
    }
    let list = registry.lists.catalog.lists.keep(&(), stamp, Instant::now(), Names::default());
    let added = list.value.clone();
    Ok(Catalog::Walk(begin(registry, list), added))
}

async fn stamp(registry: &Registry) -> Result<Stamp, Error> {
    registry.lists.catalog.stamp(&(), registry.stores.storage.stamp(None)).await
}

/// What is kept, or being found, with this stamp.
fn present(registry: &Registry, stamp: &Stamp) -> Option<Catalog> {
    let ttl = registry.settings.load().config.list_ttl.0;
    // Before the list: a walk that ends now has put its names there.
    let walk = running(&registry.lists.walks);
    let kept = registry.lists.catalog.lists.kept(&(), Duration::MAX, stamp)?;
    if !kept.value.complete {
        return Some(Catalog::Walk(walk.filter(|walk| walk.reading == kept.reading())?, kept.value.clone()));
    }
    if !kept.is_younger_than(ttl) {
        return None;
    }
    if walk.is_none() && kept.should_be_refreshed(ttl) {
        begin(registry, kept.clone());
    }
    Some(Catalog::KeptList(kept.value.clone()))
}

fn running(walks: &Walks) -> Option<Arc<Walk>> {
    // One whose task has died never ends.
    walks.last.lock().clone().filter(|walk| walk.found.has_changed().is_ok())
}

/// Finds the names for a list. Goes on when nobody waits for it any more.
fn begin(registry: &Registry, list: Arc<KeptList<Names>>) -> Arc<Walk> {
    let (lists, storage, settings) =
        (registry.lists.clone(), registry.stores.storage.clone(), registry.settings.clone());
    let (told, found) = watch::channel(Found::default());
    let walk = Arc::new(Walk { reading: list.reading(), found });
    *lists.walks.last.lock() = Some(walk.clone());
    tokio::spawn(async move {
        let began = Instant::now();
        let end = storage.walk(|names| told.send_modify(|found| found.names.extend(names))).await;
        if end.is_ok() {
            let names = told.borrow().names.clone();
            // One that took long must be of use all the same.
            let ttl = settings.load().config.list_ttl.0;
            let read = Instant::now().checked_sub(ttl / 2).map_or(began, |least| began.max(least));
            lists.catalog.refresh(&(), &list, read, Names { names, complete: true });
        }
        // Its names are not held twice.
        lists.walks.last.lock().take_if(|last| last.found.same_channel(&told.subscribe()));
        told.send_modify(|found| found.end = Some(end));
    });
    walk
}

impl Walk {
    /// Waits until it has found `enough`, or all.
    async fn until<T>(
        &self,
        enough: impl Fn(&[RepositoryName]) -> bool,
        take: impl FnOnce(&Found) -> T,
    ) -> Result<T, Error> {
        let mut found = self.found.clone();
        let found = found.wait_for(|found| found.end.is_some() || enough(&found.names)).await;
        let found = found.map_err(|_| Error::Failed("a walk through the repositories died".to_owned()))?;
        match &found.end {
            Some(Err(error)) => Err(error.clone()),
            _ => Ok(take(&found)),
        }
    }

    async fn end(&self) -> Result<usize, Error> {
        self.until(|_| false, |found| found.names.len()).await
    }
}

impl Found {
    /// With those of `added` that the walk may have been past.
    fn with(&self, added: &Names) -> Names {
        let last = self.names.last();
        let past = |name: &&RepositoryName| {
            self.end.is_some() || last.is_some_and(|last| order(name.as_str(), last.as_str()).is_lt())
        };
        let added = added.names.iter().filter(past).cloned().collect();
        Names { names: self.names.clone(), complete: false }.grown(added)
    }
}

impl Catalog {
    pub(super) async fn page(&self, permit: &Permit, last: Option<&str>, n: usize) -> Answer {
        match self {
            Catalog::KeptList(kept) => Ok(reply(permit, &kept.names, last, n)),
            Catalog::Walk(walk, added) => {
                let enough = |names: &[RepositoryName]| shown(permit, names, last).nth(n).is_some();
                Ok(walk.until(enough, |found| reply(permit, &found.with(added).names, last, n)).await?)
            }
        }
    }
}

/// How many there are, for a gauge. Nobody asked for the list, so what is read for it is never served: a client's first
/// catalog has what another program pushed before.
pub(in crate::registry) async fn count(lists: &KeptLists, storage: &Storage) -> Result<usize, Error> {
    if let Some(walk) = running(&lists.walks) {
        return walk.end().await;
    }
    let mut count = 0;
    storage.walk(|names| count += names.len()).await?;
    Ok(count)
}
