//! One question for everybody who asks the same while it is under way. It belongs to nobody: whoever leaves does not end it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::outbound::via::Passed;
use crate::telemetry::spans;

/// Questions under way of one kind; further ones are refused. Each ends in bounded time by itself.
const MOST: usize = 4096;

type Table<K, V> = Mutex<HashMap<K, watch::Receiver<Option<V>>>>;

pub(super) struct Flights<K, V> {
    under_way: Arc<Table<K, V>>,
}

/// What somebody gets of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Landed<V> {
    pub value: V,
    /// Somebody else had begun it.
    pub joined: bool,
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Flights { under_way: Arc::default() }
    }
}

impl<K, V> Flights<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Joins the question that is under way, or begins it. `None`: too many are, or it broke down.
    pub(super) fn join(
        &self,
        key: K,
        ask: impl FnOnce() -> BoxFuture<'static, V>,
    ) -> BoxFuture<'static, Option<Landed<V>>> {
        let found = self.find_or_begin(key, ask);
        async move {
            let (mut told, joined) = found?;
            let value = told.wait_for(Option::is_some).await.ok()?.clone()?;
            Some(Landed { value, joined })
        }
        .boxed()
    }

    pub(super) fn is_under_way(&self, key: &K) -> bool {
        self.under_way.lock().contains_key(key)
    }

    fn find_or_begin(
        &self,
        key: K,
        ask: impl FnOnce() -> BoxFuture<'static, V>,
    ) -> Option<(watch::Receiver<Option<V>>, bool)> {
        let mut under_way = self.under_way.lock();
        if let Some(told) = under_way.get(&key) {
            return Some((told.clone(), true));
        }
        if under_way.len() >= MOST {
            return None;
        }
        let (tell, told) = watch::channel(None);
        under_way.insert(key.clone(), told.clone());
        drop(under_way);
        let over = Over { table: self.under_way.clone(), key };
        let asking = spans::carried(Passed::here().along(ask()));
        tokio::spawn(async move {
            let value = asking.await;
            // Whoever asks from now on asks anew.
            drop(over);
            tell.send_replace(Some(value));
        });
        Some((told, false))
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.under_way.lock().len()
    }
}

/// Takes it from the table, also if it breaks down.
struct Over<K: Hash + Eq, V> {
    table: Arc<Table<K, V>>,
    key: K,
}

impl<K: Hash + Eq, V> Drop for Over<K, V> {
    fn drop(&mut self) {
        self.table.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn all_who_ask_meanwhile_get_one_answer_and_whoever_leaves_does_not_end_it() {
        let flights: Flights<&str, usize> = Flights::default();
        let (count, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let ask = || {
            let (count, gate) = (count.clone(), gate.clone());
            flights.join("tag", move || {
                async move {
                    gate.acquire().await.unwrap().forget();
                    count.fetch_add(1, Ordering::SeqCst) + 1
                }
                .boxed()
            })
        };
        let (first, second, third) = (ask(), ask(), ask());
        drop(first);
        gate.add_permits(1);
        assert_eq!(second.await, Some(Landed { value: 1, joined: true }));
        assert_eq!(third.await, Some(Landed { value: 1, joined: true }));
        assert_eq!(flights.count(), 0);
        gate.add_permits(1);
        assert_eq!(ask().await, Some(Landed { value: 2, joined: false }));
    }

    #[tokio::test]
    async fn one_that_breaks_down_leaves_nobody_waiting() {
        let flights: Flights<u8, u8> = Flights::default();
        let broken = flights.join(1, || async { std::panic::panic_any("broken on purpose") }.boxed());
        assert_eq!(broken.await, None);
        assert_eq!(flights.count(), 0);
    }

    #[tokio::test]
    async fn there_is_a_bound() {
        let flights: Flights<usize, u8> = Flights::default();
        let waiting: Vec<_> = (0..MOST).map(|key| flights.join(key, || std::future::pending().boxed())).collect();
        assert_eq!(flights.join(MOST, || async { 1 }.boxed()).await, None);
        assert_eq!(waiting.len(), MOST);
    }
}
