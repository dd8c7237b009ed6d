//! One instance's part of a quota: what it knows of the file, what it was granted there, and what its pushes have of that.
//! Knows no storage: what is to be written is drafted here, and whoever writes it says how that went.
//!
//! What always holds: `reserved` and `charged` together are within `granted`, as far as anybody was let take more; and the file's
//! `used` and all grants together are within the limit, as far as conditions are minded. While a draft is on its way nobody
//! knows which of the two grants counts: so whatever is taken then is within both.

mod draft;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::amount::Amount;
use super::entry::{Entry, Short};
use super::held::Held;
use super::state::State;
use crate::storage::Precondition;
#[cfg(test)]
pub(super) use draft::DEAD;
use draft::Draft;

/// Changes that wait to be written while storage does not answer; further ones are found by a count.
const MOST_NEWS: usize = 65_536;

pub(super) struct Account {
    /// This instance, among the grants.
    me: String,
    pub limit: Amount,
    pub held: Held,
    pub state: State,
    /// How the state is replaced; `None`: it has to be read before.
    pub replaceable: Option<Precondition>,
    /// At this moment, or later, the state was the one in storage.
    fresh: Option<Moment>,
    /// Numbers moments, since clocks may stand still.
    moments: u64,
    /// Changes that the file does not know, the oldest first, and the same by content.
    news: Vec<Entry>,
    mine: HashMap<Short, bool>,
    /// What the news add, if nobody else has told of the same.
    charged: Amount,
    /// Tags that are gone.
    freed: u64,
    /// Times that something got lost of which only a count knows.
    doubts: u64,
    granted: Amount,
    reserved: Amount,
    /// Of that, what waits for the next request of its upload.
    parked: Amount,
    wants: BTreeMap<u64, Amount>,
    last_want: u64,
    offered: Option<Draft>,
    /// Drafts before it, since the news were told last, of which one may be written late: by a request that was given up.
    unheard: Vec<Draft>,
    /// When something was taken last, and when the file was written.
    taken: Option<Instant>,
    wrote: Option<Instant>,
    beat: u64,
    /// Other instances' beats, and since when they are the same.
    seen: HashMap<String, (u64, Instant)>,
}

/// When something was asked, or somebody began to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    number: u64,
    at: Instant,
}

/// Why there is no room, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lacking {
    pub used: Amount,
    /// Promised to pushes under way, here and at other instances.
    pub reserved: Amount,
    pub limit: Amount,
    pub needed: Amount,
    /// Not even if all other instances gave back what they were granted.
    pub certain: bool,
}

impl Account {
    pub fn new(me: &str, state: State, limit: Amount) -> Self {
        Account {
            me: me.to_owned(),
            limit,
            held: Held::default(),
            state,
            replaceable: None,
            fresh: None,
            moments: 0,
            news: Vec::new(),
            mine: HashMap::new(),
            charged: Amount::NOTHING,
            freed: 0,
            doubts: 0,
            granted: Amount::NOTHING,
            reserved: Amount::NOTHING,
            parked: Amount::NOTHING,
            wants: BTreeMap::new(),
            last_want: 0,
            offered: None,
            unheard: Vec::new(),
            taken: None,
            wrote: None,
            beat: rand::random::<u32>().into(),
            seen: HashMap::new(),
        }
    }

    // What pushes do.

    /// Takes it of what was granted and nobody has.
    pub fn take(&mut self, more: Amount, now: Instant) -> bool {
        if !more.fits(self.spare()) {
            return false;
        }
        self.take_anyway(more, now);
        true
    }

    /// Where nobody can say whether there is room.
    pub fn take_anyway(&mut self, more: Amount, now: Instant) {
        self.reserved = self.reserved.plus(more);
        self.taken = Some(now);
    }

    pub fn give_back(&mut self, amount: Amount) {
        self.reserved = self.reserved.minus(amount);
    }

    pub fn park(&mut self, amount: Amount) {
        self.parked = self.parked.plus(amount);
    }

    pub fn unpark(&mut self, amount: Amount) {
        self.parked = self.parked.minus(amount);
    }

    /// Somebody waits for so much. Ends with [`Self::wants_no_more`].
    pub fn want(&mut self, more: Amount) -> u64 {
        self.last_want += 1;
        self.wants.insert(self.last_want, more);
        self.last_want
    }

    pub fn wants_no_more(&mut self, want: u64) {
        self.wants.remove(&want);
    }

    pub fn holds(&self, short: &Short) -> bool {
        self.mine.get(short).copied().unwrap_or_else(|| self.held.contains(short))
    }

    /// A repository of the quota holds the content from now on. It is paid for by what was reserved, as far as that goes, and
    /// costs nothing if it was held before.
    pub fn added(&mut self, short: Short, size: u64, reserved: &mut Amount) {
        if self.holds(&short) || !self.note(Entry { added: true, short, size }) {
            return;
        }
        self.charged.bytes = self.charged.bytes.saturating_add(size);
        let paid = Amount::bytes(size.min(reserved.bytes));
        self.reserved = self.reserved.minus(paid);
        *reserved = reserved.minus(paid);
    }

    /// No repository of the quota holds the content any more.
    pub fn removed(&mut self, short: Short, size: u64) {
        if self.holds(&short) {
            let _ = self.note(Entry { added: false, short, size });
        }
    }

    pub fn tag_added(&mut self) {
        self.charged.tags = self.charged.tags.saturating_add(1);
    }

    pub fn tag_removed(&mut self) {
        self.freed = self.freed.saturating_add(1);
    }

    /// What is used can only be found by a count.
    pub fn doubt(&mut self) {
        self.doubts += 1;
    }

    fn note(&mut self, entry: Entry) -> bool {
        if self.news.len() >= MOST_NEWS {
            self.doubt();
            return false;
        }
        self.news.push(entry);
        self.mine.insert(entry.short, entry.added);
        true
    }

    // What is known.

    /// Whether something of this content is to be told, and what.
    #[cfg(test)]
    pub fn news_of(&self, short: &Short) -> Option<bool> {
        self.mine.get(short).copied()
    }

    /// By the file, and by what came here since.
    pub fn used(&self) -> Amount {
        let freed = Amount { bytes: 0, tags: self.freed };
        self.state.used.plus(self.charged).minus(freed)
    }

    /// Promised to pushes, here and elsewhere.
    pub fn promised(&self) -> Amount {
        self.state.granted(Some(&self.me)).plus(self.reserved)
    }

    pub fn lacking(&self, needed: Amount) -> Lacking {
        let used = self.used();
        let firm = self.reserved.minus(self.parked);
        Lacking {
            used,
            reserved: self.promised(),
            limit: self.limit,
            needed,
            certain: !used.plus(firm).plus(needed).fits(self.limit),
        }
    }

    /// This one, and none before or after.
    pub fn moment(&mut self) -> Moment {
        self.moments += 1;
        Moment { number: self.moments, at: Instant::now() }
    }

    /// Whether the state was the one in storage at this moment or later.
    pub fn is_fresh(&self, since: Moment) -> bool {
        self.fresh.is_some_and(|fresh| fresh.number >= since.number)
    }

    /// Whether it was within so long.
    pub fn is_as_fresh(&self, age: Duration) -> bool {
        self.fresh.is_some_and(|fresh| fresh.at.elapsed() < age)
    }

    pub fn was_read(&self) -> bool {
        self.fresh.is_some()
    }

    /// Whether there is something to write, now or when somebody has been idle for long enough.
    pub fn is_restless(&self) -> bool {
        let nothing = Amount::NOTHING;
        let tells = !self.news.is_empty() || self.charged != nothing || self.freed > 0 || self.doubts > 0;
        tells || self.granted != nothing || self.offered.is_some()
    }

    /// When somebody took something last.
    pub fn taken(&self) -> Option<Instant> {
        self.taken
    }

    fn spare(&self) -> Amount {
        let spare = self.granted.minus(self.charged).minus(self.reserved);
        match &self.offered {
            Some(draft) => {
                let later = draft.grant.minus(self.charged.minus(draft.charged)).minus(self.reserved);
                spare.at_most(later)
            }
            None => spare,
        }
    }
}
