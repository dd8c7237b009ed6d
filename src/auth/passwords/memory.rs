//! Answers that were found a short while ago.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use super::{Outcome, Tag};

/// Of each kind: some 2 MiB.
const MAX_ANSWERS: u64 = 10_000;
/// A client asks for every layer with the same password.
const RIGHT: Duration = Duration::from_secs(60);
/// Some clients repeat what was refused at once.
const WRONG: Duration = Duration::from_secs(5);

/// Right and wrong answers apart: guesses push out guesses only.
pub(super) struct Memory {
    right: Cache<Tag, Arc<str>>,
    wrong: Cache<Tag, ()>,
}

impl Default for Memory {
    fn default() -> Self {
        Memory::new(RIGHT, WRONG)
    }
}

impl Memory {
    pub(super) fn new(right: Duration, wrong: Duration) -> Self {
        Memory {
            right: Cache::builder().max_capacity(MAX_ANSWERS).time_to_live(right).build(),
            wrong: Cache::builder().max_capacity(MAX_ANSWERS).time_to_live(wrong).build(),
        }
    }

    pub(super) fn recall(&self, tag: &Tag) -> Option<Outcome> {
        let right = self.right.get(tag).map(|version| Outcome::Right { version });
        right.or_else(|| self.wrong.get(tag).map(|()| Outcome::Wrong))
    }

    pub(super) fn remember(&self, tag: Tag, outcome: &Outcome) {
        match outcome {
            Outcome::Right { version } => self.right.insert(tag, version.clone()),
            Outcome::Wrong => self.wrong.insert(tag, ()),
        }
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> (u64, u64) {
        self.right.run_pending_tasks();
        self.wrong.run_pending_tasks();
        (self.right.entry_count(), self.wrong.entry_count())
    }
}
