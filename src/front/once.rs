//! One question for simultaneous askers: the first asks, the others get a clone of its answer.
//!
//! The question runs in its own task, so that it survives the asker that began it; it ends when nobody waits any more,
//! so that clients that come and go in a hurry leave no work behind.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;
use tokio_util::task::AbortOnDropHandle;

use crate::telemetry::spans;

type Answering<V> = BoxFuture<'static, Option<V>>;
/// Which question it is, and how to wait for it.
type Pending<K, V> = Arc<Mutex<HashMap<K, (u64, WeakShared<Answering<V>>)>>>;

/// Questions under way. Bounded by the requests under way: an entry goes with its last asker.
pub struct Once<K, V> {
    pending: Pending<K, V>,
    asked: AtomicU64,
}

impl<K, V> Default for Once<K, V> {
    fn default() -> Self {
        Once { pending: Arc::default(), asked: AtomicU64::new(0) }
    }
}

impl<K, V> Once<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The answer to `key`: that of a question under way, else of `question`. `None` when the question's task broke.
    pub async fn ask<F>(&self, key: K, question: impl FnOnce() -> F) -> Option<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        self.join(key, question).await
    }

    fn join<F>(&self, key: K, question: impl FnOnce() -> F) -> Shared<Answering<V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut table = self.pending.lock();
        if let Some(pending) = table.get(&key).and_then(|(_, pending)| pending.upgrade()) {
            return pending;
        }
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let forget = Forget { all: self.pending.clone(), key: key.clone(), number };
        // Whoever joins waits for what the first of them began.
        let question = spans::carried(question());
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let _forget = forget;
            question.await
        }));
        let pending = task.map(Result::ok).boxed().shared();
        if let Some(weak) = pending.downgrade() {
            table.insert(key, (number, weak));
        }
        pending
    }
}

/// Takes the question off the table when it ends, however it ends.
struct Forget<K: Hash + Eq, V> {
    all: Pending<K, V>,
    key: K,
    number: u64,
}

impl<K: Hash + Eq, V> Drop for Forget<K, V> {
    fn drop(&mut self) {
        let mut table = self.all.lock();
        // The same may have been asked anew since everybody left this one.
        if table.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            table.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn simultaneous_askers_share_one_question() {
        let once = Arc::new(Once::<u8, usize>::default());
        let asked = Arc::new(AtomicUsize::new(0));
        let askers: Vec<_> = (0..50)
            .map(|_| {
                let (once, asked) = (once.clone(), asked.clone());
                tokio::spawn(async move {
                    once.ask(1, || async move {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        asked.fetch_add(1, Ordering::SeqCst)
                    })
                    .await
                })
            })
            .collect();
        for asker in askers {
            assert_eq!(asker.await.unwrap(), Some(0));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert!(once.pending.lock().is_empty());
        let again = asked.clone();
        assert_eq!(once.ask(1, || async move { again.fetch_add(1, Ordering::SeqCst) }).await, Some(1));
    }

    #[tokio::test]
    async fn a_broken_question_is_forgotten() {
        let once = Once::<u8, usize>::default();
        assert_eq!(once.ask(1, || async { panic!("a bug in a question") }).await, None);
        assert_eq!(once.ask(1, || async { 7 }).await, Some(7));
    }

    #[tokio::test]
    async fn a_question_ends_when_nobody_waits_for_it() {
        let once = Once::<u8, ()>::default();
        let (ended, ends) = tokio::sync::oneshot::channel::<()>();
        let asking = once.ask(1, || async move {
            let _ended = ended;
            std::future::pending::<()>().await;
        });
        assert!(tokio::time::timeout(Duration::from_millis(20), asking).await.is_err());
        assert!(tokio::time::timeout(Duration::from_secs(5), ends).await.is_ok_and(|dropped| dropped.is_err()));
        assert!(once.pending.lock().is_empty());
    }
}
