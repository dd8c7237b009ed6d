//! `[audit]`.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// "stdout" or a file.
    pub to: Target,
    /// What cannot be recorded is not done.
    pub required: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Target {
    #[default]
    Stdout,
    File(PathBuf),
}

impl From<String> for Target {
    fn from(text: String) -> Self {
        match text.as_str() {
            "stdout" => Target::Stdout,
            _ => Target::File(text.into()),
        }
    }
}
