//! The budget of re-sends: what is sent a second time is load that nobody asked for, and peers that fail get the most of
//! it. All re-sends of a cluster together stay within a share of its requests. One that is answered over a
//! new connection to the same peer was no load in vain, and is given back: a peer that drops every kept connection is slow,
//! not failing.

use parking_lot::Mutex;

use super::state::now;

/// What a request adds, in thousandths of a re-send: one request in five may be sent again.
const DEPOSIT: u64 = 200;
/// What a re-send takes.
const COST: u64 = 1000;
/// Re-sends that a cluster has when it starts. A peer's restart breaks the kept connections of a whole herd at once.
const FIRST: u64 = 64 * COST;
/// Re-sends that can be saved up.
const MOST: u64 = 128 * COST;
/// Thousandths of a re-send that come back each second by themselves, so that a quiet cluster gets over its bad moment.
const EACH_SECOND: u64 = 10 * COST;

/// One cluster's.
pub(super) struct ResendBudget(Mutex<Account>);

struct Account {
    left: u64,
    /// When time was last counted in, in milliseconds.
    at: u64,
}

impl Default for ResendBudget {
    fn default() -> Self {
        ResendBudget(Mutex::new(Account { left: FIRST, at: now() }))
    }
}

impl ResendBudget {
    /// A request goes to the cluster, for the first time.
    pub(super) fn asked(&self) {
        let mut account = self.0.lock();
        account.left = account.left.saturating_add(DEPOSIT).min(MOST);
    }

    /// What was sent again was answered by the same peer.
    pub(super) fn give_back(&self) {
        let mut account = self.0.lock();
        account.left = account.left.saturating_add(COST).min(MOST);
    }

    /// Whether one may be sent again; counts it.
    pub(super) fn take(&self) -> bool {
        self.0.lock().take(now())
    }
}

impl Account {
    fn take(&mut self, now: u64) -> bool {
        let earned = now.saturating_sub(self.at).saturating_mul(EACH_SECOND) / 1000;
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(MOST);
            self.at = now;
        }
        match self.left.checked_sub(COST) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(account: &mut Account, now: u64, tries: usize) -> usize {
        (0..tries).filter(|_| account.take(now)).count()
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_sent_again() {
        let budget = ResendBudget::default();
        let mut again = 0;
        for _ in 0..10_000 {
            budget.asked();
            again += usize::from(budget.take());
        }
        // What was there at first, and what some seconds of a slow machine bring.
        assert!((2000..2200).contains(&again), "{again}");
    }

    #[test]
    fn what_is_saved_up_is_bounded_and_comes_back_with_time() {
        let mut account = Account { left: MOST, at: 1000 };
        assert_eq!(takes(&mut account, 1000, 1000), 128);
        assert_eq!(takes(&mut account, 1000, 10), 0);
        assert_eq!(takes(&mut account, 1500, 10), 5);
        assert_eq!(takes(&mut account, u64::MAX, 1000), 128);
    }
}
