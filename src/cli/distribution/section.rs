//! The keys of one driver, as they are asked for: what nobody asked for is told of.

use serde_yaml_ng::{Mapping, Value};

/// `storage.<driver>`
pub(super) struct Section<'a> {
    pub(super) driver: &'a str,
    keys: Option<&'a Mapping>,
    asked: Vec<&'static str>,
    notes: Vec<String>,
}

impl<'a> Section<'a> {
    /// # Errors
    /// It is no mapping.
    pub(super) fn new(driver: &'a str, value: Option<&'a Value>) -> Result<Self, String> {
        let keys = match value {
            None | Some(Value::Null) => None,
            Some(Value::Mapping(keys)) => Some(keys),
            Some(_) => return Err(format!("storage.{driver} is no mapping of keys")),
        };
        Ok(Section { driver, keys, asked: Vec::new(), notes: Vec::new() })
    }

    /// The key as it is told of.
    pub(super) fn path(&self, key: &str) -> String {
        format!("storage.{}.{key}", self.driver)
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Value> {
        self.asked.push(key);
        self.keys?.get(key).filter(|value| !value.is_null())
    }

    /// A text, or a number that is one; `None` for an empty one.
    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<String>, String> {
        let text = match self.value(key) {
            None => return Ok(None),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Bool(yes)) => yes.to_string(),
            Some(Value::Number(number)) if !number.is_f64() => number.to_string(),
            Some(Value::Number(_)) => {
                return Err(format!("{} looks like a number: write it in quotes", self.path(key)));
            }
            Some(_) => return Err(format!("{} is no text", self.path(key))),
        };
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// A text that there must be.
    pub(super) fn needed(&mut self, key: &'static str) -> Result<String, String> {
        self.text(key)?.ok_or_else(|| format!("{} is missing", self.path(key)))
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

    /// Whether a key is there whose value has a form of its own.
    pub(super) fn has(&mut self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// A key of a table in it.
    pub(super) fn text_in(&mut self, key: &'static str, inner: &str) -> Option<&'a str> {
        self.value(key)?.get(inner)?.as_str()
    }

    /// Keys that mean nothing to who only collects.
    pub(super) fn pass_over(&mut self, keys: &[&'static str]) {
        self.asked.extend(keys);
    }

    pub(super) fn note(&mut self, key: &str, what: &str) {
        self.notes.push(format!("{} {what}", self.path(key)));
    }

    /// What was noted, and the keys that nobody knows, which distribution ignores too.
    pub(super) fn notes(self) -> Vec<String> {
        let mut notes = self.notes;
        let given = self.keys.into_iter().flat_map(Mapping::keys).filter_map(Value::as_str);
        let unknown = given.filter(|key| !self.asked.contains(key));
        notes.extend(
            unknown.map(|key| format!("storage.{}.{} is not known, and ignored", self.driver, key.escape_debug())),
        );
        notes
    }
}
