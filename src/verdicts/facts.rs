//! What is remembered, and what withdraws it. In memory only; says what is worth writing down, but writes nothing.
//!
//! Every fact carries the moment when its question was *asked*, and every withdrawal the moment when it happened: a fact
//! counts only if it was asked after the last withdrawal that concerns it. So an answer that was on its way while
//! something was deleted never counts, in whatever order the two arrive here or in the journal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Moment;
use super::key::Id;
use super::table::Table;
use crate::oci::Digest;

const MAX_READS: usize = 100_000;
const MAX_HOLDS: usize = 1_000_000;
const MAX_TAGS: usize = 100_000;
const MAX_PINGS: usize = 10_000;

/// A fact confirmed again is written down again once in this span, not each time.
const WRITE_AGAIN: u64 = Duration::from_secs(15).as_nanos() as u64;

/// Slots of `Marks`: any 16 bits.
const SLOTS: usize = 1 << 16;

/// What a tag meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagAnswer {
    #[serde(with = "as_text")]
    pub digest: Digest,
    pub media_type: String,
    /// Bytes of the manifest.
    pub size: u64,
}

/// How `/v2/` was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PingAnswer {
    pub status: u16,
    /// The values of its `WWW-Authenticate` headers.
    pub www_authenticate: Vec<String>,
}

/// Something said at some moment.
#[derive(Clone)]
pub struct Dated<T> {
    pub asked: Moment,
    pub answer: Arc<T>,
}

pub struct Facts {
    /// When it was asked whether a credential may read a repository, and it might.
    pub reads: Table<Moment>,
    /// When it was asked whether a repository holds a digest, and it did.
    pub holds: Table<Moment>,
    pub tags: Table<Dated<TagAnswer>>,
    pub pings: Table<Dated<PingAnswer>>,
    /// When a reader was last refused, or something was missing: answers asked before come too late. Not kept over
    /// restarts, as no answer is on its way then.
    pub withdrawn: Marks,
    /// When something was last deleted from a repository: all that it held is asked anew.
    pub deleted: Marks,
    /// When a tag was last moved or deleted.
    pub moved: Marks,
}

/// Moments by id, in a fixed number of slots. Ids that share a slot share the later moment, so that a mark is never lost,
/// at worst one is seen where none is.
pub struct Marks(Box<[AtomicU64]>);

impl Marks {
    fn new() -> Self {
        Marks((0..SLOTS).map(|_| AtomicU64::new(0)).collect())
    }

    pub fn at(&self, id: Id) -> Moment {
        self.0.get(usize::from(id.spread())).map_or(0, |slot| slot.load(Ordering::Acquire))
    }

    pub fn set(&self, id: Id, at: Moment) {
        self.set_slot(id.spread(), at);
    }

    pub fn set_slot(&self, slot: u16, at: Moment) {
        if let Some(slot) = self.0.get(usize::from(slot)) {
            slot.fetch_max(at, Ordering::AcqRel);
        }
    }

    /// Slots that were ever set.
    pub fn all(&self) -> impl Iterator<Item = (u16, Moment)> {
        (0..=u16::MAX).zip(&self.0).map(|(slot, at)| (slot, at.load(Ordering::Acquire))).filter(|(_, at)| *at > 0)
    }

    fn clear(&self) {
        self.0.iter().for_each(|slot| slot.store(0, Ordering::Release));
    }
}

impl Facts {
    pub fn new() -> Self {
        Facts {
            reads: Table::new(MAX_READS),
            holds: Table::new(MAX_HOLDS),
            tags: Table::new(MAX_TAGS),
            pings: Table::new(MAX_PINGS),
            withdrawn: Marks::new(),
            deleted: Marks::new(),
            moved: Marks::new(),
        }
    }

    /// Learns that a read was permitted. Like the others, returns whether that is worth writing down.
    pub fn learn_read(&self, id: Id, asked: Moment) -> bool {
        let mut news = false;
        self.reads.update(id, |known| {
            if self.withdrawn.at(id) >= asked {
                return None;
            }
            news = known.is_none_or(|known| is_due(*known, asked));
            Some(known.map_or(asked, |known| asked.max(*known)))
        });
        news
    }

    /// `deleted`: when something was last deleted from the repository.
    pub fn learn_hold(&self, id: Id, asked: Moment, deleted: Moment) -> bool {
        let mut news = false;
        self.holds.update(id, |known| {
            let known_and_good = known.is_some_and(|known| *known > deleted);
            if asked <= deleted || self.withdrawn.at(id) >= asked || known_and_good {
                return None;
            }
            news = true;
            Some(asked)
        });
        news
    }

    /// `changed`: when the tag was last moved or its repository last deleted from.
    pub fn learn_tag(&self, id: Id, said: Dated<TagAnswer>, changed: Moment) -> bool {
        learn_answer(&self.tags, id, said, changed.max(self.withdrawn.at(id)))
    }

    pub fn learn_ping(&self, id: Id, said: Dated<PingAnswer>) -> bool {
        learn_answer(&self.pings, id, said, self.withdrawn.at(id))
    }

    /// Forgets one fact, whatever its kind. Returns whether that is worth writing down: also if it was evicted, since
    /// the journal may still tell of it.
    pub fn withdraw<V: Clone>(&self, table: &Table<V>, id: Id, at: Moment) -> bool {
        self.withdrawn.set(id, at);
        table.remove(id) || table.evicted()
    }

    /// Forgets what `id` names if it was asked at `at` or before; for reading the journal.
    pub fn withdraw_any(&self, id: Id, at: Moment) {
        let _ = self.reads.get(id, |asked| *asked <= at) == Some(true) && self.reads.remove(id)
            || self.holds.get(id, |asked| *asked <= at) == Some(true) && self.holds.remove(id)
            || self.tags.get(id, |said| said.asked <= at) == Some(true) && self.tags.remove(id)
            || self.pings.get(id, |said| said.asked <= at) == Some(true) && self.pings.remove(id);
    }

    /// Forgets all facts that only count for a time.
    pub fn clear_timed(&self) {
        self.reads.clear();
        self.tags.clear();
        self.pings.clear();
    }

    pub fn clear(&self) {
        self.clear_timed();
        self.holds.clear();
        self.withdrawn.clear();
        self.deleted.clear();
        self.moved.clear();
    }
}

fn learn_answer<T: Clone + PartialEq>(table: &Table<Dated<T>>, id: Id, said: Dated<T>, withdrawn: Moment) -> bool {
    let mut news = false;
    table.update(id, |known| {
        let late = known.is_some_and(|known| known.asked > said.asked);
        if late || said.asked <= withdrawn {
            return None;
        }
        let same = |known: &Dated<T>| known.answer == said.answer && known.asked > withdrawn;
        news = !known.is_some_and(|known| same(known) && !is_due(known.asked, said.asked));
        Some(said)
    });
    news
}

/// Whether two moments lie in different spans of `WRITE_AGAIN`.
fn is_due(before: Moment, now: Moment) -> bool {
    before / WRITE_AGAIN != now / WRITE_AGAIN
}

/// A digest as its text.
mod as_text {
    use serde::de::{Deserialize as _, Deserializer, Error as _};
    use serde::ser::Serializer;

    use crate::oci::Digest;

    pub fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(digest)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
