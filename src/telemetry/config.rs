//! `[log]`.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// "stdout", "off" or a file.
    pub access: AccessTarget,
    pub level: Level,
    /// Of our own messages.
    pub format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum AccessTarget {
    #[default]
    Stdout,
    Off,
    File(PathBuf),
}

impl From<String> for AccessTarget {
    fn from(text: String) -> Self {
        match text.as_str() {
            "stdout" => AccessTarget::Stdout,
            "off" => AccessTarget::Off,
            _ => AccessTarget::File(text.into()),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}
