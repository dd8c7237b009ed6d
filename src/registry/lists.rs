//! Lists that are kept while they are true: until their stamp in storage changes, which every instance of ours sees to, or
//! `list_ttl` has passed, for what other programs write.
//!
//! What a push here adds to a kept list is put into it, so that it need not be read again: `growing`.

mod growing;

use std::cmp::Ordering as Order;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::ops::compute::Op;
use moka::sync::Cache;

use super::shared_read::SharedReads;
use crate::storage::{Error, Stamp};
pub(super) use growing::{Base, GrowingLists, Grows};

/// Bytes of an entry beside its list: the cache's own, a stamp, a name of at most 255.
const ENTRY: usize = 700;

/// Memory of a name in a list beside its text: its place in a list that may have grown to twice its need, and its allocation.
const NAME_OVERHEAD: usize = 56;

/// One kind of list, by what it is of.
pub(super) struct Lists<K, V> {
    kept: Cache<K, Arc<KeptList<V>>>,
    reads: SharedReads<K, Result<Arc<KeptList<V>>, Error>>,
    readings: AtomicU64,
}

pub(super) struct KeptList<V> {
    pub value: Arc<V>,
    stamp: Stamp,
    /// The one before, if the list has grown: who found that a moment ago is served well by more.
    before: Option<Stamp>,
    /// When reading it began.
    read: Instant,
    /// Which reading it goes back to, if it has only grown since then, each time in one step from stamp to stamp.
    reading: u64,
    refreshing: AtomicBool,
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static, V: Send + Sync + 'static> Lists<K, V> {
    /// Keeps `capacity` bytes by what `weigh` tells of a list beside [`ENTRY`].
    pub(super) fn new(capacity: u64, weigh: impl Fn(&V) -> usize + Send + Sync + 'static) -> Self {
        let weigh = move |_: &K, kept: &Arc<KeptList<V>>| u32::try_from(ENTRY + weigh(&kept.value)).unwrap_or(u32::MAX);
        Lists {
            kept: Cache::builder().max_capacity(capacity).weigher(weigh).build(),
            reads: SharedReads::new(),
            readings: AtomicU64::new(0),
        }
    }

    /// The list as it was at some moment after this call began, or as another program may have changed it within `ttl`.
    /// Simultaneous askers share the questions.
    pub(super) async fn get(
        &self,
        key: &K,
        ttl: Duration,
        stamp: impl AsyncFnOnce() -> Result<Stamp, Error>,
        load: impl AsyncFnOnce() -> Result<V, Error>,
    ) -> Result<Arc<KeptList<V>>, Error> {
        let read = async || {
            let stamp = stamp().await?;
            match self.kept(key, ttl, &stamp) {
                Some(kept) => Ok(kept),
                None => self.load(key, stamp, load).await,
            }
        };
        self.reads.get(key, read).await
    }

    /// Reads it anew and keeps it. The stamp was asked for before: a change since then makes it differ.
    pub(super) async fn load(
        &self,
        key: &K,
        stamp: Stamp,
        load: impl AsyncFnOnce() -> Result<V, Error>,
    ) -> Result<Arc<KeptList<V>>, Error> {
        let read = Instant::now();
        let value = load().await?;
        Ok(self.keep(key, stamp, read, value))
    }

    /// The list, if it is kept and its stamp is this one still.
    pub(super) fn kept(&self, key: &K, ttl: Duration, stamp: &Stamp) -> Option<Arc<KeptList<V>>> {
        self.kept.get(key).filter(|kept| kept.has(stamp) && kept.is_younger_than(ttl))
    }

    /// The list as it is kept, true or not.
    pub(super) fn peek(&self, key: &K) -> Option<Arc<V>> {
        self.kept.get(key).map(|kept| kept.value.clone())
    }

    /// Puts another one in the place of what is kept, if `by` makes one of it, in one step.
    fn replace(&self, key: &K, by: impl FnOnce(&KeptList<V>) -> Option<KeptList<V>>) {
        self.kept.entry_by_ref(key).and_compute_with(|present| match present.and_then(|present| by(present.value())) {
            Some(list) => Op::Put(Arc::new(list)),
            None => Op::Nop,
        });
    }

    /// Keeps a list that was read since `read`, after its stamp.
    pub(super) fn keep(&self, key: &K, stamp: Stamp, read: Instant, value: V) -> Arc<KeptList<V>> {
        let (lasts, reading) = (stamp.lasts(), self.readings.fetch_add(1, Ordering::Relaxed));
        let (value, refreshing) = (Arc::new(value), AtomicBool::new(false));
        let kept = Arc::new(KeptList { value, stamp, before: None, read, reading, refreshing });
        if lasts {
            self.kept.insert(key.clone(), kept.clone());
        }
        kept
    }
}

/// A list in some order with these in it, each once.
pub(super) fn merged<T>(mut list: Vec<T>, items: Vec<T>, order: impl Fn(&T, &T) -> Order) -> Vec<T> {
    for item in items {
        if let Err(place) = list.binary_search_by(|other| order(other, &item)) {
            list.insert(place, item);
        }
    }
    list
}

/// What is in a list and was not in the old one, which is in the same order.
pub(super) fn added<T: Clone>(list: &[T], old: &[T], order: impl Fn(&T, &T) -> Order) -> Vec<T> {
    let is_new = |item: &&T| old.binary_search_by(|other| order(other, item)).is_err();
    list.iter().filter(is_new).cloned().collect()
}

/// About how many bytes names take in memory, as a list.
pub(super) fn weight<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(|name| name.len() + NAME_OVERHEAD).sum::<usize>() + NAME_OVERHEAD
}

#[cfg(test)]
impl<K: Hash + Eq + Send + Sync + 'static, V: Send + Sync + 'static> Lists<K, V> {
    /// As after `list_ttl`.
    pub(super) fn forget_all(&self) {
        self.kept.invalidate_all();
        self.kept.run_pending_tasks();
    }

    pub(super) fn count(&self) -> u64 {
        self.kept.run_pending_tasks();
        self.kept.entry_count()
    }

    /// What the lists that are kept weigh together.
    pub(super) fn weight(&self) -> u64 {
        self.kept.run_pending_tasks();
        self.kept.weighted_size()
    }
}

impl<V> KeptList<V> {
    fn has(&self, stamp: &Stamp) -> bool {
        self.stamp == *stamp || self.before.as_ref() == Some(stamp)
    }

    pub(super) fn is_younger_than(&self, ttl: Duration) -> bool {
        self.read.elapsed() < ttl
    }

    pub(super) fn reading(&self) -> u64 {
        self.reading
    }

    /// Whether the caller should read it anew now, in the background, so that nobody waits when its time is over. True
    /// once for each.
    pub(super) fn should_be_refreshed(&self, ttl: Duration) -> bool {
        let due = !ttl.is_zero() && self.stamp.lasts() && self.read.elapsed() > ttl / 2;
        due && !self.refreshing.swap(true, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    struct Source {
        lists: Lists<u8, usize>,
        loads: AtomicUsize,
    }

    impl Source {
        fn new() -> Self {
            Source { lists: Lists::new(1 << 20, |_| 1), loads: AtomicUsize::new(0) }
        }

        async fn get(&self, stamp: &str, ttl: Duration) -> usize {
            let load = async || Ok(self.loads.fetch_add(1, Ordering::SeqCst) + 1);
            *self.lists.get(&1, ttl, async || Ok(Stamp(stamp.into())), load).await.unwrap().value
        }
    }

    #[tokio::test]
    async fn a_list_is_kept_while_its_stamp_and_its_time_hold() {
        let source = Source::new();
        assert_eq!(source.get("a", HOUR).await, 1);
        assert_eq!(source.get("a", HOUR).await, 1);
        assert_eq!(source.get("b", HOUR).await, 2);
        assert_eq!(source.get("b", Duration::ZERO).await, 3);
    }

    #[tokio::test]
    async fn an_old_list_is_refreshed_by_one() {
        let source = Source::new();
        let load = || source.lists.load(&1, Stamp("a".into()), async || Ok(7));
        let kept = load().await.unwrap();
        assert!(!kept.should_be_refreshed(HOUR));
        assert!(!kept.should_be_refreshed(Duration::ZERO), "it is of no use to anybody");
        std::thread::sleep(Duration::from_micros(10));
        assert!(kept.should_be_refreshed(Duration::from_nanos(2)));
        assert!(!kept.should_be_refreshed(Duration::from_nanos(2)));
    }

    #[tokio::test]
    async fn what_fails_is_not_kept() {
        let source = Source::new();
        let fails = async || Err(Error::Unavailable("down".into()));
        let stamp = async || Ok(Stamp("a".into()));
        assert!(source.lists.get(&1, HOUR, stamp, fails).await.is_err());
        assert_eq!(source.get("a", HOUR).await, 1);
    }
}
