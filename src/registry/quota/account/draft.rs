//! What an account has the file say, and what it takes over from it.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::super::amount::Amount;
use super::super::entry::Entry;
use super::super::state::{Grant, State};
use super::{Account, Moment};
use crate::storage::Precondition;

/// Of what is free, an instance takes so small a part ahead of pushes: as the end comes near, nothing to speak of.
const AHEAD: u64 = 16;
/// And no more than this: 1 GiB, 64 tags.
const MOST_AHEAD: Amount = Amount { bytes: 1 << 30, tags: 64 };
/// What was taken ahead is given back when nobody has asked for so long.
const IDLE: Duration = Duration::from_secs(1);
/// An instance that holds something says at least so often that it is there.
const BEAT: Duration = Duration::from_secs(20);
/// One that has not for so long, by the clock of who looks, is gone, and with it what it held.
pub(in crate::registry::quota) const DEAD: Duration = Duration::from_secs(90);

/// Of drafts of which nobody heard how they went, so many are remembered.
const MOST_UNHEARD: usize = 16;

/// What of the account is in a state that is on its way to storage.
pub(super) struct Draft {
    /// The changes that are really changes.
    pub(super) recorded: Vec<Entry>,
    pub(super) news: usize,
    pub(super) charged: Amount,
    pub(super) freed: u64,
    pub(super) doubts: u64,
    pub(super) grant: Amount,
    pub(super) beat: u64,
    pub(super) began: Moment,
}

impl Account {
    /// Whether a draft is on its way of which nobody said how it went.
    pub fn is_unsure(&self) -> bool {
        self.offered.is_some()
    }

    /// What the file should say, if it should say something else. Followed by [`Self::written`] or [`Self::read`]. With
    /// `closing`, nothing is held any more.
    pub fn draft(&mut self, now: Instant, closing: bool) -> Option<State> {
        let (mut state, recorded) = self.told();
        state.grants.retain(|name, grant| {
            let seen = self.seen.get(name).filter(|(beat, _)| *beat == grant.beat);
            let dead = seen.is_some_and(|(_, since)| now.saturating_duration_since(*since) >= DEAD);
            *name == self.me || !dead
        });
        let before = self.state.grants.get(&self.me).map_or(Amount::NOTHING, |grant| grant.amount);
        let grant = if closing { Amount::NOTHING } else { self.grant(&state, now) };
        let silent = self.wrote.is_none_or(|wrote| now.saturating_duration_since(wrote) >= BEAT);
        let beats = silent && grant != Amount::NOTHING;
        if state == self.state && grant == before && !beats && !(closing && self.state.grants.contains_key(&self.me)) {
            // All news were known.
            self.drain(self.news.len(), self.charged, self.freed, self.doubts);
            return None;
        }
        let began = self.moment();
        self.beat += 1;
        match closing {
            true => drop(state.grants.remove(&self.me)),
            false => drop(state.grants.insert(self.me.clone(), Grant { amount: grant, beat: self.beat })),
        }
        self.offered = Some(Draft {
            recorded,
            news: self.news.len(),
            charged: self.charged,
            freed: self.freed,
            doubts: self.doubts,
            grant,
            beat: self.beat,
            began,
        });
        Some(state)
    }

    /// The state with our news, and those that were news to it.
    fn told(&self) -> (State, Vec<Entry>) {
        let (mut state, mut recorded) = (self.state.clone(), Vec::new());
        let mut changed = HashMap::new();
        for entry in &self.news {
            let there = changed.get(&entry.short).copied().unwrap_or_else(|| self.held.contains(&entry.short));
            if there == entry.added {
                continue;
            }
            changed.insert(entry.short, entry.added);
            let size = Amount::bytes(entry.size);
            state.used = if entry.added { state.used.plus(size) } else { state.used.minus(size) };
            recorded.push(*entry);
        }
        state.recent.extend_from_slice(&recorded);
        state.used.tags = state.used.tags.saturating_add(self.charged.tags).saturating_sub(self.freed);
        state.doubtful |= self.doubts > 0;
        (state, recorded)
    }

    /// What we should be granted: all that pushes have, what those who wait want, in their order and as far as there is room,
    /// and something ahead.
    fn grant(&self, state: &State, now: Instant) -> Amount {
        let taken = state.used.plus(state.granted(Some(&self.me))).plus(self.reserved);
        let free = self.limit.minus(taken);
        let mut wanted = Amount::NOTHING;
        for want in self.wants.values() {
            if wanted.plus(*want).fits(free) {
                wanted = wanted.plus(*want);
            }
        }
        let rest = free.minus(wanted);
        let kept = self.granted.minus(self.charged).minus(self.reserved);
        let ahead = Amount { bytes: rest.bytes / AHEAD, tags: rest.tags / AHEAD }.at_most(MOST_AHEAD);
        let idle = self.taken.is_none_or(|taken| now.saturating_duration_since(taken) >= IDLE);
        let spare = match (wanted != Amount::NOTHING, idle) {
            (true, _) => kept.at_least(ahead),
            (false, false) => kept,
            (false, true) => Amount::NOTHING,
        };
        self.reserved.plus(wanted).plus(spare.at_most(rest))
    }

    /// What was drafted is in the file as it is said now, which may be parted otherwise into segments.
    pub fn written(&mut self, state: State, replaceable: Precondition) {
        let Some(draft) = self.offered.take() else { return };
        self.drain(draft.news, draft.charged, draft.freed, draft.doubts);
        self.granted = draft.grant;
        self.held.apply(&draft.recorded);
        self.state = state;
        self.replaceable = Some(replaceable);
        (self.fresh, self.wrote) = (Some(draft.began), Some(draft.began.at));
    }

    /// The file, as it was read after `began`.
    pub fn read(&mut self, state: State, replaceable: Precondition, began: Moment) {
        let grant = state.grants.get(&self.me);
        // Whether one of our drafts was written after all. That it was is seen until we write another.
        self.unheard.extend(self.offered.take());
        let written = self.unheard.iter().position(|draft| grant.is_some_and(|grant| grant.beat == draft.beat));
        if let Some(draft) = written.map(|at| self.unheard.swap_remove(at)) {
            self.drain(draft.news, draft.charged, draft.freed, draft.doubts);
            self.wrote = Some(draft.began.at);
        }
        let surplus = self.unheard.len().saturating_sub(MOST_UNHEARD);
        self.unheard.drain(..surplus);
        self.granted = grant.map_or(Amount::NOTHING, |grant| grant.amount);
        self.seen.retain(|name, _| state.grants.contains_key(name));
        for (name, grant) in &state.grants {
            let seen = self.seen.entry(name.clone()).or_insert((grant.beat, began.at));
            if seen.0 != grant.beat {
                *seen = (grant.beat, began.at);
            }
        }
        self.state = state;
        self.replaceable = Some(replaceable);
        self.fresh = Some(began);
    }

    /// So many of the news, and what they cost, are in the file.
    fn drain(&mut self, news: usize, charged: Amount, freed: u64, doubts: u64) {
        self.unheard.clear();
        self.news.drain(..news.min(self.news.len()));
        self.mine = self.news.iter().map(|entry| (entry.short, entry.added)).collect();
        self.charged = self.charged.minus(charged);
        self.freed = self.freed.saturating_sub(freed);
        self.doubts = self.doubts.saturating_sub(doubts);
    }
}
