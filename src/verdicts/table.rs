//! A bounded map of facts by id, for many readers at once. Knows nothing of what the facts mean.
//!
//! Each shard has a young and an old half. A fact enters the young half, and comes back to it when it is used; when the
//! young half is full it becomes the old one, and what the old one still held is evicted. So what was used lately
//! stays, without a list to keep in order, and a fact costs its size and some bits.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use super::key::Id;

const SHARDS: usize = 32;

pub struct Table<V> {
    shards: [RwLock<Shard<V>>; SHARDS],
    /// Facts in one half of one shard.
    half: usize,
    evicted: AtomicBool,
}

struct Shard<V> {
    young: Half<V>,
    old: Half<V>,
}

type Half<V> = HashMap<Id, V, BuildHasherDefault<Identity>>;

impl<V: Clone> Table<V> {
    /// `capacity` bounds the number of facts; between half of it and all of it are kept.
    pub fn new(capacity: usize) -> Self {
        let shard = || RwLock::new(Shard { young: Half::default(), old: Half::default() });
        Table {
            shards: std::array::from_fn(|_| shard()),
            half: (capacity / SHARDS / 2).max(1),
            evicted: AtomicBool::new(false),
        }
    }

    /// What is known as `id`, which counts as a use of it.
    pub fn get<R>(&self, id: Id, look: impl Fn(&V) -> R) -> Option<R> {
        let shard = self.shard(id);
        {
            let shard = shard.read();
            if let Some(value) = shard.young.get(&id) {
                return Some(look(value));
            }
            if !shard.old.contains_key(&id) {
                return None;
            }
        }
        let mut shard = shard.write();
        match shard.old.remove(&id) {
            Some(value) => {
                let found = look(&value);
                self.insert(&mut shard, id, value);
                Some(found)
            }
            None => shard.young.get(&id).map(look),
        }
    }

    /// Lets `decide` see what is known and say what to know from now on (`None`: leave it). Nobody else sees or
    /// changes the fact meanwhile.
    pub fn update(&self, id: Id, decide: impl FnOnce(Option<&V>) -> Option<V>) {
        let mut shard = self.shard(id).write();
        let known = shard.young.get(&id).or_else(|| shard.old.get(&id));
        if let Some(value) = decide(known) {
            shard.old.remove(&id);
            self.insert(&mut shard, id, value);
        }
    }

    /// Forgets, and says whether there was something to forget.
    pub fn remove(&self, id: Id) -> bool {
        let mut shard = self.shard(id).write();
        shard.young.remove(&id).is_some() | shard.old.remove(&id).is_some()
    }

    pub fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.write();
            shard.young.clear();
            shard.old.clear();
        }
    }

    pub fn len(&self) -> usize {
        let count = |shard: &RwLock<Shard<V>>| {
            let shard = shard.read();
            shard.young.len() + shard.old.len()
        };
        self.shards.iter().map(count).sum()
    }

    /// Hands out copies of all facts, a shard at a time, those in recent use first in each.
    pub fn snapshots(&self) -> impl Iterator<Item = Vec<(Id, V)>> {
        self.shards.iter().map(|shard| {
            let shard = shard.read();
            shard.young.iter().chain(&shard.old).map(|(id, value)| (*id, value.clone())).collect()
        })
    }

    /// Whether anything was evicted since `reset_evicted`.
    pub fn evicted(&self) -> bool {
        self.evicted.load(Ordering::Acquire)
    }

    pub fn reset_evicted(&self) {
        self.evicted.store(false, Ordering::Release);
    }

    fn shard(&self, id: Id) -> &RwLock<Shard<V>> {
        &self.shards[usize::from(id.spread()) % SHARDS] // never out of bounds: a remainder of the length
    }

    fn insert(&self, shard: &mut Shard<V>, id: Id, value: V) {
        if shard.young.len() >= self.half && !shard.young.contains_key(&id) {
            let evicted = std::mem::replace(&mut shard.old, std::mem::take(&mut shard.young));
            if !evicted.is_empty() {
                self.evicted.store(true, Ordering::Release);
            }
        }
        shard.young.insert(id, value);
    }
}

/// Ids are hashes already.
#[derive(Default)]
pub struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> Id {
        let mut bytes = [0; 16];
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bytes[..8].copy_from_slice(&mixed.to_le_bytes());
        bytes[8..].copy_from_slice(&mixed.rotate_left(32).to_le_bytes());
        Id(bytes)
    }

    #[test]
    fn a_table_is_bounded_and_keeps_what_is_used() {
        let table = Table::new(6400);
        table.update(id(0), |_| Some(7));
        assert!(!table.evicted());
        for number in 1..100_000 {
            table.update(id(number), |_| Some(1));
            assert_eq!(table.get(id(0), |value| *value), Some(7));
        }
        assert!(table.evicted());
        assert!(table.len() <= 6400 && table.len() >= 3000, "{}", table.len());
        assert_eq!(table.get(id(1), |value| *value), None);
        assert_eq!(table.snapshots().map(|shard| shard.len()).sum::<usize>(), table.len());
    }

    #[test]
    fn what_is_removed_is_gone_from_both_halves() {
        let table = Table::new(64);
        for number in 0..1000 {
            table.update(id(number), |_| Some(number));
        }
        for number in 0..1000 {
            let known = table.get(id(number), |value| *value).is_some();
            assert_eq!(table.remove(id(number)), known);
            assert_eq!(table.get(id(number), |value| *value), None);
        }
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn an_update_sees_what_is_known_and_may_leave_it() {
        let table = Table::new(64);
        table.update(id(1), |known| {
            assert_eq!(known, None);
            Some(1)
        });
        table.update(id(1), |known| known.filter(|known| **known > 5).copied());
        table.update(id(1), |known| known.map(|known| known + 1));
        assert_eq!(table.get(id(1), |value| *value), Some(2));
        assert_eq!(table.len(), 1);
    }
}
