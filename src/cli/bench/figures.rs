//! What was measured, and what is told of it.

use std::time::Duration;

use serde_json::{Value, json};

use super::trouble::Trouble;

/// How many have to be measured before these percentiles are told.
pub const SAMPLES_FOR_P90: usize = 10;
pub const SAMPLES_FOR_P99: usize = 100;

/// What is measured, in the order in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    Push,
    Pull,
    /// Pulls at once.
    Concurrent,
    Ping,
    Manifest,
    Tags,
    Catalog,
}

pub const MEASURES: [Measure; 7] = [
    Measure::Push,
    Measure::Pull,
    Measure::Concurrent,
    Measure::Ping,
    Measure::Manifest,
    Measure::Tags,
    Measure::Catalog,
];

impl Measure {
    /// For programs.
    pub fn key(self) -> &'static str {
        match self {
            Measure::Push => "push",
            Measure::Pull => "pull",
            Measure::Concurrent => "concurrent_pull",
            Measure::Ping => "ping",
            Measure::Manifest => "manifest",
            Measure::Tags => "tags",
            Measure::Catalog => "catalog",
        }
    }

    /// For people.
    pub fn name(self, concurrency: u32) -> String {
        match self {
            Measure::Push => "push of an image".into(),
            Measure::Pull => "pull of an image".into(),
            Measure::Concurrent => format!("pull, {concurrency} at once"),
            Measure::Ping => "GET /v2/".into(),
            Measure::Manifest => "GET a manifest".into(),
            Measure::Tags => "GET the list of tags".into(),
            Measure::Catalog => "GET the catalog".into(),
        }
    }

    /// Whether bytes are what it is about.
    pub fn moves_bytes(self) -> bool {
        matches!(self, Measure::Push | Measure::Pull | Measure::Concurrent)
    }
}

/// All of one measure at one address.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// How long each took that went well: eight bytes for some hundred thousand at most.
    took: Vec<Duration>,
    bytes: u64,
    /// How long all took together, by the clock.
    pub busy: Duration,
    pub failed: u64,
    /// Why the last one failed.
    why: Option<String>,
}

/// What is told of them. Times are in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub count: usize,
    pub failed: u64,
    pub why: Option<String>,
    /// `None` of these four: there are too few of them to say.
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p99: Option<f64>,
    pub max: Option<f64>,
    pub per_second: f64,
    /// Where bytes are what it is about.
    pub bytes_per_second: Option<f64>,
}

impl Figures {
    pub fn add(&mut self, took: Duration, bytes: u64) {
        self.took.push(took);
        self.bytes += bytes;
    }

    pub fn failed(&mut self, trouble: &Trouble) {
        self.failed += 1;
        self.why = Some(trouble.to_string());
    }

    /// `None`: there is nothing to tell.
    pub fn summary(&self, measure: Measure) -> Option<Summary> {
        if self.took.is_empty() && self.failed == 0 {
            return None;
        }
        let mut sorted = self.took.clone();
        sorted.sort_unstable();
        let at = |percent: usize| nearest(&sorted, percent).map(|took| took.as_secs_f64());
        let busy = self.busy.as_secs_f64();
        let rate = |amount: f64| if busy > 0.0 { amount / busy } else { 0.0 };
        Some(Summary {
            count: sorted.len(),
            failed: self.failed,
            why: self.why.clone(),
            p50: at(50),
            p90: at(90),
            p99: at(99),
            max: at(100),
            per_second: rate(sorted.len() as f64),
            bytes_per_second: measure.moves_bytes().then(|| rate(self.bytes as f64)),
        })
    }
}

/// The least value that so many percent of all are not above (nearest rank). `None`: of so few it says nothing.
fn nearest(sorted: &[Duration], percent: usize) -> Option<Duration> {
    if sorted.len() < samples_for(percent) {
        return None;
    }
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// Of fewer, the slowest one alone would be what is above: the maximum by another name.
fn samples_for(percent: usize) -> usize {
    match percent {
        90..99 => SAMPLES_FOR_P90,
        99 => SAMPLES_FOR_P99,
        _ => 1,
    }
}

impl Summary {
    pub fn json(&self) -> Value {
        json!({
            "count": self.count,
            "failed": self.failed,
            "why": self.why,
            "seconds": { "p50": self.p50, "p90": self.p90, "p99": self.p99, "max": self.max },
            "per_second": self.per_second,
            "bytes_per_second": self.bytes_per_second,
        })
    }

    /// What is compared: a name for programs, and the value where there is one.
    pub fn values(&self) -> Vec<(&'static str, Option<f64>)> {
        let mut values = vec![("p50", self.p50), ("p90", self.p90), ("p99", self.p99), ("max", self.max)];
        let rate = |value: f64| Some(value).filter(|value| *value > 0.0);
        values.push(("per_second", rate(self.per_second)));
        values.extend(self.bytes_per_second.map(|bytes| ("bytes_per_second", rate(bytes))));
        values
    }
}

/// `None` where one of them says nothing.
pub fn ratio(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    let (one, other) = (one?, other?);
    (one > 0.0 && other > 0.0).then(|| one / other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut figures = Figures::default();
        (1..=100).rev().for_each(|ms| figures.add(Duration::from_millis(ms), 10));
        figures.busy = Duration::from_secs(2);
        let told = figures.summary(Measure::Push).unwrap();
        assert_eq!((told.p50, told.p90, told.p99, told.max), (Some(0.05), Some(0.09), Some(0.099), Some(0.1)));
        assert_eq!((told.per_second, told.bytes_per_second), (50.0, Some(500.0)));
        assert_eq!(figures.summary(Measure::Ping).unwrap().bytes_per_second, None);
        let mut one = Figures::default();
        one.add(Duration::from_secs(1), 0);
        let told = one.summary(Measure::Ping).unwrap();
        assert_eq!((told.p50, told.max, told.per_second), (Some(1.0), Some(1.0), 0.0));
    }

    #[test]
    fn a_percentile_is_told_of_enough_samples_only() {
        for (count, p50, p90, p99) in [
            (1, true, false, false),
            (9, true, false, false),
            (10, true, true, false),
            (99, true, true, false),
            (100, true, true, true),
        ] {
            let mut figures = Figures::default();
            (1..=count).for_each(|ms| figures.add(Duration::from_millis(ms), 0));
            let told = figures.summary(Measure::Ping).unwrap();
            assert_eq!((told.p50.is_some(), told.p90.is_some(), told.p99.is_some()), (p50, p90, p99), "{count}");
            let seconds = &told.json()["seconds"];
            assert_eq!((seconds["p90"].is_null(), seconds["p99"].is_null()), (!p90, !p99), "{count}");
            assert_eq!((told.json()["count"].as_u64(), told.max.is_some()), (Some(count), true));
        }
    }

    #[test]
    fn what_only_failed_is_told_and_what_never_was_is_not() {
        assert_eq!(Figures::default().summary(Measure::Pull), None);
        let mut figures = Figures::default();
        figures.failed(&Trouble::Start("no".into()));
        let told = figures.summary(Measure::Pull).unwrap();
        assert_eq!((told.count, told.failed, told.max, told.why.as_deref()), (0, 1, None, Some("cannot start: no")));
        let of = |one, other| ratio(Some(one), Some(other));
        assert_eq!((of(1.0, 0.0), of(3.0, 2.0), ratio(Some(1.0), None)), (None, Some(1.5), None));
    }
}
