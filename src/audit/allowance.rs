//! How many refusals of one client address are recorded in a minute: strangers can make as many as they like.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::limits::Source;

/// Lines of one address in a window; one more says that the rest is left out.
const MOST: u32 = 50;
/// From an address' first line.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are counted at once; who comes later takes the place of who was seen the longest time ago. Some 2 MiB.
const ADDRESSES: u64 = 10_000;

pub(super) struct Allowance {
    seen: Cache<(Source, Reason), Arc<AtomicU32>>,
}

/// What is counted apart: whoever is over `[limits]` is so with each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reason {
    Any,
    Limited,
}

/// What is to be done with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Record,
    /// It is to say that no more of this minute follow.
    RecordAsLast,
    LeaveOut,
}

impl Default for Allowance {
    fn default() -> Self {
        let seen = Cache::builder().max_capacity(ADDRESSES).time_to_live(WINDOW);
        Allowance { seen: seen.eviction_policy(EvictionPolicy::lru()).build() }
    }
}

impl Allowance {
    pub(super) fn take(&self, address: IpAddr, reason: Reason) -> Verdict {
        let most = match reason {
            Reason::Any => MOST,
            Reason::Limited => 0,
        };
        let count = self.seen.get_with((Source::of(address), reason), Arc::default);
        // It may go round after four billion lines, in a minute.
        match count.fetch_add(1, Ordering::Relaxed) {
            before if before < most => Verdict::Record,
            before if before == most => Verdict::RecordAsLast,
            _ => Verdict::LeaveOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_fifty_lines_a_minute_and_one_that_says_so() {
        let allowance = Allowance::default();
        let (one, other): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        for _ in 0..50 {
            assert_eq!(allowance.take(one, Reason::Any), Verdict::Record);
        }
        assert_eq!(allowance.take(one, Reason::Any), Verdict::RecordAsLast);
        assert_eq!(allowance.take(one, Reason::Any), Verdict::LeaveOut);
        assert_eq!(allowance.take(other, Reason::Any), Verdict::Record);
        assert_eq!(
            allowance.take(one, Reason::Limited),
            Verdict::RecordAsLast,
            "one line that somebody is over a limit"
        );
        assert_eq!(allowance.take(one, Reason::Limited), Verdict::LeaveOut);
    }

    #[test]
    fn memory_is_bounded() {
        let allowance = Allowance::default();
        for address in 0..3 * u32::try_from(ADDRESSES).unwrap() {
            assert_eq!(allowance.take(std::net::Ipv4Addr::from(address).into(), Reason::Any), Verdict::Record);
        }
        allowance.seen.run_pending_tasks();
        assert!(allowance.seen.entry_count() <= ADDRESSES);
    }
}
