//! The digests that something needs, in memory: 32 bytes each (64 of SHA-512), and a quarter more while they come.

use crate::oci::{Algorithm, Digest};

/// Digests that came since a shard was last sorted, before it is sorted again: at least so many, or a quarter of it.
const FRESH: usize = 256;

/// A set of digests, by the first byte of their hashes, which is how blobs are listed.
pub struct Marks {
    short: Vec<Shard<32>>,
    long: Vec<Shard<64>>,
}

#[derive(Clone)]
struct Shard<const N: usize> {
    hashes: Vec<[u8; N]>,
    /// So many of them are sorted, each once.
    sorted: usize,
}

impl<const N: usize> Default for Shard<N> {
    fn default() -> Self {
        Shard { hashes: Vec::new(), sorted: 0 }
    }
}

impl Default for Marks {
    fn default() -> Self {
        Marks { short: vec![Shard::default(); 256], long: vec![Shard::default(); 256] }
    }
}

impl Marks {
    pub fn insert(&mut self, digest: &Digest) {
        match digest.algorithm() {
            Algorithm::Sha256 => insert(&mut self.short, digest),
            Algorithm::Sha512 => insert(&mut self.long, digest),
        }
    }

    /// Sorts what is not sorted yet: before it is asked.
    pub fn settle(&mut self) {
        self.short.iter_mut().for_each(Shard::sort);
        self.long.iter_mut().for_each(Shard::sort);
    }

    /// After [`Self::settle`].
    pub fn contains(&self, digest: &Digest) -> bool {
        match digest.algorithm() {
            Algorithm::Sha256 => contains(&self.short, digest),
            Algorithm::Sha512 => contains(&self.long, digest),
        }
    }

    /// After [`Self::settle`].
    pub fn len(&self) -> usize {
        self.short.iter().map(|shard| shard.hashes.len()).chain(self.long.iter().map(|shard| shard.hashes.len())).sum()
    }
}

fn insert<const N: usize>(shards: &mut [Shard<N>], digest: &Digest) {
    let (Some(first), Ok(hash)) = (digest.hash().first(), digest.hash().try_into()) else { return };
    if let Some(shard) = shards.get_mut(usize::from(*first)) {
        shard.insert(hash);
    }
}

fn contains<const N: usize>(shards: &[Shard<N>], digest: &Digest) -> bool {
    let shard = digest.hash().first().and_then(|first| shards.get(usize::from(*first)));
    shard.is_some_and(|shard| {
        debug_assert_eq!(shard.sorted, shard.hashes.len(), "it is asked before it was settled");
        shard.hashes.binary_search_by(|hash| hash.as_slice().cmp(digest.hash())).is_ok()
    })
}

impl<const N: usize> Shard<N> {
    fn insert(&mut self, hash: [u8; N]) {
        if self.hashes.len() == self.hashes.capacity() {
            // A doubled one would waste up to half of all memory.
            self.hashes.reserve_exact(FRESH.max(self.hashes.len() / 8));
        }
        self.hashes.push(hash);
        if self.hashes.len() - self.sorted > FRESH.max(self.sorted / 4) {
            self.sort();
        }
    }

    fn sort(&mut self) {
        if self.sorted < self.hashes.len() {
            self.hashes.sort_unstable();
            self.hashes.dedup();
            self.sorted = self.hashes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_there_once() {
        let mut marks = Marks::default();
        let digests: Vec<Digest> = (0..20_000_u32)
            .map(|number| {
                let algorithm = if number % 7 == 0 { Algorithm::Sha512 } else { Algorithm::Sha256 };
                Digest::of(algorithm, &number.to_le_bytes())
            })
            .collect();
        for _ in 0..3 {
            digests.iter().for_each(|digest| marks.insert(digest));
        }
        marks.settle();
        assert_eq!(marks.len(), digests.len());
        assert!(digests.iter().all(|digest| marks.contains(digest)));
        assert!(!marks.contains(&Digest::of(Algorithm::Sha256, b"another")));
        assert!(!marks.contains(&Digest::of(Algorithm::Sha512, b"another")));
    }

    #[test]
    fn a_million_digests_take_less_than_48_mebibytes() {
        let mut marks = Marks::default();
        for number in 0..1_000_000_u32 {
            let digest = Digest::of(Algorithm::Sha256, &number.to_le_bytes());
            marks.insert(&digest);
            marks.insert(&digest);
        }
        let held: usize = marks.short.iter().map(|shard| shard.hashes.capacity() * 32).sum();
        assert!(held < 48 << 20, "{held}");
    }
}
