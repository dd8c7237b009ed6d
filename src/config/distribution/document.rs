//! The file, with the variables over it.

use serde_yaml_ng::{Mapping, Value};

use super::environment::{self, SECTIONS};

/// Names the file where no argument does.
pub const PATH_VARIABLE: &str = "REGISTRY_CONFIGURATION_PATH";
/// The only version that there ever was.
const VERSION: &str = "0.1";
/// The file is no longer, in bytes.
pub const MAX_FILE: u64 = 1 << 20;
/// Keys by which it is told from a file of ours: no TOML begins so.
const MARKS: [&str; 3] = ["version", "storage", "http"];

/// All that it says.
pub(super) struct Document {
    pub(super) whole: Mapping,
    /// Keys that variables have set, and which.
    pub(super) set_by: Vec<(String, String)>,
}

/// Whether a text is a configuration of distribution, whatever its file is called.
pub fn is_its(text: &str) -> bool {
    if text.len() as u64 > MAX_FILE {
        return false;
    }
    let whole: Option<Mapping> = serde_yaml_ng::from_str(text).ok();
    whole.is_some_and(|whole| MARKS.iter().any(|mark| whole.contains_key(*mark)))
}

impl Document {
    pub(super) fn parse(
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
        sections: &[&str],
    ) -> Result<Self, String> {
        let mut whole: Value = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
        whole.apply_merge().map_err(|error| error.to_string())?;
        let version = match whole.get("version") {
            Some(Value::String(version)) => version.clone(),
            Some(Value::Number(version)) => version.to_string(),
            _ => String::new(),
        };
        if version != VERSION {
            return Err(format!("unsupported version: \"{}\"", version.escape_debug()));
        }
        let Value::Mapping(mut whole) = whole else { return Err("it is no mapping of sections".into()) };
        let set_by = environment::overlay(&mut whole, variables, sections)?;
        Ok(Document { whole, set_by })
    }

    /// With all that its variables say.
    pub(super) fn whole(text: &str, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, String> {
        Document::parse(text, variables, &SECTIONS)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.whole.get(key).filter(|value| !value.is_null())
    }

    /// The variable that set a key, or what holds it.
    pub(super) fn variable(&self, key: &str) -> Option<&str> {
        let holds = |of: &str| key.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.set_by.iter().rev().find(|(of, _)| holds(of)).map(|(_, name)| name.as_str())
    }
}

/// A mapping of sections, or the name of one alone. `name`: what is read.
pub(super) fn section(name: &str, value: Option<&Value>) -> Result<Mapping, String> {
    match value {
        None | Some(Value::Null) => Ok(Mapping::new()),
        Some(Value::String(alone)) => {
            Ok(Mapping::from_iter([(Value::String(alone.clone()), Value::Mapping(Mapping::new()))]))
        }
        Some(Value::Mapping(mapping)) => Ok(mapping.clone()),
        Some(_) => {
            let kind = if name.eq_ignore_ascii_case("storage") { "a driver" } else { "one kind" };
            Err(format!("{} is neither a mapping nor the name of {kind}", name.to_ascii_lowercase()))
        }
    }
}
