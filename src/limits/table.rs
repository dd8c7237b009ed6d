//! When each client's count is worn off. Bounded: who comes when all places are taken shares one count with all who come so.

use std::array;
use std::collections::HashMap;

use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use parking_lot::Mutex;

/// Parts with a lock of their own.
const PARTS: usize = 16;
/// Clients of which each part keeps the count: 65,536 in all, some 2 MiB.
const ROOM: usize = 4096;

pub(super) struct Table {
    parts: [Mutex<Part>; PARTS],
    room: usize,
}

#[derive(Default)]
struct Part {
    known: HashMap<u64, Nanos>,
    /// Of all who found no room.
    others: Option<Nanos>,
}

impl Default for Table {
    fn default() -> Self {
        Table::with_room(ROOM)
    }
}

impl Table {
    pub(super) fn with_room(room: usize) -> Self {
        Table { parts: array::from_fn(|_| Mutex::default()), room }
    }
}

impl StateStore for Table {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let part = usize::try_from(key >> 32).unwrap_or_default() % PARTS;
        let Some(part) = self.parts.get(part) else { return measure(None).map(|(outcome, _)| outcome) };
        let mut part = part.lock();
        if let Some(until) = part.known.get_mut(key) {
            let (outcome, new) = measure(Some(*until))?;
            *until = new;
            return Ok(outcome);
        }
        if part.known.len() < self.room {
            let (outcome, new) = measure(None)?;
            part.known.insert(*key, new);
            return Ok(outcome);
        }
        let (outcome, new) = measure(part.others)?;
        part.others = Some(new);
        Ok(outcome)
    }
}

impl ShrinkableKeyedStateStore<u64> for Table {
    fn retain_recent(&self, drop_below: Nanos) {
        for part in &self.parts {
            let mut part = part.lock();
            part.known.retain(|_, until| *until > drop_below);
            let room = part.known.len() * 2;
            part.known.shrink_to(room);
        }
    }

    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lock().known.len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
