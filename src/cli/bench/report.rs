//! What is told in the end: a table for people, one document for programs.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::figures::{MEASURES, Measure, SAMPLES_FOR_P90, SAMPLES_FOR_P99, Summary, ratio};
use super::plan::Plan;
use super::side::Side;
use crate::cli::words::{printable, size};

/// Columns of the table: what it is, and each value.
const NAME: usize = 28;
const VALUE: usize = 12;
/// What the addresses are called in a table.
const LETTERS: [&str; 2] = ["A", "B"];
/// Bytes of a megabyte, as rates are told.
const MEGABYTE: f64 = 1e6;

/// What stands in the place of a value that there is not.
pub const NONE: &str = "—";

type Values = Vec<(&'static str, Option<f64>)>;

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All was done.
    Done,
    /// By `--time`.
    Time,
    /// By Ctrl-C or SIGTERM.
    Interrupted,
}

impl Ended {
    fn word(self) -> &'static str {
        match self {
            Ended::Done => "done",
            Ended::Time => "time",
            Ended::Interrupted => "interrupted",
        }
    }
}

/// One measure, with what each side has of it.
pub struct Row {
    pub measure: Measure,
    pub sides: Vec<Option<Summary>>,
}

pub struct Report {
    pub plan: Plan,
    pub sides: Vec<Arc<Side>>,
    pub rows: Vec<Row>,
    ended: Ended,
}

impl Report {
    pub fn new(plan: Plan, sides: &[Arc<Side>], ended: Ended) -> Self {
        let row = |measure: Measure| {
            let of = |side: &Arc<Side>| side.figures.lock().get(&measure).and_then(|all| all.summary(measure));
            Row { measure, sides: sides.iter().map(of).collect() }
        };
        Report { plan, sides: sides.to_vec(), rows: MEASURES.into_iter().map(row).collect(), ended }
    }

    /// Everything that was asked for was measured without a failure, and nothing is left that should not be.
    pub fn is_well(&self) -> bool {
        let failed = self.rows.iter().flat_map(|row| row.sides.iter().flatten()).any(|told| told.failed > 0);
        let troubled = |side: &Arc<Side>| side.cleaned.lock().as_ref().is_some_and(|cleaned| cleaned.trouble.is_some());
        let empty = |side: &Arc<Side>| side.images.lock().is_empty();
        !failed && !self.sides.iter().any(|side| troubled(side) || empty(side))
    }

    pub fn json(&self) -> Value {
        let side = |(index, side): (usize, &Arc<Side>)| {
            let told = |row: &Row| {
                let told = row.sides.get(index).and_then(Option::as_ref);
                (row.measure.key().to_owned(), told.map_or(Value::Null, Summary::json))
            };
            let measures: Map<String, Value> = self.rows.iter().map(told).collect();
            json!({
                "address": side.registry.address.to_string(),
                "measures": measures,
                "no_catalog": *side.no_catalog.lock(),
                "cleanup": side.cleaned.lock().as_ref().map(super::left::Cleaned::json),
            })
        };
        json!({
            "ended": self.ended.word(),
            "repository": self.sides.first().map(|side| side.repository.to_string()),
            "settings": self.plan.json(),
            "sides": self.sides.iter().enumerate().map(side).collect::<Vec<_>>(),
            "ratios": (self.sides.len() == 2).then(|| self.ratios()),
        })
    }

    /// The first side's values by the second's.
    fn ratios(&self) -> Value {
        let of = |row: &Row| {
            let compared: Map<String, Value> =
                row.ratios().into_iter().map(|(key, ratio)| (key.to_owned(), json!(ratio))).collect();
            (row.measure.key().to_owned(), Value::Object(compared))
        };
        Value::Object(self.rows.iter().map(of).collect())
    }

    pub fn text(&self) -> String {
        let mut text = self.head();
        for row in self.rows.iter().filter(|row| row.sides.iter().any(Option::is_some)) {
            self.measure(row, &mut text);
        }
        text.push('\n');
        if let Some(why) = self.too_few() {
            let _ = writeln!(text, "{why}");
        }
        for (row, index, told) in self.failures() {
            let name = row.measure.name(self.plan.concurrency);
            let of = told.count as u64 + told.failed;
            let why = told.why.as_deref().map(printable).unwrap_or_default();
            let _ = writeln!(text, "{name}{}: {} of {of} failed: {why}", self.of_which(index), told.failed);
        }
        for (index, side) in self.sides.iter().enumerate() {
            if let Some(why) = &*side.no_catalog.lock() {
                let _ = writeln!(text, "the catalog{} is not measured: {}", self.of_which(index), printable(why));
            }
        }
        match self.ended {
            Ended::Done => {}
            Ended::Time => _ = writeln!(text, "--time was over before all was done"),
            Ended::Interrupted => _ = writeln!(text, "interrupted before all was done"),
        }
        text + &cleaned(&self.sides)
    }

    fn failures(&self) -> impl Iterator<Item = (&Row, usize, &Summary)> {
        let sides = |row: &Row| row.sides.len();
        let all = self.rows.iter().flat_map(move |row| (0..sides(row)).map(move |index| (row, index)));
        all.filter_map(|(row, index)| {
            let told = row.sides.get(index)?.as_ref()?;
            (told.failed > 0).then_some((row, index, told))
        })
    }

    fn of_which(&self, index: usize) -> String {
        match self.sides.len() {
            2 => format!(" ({})", LETTERS.get(index).copied().unwrap_or_default()),
            _ => String::new(),
        }
    }

    fn head(&self) -> String {
        let mut text = String::new();
        let image = size(Some(self.plan.image()));
        for (letter, side) in LETTERS.iter().zip(&self.sides) {
            let which = if self.sides.len() == 2 { format!("{letter}: ") } else { String::new() };
            let _ = writeln!(text, "{which}{}", side.registry.address);
        }
        let layers = crate::cli::words::count(u64::from(self.plan.layers), "layer");
        let _ = writeln!(text, "images of {image} in {layers}\n");
        if self.sides.len() == 2 {
            let _ = writeln!(text, "{:NAME$}{:>VALUE$}{:>VALUE$}{:>VALUE$}", "", "A", "B", "A/B");
        }
        text
    }

    fn measure(&self, row: &Row, text: &mut String) {
        let _ = writeln!(text, "{}", row.measure.name(self.plan.concurrency));
        let _ = write!(text, "  {:width$}", "samples", width = NAME - 2);
        for told in &row.sides {
            let _ = write!(text, "{:>VALUE$}", told.as_ref().map_or(0, |told| told.count));
        }
        text.push('\n');
        let sides: Vec<Values> =
            row.sides.iter().map(|told| told.as_ref().map(Summary::values).unwrap_or_default()).collect();
        let keys = sides.iter().max_by_key(|values| values.len()).cloned().unwrap_or_default();
        for (key, _) in keys {
            let of = |values: &Values| values.iter().find(|(known, _)| *known == key).and_then(|(_, value)| *value);
            let values: Vec<Option<f64>> = sides.iter().map(of).collect();
            let _ = write!(text, "  {:width$}", label(key, row.measure), width = NAME - 2);
            for value in &values {
                let shown = value.map_or_else(|| NONE.into(), |value| shown(key, value));
                let _ = write!(text, "{shown:>VALUE$}");
            }
            if let [one, other] = values[..] {
                let shown = ratio(one, other).map_or_else(|| NONE.into(), |ratio| format!("{ratio:.2}"));
                let _ = write!(text, "{shown:>VALUE$}");
            }
            text.push('\n');
        }
    }

    /// Why percentiles are not there, where that is so.
    fn too_few(&self) -> Option<String> {
        let told = || self.rows.iter().flat_map(|row| row.sides.iter().flatten()).filter(|told| told.count > 0);
        told().any(|told| told.p99.is_none()).then(|| {
            format!("{NONE}: too few samples to say; p90 is told of {SAMPLES_FOR_P90} or more, p99 of {SAMPLES_FOR_P99} or more")
        })
    }
}

impl Row {
    /// The first side's values by the second's; nothing where one has none.
    fn ratios(&self) -> Vec<(&'static str, Option<f64>)> {
        let [Some(one), Some(other)] = &self.sides[..] else { return Vec::new() };
        let pairs = one.values().into_iter().zip(other.values());
        pairs.map(|((key, one), (_, other))| (key, ratio(one, other))).collect()
    }
}

/// What became of what was pushed, a line for each address that cleaning up has come to.
pub fn cleaned(sides: &[Arc<Side>]) -> String {
    let line = |side: &Arc<Side>| side.cleaned.lock().as_ref().map(|cleaned| printable(&cleaned.line(side)) + "\n");
    sides.iter().filter_map(line).collect()
}

/// What a value is called in the table.
pub fn label(key: &str, measure: Measure) -> &str {
    match key {
        "per_second" if measure.moves_bytes() => "images/s",
        "per_second" => "requests/s",
        "bytes_per_second" => "MB/s",
        key => key,
    }
}

/// A value with its unit, where its name does not say it.
pub fn shown(key: &str, value: f64) -> String {
    match key {
        "per_second" => format!("{value:.1}"),
        "bytes_per_second" => format!("{:.1}", value / MEGABYTE),
        _ if value < 0.001 => format!("{:.0} µs", value * 1e6),
        _ if value < 1.0 => format!("{:.1} ms", value * 1e3),
        _ => format!("{value:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_units() {
        for (key, value, told) in [
            ("p50", 0.000_85, "850 µs"),
            ("p90", 0.0123, "12.3 ms"),
            ("max", 1.5, "1.50 s"),
            ("per_second", 12.34, "12.3"),
            ("bytes_per_second", 2_500_000.0, "2.5"),
        ] {
            assert_eq!(shown(key, value), told);
        }
        assert_eq!(
            (label("per_second", Measure::Pull), label("per_second", Measure::Ping), label("p99", Measure::Ping)),
            ("images/s", "requests/s", "p99")
        );
    }
}
