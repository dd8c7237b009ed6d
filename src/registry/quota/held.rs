//! The contents that the repositories of a quota hold, as the last count and the changes since tell, in memory.

use std::collections::HashMap;

use super::entry::{Entry, Short};

/// Of each entry in a map, in bytes: the entry, its place and what is kept free.
const IN_MAP: usize = 48;

/// What is held. Known only if it `is_of` the file's count.
#[derive(Default)]
pub(super) struct Held {
    /// The count that it begins with. `None`: nobody has counted.
    stamp: Option<String>,
    /// Sorted, without doubles.
    counted: Vec<Short>,
    since: HashMap<Short, bool>,
    /// So many changes since the count are in it.
    applied: u64,
    loaded: bool,
}

impl Held {
    /// As a count found it; `counted` is sorted here.
    pub fn new(stamp: Option<String>, mut counted: Vec<Short>) -> Self {
        counted.sort_unstable();
        counted.dedup();
        Held { stamp, counted, since: HashMap::new(), applied: 0, loaded: true }
    }

    pub fn contains(&self, short: &Short) -> bool {
        self.since.get(short).copied().unwrap_or_else(|| self.counted.binary_search(short).is_ok())
    }

    /// The next changes of the log.
    pub fn apply(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.since.insert(entry.short, entry.added);
        }
        self.applied = self.applied.saturating_add(entries.len() as u64);
    }

    /// How many changes since this count are in it; `None`: it is of another one, or not in memory.
    pub fn applied(&self, stamp: Option<&str>) -> Option<u64> {
        (self.loaded && self.stamp.as_deref() == stamp).then_some(self.applied)
    }

    pub fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// In bytes.
    pub fn weight(&self) -> usize {
        self.counted.capacity() * Short::LENGTH + self.since.capacity() * IN_MAP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(byte: u8) -> Short {
        Short([byte; 16])
    }

    #[test]
    fn changes_go_over_the_count() {
        let mut held = Held::new(Some("a".into()), vec![short(3), short(1), short(3)]);
        let entry = |byte, added| Entry { added, short: short(byte), size: 1 };
        assert!(held.contains(&short(1)) && held.contains(&short(3)) && !held.contains(&short(2)));
        held.apply(&[entry(1, false), entry(2, true), entry(4, true), entry(4, false)]);
        assert!(!held.contains(&short(1)) && held.contains(&short(2)) && held.contains(&short(3)));
        assert!(!held.contains(&short(4)));
        assert_eq!((held.applied(Some("a")), held.applied(Some("b")), held.applied(None)), (Some(4), None, None));
        assert!(held.is_loaded() && held.weight() > 0);
    }

    #[test]
    fn what_is_not_in_memory_is_of_no_count() {
        let held = Held::default();
        assert_eq!((held.applied(None), held.is_loaded(), held.weight()), (None, false, 0));
        assert_eq!(Held::new(None, Vec::new()).applied(None), Some(0));
    }
}
