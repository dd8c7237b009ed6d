//! What is wrong with a configuration, and where. One problem is one line of text.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use super::tree::Origin;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// Where the offending value, or the nearest thing around it, was written.
    pub origin: Origin,
    /// The key's path, such as `cluster.main.peers[1]`; empty when the whole is meant.
    pub path: String,
    /// What is wrong and what is allowed.
    pub what: String,
}

/// Everything that was found wrong; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Errors(pub Vec<Problem>);

impl Errors {
    /// A single problem of the whole, not of one key.
    pub(super) fn whole(file: Option<PathBuf>, origin: Origin, what: impl Into<String>) -> Self {
        Errors(vec![Problem { file, origin, path: String::new(), what: what.into() }])
    }
}

impl fmt::Display for Problem {
    /// `file:line: key.path: what`, or `ENTREPOT_X: key.path: what`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match (&self.origin, &self.file) {
            (Origin::Variable(name), _) => name.to_string(),
            (Origin::Line(line), Some(file)) => format!("{}:{line}", file.display()),
            (Origin::Start, Some(file)) => file.display().to_string(),
            (_, None) => "environment".to_owned(),
        };
        one_line(&place, f)?;
        if !self.path.is_empty() {
            f.write_str(": ")?;
            one_line(&self.path, f)?;
        }
        f.write_str(": ")?;
        one_line(&self.what, f)
    }
}

/// A key or a value may hold line ends and worse; a problem stays one line that a terminal can show.
fn one_line(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for character in text.chars() {
        match character {
            '\n' => f.write_str("; ")?,
            c if c.is_control() => write!(f, "{}", c.escape_default())?,
            c => f.write_char(c)?,
        }
    }
    Ok(())
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}
