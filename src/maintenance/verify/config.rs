//! `[verify]`: looking for damage by itself.

use serde::Deserialize;

use crate::limits::config::Rate;
use crate::units::Percent;

/// Takes effect on reload.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// When it begins: minute, hour, day of the month, month, day of the week, as cron has them. Empty: only by hand.
    pub schedule: String,
    /// Which part of all blobs, links, manifests and tags is read each time.
    pub sample: Percent,
    /// Calls to storage, where each MiB that is read counts as one. Left out: as many as there can be.
    pub rate: Option<Rate>,
}

impl Default for Config {
    fn default() -> Self {
        Config { schedule: String::new(), sample: Percent::of_hundred(100), rate: None }
    }
}

impl Config {
    /// What is wrong beyond the types: the key below `[verify]`, and what to say of it. Schedules are checked together.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if nothing(self.sample) {
            faults.push(("sample", format!("is {}; allowed: more than that, to 100%", self.sample)));
        }
        faults
    }
}

/// Whether a sample takes nothing.
pub fn nothing(sample: Percent) -> bool {
    sample.of(u64::from(u32::MAX)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_good_and_what_is_impossible_is_told() {
        assert_eq!(Config::default().faults(), []);
        let good: Config = toml::from_str("schedule = \"30 3 * * 0\"\nsample = \"5%\"\nrate = \"50/s\"").unwrap();
        assert_eq!(good.faults(), []);
        let bad: Config = toml::from_str("sample = \"0%\"").unwrap();
        let keys: Vec<_> = bad.faults().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["sample"]);
        for text in ["sample = \"5\"", "rate = \"5\"", "rate = \"\"", "samples = \"5%\""] {
            assert!(toml::from_str::<Config>(text).is_err(), "{text}");
        }
    }
}
