//! The hash function of maps keyed by [`Digest`](crate::oci::Digest). A digest is already uniformly spread, so 16 of its
//! bytes, folded with two seeds of this process, are enough; SipHash over 65 bytes would dominate a memory hit.

use std::hash::{BuildHasher, Hasher};

/// Seeded per map: digests in requests are chosen by clients, who must not be able to aim at one bucket.
#[derive(Clone)]
pub(super) struct DigestHash {
    seeds: [u64; 2],
}

pub(super) struct Fold {
    seeds: [u64; 2],
    state: u64,
}

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Default for DigestHash {
    fn default() -> Self {
        DigestHash { seeds: [rand::random(), rand::random()] }
    }
}

impl BuildHasher for DigestHash {
    type Hasher = Fold;

    fn build_hasher(&self) -> Fold {
        Fold { seeds: self.seeds, state: self.seeds[0] }
    }
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        let Some((first, _)) = bytes.split_first_chunk::<16>() else {
            for byte in bytes {
                self.write_usize(usize::from(*byte));
            }
            return;
        };
        let both = u128::from_le_bytes(*first);
        let (low, high) = (both as u64, (both >> 64) as u64);
        let product = u128::from(low ^ self.seeds[0]) * u128::from(high ^ self.seeds[1]);
        self.state ^= (product as u64) ^ ((product >> 64) as u64);
    }

    fn write_u8(&mut self, value: u8) {
        self.write_usize(usize::from(value));
    }

    fn write_usize(&mut self, value: usize) {
        self.state = (self.state ^ value as u64).wrapping_mul(ODD);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_usize(value as usize);
    }

    fn finish(&self) -> u64 {
        // moka and hashbrown take bits from both ends; one more fold spreads the multiplication's high bits down.
        self.state ^ (self.state >> 32)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::oci::{Algorithm, Digest};

    #[test]
    fn different_digests_spread() {
        let build = DigestHash::default();
        let hashes: HashSet<u64> =
            (0..10_000u32).map(|n| build.hash_one(Digest::of(Algorithm::Sha256, &n.to_le_bytes()))).collect();
        assert_eq!(hashes.len(), 10_000);
    }
}
