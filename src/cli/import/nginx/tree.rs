//! What a file of nginx says: directives, with blocks in them, and where each stands.

use std::fmt;
use std::sync::Arc;

/// Where something is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// As it can be shown: without control characters.
    pub file: Arc<str>,
    pub line: u32,
}

/// A word, its arguments, and its block, if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    pub name: String,
    pub args: Vec<String>,
    pub block: Option<Vec<Directive>>,
    pub at: Place,
}

/// Why nothing can be made of a configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("{0}: {1}")]
    At(Place, String),
    #[error("{0}: {1}")]
    File(String, String),
    /// Everything was understood, and nothing of it is for a registry.
    #[error("{0}")]
    Nothing(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Directive {
    /// An argument; empty where there is none.
    pub fn arg(&self, index: usize) -> &str {
        self.args.get(index).map_or("", String::as_str)
    }

    pub fn inner(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }

    /// Whether one of its arguments is this word.
    pub fn says(&self, word: &str) -> bool {
        self.args.iter().any(|arg| arg == word)
    }

    /// The value of an argument `KEY=VALUE`.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.args.iter().find_map(|arg| arg.strip_prefix(key)?.strip_prefix('='))
    }
}
