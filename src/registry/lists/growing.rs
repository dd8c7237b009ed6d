//! Lists that pushes add to: every instance is told that a list has changed, and the one that is kept here grows, so that
//! it need not be read again.
//!
//! A kept list with stamp S, grown by what was written here, is true under the stamp S' if S' took the place of S: then
//! nobody else has told of a change in between. So the stamp is changed on condition that it is still S.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use moka::ops::compute::Op;
use parking_lot::Mutex;

use super::{KeptList, Lists};
use crate::registry::shared_read::SharedReads;
use crate::storage::{Error, Stamp};

/// A list that may grow.
pub(in crate::registry) trait Grows {
    type Item;

    /// This list with these in it, in its order, each once. Also with none: something was written all the same.
    fn grown(&self, items: Vec<Self::Item>) -> Self;

    /// By what it has grown since it was `old`.
    fn since(&self, old: &Self) -> Vec<Self::Item>;
}

pub(in crate::registry) struct GrowingLists<K, V: Grows> {
    pub lists: Lists<K, V>,
    /// Who tells of one list at the same time shares one write.
    telling: SharedReads<K, Result<(), Error>>,
    /// What the next write tells. Bounded by the pushes under way: an entry goes with the last whom it concerns.
    news: Mutex<HashMap<K, Vec<Addition<V::Item>>>>,
}

/// The list that was kept when a caller had not begun to write: only that one may grow by what was written. One that was
/// read later knows of it, also if it is gone again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) struct Base(Option<u64>);

struct Addition<T> {
    base: Base,
    items: Vec<T>,
    /// Dead when whom it concerns has gone away.
    teller: Weak<()>,
}

impl<K, V> GrowingLists<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Grows + Send + Sync + 'static,
{
    pub(in crate::registry) fn new(lists: Lists<K, V>) -> Self {
        GrowingLists { lists, telling: SharedReads::new(), news: Mutex::default() }
    }

    /// To be asked for before anything is written.
    pub(in crate::registry) fn base(&self, key: &K) -> Base {
        Base(self.lists.kept.get(key).map(|kept| kept.reading))
    }

    /// Has every instance told that the list has changed, after `items` were written. `write` changes the stamp: on
    /// condition that it is the one given, whose successor it then returns, or else whatever it is.
    pub(in crate::registry) async fn tell(
        &self,
        key: &K,
        base: Base,
        items: Vec<V::Item>,
        write: impl AsyncFnOnce(Option<&Stamp>) -> Result<Option<Stamp>, Error>,
    ) -> Result<(), Error> {
        let teller = Teller { all: self, key, alive: Some(Arc::new(())) };
        let alive = teller.alive.as_ref().map(Arc::downgrade).unwrap_or_default();
        self.news.lock().entry(key.clone()).or_default().push(Addition { base, items, teller: alive });
        self.telling.get(key, || self.tell_all(key, write)).await
    }

    async fn tell_all(
        &self,
        key: &K,
        write: impl AsyncFnOnce(Option<&Stamp>) -> Result<Option<Stamp>, Error>,
    ) -> Result<(), Error> {
        let unfinished = Unfinished { lists: &self.lists, key };
        // None: whoever told them for us went away.
        let news = self.news.lock().remove(key).unwrap_or_default();
        let grows =
            |kept: &Arc<KeptList<V>>| !news.is_empty() && news.iter().all(|news| news.base == Base(Some(kept.reading)));
        let kept = self.lists.kept.get(key).filter(grows);
        let stamp = write(kept.as_ref().map(|kept| &kept.stamp)).await?;
        std::mem::forget(unfinished);
        if let (Some(kept), Some(stamp)) = (kept, stamp) {
            self.grow(key, &kept, stamp, news.into_iter().flat_map(|news| news.items).collect());
        }
        Ok(())
    }

    /// Unless it was read anew in the meantime, which is then read once more.
    fn grow(&self, key: &K, kept: &KeptList<V>, stamp: Stamp, items: Vec<V::Item>) {
        self.lists.kept.entry_by_ref(key).and_compute_with(|present| match present {
            Some(present) if present.value().reading == kept.reading && present.value().stamp == kept.stamp => {
                let present = present.value();
                let refreshing = AtomicBool::new(present.refreshing.load(Ordering::Relaxed));
                let value = Arc::new(present.value.grown(items));
                let (before, read, reading) = (Some(present.stamp.clone()), present.read, present.reading);
                Op::Put(Arc::new(KeptList { value, stamp, before, read, reading, refreshing }))
            }
            _ => Op::Nop,
        });
    }

    /// Waits for those who are telling now, if the list that is kept has not this stamp: it may be about to.
    pub(in crate::registry) async fn settle(&self, key: &K, stamp: &Stamp) {
        if self.lists.kept.get(key).is_some_and(|kept| !kept.has(stamp)) {
            self.telling.idle(key).await;
        }
    }

    /// Puts what was read since `read` in the place of `old`, whose stamp held then; and what that has grown by meanwhile.
    /// Not if it was read anew by another one.
    pub(in crate::registry) fn refresh(&self, key: &K, old: &KeptList<V>, read: Instant, value: V) {
        self.lists.kept.entry_by_ref(key).and_compute_with(|present| match present {
            Some(present) if present.value().reading == old.reading => {
                let present = present.value();
                let items = present.value.since(&old.value);
                let value = Arc::new(if items.is_empty() { value } else { value.grown(items) });
                let (stamp, before, reading) = (present.stamp.clone(), present.before.clone(), present.reading);
                let refreshing = AtomicBool::new(false);
                Op::Put(Arc::new(KeptList { value, stamp, before, read, reading, refreshing }))
            }
            _ => Op::Nop,
        });
    }
}

/// One who waits for the others to be told. When all of one list have gone away before anybody began to tell, their news
/// goes too, and the list with it: nobody will add to it what they wrote.
struct Teller<'a, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Grows + Send + Sync + 'static,
{
    all: &'a GrowingLists<K, V>,
    key: &'a K,
    alive: Option<Arc<()>>,
}

impl<K, V> Drop for Teller<'_, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Grows + Send + Sync + 'static,
{
    fn drop(&mut self) {
        self.alive = None;
        let mut all = self.all.news.lock();
        if all.get(self.key).is_some_and(|news| news.iter().all(|news| news.teller.strong_count() == 0)) {
            all.remove(self.key);
            drop(all);
            self.all.lists.kept.invalidate(self.key);
        }
    }
}

/// Whoever told for others failed or went away: what was added is not known any more, so no list is kept.
struct Unfinished<'a, K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    lists: &'a Lists<K, V>,
    key: &'a K,
}

impl<K, V> Drop for Unfinished<'_, K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    fn drop(&mut self) {
        self.lists.kept.invalidate(self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::Semaphore;

    use super::*;

    impl Grows for Vec<u8> {
        type Item = u8;

        fn grown(&self, items: Vec<u8>) -> Self {
            [self.as_slice(), &items].concat()
        }

        fn since(&self, old: &Self) -> Vec<u8> {
            self.iter().filter(|item| !old.contains(item)).copied().collect()
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    /// A list in a store, with its stamp.
    struct Store {
        lists: GrowingLists<u8, Vec<u8>>,
        now: Mutex<(Vec<u8>, u32)>,
        /// Every write takes a permit.
        gate: Semaphore,
        reads: Mutex<usize>,
        writes: Mutex<usize>,
    }

    impl Store {
        fn new() -> Arc<Self> {
            Arc::new(Store {
                lists: GrowingLists::new(Lists::new(1 << 20, Vec::len)),
                now: Mutex::default(),
                gate: Semaphore::new(1000),
                reads: Mutex::default(),
                writes: Mutex::default(),
            })
        }

        async fn get(&self) -> Vec<u8> {
            let stamp = async || Ok(Stamp(self.now.lock().1.to_string()));
            let load = async || {
                *self.reads.lock() += 1;
                Ok(self.now.lock().0.clone())
            };
            self.lists.lists.get(&0, HOUR, stamp, load).await.unwrap().value.to_vec()
        }

        fn written(&self, item: u8) -> Base {
            let base = self.lists.base(&0);
            self.now.lock().0.push(item);
            base
        }

        async fn tell(&self, base: Base, item: u8) -> Result<(), Error> {
            let write = async |expected: Option<&Stamp>| {
                self.gate.acquire().await.unwrap().forget();
                *self.writes.lock() += 1;
                let mut now = self.now.lock();
                let met = expected.is_some_and(|stamp| stamp.0 == now.1.to_string());
                now.1 += 1;
                Ok(met.then(|| Stamp(now.1.to_string())))
            };
            self.lists.tell(&0, base, vec![item], write).await
        }

        async fn push(&self, item: u8) {
            let base = self.written(item);
            self.tell(base, item).await.unwrap();
        }

        /// By another instance.
        fn push_elsewhere(&self, item: u8) {
            let mut now = self.now.lock();
            now.0.push(item);
            now.1 += 1;
        }
    }

    #[tokio::test]
    async fn what_is_pushed_here_is_in_the_list_without_reading_it_again() {
        let store = Store::new();
        assert!(store.get().await.is_empty());
        for item in 1..=3 {
            store.push(item).await;
        }
        assert_eq!(store.get().await, [1, 2, 3]);
        assert_eq!(*store.reads.lock(), 1);
    }

    #[tokio::test]
    async fn a_list_is_weighed_as_it_grows() {
        let store = Store::new();
        store.get().await;
        let empty = store.lists.lists.weight();
        for item in 1..=100 {
            store.push(item).await;
        }
        assert_eq!(store.lists.lists.weight(), empty + 100);
    }

    #[tokio::test]
    async fn what_others_pushed_is_read() {
        let store = Store::new();
        store.get().await;
        store.push_elsewhere(1);
        store.push(2).await;
        assert_eq!(store.get().await, [1, 2]);
        assert_eq!(*store.reads.lock(), 2);
    }

    #[tokio::test]
    async fn a_list_that_was_read_after_the_writing_does_not_grow_by_it() {
        let store = Store::new();
        store.get().await;
        let base = store.written(1);
        store.now.lock().0.clear(); // deleted again by another instance, which tells
        store.push_elsewhere(9);
        assert_eq!(store.get().await, [9]);
        store.tell(base, 1).await.unwrap();
        assert_eq!(store.get().await, [9]);
    }

    #[tokio::test]
    async fn who_tells_at_the_same_time_shares_a_write_and_nothing_is_lost_when_one_goes_away() {
        for gone in [None, Some(0), Some(1), Some(5)] {
            let store = Store::new();
            store.get().await;
            store.gate.forget_permits(1000);
            let tellers: Vec<_> = (0..20_u8)
                .map(|item| {
                    let (store, base) = (store.clone(), store.written(item));
                    tokio::spawn(async move { store.tell(base, item).await })
                })
                .collect();
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            if let Some(gone) = gone {
                tellers[gone].abort();
            }
            store.gate.add_permits(1000);
            for teller in tellers {
                let _ = teller.await;
            }
            assert!(*store.writes.lock() <= 3, "{gone:?}");
            let mut found = store.get().await;
            found.sort_unstable();
            assert_eq!(found, (0..20).collect::<Vec<_>>(), "{gone:?}");
            let reads = if gone == Some(0) { 2 } else { 1 };
            assert_eq!(*store.reads.lock(), reads, "{gone:?}");
        }
    }

    #[tokio::test]
    async fn news_of_pushes_that_all_went_away_is_not_kept() {
        let store = Store::new();
        store.get().await;
        store.gate.forget_permits(1000);
        let telling = |item| {
            let (store, base) = (store.clone(), store.written(item));
            tokio::spawn(async move { store.tell(base, item).await })
        };
        let tellers = [telling(1), telling(2), telling(3)];
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(store.lists.news.lock().values().map(Vec::len).sum::<usize>(), 2, "one tells, the others wait");
        for teller in tellers {
            teller.abort();
            let _ = teller.await;
        }
        assert!(store.lists.news.lock().is_empty());
        store.gate.add_permits(1000);
        assert_eq!(store.get().await, [1, 2, 3]);
    }

    #[tokio::test]
    async fn what_is_pushed_while_a_list_is_refreshed_stays_in_it() {
        let store = Store::new();
        store.get().await;
        store.push(1).await;
        let old = store.lists.lists.kept.get(&0).unwrap();
        let (read, value) = (Instant::now(), store.now.lock().0.clone());
        store.push(2).await;
        store.lists.refresh(&0, &old, read, value.clone());
        assert_eq!(store.get().await, [1, 2]);
        store.push(3).await;
        assert_eq!(store.get().await, [1, 2, 3]);
        assert_eq!(*store.reads.lock(), 1);
        store.push_elsewhere(4);
        store.lists.refresh(&0, &old, read, value.clone());
        assert_eq!(store.get().await, [1, 2, 3, 4]);
        store.lists.refresh(&0, &old, read, value.clone());
        assert_eq!(store.get().await, [1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn its_time_goes_on_from_when_it_was_read() {
        let store = Store::new();
        store.get().await;
        let before = store.lists.lists.kept.get(&0).unwrap().read;
        store.push(1).await;
        let kept = store.lists.lists.kept.get(&0).unwrap();
        assert!(kept.read == before && before <= Instant::now());
    }
}
