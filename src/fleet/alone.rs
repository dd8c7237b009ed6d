//! The state of an instance that is alone: bounded, and gone with the process.

use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use moka::sync::Cache;
use parking_lot::Mutex;

use super::config::TTL;
use super::{CLOSED_FOR, Holding, Lookup, Proof, Ticket};
use crate::oci::{Digest, RepositoryName};

/// All entries together, in bytes, about.
const CAPACITY: u64 = 32 << 20;
/// What an entry costs besides its name and media type, in bytes, about.
const OVERHEAD: usize = 256;
/// Repositories that share a slot forget together, which costs speed only; so there need be no bound on repositories.
const SLOTS: usize = 1024;

/// Never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation(u64);

pub(super) struct Alone {
    entries: Cache<(RepositoryName, Digest), (Generation, Holding)>,
    slots: Box<[Mutex<Slot>]>,
    hasher: std::collections::hash_map::RandomState,
    next: AtomicU64,
}

/// Of the repositories whose names hash here.
struct Slot {
    generation: Generation,
    /// Deletions under way: an id and when it is given up.
    closed: Vec<(u64, Instant)>,
}

impl Alone {
    pub(super) fn new() -> Self {
        let weigh = |key: &(RepositoryName, Digest), value: &(Generation, Holding)| {
            let text = key.0.as_str().len() + value.1.media_type.as_ref().map_or(0, String::len);
            u32::try_from(text + OVERHEAD).unwrap_or(u32::MAX)
        };
        let slot = || Mutex::new(Slot { generation: Generation(0), closed: Vec::new() });
        Alone {
            entries: Cache::builder().max_capacity(CAPACITY).weigher(weigh).time_to_live(TTL).build(),
            slots: (0..SLOTS).map(|_| slot()).collect(),
            hasher: Default::default(),
            next: AtomicU64::new(1),
        }
    }

    pub(super) fn lookup(&self, name: &RepositoryName, digest: &Digest) -> Lookup {
        let Some(generation) = self.generation(name, Instant::now()) else {
            return Lookup::Unknown(Ticket(Proof::Useless));
        };
        match self.entries.get(&(name.clone(), *digest)) {
            Some((of, descriptor)) if of == generation => Lookup::Held(descriptor),
            _ => Lookup::Unknown(Ticket(Proof::Alone(generation))),
        }
    }

    pub(super) fn remember(
        &self,
        generation: Generation,
        name: &RepositoryName,
        digest: &Digest,
        descriptor: &Holding,
    ) {
        // Only to save the place: an entry of another generation is never believed.
        if self.generation(name, Instant::now()) == Some(generation) {
            self.entries.insert((name.clone(), *digest), (generation, descriptor.clone()));
        }
    }

    pub(super) fn deleting(self: &Arc<Self>, name: &RepositoryName) -> Deleting {
        self.deleting_at(name, Instant::now())
    }

    fn deleting_at(self: &Arc<Self>, name: &RepositoryName, now: Instant) -> Deleting {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(slot) = self.slot(name) {
            let mut slot = slot.lock();
            // Those that were given up need not be counted for ever: after this one, there is a new generation anyway.
            slot.closed.retain(|(_, until)| now < *until);
            slot.closed.push((id, now + CLOSED_FOR));
        }
        Deleting { id, name: name.clone(), memory: Arc::clone(self) }
    }

    /// `None` while something is being deleted.
    fn generation(&self, name: &RepositoryName, now: Instant) -> Option<Generation> {
        let mut slot = self.slot(name)?.lock();
        if !slot.closed.is_empty() {
            slot.closed.retain(|(_, until)| now < *until);
            if !slot.closed.is_empty() {
                return None;
            }
            // The last was given up: what it deleted is forgotten here.
            slot.generation = self.fresh();
        }
        Some(slot.generation)
    }

    fn fresh(&self) -> Generation {
        Generation(self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn slot(&self, name: &RepositoryName) -> Option<&Mutex<Slot>> {
        self.slots.get(self.hasher.hash_one(name) as usize % SLOTS)
    }
}

pub(super) struct Deleting {
    id: u64,
    name: RepositoryName,
    memory: Arc<Alone>,
}

impl Deleting {
    pub(super) fn done(self) {
        let Some(slot) = self.memory.slot(&self.name) else { return };
        let mut slot = slot.lock();
        slot.closed.retain(|(id, _)| *id != self.id);
        // Also while others go on deleting, and also when this one had been given up.
        slot.generation = self.memory.fresh();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_that_is_never_done_is_given_up_and_what_was_known_before_is_forgotten() {
        let memory = Arc::new(Alone::new());
        let name: RepositoryName = "a/b".parse().unwrap();
        let before = memory.generation(&name, Instant::now()).unwrap();
        let now = Instant::now();
        drop(memory.deleting_at(&name, now));
        assert_eq!(memory.generation(&name, now + CLOSED_FOR / 2), None);
        let after = memory.generation(&name, now + CLOSED_FOR).unwrap();
        assert_ne!(after, before);
        assert_eq!(memory.generation(&name, now + CLOSED_FOR), Some(after));
    }
}
