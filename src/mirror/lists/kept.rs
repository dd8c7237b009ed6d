//! Lists that are kept for a while, and asked for once by all who want them.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use http::StatusCode;
use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::{pages, referrers, written};
use crate::cache::Source;
use crate::mirror::flights::Flights;
use crate::mirror::rights::Who;
use crate::mirror::{Mirror, stale};
use crate::oci::{Descriptor, Digest, RepositoryName};
use crate::remote::config::Stale;
use crate::remote::{Asker, Config, RemoteError};

/// Bytes of all kept lists of one remote together.
const MAX_KEPT: u64 = 64 << 20;
/// So long it is remembered that a repository is not there, and of so many.
const ABSENT_TIME: Duration = Duration::from_secs(10);
const MAX_ABSENT: u64 = 10_000;
/// So long a remote that cannot list referrers is not asked for them again.
const NO_REFERRERS: Duration = Duration::from_secs(600);
/// Memory of a list beside what is in it, and of a name beside its text.
const ENTRY: usize = 500;
const NAME: usize = 40;

/// What is kept of the lists of one remote.
pub(in crate::mirror) struct Lists {
    kept: Cache<Key, Arc<List>>,
    absent: Cache<Key, StatusCode>,
    asked: Flights<Key, Result<Arc<List>, RemoteError>>,
    no_referrers_until: Mutex<Option<Instant>>,
}

/// Whose list, and of what.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    who: Who,
    of: Of,
}

/// What is listed. Names are canonical.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Of {
    Tags(RepositoryName),
    Referrers(RepositoryName, Digest),
    Catalog,
}

pub(super) struct List {
    pub(super) entries: Entries,
    asked: Instant,
    /// Made of what is kept, because the remote could not be asked.
    pub(super) stale: bool,
}

impl List {
    pub(super) fn is_empty(&self) -> bool {
        match &self.entries {
            Entries::Names(names) => names.is_empty(),
            Entries::Referrers(found) => found.is_empty(),
        }
    }
}

pub(super) enum Entries {
    /// In their order.
    Names(Vec<String>),
    /// In the order of their digests.
    Referrers(Vec<Descriptor>),
}

/// A list that may be answered with.
pub(super) struct Listed {
    pub(super) list: Arc<List>,
    pub(super) stale: bool,
    pub(super) source: Source,
}

impl Default for Lists {
    fn default() -> Self {
        let weigh = |_: &Key, list: &Arc<List>| u32::try_from(list.entries.weight()).unwrap_or(u32::MAX);
        Lists {
            kept: Cache::builder().max_capacity(MAX_KEPT).weigher(weigh).build(),
            absent: Cache::builder().max_capacity(MAX_ABSENT).time_to_live(ABSENT_TIME).build(),
            asked: Flights::default(),
            no_referrers_until: Mutex::new(None),
        }
    }
}

impl Entries {
    /// About how many bytes it takes in memory.
    fn weight(&self) -> usize {
        ENTRY
            + match self {
                Entries::Names(names) => names.iter().map(|name| name.len() + NAME).sum::<usize>(),
                Entries::Referrers(found) => found.iter().map(written::weight).sum(),
            }
    }
}

impl List {
    pub(super) fn new(entries: Entries, stale: bool) -> Self {
        List { entries, asked: Instant::now(), stale }
    }

    pub(super) fn names(&self) -> &[String] {
        match &self.entries {
            Entries::Names(names) => names,
            Entries::Referrers(_) => &[],
        }
    }

    pub(super) fn referrers(&self) -> &[Descriptor] {
        match &self.entries {
            Entries::Referrers(found) => found,
            Entries::Names(_) => &[],
        }
    }

    fn is_younger_than(&self, time: Duration) -> bool {
        self.asked.elapsed() < time
    }
}

impl Lists {
    /// Whether the remote has said that it cannot list referrers.
    pub(super) fn lacks_referrers(&self) -> bool {
        self.no_referrers_until.lock().is_some_and(|until| Instant::now() < until)
    }

    pub(super) fn note_no_referrers(&self) {
        *self.no_referrers_until.lock() = Some(Instant::now() + NO_REFERRERS);
    }
}

/// The list: as it is kept, if it is young; else as the remote says, which is asked once for all who wait; else, where it cannot say,
/// as it was.
pub(super) async fn get(mirror: &Arc<Mirror>, of: Of, asker: &Asker) -> Result<Listed, RemoteError> {
    let key = Key { who: Who::by(asker), of };
    let (lists, config) = (&mirror.lists, mirror.remote.config());
    let kept = lists.kept.get(&key);
    if let Some(list) = kept.as_ref().filter(|list| list.is_younger_than(config.tag_ttl.0)) {
        return Ok(Listed { list: Arc::clone(list), stale: false, source: Source::Memory });
    }
    if let Some(status) = lists.absent.get(&key) {
        return Err(RemoteError::Absent(status));
    }
    // Who has something to fall back on need not wait for a slow list.
    let patience = if kept.is_some() { config.timeouts.manifest.0 } else { config.timeouts.first_byte.0 };
    let asked = lists.asked.join(key.clone(), || ask(Arc::clone(mirror), key, asker.clone()).boxed());
    let error = match timeout(patience, asked).await {
        Ok(Some(landed)) => match landed.value {
            Ok(list) => {
                let source = if landed.joined { Source::Collapsed } else { Source::Miss };
                return Ok(Listed { stale: list.stale, list, source });
            }
            Err(error) => error,
        },
        Ok(None) => RemoteError::Down("too much is asked of it at once".to_owned()),
        Err(_) => RemoteError::Down("a list did not come in time".to_owned()),
    };
    match kept.filter(|list| stale::may_speak(&error, config) && is_young_enough(list, config)) {
        Some(list) => Ok(Listed { list, stale: true, source: Source::Memory }),
        None => Err(error),
    }
}

fn is_young_enough(list: &List, config: &Config) -> bool {
    match config.stale {
        Stale::Always => true,
        Stale::For(span) => list.is_younger_than(span.0),
    }
}

async fn ask(mirror: Arc<Mirror>, key: Key, asker: Asker) -> Result<Arc<List>, RemoteError> {
    let late = |_| RemoteError::Down("a list did not come in time".to_owned());
    let asked = timeout(pages::LIST_TIME, asked(&mirror, &key.of, &asker)).await;
    let asked = asked.map_err(late).and_then(|asked| asked);
    let lists = &mirror.lists;
    match asked {
        Ok(list) => {
            let list = Arc::new(list);
            if !list.stale {
                lists.kept.insert(key, Arc::clone(&list));
            }
            Ok(list)
        }
        Err(error) => {
            if let RemoteError::Absent(status) = &error {
                lists.absent.insert(key.clone(), *status);
                lists.kept.invalidate(&key);
            }
            Err(error)
        }
    }
}

async fn asked(mirror: &Arc<Mirror>, of: &Of, asker: &Asker) -> Result<List, RemoteError> {
    match of {
        Of::Tags(name) => {
            let repository = mirror.at_remote(name)?;
            let pages = pages::Pages { mirror, repository: Some(&repository), asker };
            Ok(List::new(Entries::Names(pages.tags().await?), false))
        }
        Of::Catalog => {
            let pages = pages::Pages { mirror, repository: None, asker };
            Ok(List::new(Entries::Names(pages.catalog().await?), false))
        }
        Of::Referrers(name, subject) => referrers::ask(mirror, name, subject, asker).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: usize) -> Arc<List> {
        Arc::new(List::new(Entries::Names((0..names).map(|n| format!("{n:0>100}")).collect()), false))
    }

    #[test]
    fn all_lists_together_are_bounded() {
        let lists = Lists::default();
        for number in 0..200 {
            let name = format!("a/{number}").parse().unwrap();
            lists.kept.insert(Key { who: Who::Mirror, of: Of::Tags(name) }, list(10_000));
        }
        lists.kept.run_pending_tasks();
        assert!(lists.kept.weighted_size() <= MAX_KEPT && lists.kept.entry_count() > 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_remote_without_referrers_is_asked_again_later() {
        let lists = Lists::default();
        assert!(!lists.lacks_referrers());
        lists.note_no_referrers();
        assert!(lists.lacks_referrers());
        tokio::time::advance(NO_REFERRERS).await;
        assert!(!lists.lacks_referrers());
    }
}
