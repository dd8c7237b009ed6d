//! Memory of all uploads of this process.
//!
//! Bytes of a body count from when they are gathered until they are written. What does not count: one piece per connection
//! that has arrived and waits for its share (about 1 MiB at most). Waiting is fair, first come first served, and cannot
//! deadlock: a share is taken as a whole, by somebody who holds none, or others only for bytes that are being written
//! already; the one exception ends after a time (`gather`). Who holds one while its client sends watches for others who wait ([`Budget::wanted`]), so that slow clients
//! cannot keep the memory for themselves; and nobody waits longer than [`LONGEST_WAIT`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::storage::Error;

/// Shares are counted in these, so that the semaphore's 32 bits reach 16 TiB.
const UNIT: u64 = 4 << 10;
/// The smallest budget: the largest part, and something for the others meanwhile.
pub(super) const LEAST: u64 = 32 << 20;
const MOST: u64 = 1 << 40;
/// After this, the client is told to come again: its connection and its upload are not held for ever.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// While it waits, each asks this often that one of those who hold memory for a slow client makes room.
const ASK_EVERY: Duration = Duration::from_millis(50);

pub(super) struct Budget {
    units: Arc<Semaphore>,
    total: u64,
    /// Those who wait for a share.
    waiting: AtomicUsize,
    asking: Notify,
}

/// One of those who wait, until dropped.
struct Waiting<'a>(&'a AtomicUsize);

/// So many bytes of the budget, until dropped.
#[derive(Debug)]
pub(super) struct Share {
    /// Never `None`: the semaphore is never closed.
    permit: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// Of so many bytes, but at least [`LEAST`].
    pub(super) fn new(bytes: u64) -> Self {
        let total = bytes.clamp(LEAST, MOST) / UNIT;
        let units = Arc::new(Semaphore::new(usize::try_from(total).unwrap_or(Semaphore::MAX_PERMITS)));
        Budget { units, total, waiting: AtomicUsize::new(0), asking: Notify::new() }
    }

    /// Waits for its turn, [`LONGEST_WAIT`] at most: then `Unavailable`. More than everything is everything.
    pub(super) async fn take(&self, bytes: u64) -> Result<Share, Error> {
        let units = u32::try_from(bytes.div_ceil(UNIT).min(self.total)).unwrap_or(u32::MAX);
        if let Ok(permit) = self.units.clone().try_acquire_many_owned(units) {
            return Ok(Share { permit: Some(permit) });
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        let ask = async {
            loop {
                self.asking.notify_one();
                tokio::time::sleep(ASK_EVERY).await;
            }
        };
        tokio::select! {
            biased;
            permit = self.units.clone().acquire_many_owned(units) => Ok(Share { permit: permit.ok() }),
            () = tokio::time::sleep(LONGEST_WAIT) => Err(Error::Unavailable("no memory is free for this upload".to_owned())),
            () = ask => Err(Error::Failed("asking has ended".to_owned())),
        }
    }

    /// Returns when somebody waits for memory, but not before `from`; to one at a time of those who call it.
    pub(super) async fn wanted(&self, from: Instant) {
        tokio::time::sleep_until(from).await;
        loop {
            self.asking.notified().await; // perhaps by somebody who is served already
            if self.waiting.load(Ordering::Relaxed) > 0 {
                return;
            }
        }
    }

    /// Bytes that are in use. Never more than were promised: shares are of one semaphore.
    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        (self.total - self.units.available_permits() as u64) * UNIT
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Share {
    pub(super) fn bytes(&self) -> u64 {
        self.permit.as_ref().map_or(0, |permit| permit.num_permits() as u64 * UNIT)
    }

    /// Adds another share of the same budget.
    pub(super) fn merge(&mut self, mut other: Share) {
        match (&mut self.permit, other.permit.take()) {
            (Some(permit), Some(more)) => permit.merge(more),
            (none, more) => *none = more,
        }
    }

    /// Gives back what is above so many bytes.
    pub(super) fn shrink(&mut self, bytes: u64) {
        let Some(permit) = &mut self.permit else { return };
        let keep = usize::try_from(bytes.div_ceil(UNIT)).unwrap_or(usize::MAX);
        drop(permit.split(permit.num_permits().saturating_sub(keep)));
    }
}

impl Budget {
    /// Made or resized for `from` bytes, it is for `to` bytes from now on. What is in use is taken away when it is given back.
    pub(super) fn resize(&self, from: u64, to: u64) {
        let [from, to] = [from, to].map(|bytes| bytes.clamp(LEAST, MOST) / UNIT);
        self.units.add_permits(usize::try_from(to.saturating_sub(from)).unwrap_or_default());
        let surplus = u32::try_from(from.saturating_sub(to)).unwrap_or(u32::MAX);
        if let (1.., Ok(runtime)) = (surplus, tokio::runtime::Handle::try_current()) {
            let units = self.units.clone();
            runtime.spawn(async move {
                if let Ok(surplus) = units.acquire_many_owned(surplus).await {
                    surplus.forget();
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_size_counts_what_is_in_use() {
        let budget = Budget::new(2 * LEAST);
        let share = budget.take(LEAST + UNIT).await;
        budget.resize(2 * LEAST, LEAST);
        tokio::task::yield_now().await;
        drop(share);
        let units = budget.units.clone();
        let most = u32::try_from(LEAST / UNIT).unwrap();
        assert!(units.clone().acquire_many_owned(most).await.is_ok());
        assert!(units.clone().try_acquire_many_owned(most + 1).is_err());
        budget.resize(LEAST, 3 * LEAST);
        assert!(units.try_acquire_many_owned(3 * most).is_ok());
    }

    #[tokio::test]
    async fn shares_are_given_back() {
        let budget = Budget::new(0);
        let mut share = budget.take(LEAST * 2).await.unwrap();
        assert_eq!(budget.used(), LEAST);
        share.shrink(5000);
        assert_eq!(budget.used(), 8192);
        let other = budget.take(LEAST - 8192).await.unwrap();
        drop((share, other));
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_heard_and_does_not_wait_for_ever() {
        let budget = Budget::new(0);
        let holder = async {
            let share = budget.take(LEAST).await.unwrap();
            budget.wanted(Instant::now()).await;
            drop(share);
        };
        let ((), taken) = tokio::join!(holder, budget.take(1));
        assert_eq!(budget.used(), UNIT);
        drop(taken);
        let _all = budget.take(LEAST).await.unwrap();
        assert!(matches!(budget.take(1).await, Err(Error::Unavailable(_))));
        assert_eq!(budget.waiting.load(Ordering::Relaxed), 0);
        // What was asked before does not matter to who comes now.
        let heard = tokio::time::timeout(Duration::from_secs(9), budget.wanted(Instant::now())).await;
        assert!(heard.is_err());
    }
}
