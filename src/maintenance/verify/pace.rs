//! How fast storage is asked: so many calls in a time, where each MiB that is read counts as one.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::limits::config::Rate;

/// Bytes that count as one call.
pub(super) const UNIT: u64 = 1 << 20;

/// Shared by all that is asked at once.
pub(in crate::maintenance) struct Pace {
    every: Option<Duration>,
    /// When the next call may be made.
    next: Mutex<Instant>,
}

impl Pace {
    /// `None`: as fast as storage answers.
    pub(in crate::maintenance) fn new(rate: Option<Rate>) -> Self {
        Pace { every: rate.map(Rate::every), next: Mutex::new(Instant::now()) }
    }

    /// Waits until so many calls may be made. Whoever comes first goes first; nothing is saved up.
    pub(in crate::maintenance) async fn take(&self, calls: u64) {
        let Some(every) = self.every else { return };
        let at = {
            let mut next = self.next.lock();
            let at = (*next).max(Instant::now());
            *next = at + every.saturating_mul(u32::try_from(calls).unwrap_or(u32::MAX));
            at
        };
        tokio::time::sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_more_calls_are_made_than_the_rate_allows() {
        let (pace, start) = (Pace::new(Some("10/s".parse().unwrap())), Instant::now());
        futures::future::join_all((0..21).map(|_| pace.take(1))).await;
        assert!(start.elapsed() >= Duration::from_secs(2) && start.elapsed() < Duration::from_millis(2200));
        pace.take(30).await;
        let before = Instant::now();
        pace.take(1).await;
        assert!(before.elapsed() >= Duration::from_millis(2900), "what counts for many is waited for by the next");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nobody_waits() {
        let (pace, start) = (Pace::new(None), Instant::now());
        pace.take(u64::MAX).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
