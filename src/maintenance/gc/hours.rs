//! The hours of a day within which a scheduled collection goes on.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Timelike as _};
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer};

const DAY: u32 = 24 * 60;

/// `01:00-05:00`, also over midnight (`22:00-04:00`); empty: always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hours(Option<(u32, u32)>);

impl Hours {
    /// How long it is until they begin; `None` within them. By the clock on the wall of `zone`: on a night on which clocks change, it
    /// may be an hour off, so whoever waits asks again.
    pub fn wait(self, zone: Tz, now: SystemTime) -> Option<Duration> {
        let (from, to) = self.0?;
        let time: DateTime<Tz> = DateTime::<chrono::Utc>::from(now).with_timezone(&zone);
        let minute = time.hour() * 60 + time.minute();
        let within = if from < to { (from..to).contains(&minute) } else { minute >= from || minute < to };
        if within {
            return None;
        }
        let left = (from + DAY - minute) % DAY;
        Some(Duration::from_secs(u64::from(left) * 60 - u64::from(time.second().min(59))))
    }
}

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Hours(None));
        }
        let wrong = || format!("'{text}' are no hours: write \"01:00-05:00\"");
        let (from, to) = text.split_once('-').ok_or_else(wrong)?;
        let minute = |time: &str| {
            let (hour, minute) = time.trim().split_once(':')?;
            let number = |text: &str| text.parse::<u32>().ok().filter(|_| text.len() == 2);
            let (hour, minute) = (number(hour)?, number(minute)?);
            // A day ends at 24:00.
            let good = minute < 60 && (hour < 24 || (hour == 24 && minute == 0));
            good.then_some(hour * 60 + minute)
        };
        let (from, to) = (minute(from).ok_or_else(wrong)?, minute(to).ok_or_else(wrong)?);
        if from == to || from == DAY {
            return Err(format!("'{text}' are no hours of a day; for all of it leave them out"));
        }
        Ok(Hours(Some((from, to))))
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((from, to)) = self.0 else { return Ok(()) };
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

impl<'de> Deserialize<'de> for Hours {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(hours: &str, zone: Tz, now: &str) -> Option<u64> {
        let now = humantime::parse_rfc3339_weak(now).unwrap();
        hours.parse::<Hours>().unwrap().wait(zone, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn it_is_told_how_long_to_wait() {
        let utc = Tz::UTC;
        assert_eq!(wait("", utc, "2026-11-30 12:00:00"), None);
        assert_eq!(wait("01:00-05:00", utc, "2026-11-30 01:00:00"), None);
        assert_eq!(wait("01:00-05:00", utc, "2026-11-30 04:59:59"), None);
        assert_eq!(wait("01:00-05:00", utc, "2026-11-30 05:00:00"), Some(20 * 3600));
        assert_eq!(wait("01:00-05:00", utc, "2026-11-30 00:59:30"), Some(30));
        assert_eq!(wait("22:00-04:00", utc, "2026-11-30 23:00:00"), None);
        assert_eq!(wait("22:00-04:00", utc, "2026-11-30 03:59:00"), None);
        assert_eq!(wait("22:00-04:00", utc, "2026-11-30 04:00:00"), Some(18 * 3600));
        assert_eq!(wait("22:00-24:00", utc, "2026-11-30 00:00:00"), Some(22 * 3600));
        assert_eq!(wait("01:00-05:00", Tz::Europe__Berlin, "2026-11-30 00:30:00"), None);
        assert_eq!(wait("01:00-05:00", Tz::Asia__Kolkata, "2026-11-30 00:30:00"), Some(19 * 3600));
    }

    #[test]
    fn what_are_no_hours_is_refused() {
        for text in [
            "1-5",
            "01:00",
            "01:00-",
            "25:00-26:00",
            "01:60-02:00",
            "01:00-01:00",
            "24:00-01:00",
            "1:00-5:00",
            "a:b-c:d",
        ] {
            assert!(text.parse::<Hours>().is_err(), "{text}");
        }
        for text in ["", "01:00-05:00", "22:30-24:00"] {
            assert_eq!(text.parse::<Hours>().unwrap().to_string(), text);
        }
    }
}
