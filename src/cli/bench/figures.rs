//! What was measured, and what is told of it.

use std::time::Duration;

use serde_json::{Value, json};

use super::trouble::Trouble;

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
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
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
        let at = |percent: usize| nearest(&sorted, percent).as_secs_f64();
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

/// The least value that so many percent of all are not above (nearest rank); zero of none.
fn nearest(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
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

    /// What is compared: a name for programs, and the value.
    pub fn values(&self) -> Vec<(&'static str, f64)> {
        let mut values = vec![("p50", self.p50), ("p90", self.p90), ("p99", self.p99), ("max", self.max)];
        values.push(("per_second", self.per_second));
        values.extend(self.bytes_per_second.map(|bytes| ("bytes_per_second", bytes)));
        values
    }
}

/// `None` where one of them says nothing.
pub fn ratio(one: f64, other: f64) -> Option<f64> {
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
        assert_eq!((told.p50, told.p90, told.p99, told.max), (0.05, 0.09, 0.099, 0.1));
        assert_eq!((told.per_second, told.bytes_per_second), (50.0, Some(500.0)));
        assert_eq!(figures.summary(Measure::Ping).unwrap().bytes_per_second, None);
        let mut one = Figures::default();
        one.add(Duration::from_secs(1), 0);
        let told = one.summary(Measure::Ping).unwrap();
        assert_eq!((told.p50, told.max, told.per_second), (1.0, 1.0, 0.0));
    }

    #[test]
    fn what_only_failed_is_told_and_what_never_was_is_not() {
        assert_eq!(Figures::default().summary(Measure::Pull), None);
        let mut figures = Figures::default();
        figures.failed(&Trouble::Start("no".into()));
        let told = figures.summary(Measure::Pull).unwrap();
        assert_eq!((told.count, told.failed, told.max, told.why.as_deref()), (0, 1, 0.0, Some("cannot start: no")));
        assert_eq!((ratio(1.0, 0.0), ratio(3.0, 2.0)), (None, Some(1.5)));
    }
}
