//! When what is done by itself begins: cron's five fields in a time zone. [`Timetable`] says what is due; [`turn()`] gives a scheduled
//! minute to one instance of the fleet.
//!
//! Where clocks change for summer, croner's rules hold, which are those of Vixie's cron: a time that does not come is made up for
//! right after, one that comes twice begins once, and what has `*` in its hours follows the clock on the wall.

mod timetable;
mod turn;

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Timelike as _};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

pub use timetable::Timetable;
pub use turn::turn;

/// Seconds in the steps in which time is scheduled.
const MINUTE: u64 = 60;
/// No schedule is longer, in bytes.
const MAX_TEXT: usize = 256;
/// What a schedule has, in its order, and what each may be.
const FIELDS: [(&str, &str); 5] = [
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31, or L"),
    ("month", "1 to 12, or JAN to DEC"),
    ("day of the week", "0 to 7, or SUN to SAT"),
];
/// A schedule that names no day within the years after this one (2024, a leap year) names none at all.
const SOME_DAY: Minute = Minute(1_704_067_200 / MINUTE);

/// A schedule that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    cron: Cron,
    zone: Tz,
}

/// A minute that a schedule names: so many since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minute(pub u64);

impl Minute {
    /// That which `time` is in.
    pub fn of(time: SystemTime) -> Self {
        Minute(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / MINUTE)
    }

    /// When it begins.
    pub fn begins(self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_secs(self.0.saturating_mul(MINUTE))).unwrap_or(UNIX_EPOCH)
    }

    #[must_use]
    pub fn later(self, minutes: u64) -> Self {
        Minute(self.0.saturating_add(minutes))
    }

    #[must_use]
    pub fn earlier(self, minutes: u64) -> Self {
        Minute(self.0.saturating_sub(minutes))
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(self.begins()).fmt(f)
    }
}

impl Schedule {
    /// `None` for an empty text: it begins only by hand.
    ///
    /// # Errors
    /// What is wrong with the text, for people; see [`zone`] for the other.
    pub fn parse(text: &str, zone: Tz) -> Result<Option<Self>, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let form = "minute, hour, day of the month, month and day of the week, such as \"0 2 * * *\"";
        if text.len() > MAX_TEXT {
            return Err(format!("has {} bytes; allowed: {form}", text.len()));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|error| {
            let what = wrong_field(&parser, text).unwrap_or_else(|| error.to_string());
            format!("is \"{text}\": {what}; allowed: {form}")
        })?;
        let schedule = Schedule { cron, zone };
        match schedule.after(SOME_DAY) {
            Some(_) => Ok(Some(schedule)),
            None => Err(format!("is \"{text}\", which never comes")),
        }
    }

    /// The first scheduled minute after this one.
    pub fn after(&self, minute: Minute) -> Option<Minute> {
        self.near(minute, |cron, time| cron.find_next_occurrence(time, false).ok())
    }

    /// The last scheduled minute up to this one, which counts too.
    pub fn until(&self, minute: Minute) -> Option<Minute> {
        self.near(minute, |cron, time| cron.find_previous_occurrence(time, true).ok())
    }

    fn near(&self, minute: Minute, find: impl Fn(&Cron, &DateTime<Tz>) -> Option<DateTime<Tz>>) -> Option<Minute> {
        let seconds = i64::try_from(minute.0.checked_mul(MINUTE)?).ok()?;
        let time = DateTime::from_timestamp(seconds, 0)?.with_timezone(&self.zone);
        let found = find(&self.cron, &time)?;
        debug_assert_eq!(found.second(), 0, "schedules have no seconds");
        u64::try_from(found.timestamp()).ok().map(|seconds| Minute(seconds / MINUTE))
    }
}

/// Which field of a schedule is none, and what it may be; `None`: that is not where the mistake is.
fn wrong_field(parser: &CronParser, text: &str) -> Option<String> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    if text.starts_with('@') {
        return None;
    }
    if fields.len() != FIELDS.len() {
        return Some(format!("it has {} fields, not {}", fields.len(), FIELDS.len()));
    }
    fields.iter().zip(FIELDS).enumerate().find_map(|(place, (field, (name, values)))| {
        let alone: Vec<&str> = (0..FIELDS.len()).map(|other| if other == place { *field } else { "*" }).collect();
        parser.parse(&alone.join(" ")).is_err().then(|| format!("the {name} is '{field}', and may be {values}"))
    })
}

/// A time zone by its name in the database of time zones, such as `Europe/Berlin`.
///
/// # Errors
/// For people.
pub fn zone(name: &str) -> Result<Tz, String> {
    let unknown = || format!("is \"{name}\"; allowed: UTC, and names as Europe/Berlin or America/New_York");
    name.parse().map_err(|_| unknown())
}

#[cfg(test)]
/// What is wrong with a schedule and its time zone, if anything: (whether it is the zone, what to say).
pub fn fault(text: &str, timezone: &str) -> Option<(bool, String)> {
    match zone(timezone) {
        Err(what) => Some((true, what)),
        Ok(zone) => Schedule::parse(text, zone).err().map(|what| (false, what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn at(time: &str) -> Minute {
        Minute::of(humantime::parse_rfc3339_weak(time).unwrap())
    }

    pub fn schedule(text: &str, name: &str) -> Schedule {
        Schedule::parse(text, zone(name).unwrap()).unwrap().unwrap()
    }

    fn nexts(text: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = schedule(text, zone);
        let mut minute = at(after);
        let mut told = Vec::new();
        for _ in 0..count {
            minute = schedule.after(minute).unwrap();
            told.push(minute.to_string());
        }
        told
    }

    #[test]
    fn a_night_is_a_night_in_its_own_zone() {
        assert_eq!(
            nexts("0 2 * * *", "UTC", "2026-11-30 02:00:00", 2),
            ["2026-12-01T02:00:00Z", "2026-12-02T02:00:00Z"]
        );
        assert_eq!(nexts("0 2 * * *", "Europe/Berlin", "2026-11-30 02:00:00", 1), ["2026-12-01T01:00:00Z"]);
        assert_eq!(nexts("0 2 * * *", "Asia/Kolkata", "2026-11-30 02:00:00", 1), ["2026-11-30T20:30:00Z"]);
    }

    /// In Berlin, 2026-03-29 has no 02:30 and 2026-10-25 has two.
    #[test]
    fn nights_on_which_clocks_change_have_one_run() {
        for (after, before) in
            [("2026-03-28 12:00:00", "2026-03-30 12:00:00"), ("2026-10-24 12:00:00", "2026-10-26 12:00:00")]
        {
            let runs = nexts("30 2 * * *", "Europe/Berlin", after, 3);
            let within = runs.iter().filter(|run| at(run) < at(before)).count();
            assert_eq!(within, 2, "{runs:?}");
        }
    }

    #[test]
    fn as_cron_has_it() {
        for (text, after, next) in [
            ("*/15 * * * *", "2026-11-30 02:14:00", "2026-11-30T02:15:00Z"),
            ("0 2 * * 0", "2026-11-30 02:00:00", "2026-12-06T02:00:00Z"),
            ("0 2 * * SUN", "2026-11-30 02:00:00", "2026-12-06T02:00:00Z"),
            ("0 2 * * 7", "2026-11-30 02:00:00", "2026-12-06T02:00:00Z"),
            ("0 0 1 JAN *", "2026-11-30 02:00:00", "2027-01-01T00:00:00Z"),
            // Either of the two days, as cron has it.
            ("0 0 13 * FRI", "2026-11-30 02:00:00", "2026-12-04T00:00:00Z"),
            ("0 0 29 2 *", "2026-11-30 02:00:00", "2028-02-29T00:00:00Z"),
            ("0 0 L * *", "2026-11-30 02:00:00", "2026-12-31T00:00:00Z"),
            ("@daily", "2026-11-30 02:00:00", "2026-12-01T00:00:00Z"),
        ] {
            assert_eq!(nexts(text, "UTC", after, 1), [next], "{text}");
        }
    }

    #[test]
    fn the_last_until_counts_the_minute_itself() {
        let schedule = schedule("0 2 * * *", "UTC");
        for (until, found) in [
            ("2026-11-30 02:00:00", "2026-11-30T02:00:00Z"),
            ("2026-11-30 01:59:00", "2026-11-29T02:00:00Z"),
            ("2026-11-30 02:01:00", "2026-11-30T02:00:00Z"),
        ] {
            assert_eq!(schedule.until(at(until)).unwrap().to_string(), found, "{until}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_told_in_words() {
        let utc = zone("UTC").unwrap();
        assert_eq!(Schedule::parse("  ", utc), Ok(None));
        for text in
            ["2", "0 2 * *", "0 0 2 * * *", "0 0 2 * * * 2026", "61 2 * * *", "0 25 * * *", "often", "0 2 * * FOO"]
        {
            let what = Schedule::parse(text, utc).unwrap_err();
            assert!(what.contains("such as \"0 2 * * *\"") && what.contains(text), "{text}: {what}");
        }
        for (text, told) in [
            ("61 2 * * *", "the minute is '61', and may be 0 to 59"),
            ("0 25 * * *", "the hour is '25', and may be 0 to 23"),
            ("0 2 * * FOO", "the day of the week is 'FOO', and may be 0 to 7, or SUN to SAT"),
            ("0 2 * *", "it has 4 fields, not 5"),
        ] {
            let what = Schedule::parse(text, utc).unwrap_err();
            assert!(what.contains(told) && !what.contains("Component"), "{text}: {what}");
        }
        assert!(Schedule::parse("0 0 31 2 *", utc).unwrap_err().contains("never comes"));
        assert!(Schedule::parse(&"1,".repeat(300), utc).unwrap_err().contains("600 bytes"));
        assert!(zone("Berlin").unwrap_err().contains("Europe/Berlin"));
        assert_eq!(fault("0 2 * * *", "UTC"), None);
        assert!(matches!(fault("0 2 * * *", "Berlin"), Some((true, _))));
        assert!(matches!(fault("x", "UTC"), Some((false, _))));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}", zone in "\\PC{0,20}") {
            let _ = fault(&text, &zone);
        }
    }
}
