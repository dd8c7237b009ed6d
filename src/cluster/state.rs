//! What the whole process knows of an address: requests under way and health. Outlives reloads, shared by clusters.
//!
//! - in flight and passive failures belong to the address: any cluster's experience counts for all;
//! - the verdict of active checks belongs to (address, what is asked), as two clusters may ask for different paths.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::outbound::OwnAddresses;

/// Milliseconds since some moment before the first call; never 0, which stands for "never" below.
pub(super) fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    millis(START.elapsed()).saturating_add(1)
}

/// A span in the unit of [`now`].
pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The process-wide table of peers' states. Clones share it; give the same one to every cluster and every reload.
///
/// It holds nobody alive: an address that no cluster or request uses any more is forgotten. A reload that starts the
/// new cluster before it drops the old one therefore keeps counters and health.
#[derive(Clone, Default)]
pub struct PeerTable(Arc<Mutex<HashMap<SocketAddr, Weak<PeerState>>>>, OwnAddresses);

impl PeerTable {
    /// Where the process itself listens: nobody is led there.
    pub fn own(&self) -> &OwnAddresses {
        &self.1
    }

    pub(super) fn state(&self, address: SocketAddr) -> Arc<PeerState> {
        let mut table = self.0.lock();
        if let Some(state) = table.get(&address).and_then(Weak::upgrade) {
            return state;
        }
        table.retain(|_, state| state.strong_count() > 0);
        let state = Arc::new(PeerState::default());
        table.insert(address, Arc::downgrade(&state));
        state
    }
}

/// One address. The time of day is an argument (`now`), so that the rules can be tested without waiting.
#[derive(Default)]
pub(super) struct PeerState {
    in_flight: AtomicU64,
    /// 0: not ejected. A moment in the past: its time is over, and one request may try it.
    ejected_until: AtomicU64,
    /// When it came back from the last ejection; 0 never.
    returned_at: AtomicU64,
    /// True while there is something that a success would reset: keeps the lock off the usual way.
    failing: AtomicBool,
    fails: Mutex<Fails>,
    probes: Mutex<HashMap<String, Weak<Probe>>>,
}

#[derive(Default)]
struct Fails {
    count: u32,
    since: u64,
}

/// What a failure or success changed, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Ejected,
    Returned,
}

impl PeerState {
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Counts a request in, unless `limit` (0: none) are under way.
    pub(super) fn enter(&self, limit: u64) -> bool {
        if limit == 0 {
            self.in_flight.fetch_add(1, Ordering::SeqCst);
            return true;
        }
        let enter = |count| (count < limit).then_some(count + 1);
        self.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, enter).is_ok()
    }

    pub(super) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn ejected(&self, now: u64) -> bool {
        self.ejected_until.load(Ordering::Relaxed) > now
    }

    /// When the last ejection ended or will end, whichever is known; 0 if there was none.
    pub(super) fn back_since(&self) -> u64 {
        self.returned_at.load(Ordering::Relaxed).max(self.ejected_until.load(Ordering::Relaxed))
    }

    /// After an ejection one request goes first; the others find the peer ejected again until that one succeeded.
    /// False when somebody else was faster.
    pub(super) fn claim_trial(&self, now: u64, fail_timeout: u64) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        until <= now
            && self
                .ejected_until
                .compare_exchange(until, now.saturating_add(fail_timeout), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// `max_fails` failures within `fail_timeout` eject for `fail_timeout`; a failure of an ejected peer begins anew.
    pub(super) fn failed(&self, now: u64, max_fails: u32, fail_timeout: u64) -> Change {
        if max_fails == 0 {
            return Change::None;
        }
        let mut fails = self.fails.lock();
        self.failing.store(true, Ordering::Release);
        if self.ejected_until.load(Ordering::Relaxed) != 0 {
            self.ejected_until.store(now.saturating_add(fail_timeout), Ordering::Relaxed);
            return Change::None;
        }
        if now.saturating_sub(fails.since) > fail_timeout {
            *fails = Fails { count: 0, since: now };
        }
        fails.count = fails.count.saturating_add(1);
        if fails.count < max_fails {
            return Change::None;
        }
        self.ejected_until.store(now.saturating_add(fail_timeout), Ordering::Relaxed);
        Change::Ejected
    }

    pub(super) fn succeeded(&self, now: u64) -> Change {
        if !self.failing.load(Ordering::Acquire) {
            return Change::None;
        }
        let mut fails = self.fails.lock();
        *fails = Fails::default();
        self.failing.store(false, Ordering::Release);
        if self.ejected_until.swap(0, Ordering::Relaxed) == 0 {
            return Change::None;
        }
        self.returned_at.store(now, Ordering::Relaxed);
        Change::Returned
    }

    /// The verdict of active checks that ask for `question`.
    pub(super) fn probe(&self, question: &str) -> Arc<Probe> {
        let mut probes = self.probes.lock();
        if let Some(probe) = probes.get(question).and_then(Weak::upgrade) {
            return probe;
        }
        probes.retain(|_, probe| probe.strong_count() > 0);
        let probe = Arc::new(Probe::default());
        probes.insert(question.to_owned(), Arc::downgrade(&probe));
        probe
    }
}

/// The verdict of active checks. A peer is up until they say otherwise.
#[derive(Default)]
pub(super) struct Probe {
    down: AtomicBool,
    /// When it last came up again; 0 never.
    returned_at: AtomicU64,
}

impl Probe {
    pub(super) fn up(&self) -> bool {
        !self.down.load(Ordering::Relaxed)
    }

    pub(super) fn back_since(&self) -> u64 {
        self.returned_at.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, up: bool, now: u64) {
        if up {
            self.returned_at.store(now, Ordering::Relaxed);
        }
        self.down.store(!up, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: u64 = 30_000;

    #[test]
    fn max_fails_within_the_timeout_eject_and_the_end_of_it_lets_one_try() {
        let state = PeerState::default();
        assert_eq!(state.failed(1_000, 3, TIMEOUT), Change::None);
        assert_eq!(state.failed(2_000, 3, TIMEOUT), Change::None);
        assert!(!state.ejected(2_000));
        assert_eq!(state.failed(3_000, 3, TIMEOUT), Change::Ejected);
        assert!(state.ejected(32_999));
        assert!(!state.claim_trial(32_999, TIMEOUT));
        assert!(!state.ejected(33_000));
        assert!(state.claim_trial(33_000, TIMEOUT));
        assert!(state.ejected(33_001), "the others wait for the trial");
        assert!(!state.claim_trial(33_001, TIMEOUT));
        assert_eq!(state.succeeded(34_000), Change::Returned);
        assert!(!state.ejected(34_000));
        assert_eq!(state.back_since(), 34_000);
    }

    #[test]
    fn a_failed_trial_ejects_anew() {
        let state = PeerState::default();
        state.failed(1_000, 1, TIMEOUT);
        assert!(state.claim_trial(31_000, TIMEOUT));
        assert_eq!(state.failed(40_000, 1, TIMEOUT), Change::None);
        assert!(state.ejected(69_999));
        assert!(!state.ejected(70_000));
    }

    #[test]
    fn failures_far_apart_do_not_add_up() {
        let state = PeerState::default();
        for minute in 1..10 {
            assert_eq!(state.failed(minute * 60_000, 2, TIMEOUT), Change::None);
        }
    }

    #[test]
    fn a_success_resets_the_count() {
        let state = PeerState::default();
        for step in 0..10 {
            assert_eq!(state.failed(1_000 + step, 2, TIMEOUT), Change::None);
            assert_eq!(state.succeeded(1_000 + step), Change::None);
        }
    }

    #[test]
    fn zero_max_fails_never_ejects() {
        let state = PeerState::default();
        (0..100).for_each(|_| assert_eq!(state.failed(1_000, 0, TIMEOUT), Change::None));
        assert!(!state.ejected(1_000));
    }

    #[test]
    fn the_limit_is_exact() {
        let state = PeerState::default();
        assert!(state.enter(2) && state.enter(2) && !state.enter(2));
        state.leave();
        assert!(state.enter(2));
        assert!(state.enter(0), "no limit");
        assert_eq!(state.in_flight(), 3);
    }

    #[test]
    fn a_state_lives_as_long_as_somebody_uses_it() {
        let table = PeerTable::default();
        let address = "127.0.0.1:1".parse().unwrap();
        let state = table.state(address);
        state.enter(0);
        assert_eq!(table.clone().state(address).in_flight(), 1);
        drop(state);
        assert_eq!(table.state(address).in_flight(), 0);
        assert_eq!(table.0.lock().len(), 1);
    }

    #[test]
    fn verdicts_are_kept_apart_by_what_was_asked() {
        let state = PeerState::default();
        let (one, other) = (state.probe("/v2/"), state.probe("/health"));
        one.set(false, 5);
        assert!(!state.probe("/v2/").up() && other.up());
    }
}
