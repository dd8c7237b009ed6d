//! Which tags stay: `[[retention]]`.
//!
//! - `config`, `policy`: what is configured, and compiled
//! - `evaluate`, `follow` (`follower`): the rules, which ask nobody for anything; `verdict`: what they say
//! - `look`: what is to be known of a repository, read as far as it matters; `created`: when an image says that it was made
//! - `state`: which policies were shown before they act
//! - `run`: over all repositories; `taking`: what goes of one; `report`: what came of it
//!
//! Takes tags away, never content: what nothing leads to any more is a collection's to judge. What is taken stands in a journal
//! first, and goes through the registry's own verbs.

mod config;
mod created;
mod evaluate;
mod follow;
mod follower;
mod look;
mod metrics;
mod policy;
mod report;
mod run;
pub mod state;
mod taking;
mod verdict;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::pulls::Pulls;
use crate::fleet::Fleet;
use crate::registry::Registry;
use crate::storage::{Error, Storage};
pub use config::Config;
pub use metrics::Metrics;
pub use policy::{Invalid, Policy};
pub use report::Step;
pub use run::Order;

/// Why a run only shows what would go.
const NEW: &str = "the policies, or what never moves, have changed since they were last shown: this run only shows what would go. \
                   The next one acts, and so does this one with --yes";

/// The same, where only some repositories were asked for.
const NEW_IN_PART: &str = "the policies, or what never moves, have changed since they were last shown for all repositories: this run \
                           only shows what would go in these. A run over all of them shows it, and those after it act; this one does \
                           with --yes";

/// What retention works with.
#[derive(Clone)]
pub struct Parts {
    /// Whose tags they are: deletions go by its verbs.
    pub registry: Arc<Registry>,
    pub fleet: Arc<Fleet>,
    /// Where pulls are recorded in this process, if they are.
    pub pulls: Option<Arc<Pulls>>,
    pub metrics: Arc<Metrics>,
}

/// The policies of one configuration, over one registry.
pub struct Retention {
    parts: Parts,
    configs: Vec<Config>,
    policies: Vec<Policy>,
}

/// Why there was no run.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RetentionError {
    #[error("there is no [[retention]]: nothing goes until a policy says what stays")]
    NoPolicy,
    #[error("there is no retention[{0}]")]
    Unknown(usize),
    #[error("the repositories: {0}")]
    Pattern(String),
    #[error("no repository that a policy is about matches '{0}'")]
    NoRepository(String),
    #[error("another run of retention is under way")]
    Busy,
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error(transparent)]
    Storage(#[from] Error),
}

impl Retention {
    pub fn new(parts: Parts, configs: &[Config]) -> Result<Self, RetentionError> {
        let policies = configs.iter().enumerate().map(|(index, config)| Policy::new(index, config));
        let policies = policies.collect::<Result<_, _>>()?;
        Ok(Retention { parts, configs: configs.to_vec(), policies })
    }

    fn storage(&self) -> &Storage {
        self.parts.registry.storage()
    }
}
