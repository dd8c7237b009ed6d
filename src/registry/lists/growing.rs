//! Lists that pushes add to: every instance is told that a list has changed, and the one that is kept here grows, so that
//! it need not be read again.
//!
//! A kept list with stamp S, grown by what was written here, is true under the stamp S' if S' took the place of S: then
//! nobody else has told of a change in between. So the stamp is changed on condition that it is still S.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

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
/// read later knows of it, also if it is gone again. By default none: whatever is kept is forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
        let unless_told = Forgetting { lists: &self.lists, key, due: true };
        // None: whoever told them for us went away.
        let news = self.news.lock().remove(key).unwrap_or_default();
        let grows =
            |kept: &Arc<KeptList<V>>| !news.is_empty() && news.iter().all(|news| news.base == Base(Some(kept.reading)));
        let kept = self.lists.kept.get(key).filter(grows);
        let stamp = write(kept.as_ref().map(|kept| &kept.stamp)).await?;
        unless_told.told();
        if let (Some(kept), Some(stamp)) = (kept, stamp) {
            self.grow(key, &kept, stamp, news.into_iter().flat_map(|news| news.items).collect());
        }
        Ok(())
    }

    /// Unless it was read anew in the meantime, which is then read once more.
    fn grow(&self, key: &K, kept: &KeptList<V>, stamp: Stamp, items: Vec<V::Item>) {
        self.lists.replace(key, |present| {
            (present.reading == kept.reading && present.stamp == kept.stamp).then(|| KeptList {
                value: Arc::new(present.value.grown(items)),
                stamp,
                before: Some(present.stamp.clone()),
                read: present.read,
                reading: present.reading,
                refreshing: AtomicBool::new(present.refreshing.load(Ordering::Relaxed)),
            })
        });
    }

    /// The stamp as it is now, once those have told who may be about to give the list that is kept this one.
    pub(in crate::registry) async fn stamp(
        &self,
        key: &K,
        ask: impl Future<Output = Result<Stamp, Error>>,
    ) -> Result<Stamp, Error> {
        let stamp = ask.await?;
        if self.lists.kept.get(key).is_some_and(|kept| !kept.has(&stamp)) {
            self.telling.idle(key).await;
        }
        Ok(stamp)
    }

    /// Puts what was read since `read` in the place of `old`, whose stamp held then; and what that has grown by meanwhile.
    /// Not if it was read anew by another one.
    pub(in crate::registry) fn refresh(&self, key: &K, old: &KeptList<V>, read: Instant, value: V) {
        self.lists.replace(key, |present| {
            (present.reading == old.reading).then(|| {
                let items = present.value.since(&old.value);
                KeptList {
                    value: Arc::new(if items.is_empty() { value } else { value.grown(items) }),
                    stamp: present.stamp.clone(),
                    before: present.before.clone(),
                    read,
                    reading: present.reading,
                    refreshing: AtomicBool::new(false),
                }
            })
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

/// Forgets a list unless its change is told: whoever told for others failed or went away, and what was added is not known
/// any more.
struct Forgetting<'a, K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    lists: &'a Lists<K, V>,
    key: &'a K,
    due: bool,
}

impl<K, V> Forgetting<'_, K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    fn told(mut self) {
        self.due = false;
    }
}

impl<K, V> Drop for Forgetting<'_, K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    fn drop(&mut self) {
        if self.due {
            self.lists.kept.invalidate(self.key);
        }
    }
}
