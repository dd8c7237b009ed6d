//! Which of many things are looked at: evenly over all of them, and exactly as many as was asked for.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::units::Percent;

/// A whole, in the parts that are counted with.
const WHOLE: u64 = 1_000_000;

/// Takes a part of what it is asked about: of a thousand things one after the other the same number as of any other thousand.
pub(super) struct Sampler {
    part: u64,
    sum: AtomicU64,
}

impl Sampler {
    /// `start`: where it begins, so that each run takes others.
    pub(super) fn new(part: Percent, start: u64) -> Self {
        Sampler { part: part.of(WHOLE), sum: AtomicU64::new(start % WHOLE) }
    }

    /// Whether the next thing is taken.
    pub(super) fn takes(&self) -> bool {
        let before = self.sum.fetch_add(self.part, Ordering::Relaxed);
        before / WHOLE != (before + self.part) / WHOLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_was_asked_for_are_taken_evenly() {
        for (part, start) in [("5%", 0), ("5%", 999_999), ("0.5%", 3), ("33.33%", 17), ("99.5%", 0), ("100%", 5)] {
            let part: Percent = part.parse().unwrap();
            let sampler = Sampler::new(part, start);
            for _ in 0..20 {
                let taken = (0..10_000).filter(|_| sampler.takes()).count() as u64;
                assert!(taken.abs_diff(part.of(10_000)) <= 1, "{taken} of 10000 at {part}");
            }
        }
    }

    #[test]
    fn another_start_takes_others() {
        let taken = |start| {
            let sampler = Sampler::new("10%".parse().unwrap(), start);
            (0..100).filter(|_| sampler.takes()).collect::<Vec<usize>>()
        };
        assert_ne!(taken(0), taken(500_000));
        let mut all: Vec<_> = (0..10).flat_map(|tenth| taken(tenth * 100_000)).collect();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>(), "ten runs of a tenth, evenly begun, take everything once");
    }
}
