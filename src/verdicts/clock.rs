//! The time that facts are stamped with: wall-clock time, so that it means something after a restart, but never going
//! backwards while the process lives.
//!
//! Invariant: a later `now` is never smaller, so no fact ever looks younger than it is because somebody set the clock
//! back. A clock that is set forward, or a machine that slept, makes facts older, which is safe.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Nanoseconds since 1970, as this process counts them.
pub type Moment = u64;

pub struct Clock {
    started: Instant,
    base: Moment,
    /// How far the wall clock has run ahead of `started`.
    ahead: AtomicU64,
}

impl Clock {
    /// A clock that shows the wall's time, or `floor` if that is later.
    pub fn starting_at_least(floor: Moment) -> Self {
        Clock { started: Instant::now(), base: wall().max(floor), ahead: AtomicU64::new(0) }
    }

    /// Shows `floor` at least from now on: for who reads facts of a process whose clock ran ahead.
    pub fn start_at_least(&self, floor: Moment) {
        let monotonic = self.base + nanoseconds(self.started.elapsed());
        self.ahead.fetch_max(floor.saturating_sub(monotonic), Ordering::Relaxed);
    }

    /// One read of the monotonic clock.
    pub fn now(&self) -> Moment {
        self.base + nanoseconds(self.started.elapsed()) + self.ahead.load(Ordering::Relaxed)
    }

    /// Follows the wall clock forward; called about once a second, so that `now` need not ask both clocks.
    pub fn follow_wall(&self) {
        let monotonic = self.base + nanoseconds(self.started.elapsed());
        self.ahead.fetch_max(wall().saturating_sub(monotonic), Ordering::Relaxed);
    }

    #[cfg(test)]
    pub fn advance(&self, by: Duration) {
        self.ahead.fetch_add(nanoseconds(by), Ordering::Relaxed);
    }
}

/// The wall's time, which may jump.
pub fn wall() -> Moment {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map(nanoseconds).unwrap_or(0)
}

/// Saturates after five centuries.
pub fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_begun_in_the_future_still_runs_forward() {
        let future = wall() + nanoseconds(Duration::from_secs(3600));
        let clock = Clock::starting_at_least(future);
        let first = clock.now();
        assert!(first >= future);
        clock.follow_wall();
        assert!(clock.now() >= first);
        assert!(clock.now() < future + nanoseconds(Duration::from_secs(60)), "the wall is behind and does not add");
    }
}
