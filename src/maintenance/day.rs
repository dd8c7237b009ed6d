//! Days, in UTC: pulls are remembered by the day, which is all that retention asks of them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

const LENGTH: u64 = 24 * 3600;
/// The last second of the year 9999: later days have no name.
const LAST: u64 = 253_402_300_799;

/// Days since 1970-01-01.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(pub u32);

impl Day {
    /// By this machine's clock.
    pub fn today() -> Self {
        Day::of(SystemTime::now())
    }

    /// The day that a time lies in; the first one for what is before it.
    pub fn of(time: SystemTime) -> Self {
        let days = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / LENGTH;
        Day(u32::try_from(days).unwrap_or(u32::MAX))
    }

    /// Its last moment: what is known to have happened on a day may have happened as late as this.
    pub fn end(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs((u64::from(self.0) + 1) * LENGTH)
    }

    /// How many days lie between an earlier one and this one.
    pub fn since(self, earlier: Day) -> u32 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Day {
    /// `2026-11-30`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noon = u64::from(self.0) * LENGTH + LENGTH / 2;
        let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(noon.min(LAST))).to_string();
        f.write_str(text.get(..10).unwrap_or(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_a_name_and_an_end() {
        let time = humantime::parse_rfc3339("2026-11-30T23:59:59Z").unwrap();
        let day = Day::of(time);
        assert_eq!(day.to_string(), "2026-11-30");
        assert_eq!(day.end(), humantime::parse_rfc3339("2026-12-01T00:00:00Z").unwrap());
        assert_eq!((day.since(Day(day.0 - 3)), Day(1).since(Day(5))), (3, 0));
        assert_eq!((Day::of(UNIX_EPOCH - Duration::from_secs(5)), Day(0).to_string()), (Day(0), "1970-01-01".into()));
        assert_eq!(Day(u32::MAX).to_string(), "9999-12-31");
    }
}
