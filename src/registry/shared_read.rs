//! One read for everybody who asks at the same time, and still linearizable: whoever asks takes part only in a read that
//! begins after they asked. So of one key there is one read running, and one batch of askers waiting for the next.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

/// Askers of different keys seldom meet on one lock.
const SHARDS: usize = 16;

/// Reads under way by key. Holds nothing when nobody asks.
pub(super) struct SharedReads<K, V> {
    shards: [Mutex<HashMap<K, Arc<Slot<V>>>>; SHARDS],
    hasher: RandomState,
}

struct Slot<V> {
    /// Held by the read that is running.
    running: tokio::sync::Mutex<()>,
    /// The batch that whoever asks now joins; replaced when its read begins.
    next: Mutex<Arc<Batch<V>>>,
}

/// Askers that share one read, and its result.
type Batch<V> = OnceLock<V>;

impl<K: Hash + Eq + Clone, V: Clone> Default for SharedReads<K, V> {
    fn default() -> Self {
        SharedReads::new()
    }
}

impl<K: Hash + Eq + Clone, V: Clone> SharedReads<K, V> {
    pub(super) fn new() -> Self {
        SharedReads { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }

    /// The result of a read that begins after this call. `read` runs only if no other asker's does; when that asker goes
    /// away in the middle of it, another one of the batch reads.
    pub(super) async fn get<F: Future<Output = V>>(&self, key: &K, read: impl FnOnce() -> F) -> V {
        let joined = self.join(key);
        let running = joined.slot.running.lock().await;
        if let Some(value) = joined.batch.get() {
            return value.clone();
        }
        close(&joined.slot, &joined.batch);
        let value = read().await;
        let value = joined.batch.get_or_init(|| value).clone();
        drop(running);
        value
    }

    /// Waits for the read that is running, if there is one.
    pub(super) async fn idle(&self, key: &K) {
        let joined = self.join(key);
        drop(joined.slot.running.lock().await);
    }

    fn join<'a>(&'a self, key: &'a K) -> Joined<'a, K, V> {
        let mut slots = self.shard(key).lock();
        let slot = match slots.get(key) {
            Some(slot) => slot.clone(),
            None => {
                let slot = Arc::new(Slot { running: tokio::sync::Mutex::new(()), next: Mutex::default() });
                slots.insert(key.clone(), slot.clone());
                slot
            }
        };
        let batch = slot.next.lock().clone();
        Joined { reads: self, key, slot, batch }
    }

    fn shard(&self, key: &K) -> &Mutex<HashMap<K, Arc<Slot<V>>>> {
        let [first, ..] = &self.shards;
        self.shards.get(self.hasher.hash_one(key) as usize % SHARDS).unwrap_or(first)
    }
}

/// Nobody joins `batch` any more: its read begins.
fn close<V>(slot: &Slot<V>, batch: &Arc<Batch<V>>) {
    let mut next = slot.next.lock();
    if Arc::ptr_eq(&next, batch) {
        *next = Arc::default();
    }
}

/// One asker's part; the last one takes the slot away.
struct Joined<'a, K: Hash + Eq + Clone, V: Clone> {
    reads: &'a SharedReads<K, V>,
    key: &'a K,
    slot: Arc<Slot<V>>,
    batch: Arc<Batch<V>>,
}

impl<K: Hash + Eq + Clone, V: Clone> Drop for Joined<'_, K, V> {
    fn drop(&mut self) {
        let mut slots = self.reads.shard(self.key).lock();
        // The table's and ours: slots are joined only under this lock.
        if Arc::strong_count(&self.slot) == 2 {
            slots.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    type Reads = SharedReads<&'static str, usize>;

    fn slots(reads: &Reads) -> usize {
        reads.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Counts reads; each waits for one permit.
    #[derive(Default)]
    struct Source {
        begun: AtomicUsize,
        gate: Option<Semaphore>,
    }

    impl Source {
        async fn read(&self) -> usize {
            let read = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            if let Some(gate) = &self.gate {
                gate.acquire().await.unwrap().forget();
            }
            read
        }
    }

    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn those_who_ask_during_a_read_share_the_next_one() {
        let reads = Arc::new(Reads::new());
        let source = Arc::new(Source { gate: Some(Semaphore::new(0)), ..Source::default() });
        let ask = || {
            let (reads, source) = (reads.clone(), source.clone());
            tokio::spawn(async move { reads.get(&"tag", || source.read()).await })
        };
        let first = ask();
        settle().await;
        let others: Vec<_> = (0..50).map(|_| ask()).collect();
        settle().await;
        assert_eq!(source.begun.load(Ordering::SeqCst), 1);
        source.gate.as_ref().unwrap().add_permits(2);
        assert_eq!(first.await.unwrap(), 1);
        for other in others {
            assert_eq!(other.await.unwrap(), 2);
        }
        assert_eq!(slots(&reads), 0);
    }

    #[tokio::test]
    async fn an_asker_who_goes_away_leaves_the_read_to_another() {
        let reads = Arc::new(Reads::new());
        let source = Arc::new(Source { gate: Some(Semaphore::new(0)), ..Source::default() });
        let ask = || {
            let (reads, source) = (reads.clone(), source.clone());
            tokio::spawn(async move { reads.get(&"tag", || source.read()).await })
        };
        let first = ask();
        settle().await;
        let others: Vec<_> = (0..3).map(|_| ask()).collect();
        settle().await;
        first.abort();
        settle().await;
        others[0].abort();
        settle().await;
        source.gate.as_ref().unwrap().add_permits(9);
        let mut results = Vec::new();
        for other in others {
            results.extend(other.await.ok());
        }
        assert_eq!(results, [3, 3]);
        assert_eq!(slots(&reads), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_gets_what_was_read_before_they_asked() {
        let reads = Arc::new(Reads::new());
        let clock = Arc::new(AtomicUsize::new(0));
        let askers: Vec<_> = (0..8)
            .map(|_| {
                let (reads, clock) = (reads.clone(), clock.clone());
                tokio::spawn(async move {
                    for _ in 0..500 {
                        let asked = clock.fetch_add(1, Ordering::SeqCst);
                        let read = reads.get(&"tag", || async {
                            let began = clock.fetch_add(1, Ordering::SeqCst);
                            tokio::task::yield_now().await;
                            began
                        });
                        assert!(read.await > asked);
                    }
                })
            })
            .collect();
        for asker in askers {
            asker.await.unwrap();
        }
        assert_eq!(slots(&reads), 0);
    }
}
