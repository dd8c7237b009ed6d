//! Times, by the clock of the store: ages are never measured by ours.

#[cfg(test)]
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::storage::{Error, Storage};

/// As it stands in our files and answers: RFC 3339 in UTC, with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(SystemTime);

/// The last second of the year 9999: no later time can be written.
const LAST: Duration = Duration::from_secs(253_402_300_799);

impl Time {
    pub fn of(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().min(LAST);
        // As it is read back.
        Time(SystemTime::UNIX_EPOCH + Duration::new(since.as_secs(), since.subsec_millis() * 1_000_000))
    }

    pub fn get(self) -> SystemTime {
        self.0
    }

    /// Whether so much has passed since then, at `now`.
    pub fn is_past(self, span: Duration, now: SystemTime) -> bool {
        is_past(self.0, span, now)
    }

    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        self.0.checked_add(span).map_or(self, Time::of)
    }

    /// In seconds since 1970, for gauges.
    pub fn seconds(self) -> i64 {
        let since = self.0.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }
}

/// Whether so much has passed since `then`, at `now`. What is in the future is young.
pub fn is_past(then: SystemTime, span: Duration, now: SystemTime) -> bool {
    now.duration_since(then).is_ok_and(|age| age >= span)
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_millis(self.0))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text).map(Time::of).map_err(serde::de::Error::custom)
    }
}

/// Where the time comes from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    #[default]
    Store,
    /// So many milliseconds ahead of the store's, so that a test need not wait for days.
    #[cfg(test)]
    Ahead(Arc<std::sync::atomic::AtomicU64>),
}

impl Clock {
    /// Asks the store each time: a machine that slept does not know for how long.
    pub async fn now(&self, storage: &Storage) -> Result<SystemTime, Error> {
        let now = storage.now().await?;
        match self {
            Clock::Store => Ok(now),
            #[cfg(test)]
            Clock::Ahead(by) => Ok(now + Duration::from_millis(by.load(std::sync::atomic::Ordering::SeqCst))),
        }
    }
}

/// How long something lasts, also over a sleep of the machine, which one of the two clocks does not see, and over a jump of the
/// other: whichever says more.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    instant: Instant,
    wall: SystemTime,
    #[cfg(test)]
    later: Duration,
}

impl Stopwatch {
    pub fn start() -> Self {
        Stopwatch {
            instant: Instant::now(),
            wall: SystemTime::now(),
            #[cfg(test)]
            later: later(),
        }
    }

    pub fn elapsed(&self) -> Duration {
        let elapsed = self.instant.elapsed().max(self.wall.elapsed().unwrap_or_default());
        #[cfg(test)]
        let elapsed = elapsed + later().saturating_sub(self.later);
        elapsed
    }
}

#[cfg(test)]
tokio::task_local! {
    /// How much time has passed in a test that does not wait for it.
    pub(super) static LATER: Arc<dyn Fn() -> Duration + Send + Sync>;
}

#[cfg(test)]
fn later() -> Duration {
    LATER.try_with(|later| later()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_was_written() {
        let time = Time::of(SystemTime::UNIX_EPOCH + Duration::from_millis(1_796_004_245_678));
        let text = serde_json::to_string(&time).unwrap();
        assert_eq!(text, "\"2026-11-30T02:04:05.678Z\"");
        assert_eq!(serde_json::from_str::<Time>(&text).unwrap(), time);
        let far = Time::of(SystemTime::UNIX_EPOCH + LAST * 3);
        assert_eq!(serde_json::to_string(&far).unwrap(), "\"9999-12-31T23:59:59.000Z\"");
        assert_eq!(far.plus(LAST), far);
    }

    #[test]
    fn what_is_in_the_future_is_young() {
        let now = SystemTime::now();
        let second = Duration::from_secs(1);
        assert!(is_past(now - second, second, now));
        assert!(!is_past(now, second, now));
        assert!(!is_past(now + second, Duration::ZERO, now));
    }
}
