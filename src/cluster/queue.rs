//! The wait for a peer below its `max_connections`: bounded in number and in time, first come first served.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;

use super::error::PickError;

/// Waiting requests per cluster; each costs about a kilobyte, and beyond this an answer now is kinder than one late.
pub(super) const MAX_WAITING: usize = 10_000;
/// The head of the line also looks by itself this often: health, DNS and other clusters' in_flights free places silently.
const RECHECK: Duration = Duration::from_millis(100);

/// What a try to take a place brought.
pub(super) enum Attempt<T> {
    Got(T),
    /// Somebody is well, but full.
    Full,
    /// Nobody is well: waiting makes no sense.
    Nobody,
}

#[derive(Default)]
pub(super) struct Queue {
    waiting: AtomicUsize,
    freed: Notify,
    /// Fair: whoever holds it is the head of the line, and the only one that looks.
    line: Mutex<()>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting() == 0
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// A place became free. Call it after the place can be taken.
    pub(super) fn freed(&self) {
        if !self.is_empty() {
            self.freed.notify_waiters();
        }
    }

    /// Waits at most `limit` until `attempt` gets something.
    ///
    /// `choosy` requests, who cannot use every place (a retry, an upload), look beside the line: at its head they would
    /// hold up others.
    pub(super) async fn wait<T>(
        &self,
        limit: Duration,
        choosy: bool,
        mut attempt: impl FnMut() -> Attempt<T>,
    ) -> Result<T, PickError> {
        let _place = Waiting::take(self).ok_or(PickError::Busy)?;
        let wait = async {
            let _head = if choosy { None } else { Some(self.line.lock().await) };
            loop {
                let mut freed = pin!(self.freed.notified());
                freed.as_mut().enable(); // before the look: a place freed in between wakes us
                match attempt() {
                    Attempt::Got(got) => return Ok(got),
                    Attempt::Nobody => return Err(PickError::NoPeer),
                    Attempt::Full => {}
                }
                let _ = timeout(RECHECK, freed).await; // woken or not, we look again
            }
        };
        timeout(limit, wait).await.unwrap_or(Err(PickError::Busy))
    }
}

/// One waiting request.
struct Waiting<'a>(&'a Queue);

impl<'a> Waiting<'a> {
    fn take(queue: &'a Queue) -> Option<Self> {
        let take = |waiting| (waiting < MAX_WAITING).then_some(waiting + 1);
        queue.waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).ok().map(|_| Waiting(queue))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_more_than_the_bound_is_busy_at_once() {
        let queue = Queue::default();
        let places: Vec<_> = (0..MAX_WAITING).map(|_| Waiting::take(&queue).unwrap()).collect();
        let wait = queue.wait(Duration::from_secs(60), false, || Attempt::Got(()));
        assert_eq!(wait.await, Err(PickError::Busy));
        drop(places);
        assert!(queue.is_empty());
        assert_eq!(queue.wait(Duration::from_secs(60), false, || Attempt::Got(())).await, Ok(()));
    }

    #[tokio::test]
    async fn those_who_wait_are_served_in_order() {
        let queue = std::sync::Arc::new(Queue::default());
        let free = std::sync::Arc::new(AtomicUsize::new(0));
        let (sender, mut served) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..50 {
            let (queue, free, sender) = (queue.clone(), free.clone(), sender.clone());
            let look = move || match free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |free| free.checked_sub(1)) {
                Ok(_) => Attempt::Got(()),
                Err(_) => Attempt::Full,
            };
            tokio::spawn(async move {
                queue.wait(Duration::from_secs(60), false, look).await.unwrap();
                sender.send(number).unwrap();
            });
            tokio::task::yield_now().await; // lines up before the next one
        }
        for number in 0..50 {
            free.fetch_add(1, Ordering::SeqCst);
            queue.freed();
            assert_eq!(served.recv().await, Some(number));
        }
    }

    #[tokio::test]
    async fn the_wait_ends_with_its_limit() {
        let queue = Queue::default();
        let wait = queue.wait::<()>(Duration::from_millis(30), false, || Attempt::Full);
        assert_eq!(wait.await, Err(PickError::Busy));
        let wait = queue.wait::<()>(Duration::from_secs(5), false, || Attempt::Nobody);
        assert_eq!(wait.await, Err(PickError::NoPeer));
        assert!(queue.is_empty());
    }
}
