//! `[gc]`: when and how garbage is collected.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::hours::Hours;
use crate::limits::config::Rate;
use crate::units::{Span, seconds};

/// Links and bytes are told apart by age, foreign pushes take long, clocks differ: a collection is safe from here on.
const LEAST_GRACE: Span = seconds(2 * 3600);
/// Longer spans only fill the disk.
const LONGEST: Span = seconds(366 * 24 * 3600);

/// Takes effect on reload, for the next run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// When it begins: minute, hour, day of the month, month, day of the week, as cron has them. Empty: only by hand.
    pub schedule: String,
    /// In which the schedule and `hours` are meant, such as `Europe/Berlin`.
    pub timezone: String,
    /// Nothing younger is touched, and what is in the trash stays there so long.
    pub grace: Span,
    /// How long what nobody links stays where it is.
    pub reap_after: Span,
    /// Which manifests go that no tag leads to.
    pub untagged: Untagged,
    /// What to do where another program writes into the same storage.
    pub foreign: Foreign,
    /// Calls to storage, such as `200/s`; empty: as many as it answers.
    #[serde(deserialize_with = "rate")]
    pub rate: Option<Rate>,
    /// A run that began by its schedule goes on within these hours only, such as `01:00-05:00`; empty: at any time.
    pub hours: Hours,
    /// For tests of a collection that must not last for days: `grace` and `reap_after` may be of any length. Never beside anything
    /// that is needed: what is pushed then can be lost.
    pub short_times: bool,
}

/// `"keep"`, or a span since the last pull.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Untagged {
    #[default]
    Keep,
    After(Span),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Foreign {
    /// Nothing is collected while somebody else writes.
    #[default]
    Refuse,
    Careful,
}

impl<'de> Deserialize<'de> for Untagged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "keep" => Ok(Untagged::Keep),
            other => {
                let wrong = |why: String| serde::de::Error::custom(format!("{why}, or \"keep\""));
                other.parse().map(Untagged::After).map_err(wrong)
            }
        }
    }
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rate>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

impl Default for Config {
    fn default() -> Self {
        Config {
            schedule: String::new(),
            timezone: "UTC".into(),
            grace: seconds(24 * 3600),
            reap_after: seconds(7 * 24 * 3600),
            untagged: Untagged::Keep,
            foreign: Foreign::Refuse,
            rate: "200/s".parse().ok(),
            hours: Hours::default(),
            short_times: false,
        }
    }
}

impl Config {
    /// What is wrong beyond the types: the key below `[gc]`, and what to say of it. Of schedule and time zone their own room says it.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let mut say = |key, is: Span, allowed: String| faults.push((key, format!("is {is}; allowed: {allowed}")));
        let least = if self.short_times { seconds(0) } else { LEAST_GRACE };
        if self.grace < least || self.grace > LONGEST {
            say("grace", self.grace, format!("{least} to {LONGEST}"));
        }
        // What was unlinked must be seen to be so before the bytes of what is about to be linked may go.
        if self.reap_after < self.grace || self.reap_after > LONGEST {
            say("reap_after", self.reap_after, format!("grace, {}, to {LONGEST}", self.grace));
        }
        if let Untagged::After(span) = self.untagged
            && span > LONGEST
        {
            say("untagged", span, format!("\"keep\", or up to {LONGEST}"));
        }
        faults
    }

    /// # Errors
    /// There is no such zone: what to say of it.
    pub(super) fn zone(&self) -> Result<chrono_tz::Tz, String> {
        let unknown =
            || format!("is \"{}\"; allowed: UTC, and names as Europe/Berlin or America/New_York", self.timezone);
        self.timezone.parse().map_err(|_| unknown())
    }

    /// After this a look is not believed any more: long before another collection may have gone through a whole grace.
    pub(super) fn look_lasts(&self) -> Duration {
        self.grace.0 / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_good_and_what_is_documented_can_be_read() {
        assert_eq!(Config::default().faults(), []);
        let text = r#"
            schedule = "0 2 * * *"
            timezone = "Europe/Berlin"
            grace = "24h"
            reap_after = "7d"
            untagged = "30d"
            foreign = "careful"
            rate = ""
            hours = "01:00-05:00"
        "#;
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.faults(), []);
        assert_eq!((config.untagged, config.rate), (Untagged::After(seconds(30 * 24 * 3600)), None));
    }

    #[test]
    fn every_fault_is_told_with_its_key() {
        let keys = |text: &str| -> Vec<_> {
            let config: Config = toml::from_str(text).unwrap();
            config.faults().into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(keys("grace = \"1h\"\nreap_after = \"30m\""), ["grace", "reap_after"]);
        assert_eq!(keys("grace = \"8d\""), ["reap_after"]);
        assert_eq!(keys("grace = \"500d\"\nreap_after = \"500d\""), ["grace", "reap_after"]);
        assert_eq!(keys("untagged = \"500d\""), ["untagged"]);
        assert_eq!(keys("grace = \"1s\"\nreap_after = \"2s\"\nshort_times = true"), [""; 0]);
        assert_eq!(keys("grace = \"2s\"\nreap_after = \"1s\"\nshort_times = true"), ["reap_after"]);
        for text in ["untagged = \"never\"", "rate = \"fast\"", "hours = \"1-5\"", "graces = \"1h\""] {
            assert!(toml::from_str::<Config>(text).is_err(), "{text}");
        }
    }
}
