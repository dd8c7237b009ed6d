//! What commands change, in the audit of the configuration that they work on. They are processes of their own, so only a file can be
//! shared with whatever serves.

use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::app::ledger::Ledger;
use crate::audit::{Config as Audit, Deed, Ending, Outcome, Target, append, append_all};
use crate::config::{Config, Source};

/// A command's deed, told before it begins (where the audit is required) and when it has ended.
pub struct Recorded {
    file: Option<PathBuf>,
    deed: Deed,
}

impl Recorded {
    /// # Errors
    /// The audit is required, and this cannot be recorded: it must not be done.
    pub fn begin(config: &Config, deed: Deed) -> Result<Self, String> {
        let file = file(config)?;
        if let Some(file) = &file {
            begun(config, file, &deed)?;
        }
        Ok(Recorded { file, deed })
    }

    /// What came of it, handed on.
    pub fn end<T, E: ToString>(
        mut self,
        outcome: Result<T, E>,
        what: impl FnOnce(&T) -> Option<String>,
    ) -> Result<T, E> {
        let Some(file) = &self.file else { return outcome };
        let ending = match &outcome {
            Ok(done) => {
                self.deed.reference = what(done).or(self.deed.reference);
                Ending { outcome: Outcome::Ok, status: None, reason: None }
            }
            Err(error) => Ending { outcome: Outcome::Failed, status: None, reason: Some(error.to_string()) },
        };
        if let Err(error) = append(file, &self.deed, &ending) {
            super::err(&format!("not recorded: audit.to: {error}"));
        }
        outcome
    }
}

/// What operators order, done by a command itself.
pub struct InFile(Config);

impl InFile {
    pub fn of(config: &Config) -> Self {
        InFile(config.clone())
    }
}

#[async_trait]
impl Ledger for InFile {
    async fn begin(&self, deed: &Deed) -> Result<(), String> {
        match file(&self.0)? {
            Some(file) => begun(&self.0, &file, deed),
            None => Ok(()),
        }
    }

    fn end(&self, lines: Vec<(Deed, Ending)>) {
        let Ok(Some(file)) = file(&self.0) else { return };
        if let Err(error) = append_all(&file, &lines) {
            super::err(&format!("not recorded: audit.to: {error}"));
        }
    }
}

/// Where the audit is, if a command can write to it.
fn file(config: &Config) -> Result<Option<PathBuf>, String> {
    match &config.audit {
        None => Ok(None),
        Some(Audit { to: Target::File(file), .. }) => Ok(Some(file.clone())),
        Some(Audit { required: true, .. }) => Err(
            "[audit] is required and goes to the stdout of the process that serves, which a command cannot reach: let it go \
             to a file"
                .into(),
        ),
        Some(_) => Ok(None),
    }
}

fn begun(config: &Config, file: &Path, deed: &Deed) -> Result<(), String> {
    if !config.audit.as_ref().is_some_and(|audit| audit.required) {
        return Ok(());
    }
    let begun = Ending { outcome: Outcome::Begun, status: None, reason: None };
    append(file, deed, &begun).map_err(|error| format!("audit.to: {error}; nothing is done"))
}

/// The configuration that a file of users belongs to, if it is the one that `serve` would find.
pub fn configuration_of(users: &Path) -> Option<Config> {
    let source = Source::find(None);
    source.path.as_ref()?;
    let config = source.load().ok()?;
    let named = config.auth.as_ref()?.htpasswd.as_ref()?.canonicalize().ok();
    // A file that is not there yet has no other name than this.
    let same = match (named, users.canonicalize().ok()) {
        (Some(named), Some(users)) => named == users,
        _ => config.auth.as_ref()?.htpasswd.as_deref() == Some(users),
    };
    same.then_some(config)
}
