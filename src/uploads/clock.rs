//! What time it is, for ages of uploads: a clock that jumps must not make a fresh upload look old.

use std::time::{Duration, Instant, SystemTime};

/// Two opinions: the machine's clock, and what it said at start plus the time that has passed since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    wall: SystemTime,
    monotonic: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Clock { wall: SystemTime::now(), monotonic: Instant::now() }
    }

    /// The time to write into a new session: the later opinion, so that it never looks older than it is.
    pub(super) fn begin(&self) -> SystemTime {
        let (wall, steady) = self.opinions();
        wall.max(steady)
    }

    /// Whether something that began then is older, in both opinions. What is in the future is not.
    pub(super) fn older(&self, began: SystemTime, than: Duration) -> bool {
        let (wall, steady) = self.opinions();
        wall.min(steady).duration_since(began).is_ok_and(|age| age >= than)
    }

    fn opinions(&self) -> (SystemTime, SystemTime) {
        let wall = SystemTime::now();
        (wall, self.wall.checked_add(self.monotonic.elapsed()).unwrap_or(wall))
    }
}

/// Milliseconds since 1970, as they are stored.
pub(super) fn to_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The other way; a number that is no time is one that never grows old.
pub(super) fn from_millis(millis: u64) -> SystemTime {
    let century = Duration::from_secs(100 * 365 * 24 * 3600);
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or_else(|| SystemTime::now() + century)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

    #[test]
    fn a_jump_of_either_clock_ages_nothing() {
        let year = Duration::from_secs(365 * 24 * 3600);
        // The machine's clock jumped ahead by ten years after start.
        let jumped = Clock { wall: SystemTime::now() - 10 * year, monotonic: Instant::now() };
        let before = SystemTime::now() - 10 * year;
        assert!(!jumped.older(before, WEEK));
        // It was ten years ahead at start and was put right.
        let ahead = Clock { wall: SystemTime::now() + 10 * year, monotonic: Instant::now() };
        assert!(!ahead.older(SystemTime::now(), WEEK));
        assert!(!ahead.older(SystemTime::now() + year, Duration::ZERO));
        assert!(ahead.older(SystemTime::now() - 2 * WEEK, WEEK));
    }

    #[test]
    fn milliseconds_round_trip_and_nonsense_is_never_old() {
        let now = SystemTime::now();
        assert!(now.duration_since(from_millis(to_millis(now))).unwrap() < Duration::from_millis(1));
        assert!(!Clock::start().older(from_millis(u64::MAX), Duration::ZERO));
    }
}
