//! Which contents are on disk and which goes first: S3-FIFO by bytes. Pure bookkeeping, no I/O.
//!
//! New entries queue in `small`, a tenth of the bytes. Those asked for again while there move to `main`, the others leave,
//! and a fingerprint of them stays in `ghost`: coming back soon, they go to `main` at once. So one scan over many contents
//! (a mirror job, a vulnerability scanner) does not push out what is pulled every day, which plain LRU would let happen.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasher;

use crate::cache::digest_hash::DigestHash;
use crate::oci::Digest;

/// Accesses remembered per entry: each lets it pass once more through `main`.
const MAX_FREQUENCY: u8 = 3;
/// `small` gives way first when it holds more than 1/10 of the bytes.
const SMALL_PART: u64 = 10;
/// Fingerprints remembered of entries that left, at 8 bytes twice.
const MAX_GHOSTS: usize = 1 << 17;
/// Stale places that queues may hold beside live ones before they are swept.
const STALE_SLACK: usize = 1024;

#[derive(Default)]
pub(super) struct Index {
    entries: HashMap<Digest, Entry, DigestHash>,
    small: VecDeque<Queued>,
    main: VecDeque<Queued>,
    ghost: Ghost,
    bytes: u64,
    small_bytes: u64,
    last_seq: u64,
}

/// A place in a queue; stale when the entry is gone or was replaced (another `seq`).
#[derive(Clone, Copy)]
struct Queued {
    digest: Digest,
    seq: u64,
}

struct Entry {
    size: u64,
    seq: u64,
    /// Hits since it came, for promotion.
    hits: u32,
    /// Recent hits, for eviction.
    frequency: u8,
    in_main: bool,
}

/// What a hit needs to know. `seq` tells this file from a later one of the same digest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::cache) struct Found {
    pub(in crate::cache) seq: u64,
    pub(in crate::cache) hits: u32,
}

/// An entry that was taken out.
#[derive(Clone, Copy)]
pub(super) struct Evicted {
    place: Queued,
    size: u64,
    hits: u32,
}

impl Evicted {
    pub(super) fn digest(&self) -> Digest {
        self.place.digest
    }
}

/// An entry as the snapshot keeps it, in eviction order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Saved {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) frequency: u8,
    pub(super) in_main: bool,
}

impl Index {
    /// Size of all files, trailers included.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.entries.contains_key(digest)
    }

    /// Counts a hit.
    pub(super) fn touch(&mut self, digest: &Digest) -> Option<Found> {
        let entry = self.entries.get_mut(digest)?;
        entry.hits = entry.hits.saturating_add(1);
        entry.frequency = (entry.frequency + 1).min(MAX_FREQUENCY);
        Some(Found { seq: entry.seq, hits: entry.hits })
    }

    /// Adds or replaces an entry; `asked` says that others waited for it already, which counts as a hit.
    pub(super) fn insert(&mut self, digest: Digest, size: u64, asked: bool) -> u64 {
        let in_main = self.ghost.take(&digest);
        self.place(Saved { digest, size, frequency: u8::from(asked), in_main }, u32::from(asked))
    }

    /// Puts back what a scan or a snapshot found; never over something newer.
    pub(super) fn restore(&mut self, saved: Saved) {
        if !self.contains(&saved.digest) {
            self.place(saved, 0);
        }
    }

    fn place(&mut self, saved: Saved, hits: u32) -> u64 {
        let Saved { digest, size, frequency, in_main } = saved;
        self.remove(&digest);
        self.last_seq += 1;
        let seq = self.last_seq;
        let queue = if in_main { &mut self.main } else { &mut self.small };
        queue.push_back(Queued { digest, seq });
        self.bytes += size;
        self.small_bytes += if in_main { 0 } else { size };
        self.entries.insert(digest, Entry { size, seq, hits, frequency: frequency.min(MAX_FREQUENCY), in_main });
        seq
    }

    pub(super) fn remove(&mut self, digest: &Digest) -> bool {
        let Some(entry) = self.entries.remove(digest) else { return false };
        self.bytes -= entry.size;
        self.small_bytes -= if entry.in_main { 0 } else { entry.size };
        if self.small.len() + self.main.len() > 2 * self.entries.len() + STALE_SLACK {
            let entries = &self.entries;
            let live = |place: &Queued| entries.get(&place.digest).is_some_and(|entry| entry.seq == place.seq);
            self.small.retain(live);
            self.main.retain(live);
        }
        true
    }

    /// Removes the entry only if it still is that very file.
    pub(super) fn remove_exact(&mut self, digest: &Digest, seq: u64) -> bool {
        self.entries.get(digest).is_some_and(|entry| entry.seq == seq) && self.remove(digest)
    }

    /// Takes out the entry that goes first.
    pub(super) fn evict(&mut self) -> Option<Evicted> {
        // Ends: every turn takes a place out of a queue, or moves it to `main`, or uses up one of its entry's hits.
        loop {
            let from_small =
                !self.small.is_empty() && (self.main.is_empty() || self.small_bytes > self.bytes / SMALL_PART);
            let queue = if from_small { &mut self.small } else { &mut self.main };
            let place = queue.pop_front()?;
            let Some(entry) = self.entries.get_mut(&place.digest).filter(|entry| entry.seq == place.seq) else {
                continue;
            };
            if entry.frequency == 0 {
                let (size, hits) = (entry.size, entry.hits);
                self.remove(&place.digest);
                if from_small {
                    self.ghost.add(&place.digest);
                }
                return Some(Evicted { place, size, hits });
            }
            if from_small {
                self.small_bytes -= entry.size;
                entry.in_main = true;
                entry.frequency = 0;
            } else {
                entry.frequency -= 1;
            }
            self.main.push_back(place);
        }
    }

    /// Something else left in its place: it is as good as one that was just asked for.
    pub(super) fn put_back(&mut self, evicted: Evicted) {
        let Evicted { place, size, hits } = evicted;
        self.ghost.take(&place.digest);
        self.main.push_back(place);
        self.bytes += size;
        self.entries.insert(place.digest, Entry { size, seq: place.seq, hits, frequency: 0, in_main: true });
    }

    /// All entries, each queue in its order.
    pub(super) fn saved(&self) -> Vec<Saved> {
        let live = |place: &Queued| {
            let entry = self.entries.get(&place.digest).filter(|entry| entry.seq == place.seq)?;
            Some(Saved { digest: place.digest, size: entry.size, frequency: entry.frequency, in_main: entry.in_main })
        };
        self.small.iter().chain(&self.main).filter_map(live).collect()
    }
}

/// Fingerprints of what left `small`, oldest first.
#[derive(Default)]
struct Ghost {
    hash: DigestHash,
    order: VecDeque<u64>,
    known: HashSet<u64>,
}

impl Ghost {
    fn add(&mut self, digest: &Digest) {
        let print = self.hash.hash_one(digest);
        if self.known.insert(print) {
            self.order.push_back(print);
        }
        // `take` leaves its print in `order`; that only makes the memory a little shorter.
        if self.order.len() > MAX_GHOSTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    fn take(&mut self, digest: &Digest) -> bool {
        self.known.remove(&self.hash.hash_one(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    fn left(index: &mut Index) -> Option<Digest> {
        index.evict().map(|evicted| evicted.digest())
    }

    fn digest(n: u32) -> Digest {
        Digest::of(Algorithm::Sha256, &n.to_le_bytes())
    }

    fn filled(count: u32) -> Index {
        let mut index = Index::default();
        (0..count).for_each(|n| _ = index.insert(digest(n), 10, false));
        index
    }

    #[test]
    fn the_oldest_goes_first_and_an_entry_asked_for_stays() {
        let mut index = filled(4);
        index.touch(&digest(0));
        assert_eq!(left(&mut index), Some(digest(1)));
        assert_eq!(left(&mut index), Some(digest(2)));
        assert_eq!(left(&mut index), Some(digest(3)));
        assert_eq!(left(&mut index), Some(digest(0)));
        assert_eq!(left(&mut index), None);
        assert_eq!((index.bytes(), index.small_bytes, index.len()), (0, 0, 0));
    }

    #[test]
    fn one_scan_does_not_push_out_what_is_pulled_daily() {
        let mut index = filled(50);
        (0..50).for_each(|n| _ = index.touch(&digest(n)));
        for n in 1000..2000 {
            index.insert(digest(n), 10, false);
            while index.bytes() > 600 {
                index.evict();
            }
        }
        assert_eq!((0..50).filter(|n| index.contains(&digest(*n))).count(), 50);
    }

    #[test]
    fn what_comes_back_soon_goes_to_main() {
        let mut index = filled(3);
        assert_eq!(left(&mut index), Some(digest(0)));
        index.insert(digest(0), 10, false);
        assert!(index.entries[&digest(0)].in_main);
    }

    #[test]
    fn a_late_removal_spares_the_new_file() {
        let mut index = filled(1);
        let old = index.touch(&digest(0)).unwrap().seq;
        index.insert(digest(0), 20, false);
        assert!(!index.remove_exact(&digest(0), old));
        assert_eq!(index.bytes(), 20);
    }

    #[test]
    fn a_saved_index_restores_in_order() {
        let mut index = filled(5);
        index.touch(&digest(2));
        index.evict();
        let mut again = Index::default();
        index.saved().into_iter().for_each(|saved| again.restore(saved));
        assert_eq!(again.saved(), index.saved());
        assert_eq!((again.bytes(), again.small_bytes), (index.bytes(), index.small_bytes));
    }

    #[test]
    fn replacing_for_ever_does_not_grow_the_queues() {
        let mut index = filled(1);
        (0..100_000).for_each(|_| _ = index.insert(digest(0), 10, false));
        assert!(index.small.len() + index.main.len() <= 2 * STALE_SLACK);
    }
}
