//! A quota's file: what its repositories hold, and what pushes under way have been promised.
//!
//! - It is replaced only on condition that nobody else did since it was read, where the store minds that.
//! - What is held is the last count (in parts of its own) and the changes since: `segments`, then `recent`.
//! - Each instance has a grant, out of which its pushes take without asking the others; `used` and all grants together stay
//!   within the limit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::amount::Amount;
use super::entry::{Entry, as_text};
use crate::storage::format::Format;

/// What is known of a quota, for all instances.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// The pattern, for whoever looks into the file.
    pub repositories: String,
    /// By distinct content, and tags.
    pub used: Amount,
    /// `None`: nobody has counted yet, so `used` is what came since this file is there.
    #[serde(default)]
    pub count: Option<Count>,
    /// Somebody counts until then at most, in seconds since 1970.
    #[serde(default)]
    pub counting: u64,
    /// Something is gone of which nobody knows whether another repository of the quota still holds it.
    #[serde(default)]
    pub doubtful: bool,
    /// Files with the older changes since the count.
    #[serde(default)]
    pub segments: Vec<Segment>,
    #[serde(default, with = "as_text")]
    pub recent: Vec<Entry>,
    /// By instance.
    #[serde(default)]
    pub grants: BTreeMap<String, Grant>,
}

/// One that went through all links.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Count {
    /// Names its parts, and is another for each count.
    pub stamp: String,
    /// When it was done, in seconds since 1970, by the clock of who did it.
    pub at: u64,
    /// Milliseconds.
    pub took: u64,
    /// Files with what was held then.
    pub parts: u32,
    /// Distinct contents and repositories.
    pub contents: u64,
    pub repositories: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Segment {
    /// Of its file, beside the stamp.
    pub name: String,
    pub entries: u64,
}

/// What one instance may still give to pushes, or has promised to them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Grant {
    #[serde(flatten)]
    pub amount: Amount,
    /// Another one each time that the instance writes: who sees the same for long takes it for dead.
    pub beat: u64,
}

impl Format for State {
    const WHAT: &'static str = "a quota's file";
    const VERSION: u32 = 1;
}

impl State {
    pub fn new(repositories: &str) -> Self {
        State { repositories: repositories.to_owned(), ..State::default() }
    }

    pub fn stamp(&self) -> Option<&str> {
        self.count.as_ref().map(|count| count.stamp.as_str())
    }

    /// Changes in the segments.
    pub fn in_segments(&self) -> u64 {
        self.segments.iter().map(|segment| segment.entries).fold(0, u64::saturating_add)
    }

    /// Changes since the count.
    pub fn recorded(&self) -> u64 {
        self.in_segments().saturating_add(self.recent.len() as u64)
    }

    /// What is promised to pushes; with a name, to those of other instances.
    pub fn granted(&self, but: Option<&str>) -> Amount {
        let grants = self.grants.iter().filter(|(name, _)| Some(name.as_str()) != but);
        grants.fold(Amount::NOTHING, |sum, (_, grant)| sum.plus(grant.amount))
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Short;
    use super::*;
    use crate::storage::{Error, format};

    fn state() -> State {
        let entry = |byte, added| Entry { added, short: Short([byte; 16]), size: 3 };
        let grant = |bytes, beat| Grant { amount: Amount { bytes, tags: 1 }, beat };
        let count = Count { stamp: "s".into(), at: 1, took: 2, parts: 3, contents: 4, repositories: 5 };
        State {
            repositories: "team-a/**".into(),
            used: Amount { bytes: u64::MAX, tags: 9 },
            count: Some(count),
            counting: 7,
            doubtful: true,
            segments: vec![Segment { name: "n".into(), entries: 1024 }],
            recent: vec![entry(1, true), entry(2, false)],
            grants: BTreeMap::from([("one".into(), grant(5, 1)), ("other".into(), grant(7, u64::MAX))]),
        }
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let bytes = format::write(&state()).unwrap();
        assert_eq!(format::read::<State>(&bytes).unwrap(), state());
        assert!(matches!(format::read::<State>(br#"{"version":2}"#), Err(Error::Newer { .. })));
        assert!(matches!(format::read::<State>(br#"{"version":1,"used":{}}"#), Err(Error::Damaged(_))));
    }

    #[test]
    fn grants_and_changes_are_summed() {
        let state = state();
        assert_eq!((state.in_segments(), state.recorded()), (1024, 1026));
        assert_eq!(state.granted(None), Amount { bytes: 12, tags: 2 });
        assert_eq!(state.granted(Some("one")), Amount { bytes: 7, tags: 1 });
    }
}
