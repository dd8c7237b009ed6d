//! The catalog while it is read: whoever wants a page of it waits until the walk through storage has come so far.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::after;
use crate::oci::RepositoryName;
use crate::registry::lists::Kept;
use crate::registry::reply::Answer;
use crate::registry::shared_read::SharedReads;
use crate::registry::{Registry, Reply};
use crate::storage::{Error, Stamp};

pub(in crate::registry) struct Walks {
    /// The last one that was begun.
    last: Mutex<Option<Arc<Walk>>>,
    asks: SharedReads<(), Result<Catalog, Error>>,
}

pub(super) struct Walk {
    stamp: Stamp,
    began: Instant,
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
    Kept(Arc<Kept<Vec<RepositoryName>>>),
    Walk(Arc<Walk>),
}

impl Walks {
    pub(in crate::registry) fn new() -> Self {
        Walks { last: Mutex::new(None), asks: SharedReads::new() }
    }
}

/// The catalog as it was at some moment after this call began, or as another program may have changed it within `list_ttl`.
pub(super) async fn ask(registry: &Registry) -> Result<Catalog, Error> {
    registry.walks.asks.get(&(), || find(registry)).await
}

async fn find(registry: &Registry) -> Result<Catalog, Error> {
    let ttl = registry.settings.load().config.list_ttl.0;
    let stamp = registry.storage.stamp(None).await?;
    if let Some(kept) = registry.catalog.lists.kept(&(), ttl, &stamp) {
        if kept.should_be_refreshed(ttl) && !running(registry).is_some_and(|walk| walk.holds(&stamp, ttl)) {
            begin(registry, stamp, Some(kept.clone()));
        }
        return Ok(Catalog::Kept(kept));
    }
    let Some(walk) = running(registry) else { return begin(registry, stamp, None).ok_or_else(gone).map(Catalog::Walk) };
    if walk.holds(&stamp, ttl) {
        return Ok(Catalog::Walk(walk));
    }
    // One at a time: those who ask now wait together for the next.
    let _ = walk.end().await;
    let stamp = registry.storage.stamp(None).await?;
    begin(registry, stamp, None).ok_or_else(gone).map(Catalog::Walk)
}

fn gone() -> Error {
    Error::Unavailable("the registry is ending".to_owned())
}

fn running(registry: &Registry) -> Option<Arc<Walk>> {
    // One whose task has died never ends.
    registry.walks.last.lock().clone().filter(|walk| walk.found.has_changed().is_ok())
}

/// Goes on when nobody waits for it any more. What it finds takes the place of `old`, if there is one. `None` if the registry
/// is ending.
fn begin(registry: &Registry, stamp: Stamp, old: Option<Arc<Kept<Vec<RepositoryName>>>>) -> Option<Arc<Walk>> {
    let (told, found) = watch::channel(Found::default());
    let walk = Arc::new(Walk { stamp: stamp.clone(), began: Instant::now(), found });
    let (registry, began) = (registry.me.upgrade()?, walk.began);
    *registry.walks.last.lock() = Some(walk.clone());
    tokio::spawn(async move {
        let end = registry.storage.walk(|names| told.send_modify(|found| found.names.extend(names))).await;
        if end.is_ok() {
            let names = told.borrow().names.clone();
            registry.catalog.lists.keep(&(), stamp, began, names, old.as_ref());
        }
        told.send_modify(|found| found.end = Some(end));
        // Those who ask now find it among the lists; its names are not held twice.
        registry.walks.last.lock().take_if(|last| last.found.same_channel(&told.subscribe()));
    });
    Some(walk)
}

impl Walk {
    /// Whether it is true for those who find this stamp now.
    fn holds(&self, stamp: &Stamp, ttl: Duration) -> bool {
        self.stamp == *stamp && self.began.elapsed() < ttl
    }

    /// Waits until it has found `enough`, or all.
    async fn until<T>(
        &self,
        enough: impl Fn(&[RepositoryName]) -> bool,
        take: impl FnOnce(&[RepositoryName]) -> T,
    ) -> Result<T, Error> {
        let mut found = self.found.clone();
        let found = found.wait_for(|found| found.end.is_some() || enough(&found.names)).await;
        let found = found.map_err(|_| Error::Failed("a walk through the repositories died".to_owned()))?;
        match &found.end {
            Some(Err(error)) => Err(error.clone()),
            _ => Ok(take(&found.names)),
        }
    }

    async fn end(&self) -> Result<usize, Error> {
        self.until(|_| false, <[RepositoryName]>::len).await
    }
}

impl Catalog {
    pub(super) async fn page(
        &self,
        last: Option<&str>,
        n: usize,
        reply: impl FnOnce(&[RepositoryName], Option<&str>, usize) -> Reply,
    ) -> Answer {
        match self {
            Catalog::Kept(kept) => Ok(reply(&kept.value, last, n)),
            Catalog::Walk(walk) => {
                let enough = |names: &[RepositoryName]| after(names, last).len() > n;
                Ok(walk.until(enough, |names| reply(names, last, n)).await?)
            }
        }
    }
}

pub(in crate::registry) async fn count(registry: &Registry) -> Result<usize, Error> {
    match ask(registry).await? {
        Catalog::Kept(kept) => Ok(kept.value.len()),
        Catalog::Walk(walk) => walk.end().await,
    }
}
