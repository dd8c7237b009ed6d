//! The arithmetic of the choice among peers that could be chosen. Knows no health and no limits.
//!
//! Callers hold the pool's lock for the rules that use `turn` (least connections, round robin): the sum of all turns
//! stays 0 only if a step is not torn.

use std::sync::atomic::{AtomicI64, Ordering};

use rand::Rng as _;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A peer as the rules see it.
pub(super) struct Candidate<'a> {
    pub(super) in_flight: u64,
    /// Effective weight, at least 1. A few thousand at most times a thousand: products fit.
    pub(super) weight: u64,
    /// The place in the smooth weighted round robin.
    pub(super) turn: &'a AtomicI64,
    /// Differs from peer to peer, stays over restarts.
    pub(super) seed: u64,
}

/// The smallest `in_flight / weight`; among the tied, whose turn it is.
pub(super) fn least_connections(candidates: &[Candidate<'_>]) -> Option<usize> {
    let mut best = candidates.first()?;
    let (mut best_index, mut tied) = (0, 1);
    for (index, candidate) in candidates.iter().enumerate().skip(1) {
        // a/b < c/d without division: a*d < c*b
        let (ours, theirs) = (candidate.in_flight * best.weight, best.in_flight * candidate.weight);
        if ours < theirs {
            (best, best_index, tied) = (candidate, index, 1);
        } else if ours == theirs {
            tied += 1;
        }
    }
    if tied == 1 {
        return Some(best_index);
    }
    let among = |candidate: &Candidate<'_>| candidate.in_flight * best.weight == best.in_flight * candidate.weight;
    take_turn(candidates, among)
}

/// Smooth weighted round robin over all.
pub(super) fn round_robin(candidates: &[Candidate<'_>]) -> Option<usize> {
    take_turn(candidates, |_| true)
}

/// Everybody gains its weight, the richest is chosen and pays the sum: over any `sum` steps each is chosen
/// exactly `weight` times, and evenly spread.
fn take_turn(candidates: &[Candidate<'_>], among: impl Fn(&Candidate<'_>) -> bool) -> Option<usize> {
    let mut sum = 0;
    let mut richest: Option<(usize, &Candidate<'_>, i64)> = None;
    for (index, candidate) in candidates.iter().enumerate().filter(|(_, candidate)| among(candidate)) {
        let weight = i64::try_from(candidate.weight).unwrap_or(i64::MAX);
        sum += weight;
        let turn = candidate.turn.fetch_add(weight, Ordering::Relaxed) + weight;
        if richest.is_none_or(|(_, _, most)| turn > most) {
            richest = Some((index, candidate, turn));
        }
    }
    richest.map(|(index, candidate, _)| {
        candidate.turn.fetch_sub(sum, Ordering::Relaxed);
        index
    })
}

/// By chance, in proportion to the weights.
pub(super) fn random(candidates: &[Candidate<'_>]) -> Option<usize> {
    let sum: u64 = candidates.iter().map(|candidate| candidate.weight).sum();
    if sum == 0 {
        return None;
    }
    let mut draw = rand::rng().random_range(0..sum);
    candidates.iter().position(|candidate| {
        let hit = draw < candidate.weight;
        draw = draw.saturating_sub(candidate.weight);
        hit
    })
}

/// Weighted rendezvous: every peer draws a lot for the key, the highest wins. A peer that leaves gives away only its
/// own keys, each to whoever drew second.
pub(super) fn consistent_hash(candidates: &[Candidate<'_>], key: &[u8]) -> Option<usize> {
    let lots = candidates.iter().map(|candidate| lot(candidate, key));
    lots.enumerate().max_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(index, _)| index)
}

/// `weight / -ln(u)` with `u` in (0, 1) from the hash: the chance to be the highest is in proportion to the weight.
fn lot(candidate: &Candidate<'_>, key: &[u8]) -> f64 {
    let hash = xxh3_64_with_seed(key, candidate.seed) >> 11; // 53 bits: what an f64 holds exactly
    let u = (hash as f64 + 0.5) / (1u64 << 53) as f64;
    candidate.weight as f64 / -u.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Peers(Vec<AtomicI64>);

    impl Peers {
        fn new(count: usize) -> Self {
            Peers((0..count).map(|_| AtomicI64::new(0)).collect())
        }

        fn candidates(&self, peers: &[(u64, u64)]) -> Vec<Candidate<'_>> {
            let candidate = |(index, &(in_flight, weight)): (usize, &(u64, u64))| Candidate {
                in_flight,
                weight,
                turn: &self.0[index],
                seed: 7_919 * (index as u64 + 1),
            };
            peers.iter().enumerate().map(candidate).collect()
        }
    }

    #[test]
    fn sequential_requests_split_exactly_by_weight() {
        for rule in [least_connections, round_robin] {
            let peers = Peers::new(3);
            let mut hits = [0; 3];
            for _ in 0..6_000 {
                hits[rule(&peers.candidates(&[(0, 1), (0, 2), (0, 3)])).unwrap()] += 1;
            }
            assert_eq!(hits, [1_000, 2_000, 3_000]);
        }
    }

    #[test]
    fn turns_are_spread_and_not_bunched() {
        let peers = Peers::new(2);
        let turns: Vec<_> = (0..6).map(|_| round_robin(&peers.candidates(&[(0, 2), (0, 1)])).unwrap()).collect();
        assert_eq!(turns, [0, 1, 0, 0, 1, 0]);
    }

    #[test]
    fn the_smallest_share_of_connections_wins() {
        let peers = Peers::new(3);
        assert_eq!(least_connections(&peers.candidates(&[(1, 1), (1, 2), (2, 3)])), Some(1));
        assert_eq!(least_connections(&peers.candidates(&[(0, 1), (1, 1_000), (5, 3)])), Some(0));
        assert_eq!(least_connections(&peers.candidates(&[(3, 1), (2, 1), (9, 1)])), Some(1));
    }

    #[test]
    fn only_the_tied_take_turns() {
        let peers = Peers::new(3);
        let mut hits = [0; 3];
        for _ in 0..300 {
            hits[least_connections(&peers.candidates(&[(1, 1), (2, 2), (9, 3)])).unwrap()] += 1;
        }
        assert_eq!(hits, [100, 200, 0]);
    }

    #[test]
    fn chance_follows_the_weights() {
        let peers = Peers::new(3);
        let mut hits = [0_i64; 3];
        for _ in 0..60_000 {
            hits[random(&peers.candidates(&[(0, 1), (0, 2), (0, 3)])).unwrap()] += 1;
        }
        for (hits, ideal) in hits.iter().zip([10_000, 20_000, 30_000]) {
            assert!((hits - ideal).abs() < 1_000, "{hits} of {ideal}");
        }
    }

    #[test]
    fn keys_follow_the_weights_and_stay_when_another_peer_leaves() {
        let peers = Peers::new(3);
        let three = peers.candidates(&[(0, 1), (0, 2), (0, 3)]);
        let two = &three[..2];
        let mut hits = [0_i64; 3];
        for key in 0..60_000_u32 {
            let key = key.to_le_bytes();
            let before = consistent_hash(&three, &key).unwrap();
            hits[before] += 1;
            if before < 2 {
                assert_eq!(consistent_hash(two, &key), Some(before));
            }
        }
        for (hits, ideal) in hits.iter().zip([10_000, 20_000, 30_000]) {
            assert!((hits - ideal).abs() < 1_000, "{hits} of {ideal}");
        }
    }

    #[test]
    fn nobody_is_chosen_among_nobody() {
        assert_eq!(least_connections(&[]), None);
        assert_eq!(round_robin(&[]), None);
        assert_eq!(random(&[]), None);
        assert_eq!(consistent_hash(&[], b"key"), None);
    }
}
