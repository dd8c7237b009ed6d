//! Questions to storage of which one request has many (what a manifest names, tags of a digest, a repository's manifests):
//! so many at once for one request, and for all together. Requests that need one answer do not wait here.

use tokio::sync::Semaphore;

/// Of one request: enough to hide a store's round trip, too few to keep it from the others.
pub(super) const PER_REQUEST: usize = 8;
/// Of all requests together. Each may hold a manifest of 4 MiB: 128 MiB.
const ALL: usize = 32;

pub(super) struct Fan(Semaphore);

impl Fan {
    pub(super) fn new() -> Self {
        Fan(Semaphore::new(ALL))
    }

    /// Asks when it is its turn, in the order of asking. `question` must not come here again.
    pub(super) async fn ask<T>(&self, question: impl Future<Output = T>) -> T {
        // It is never closed.
        let _turn = self.0.acquire().await;
        question.await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn no_more_are_asked_at_once_than_all_may_and_each_is_asked() {
        let (fan, now, most) = (Fan::new(), AtomicUsize::new(0), AtomicUsize::new(0));
        let one = || {
            fan.ask(async {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
            })
        };
        let requests =
            (0..20).map(|_| futures::stream::iter(0..50).map(|_| one()).buffer_unordered(PER_REQUEST).count());
        let asked: usize = futures::future::join_all(requests).await.iter().sum();
        assert_eq!((asked, most.load(Ordering::SeqCst)), (1000, ALL));
    }
}
