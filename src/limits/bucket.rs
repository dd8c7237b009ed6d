//! One rate for many clients: GCRA, whose whole state is when a client's count is worn off.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::{Quota, RateLimiter};

use super::config::Rate;
use super::table::Table;

pub(super) struct Bucket<C: Clock = MonotonicClock> {
    limiter: RateLimiter<u64, Table, C, NoOpMiddleware<C::Instant>>,
    clock: C,
    /// How long one unit takes to wear off, and how many there may be at once.
    every: Duration,
    units: NonZeroU32,
}

impl<C: Clock + Clone> Bucket<C> {
    /// `units` is what one of what the rate counts weighs; `least` is the costliest that there must be room for.
    pub(super) fn new(rate: Rate, burst: u32, units: (u32, u32), clock: C) -> Self {
        Bucket::over(rate, burst, units, clock, Table::default())
    }

    pub(super) fn over(rate: Rate, burst: u32, (units, least): (u32, u32), clock: C, table: Table) -> Self {
        let every = rate.every() / units.max(1);
        let every = every.max(Duration::from_nanos(1));
        let at_once = Duration::from_secs(burst.into()).as_nanos() / every.as_nanos();
        let at_once = u32::try_from(at_once).unwrap_or(u32::MAX).max(least);
        let at_once = NonZeroU32::new(at_once).unwrap_or(NonZeroU32::MIN);
        // A period of nothing, which there is none of, would be a second.
        let quota = Quota::with_period(every).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(at_once);
        Bucket { limiter: RateLimiter::new(quota, table, clock.clone()), clock, every, units: at_once }
    }

    /// # Errors
    /// It is too much now: after so long it would not be.
    pub(super) fn take(&self, key: u64, weight: u32) -> Result<(), Duration> {
        let Some(weight) = NonZeroU32::new(weight) else { return Ok(()) };
        match self.limiter.check_key_n(&key, weight) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(later)) => Err(later.wait_time_from(self.clock.now())),
            // More than there ever is room for: `least` keeps it from happening.
            Err(_) => Err(self.room()),
        }
    }

    pub(super) fn sweep(&self) {
        self.limiter.retain_recent();
    }

    /// How long a weight takes to wear off.
    pub(super) fn cost(&self, weight: u32) -> Duration {
        self.every.saturating_mul(weight)
    }

    /// How long all that may come at once takes to wear off.
    pub(super) fn room(&self) -> Duration {
        self.every.saturating_mul(self.units.get())
    }

    #[cfg(test)]
    pub(super) fn clients(&self) -> usize {
        self.limiter.len()
    }
}
