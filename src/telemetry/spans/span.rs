//! One span: what was done or waited for, when, and how it ended.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

/// Longest text of a span, in bytes; more is cut off.
const MAX_TEXT: usize = 256;
/// Most attributes of a span; further ones are left out.
const MAX_ATTRIBUTES: usize = 24;

/// Which side of a question a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request that we answer.
    Server,
    /// Something that we ask of another.
    Client,
}

/// What an attribute says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(Cow<'static, str>),
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(cut(text).to_owned().into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Value::Number(number.into())
    }
}

/// A span that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) trace: u128,
    pub(super) id: u64,
    pub(super) parent: Option<u64>,
    pub(super) name: Cow<'static, str>,
    pub(super) kind: Kind,
    pub(super) start: SystemTime,
    pub(super) took: Duration,
    pub(super) attributes: Vec<(&'static str, Value)>,
    /// Why it failed, if it did.
    pub(super) error: Option<String>,
}

/// Adds an attribute, within the bound.
pub(super) fn add(attributes: &mut Vec<(&'static str, Value)>, key: &'static str, value: Value) {
    if attributes.len() < MAX_ATTRIBUTES {
        attributes.push((key, value));
    }
}

/// The start of a text, within the bound.
pub(super) fn cut(text: &str) -> &str {
    let end = (0..=MAX_TEXT.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_attributes_are_bounded() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"a".repeat(300)).len(), 256);
        assert_eq!(cut(&"€".repeat(100)).len(), 255);
        let mut attributes = Vec::new();
        (0..100_u16).for_each(|number| add(&mut attributes, "a", number.into()));
        assert_eq!(attributes.len(), MAX_ATTRIBUTES);
        assert_eq!(Value::from(u64::MAX), Value::Number(i64::MAX));
    }
}
