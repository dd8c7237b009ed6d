//! The keys of one section, as they are asked for: what nobody asked for is told of.

use std::time::Duration;

use serde_yaml_ng::{Mapping, Value};

use super::draft::{Left, Weight};

/// `storage.s3`, `http.tls`, …
pub(super) struct Section<'a> {
    path: String,
    keys: Option<&'a Mapping>,
    asked: Vec<&'static str>,
    /// What its operator has to know, whoever reads it.
    notes: Vec<Left>,
    /// What has no counterpart here.
    left: Vec<Left>,
}

impl<'a> Section<'a> {
    /// # Errors
    /// It is no mapping.
    pub(super) fn new(path: impl Into<String>, value: Option<&'a Value>) -> Result<Self, String> {
        let path = path.into();
        let keys = match value {
            None | Some(Value::Null) => None,
            Some(Value::Mapping(keys)) => Some(keys),
            Some(_) => return Err(format!("{path} is no mapping of keys")),
        };
        Ok(Section { path, keys, asked: Vec::new(), notes: Vec::new(), left: Vec::new() })
    }

    /// The key as it is told of.
    pub(super) fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    /// Whether it is there and has keys.
    pub(super) fn is_given(&self) -> bool {
        self.keys.is_some_and(|keys| !keys.is_empty())
    }

    /// A value of a form of its own.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'a Value> {
        self.asked.push(key);
        self.keys?.get(key).filter(|value| !value.is_null())
    }

    /// A text, or a number that is one; `None` for an empty one.
    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<String>, String> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let text = text(value).map_err(|what| format!("{} {what}", self.path(key)))?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// A text that there must be.
    pub(super) fn needed(&mut self, key: &'static str) -> Result<String, String> {
        self.text(key)?.ok_or_else(|| format!("{} is missing", self.path(key)))
    }

    /// Several texts, or one.
    pub(super) fn texts(&mut self, key: &'static str) -> Result<Vec<String>, String> {
        let Some(value) = self.value(key) else { return Ok(Vec::new()) };
        texts_of(value).map_err(|what| format!("{} {what}", self.path(key)))
    }

    /// As Go and YAML 1.1 write them.
    pub(super) fn flag(&mut self, key: &'static str) -> Result<Option<bool>, String> {
        let word = match self.value(key) {
            None => return Ok(None),
            Some(Value::Bool(yes)) => return Ok(Some(*yes)),
            Some(Value::String(text)) => text.to_ascii_lowercase(),
            Some(Value::Number(number)) => number.to_string(),
            Some(_) => String::new(),
        };
        match word.as_str() {
            "true" | "t" | "1" | "yes" | "y" | "on" => Ok(Some(true)),
            "false" | "f" | "0" | "no" | "n" | "off" => Ok(Some(false)),
            _ => Err(format!("{} is neither true nor false", self.path(key))),
        }
    }

    /// A whole number, not below 0.
    pub(super) fn count(&mut self, key: &'static str) -> Result<Option<u32>, String> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.map(Some).ok_or_else(|| format!("{} is no whole number", self.path(key)))
    }

    /// A span of time as Go writes it, or nanoseconds.
    pub(super) fn span(&mut self, key: &'static str) -> Result<Option<Duration>, String> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let span = match value {
            Value::Number(number) => number.as_u64().map(Duration::from_nanos),
            Value::String(text) => span(text),
            _ => None,
        };
        span.map(Some).ok_or_else(|| format!("{} is no span of time such as 10s or 1h30m", self.path(key)))
    }

    /// A section in it.
    pub(super) fn inner(&mut self, key: &'static str) -> Result<Section<'a>, String> {
        let value = self.value(key);
        Section::new(self.path(key), value)
    }

    /// Whether a key is there whose value has a form of its own.
    pub(super) fn has(&mut self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// A key of a table in it.
    pub(super) fn text_in(&mut self, key: &'static str, inner: &str) -> Option<&'a str> {
        self.value(key)?.get(inner)?.as_str()
    }

    /// Keys that have no counterpart: those that are there are told of.
    pub(super) fn leave(&mut self, keys: &[(&'static str, Weight, &str)]) {
        for &(key, weight, why) in keys {
            if self.value(key).is_some() {
                self.left.push(Left { key: self.path(key), why: why.to_owned(), weight });
            }
        }
    }

    /// Something that its operator has to know, whoever reads it.
    pub(super) fn note(&mut self, key: &str, why: impl Into<String>) {
        self.notes.push(Left { key: self.path(key), why: why.into(), weight: Weight::Lost });
    }

    /// What was noted, with the keys that nobody knows, which distribution ignores too; and what was left.
    pub(super) fn done(self) -> (Vec<Left>, Vec<Left>) {
        let mut notes = self.notes;
        let given = self.keys.into_iter().flat_map(Mapping::keys).filter_map(Value::as_str);
        let unknown = given.filter(|key| !self.asked.contains(key));
        notes.extend(unknown.map(|key| Left {
            key: format!("{}.{}", self.path, key.escape_debug()),
            why: "is not known, and ignored".into(),
            weight: Weight::Lost,
        }));
        (notes, self.left)
    }
}

/// Several texts, or one; empty ones are none.
pub(super) fn texts_of(value: &Value) -> Result<Vec<String>, &'static str> {
    let found: Vec<String> = match value {
        Value::Null => Vec::new(),
        Value::Sequence(items) => items.iter().map(text).collect::<Result<_, _>>()?,
        one => vec![text(one)?],
    };
    Ok(found.into_iter().filter(|text| !text.is_empty()).collect())
}

fn text(value: &Value) -> Result<String, &'static str> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(yes) => Ok(yes.to_string()),
        Value::Number(number) if !number.is_f64() => Ok(number.to_string()),
        Value::Number(_) => Err("looks like a number: write it in quotes"),
        _ => Err("is no text"),
    }
}

/// `1h30m`, `10ms`, `1.5h`, `0`.
fn span(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 7] =
        [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(end);
        let end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        let nanoseconds = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        seconds += number.parse::<f64>().ok()? * nanoseconds / 1e9;
        rest = behind;
    }
    // An empty text is none, and what does not fit is none either.
    Some(seconds).filter(|_| !text.trim().is_empty()).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_go_writes_them() {
        for (text, milliseconds) in [
            ("10ms", 10),
            ("300s", 300_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("0", 0),
            ("168h", 604_800_000),
        ] {
            assert_eq!(span(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1d", "1 h", "1e400h", "9999999999999999999999h", "1..2s", "1hs"] {
            assert_eq!(span(text), None, "{text}");
        }
    }
}
