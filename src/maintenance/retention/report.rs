//! What a run says of itself: for people, and as JSON.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;

use super::evaluate::TooMany;
use super::policy::Policy;
use super::verdict::{Ruling, Seen};
use crate::oci::RepositoryName;

/// Tags that a report names; beyond, they are counted only.
const MOST_TOLD: usize = 10_000;
/// Repositories that it names for what went wrong there.
const MOST_REPOSITORIES: usize = 1_000;

/// What was done, or would be.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The name of the run, by which what it took can be brought back; `None`: it took nothing.
    pub run: Option<String>,
    /// By the store's clock, RFC 3339.
    pub begun: String,
    pub seconds: u64,
    /// Nothing was taken, whatever the rules say.
    pub only_shown: bool,
    /// Why, if it was not asked for.
    pub why: Option<String>,
    pub policies: Vec<PolicyTold>,
    /// Repositories that a policy is about.
    pub repositories: usize,
    /// Their tags.
    pub tags: usize,
    /// Tags that go by the rules, but for those of repositories where too many would.
    pub goes: usize,
    /// Tags that went.
    pub gone: usize,
    /// Tags that were to go, and were set again meanwhile.
    pub set_again: usize,
    /// Tags that stay, by the rule that keeps them.
    pub kept: BTreeMap<&'static str, usize>,
    /// Repositories where more would go than may at once: nothing was taken there.
    pub stopped: Vec<Stopped>,
    /// Repositories that could not be looked at, or not to the end.
    pub failed: Vec<Failed>,
    /// Tags that go; and those that stay, if that was asked for.
    pub told: Vec<TagTold>,
    /// Tags and repositories that are counted above and not named.
    pub left_out: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct PolicyTold {
    /// Its place in `[[retention]]`.
    pub policy: usize,
    /// Whether it may take anything in this run.
    pub due: bool,
    /// It was not shown before: it, another one, or what never moves has changed.
    pub new: bool,
    /// Tags that go by it.
    pub goes: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct Stopped {
    pub repository: String,
    pub tags: usize,
    /// How many of them would go.
    pub would_go: usize,
    /// In percent.
    pub most: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Failed {
    pub repository: String,
    pub reason: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct TagTold {
    pub repository: String,
    pub tag: String,
    pub digest: Option<String>,
    /// RFC 3339, as the times below.
    pub pushed: String,
    /// The latest moment at which it can have been pulled; `None`: not since pulls are recorded, or it did not matter.
    pub pulled: Option<String>,
    /// `None`: it did not matter.
    pub created: Option<String>,
    #[serde(flatten)]
    pub ruling: Ruling,
}

/// A step of a run, as it is made.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Step {
    /// So many repositories are to be looked at.
    Begun { repositories: usize, only_shown: bool },
    /// One of them has been.
    Looked { repository: String, done: usize, of: usize, tags: usize, goes: usize, gone: usize },
}

/// What became of one repository.
#[derive(Debug)]
pub struct Outcome {
    pub name: RepositoryName,
    pub tags: Vec<(Seen, Ruling)>,
    pub too_many: Option<TooMany>,
    /// Nothing may be taken for that.
    pub stopped: bool,
    pub gone: usize,
    pub set_again: usize,
    pub error: Option<String>,
}

impl Report {
    pub fn new(policies: &[Policy], is_due: impl Fn(usize) -> bool, is_new: impl Fn(usize) -> bool) -> Self {
        let told = |policy: &Policy| {
            let index = policy.index;
            PolicyTold { policy: index, due: is_due(index), new: is_new(index), goes: 0 }
        };
        Report { policies: policies.iter().map(told).collect(), ..Report::default() }
    }

    /// Takes in what became of a repository; `kept`: also names what stays.
    pub fn add(&mut self, outcome: Outcome, kept: bool) {
        let Outcome { name, tags, too_many, stopped, gone, set_again, error } = outcome;
        self.repositories += 1;
        self.tags += tags.len();
        (self.gone, self.set_again) = (self.gone + gone, self.set_again + set_again);
        if let Some(TooMany { gone, tags, most }) = too_many.filter(|_| stopped) {
            let stopped = Stopped { repository: name.to_string(), tags, would_go: gone, most };
            push(&mut self.stopped, stopped, MOST_REPOSITORIES, &mut self.left_out);
        }
        if let Some(reason) = error {
            let failed = Failed { repository: name.to_string(), reason };
            push(&mut self.failed, failed, MOST_REPOSITORIES, &mut self.left_out);
        }
        for (seen, ruling) in tags {
            self.count(&ruling, stopped);
            if kept || ruling.is_gone() {
                push(&mut self.told, told(&name, seen, ruling), MOST_TOLD, &mut self.left_out);
            }
        }
    }

    fn count(&mut self, ruling: &Ruling, stopped: bool) {
        if !ruling.is_gone() {
            *self.kept.entry(ruling.word()).or_default() += 1;
            return;
        }
        if stopped {
            return;
        }
        self.goes += 1;
        if let Some(told) = ruling.policy().and_then(|policy| self.policies.get_mut(policy)) {
            told.goes += 1;
        }
    }
}

fn push<T>(list: &mut Vec<T>, item: T, most: usize, left_out: &mut usize) {
    if list.len() < most {
        list.push(item);
    } else {
        *left_out += 1;
    }
}

fn told(name: &RepositoryName, seen: Seen, ruling: Ruling) -> TagTold {
    TagTold {
        repository: name.to_string(),
        tag: seen.tag.to_string(),
        digest: seen.digest.map(|digest| digest.text()),
        pushed: rfc3339(seen.pushed),
        pulled: seen.pulled.map(rfc3339),
        created: seen.created.map(rfc3339),
        ruling,
    }
}

pub fn rfc3339(time: SystemTime) -> String {
    let mut text = Vec::with_capacity(24);
    crate::telemetry::clock::push_rfc3339(&mut text, time);
    String::from_utf8(text).unwrap_or_default()
}
