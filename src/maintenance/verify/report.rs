//! What a run found, as it goes and at its end.

use std::collections::{HashMap, HashSet};

use serde::{Serialize, Serializer};

use super::wrong::{Damage, Kind, State, Wrong};
use crate::oci::RepositoryName;

/// Damages that one run remembers, with the texts about them some 50 MiB; more are counted, and found again by the next.
pub(super) const MOST_DAMAGES: usize = 100_000;

/// What a run looked at, what is wrong, and what came of it. Sizes are in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// In RFC 3339.
    pub began: String,
    pub seconds: f64,
    /// Which part of what is there was picked.
    pub sample: String,
    pub repositories: u64,
    pub blobs: Looked,
    pub bytes: Looked,
    pub links: Looked,
    pub manifests: Looked,
    pub tags: Looked,
    /// Names of content that is not here and need not be: of other platforms in an index, of what a mirror has not fetched.
    pub sparse: u64,
    /// Damages, of which so many are repaired and so many are left.
    pub found: u64,
    pub repaired: u64,
    pub left: u64,
    /// How many of each kind are left.
    #[serde(serialize_with = "by_kind")]
    pub left_by_kind: Vec<(Kind, u64)>,
    /// At most 100,000 of them.
    pub damages: Vec<Damage>,
}

/// How much of something is there, and how much of that was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Looked {
    pub there: u64,
    pub looked_at: u64,
}

/// As an object.
fn by_kind<S: Serializer>(kinds: &[(Kind, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(kinds.iter().map(|(kind, count)| (kind.word(), count)))
}

impl Report {
    /// Nothing is wrong, or not any more.
    pub fn is_well(&self) -> bool {
        self.left == 0
    }
}

/// What a run does, for whoever watches.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Step<'a> {
    /// So many blobs, of so many bytes, are there.
    Listed { blobs: u64, bytes: u64 },
    /// So much of what was picked has been read.
    Read { blobs: u64, of_blobs: u64, bytes: u64, of_bytes: u64 },
    /// The links of so many repositories have been looked at; this was the last one.
    Repository { repository: &'a str, repositories: u64 },
    /// A damage: found, repaired, or left.
    Damage { damage: &'a Damage },
}

/// Who watches a run. Called often, and from where nothing may block for long.
pub trait Tell: Send + Sync {
    fn step(&self, step: &Step<'_>);
}

/// Nobody does.
pub struct Silent;

impl Tell for Silent {
    fn step(&self, _step: &Step<'_>) {}
}

/// All that is wrong, each once.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) list: Vec<Finding>,
    known: HashSet<String>,
    /// Of each kind, also beyond those that are remembered.
    counts: HashMap<Kind, u64>,
    beyond: u64,
}

pub(super) struct Finding {
    pub(super) wrong: Wrong,
    pub(super) state: State,
    /// By what it was repaired, or why it was not.
    pub(super) by: Option<String>,
}

impl Finding {
    pub(super) fn damage(&self, holders: &[RepositoryName]) -> Damage {
        Damage { state: self.state, by: self.by.clone(), ..self.wrong.damage(holders) }
    }
}

impl Findings {
    /// Whether it is one that was not known yet.
    pub(super) fn add(&mut self, wrong: Wrong) -> bool {
        if self.list.len() >= MOST_DAMAGES {
            // It may have been counted before: that many are not told apart.
            self.beyond += 1;
            *self.counts.entry(wrong.kind()).or_default() += 1;
            return false;
        }
        if !self.known.insert(wrong.identity()) {
            return false;
        }
        *self.counts.entry(wrong.kind()).or_default() += 1;
        self.list.push(Finding { wrong, state: State::Found, by: None });
        true
    }

    pub(super) fn found(&self) -> u64 {
        self.list.len() as u64 + self.beyond
    }

    pub(super) fn repaired(&self) -> u64 {
        self.list.iter().filter(|finding| finding.state == State::Repaired).count() as u64
    }

    /// Each kind of which some are left.
    pub(super) fn left_by_kind(&self) -> Vec<(Kind, u64)> {
        let mut counts = self.counts.clone();
        for finding in self.list.iter().filter(|finding| finding.state == State::Repaired) {
            counts.entry(finding.wrong.kind()).and_modify(|count| *count = count.saturating_sub(1));
        }
        let mut kinds: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
        kinds.sort_unstable();
        kinds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Algorithm, Digest};
    use crate::storage::Link;

    #[test]
    fn what_is_found_twice_counts_once_and_what_cannot_be_remembered_counts_as_left() {
        let mut findings = Findings::default();
        let name: RepositoryName = "a".parse().unwrap();
        let torn = |number: u32| Wrong::Torn {
            link: Link::Layer(name.clone(), Digest::of(Algorithm::Sha256, &number.to_le_bytes())),
        };
        assert!(findings.add(torn(1)) && !findings.add(torn(1)));
        (0..MOST_DAMAGES as u32 + 7).for_each(|number| _ = findings.add(torn(number)));
        assert_eq!((findings.list.len(), findings.found()), (MOST_DAMAGES, MOST_DAMAGES as u64 + 7));
        assert_eq!(findings.left_by_kind(), [(Kind::TornLink, MOST_DAMAGES as u64 + 7)]);
        if let Some(first) = findings.list.first_mut() {
            first.state = State::Repaired;
        }
        assert_eq!(findings.repaired(), 1);
        assert_eq!(findings.left_by_kind(), [(Kind::TornLink, MOST_DAMAGES as u64 + 6)]);
    }
}
