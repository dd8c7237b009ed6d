//! Lists that grow, over a store of one list.

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
