//! Which blobs there are, by what a list said once: 40 bytes of memory for each, 72 for one of SHA-512.

use futures::stream::{StreamExt as _, TryStreamExt as _};

use super::pace::Pace;
use super::run::{PAUSE, TRIES};
use crate::oci::{Algorithm, Digest};
use crate::storage::{Error, Storage};

/// Lists asked for at once.
const LISTS_AT_ONCE: usize = 8;

/// Blobs in place when they were listed, in the order of their digests. What came or went since is not in it: who finds that
/// something is not there asks storage before saying so.
#[derive(Default)]
pub(in crate::maintenance) struct Index {
    short: Vec<([u8; 32], u64)>,
    long: Vec<([u8; 64], u64)>,
    bytes: u64,
}

impl Index {
    /// Lists all blobs. `told` is called with how many there are, now and then.
    pub(in crate::maintenance) async fn read(
        storage: &Storage,
        pace: &Pace,
        mut told: impl FnMut(&Index) + Send,
    ) -> Result<Self, Error> {
        let mut index = Index::default();
        let shards = [Algorithm::Sha256, Algorithm::Sha512];
        let shards = shards.into_iter().flat_map(|algorithm| (0..=u8::MAX).map(move |shard| (algorithm, shard)));
        let lists = shards.map(|(algorithm, shard)| list(storage, pace, algorithm, shard));
        let mut lists = futures::stream::iter(lists).buffered(LISTS_AT_ONCE);
        while let Some(blobs) = lists.try_next().await? {
            for (digest, size) in blobs {
                index.add(&digest, size);
            }
            told(&index);
        }
        // They are, unless a store lists in an order of its own.
        index.short.sort_unstable_by_key(|(hash, _)| *hash);
        index.long.sort_unstable_by_key(|(hash, _)| *hash);
        Ok(index)
    }

    fn add(&mut self, digest: &Digest, size: u64) {
        self.bytes = self.bytes.saturating_add(size);
        match digest.algorithm() {
            Algorithm::Sha256 => self.short.extend(digest.hash().try_into().ok().map(|hash| (hash, size))),
            Algorithm::Sha512 => self.long.extend(digest.hash().try_into().ok().map(|hash| (hash, size))),
        }
    }

    /// Which one it is, from 0 to [`Self::len`].
    pub(in crate::maintenance) fn position(&self, digest: &Digest) -> Option<usize> {
        match digest.algorithm() {
            Algorithm::Sha256 => find(&self.short, digest),
            Algorithm::Sha512 => find(&self.long, digest).map(|at| self.short.len() + at),
        }
    }

    /// The size in bytes of a blob that was in place.
    pub(in crate::maintenance) fn size(&self, digest: &Digest) -> Option<u64> {
        self.size_at(self.position(digest)?)
    }

    pub(in crate::maintenance) fn size_at(&self, position: usize) -> Option<u64> {
        match position.checked_sub(self.short.len()) {
            None => self.short.get(position).map(|(_, size)| *size),
            Some(at) => self.long.get(at).map(|(_, size)| *size),
        }
    }

    pub(in crate::maintenance) fn len(&self) -> usize {
        self.short.len() + self.long.len()
    }

    /// Of all of them.
    pub(in crate::maintenance) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Digests and sizes, in order.
    pub(in crate::maintenance) fn iter(&self) -> impl Iterator<Item = (Digest, u64)> + Send {
        let short = self.short.iter().map(|(hash, size)| (digest(Algorithm::Sha256, hash), *size));
        let long = self.long.iter().map(|(hash, size)| (digest(Algorithm::Sha512, hash), *size));
        short.chain(long).filter_map(|(digest, size)| Some((digest?, size)))
    }
}

/// Digests and sizes of the blobs whose hash begins with this byte.
async fn list(storage: &Storage, pace: &Pace, algorithm: Algorithm, shard: u8) -> Result<Vec<(Digest, u64)>, Error> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        pace.take(1).await;
        let blobs = storage.blobs(algorithm, shard).map_ok(|blob| (blob.digest, blob.size));
        match blobs.try_collect().await {
            Err(Error::Unavailable(_)) if tries > 0 => tokio::time::sleep(PAUSE).await,
            other => return other,
        }
    }
}

fn find<const N: usize>(blobs: &[([u8; N], u64)], digest: &Digest) -> Option<usize> {
    blobs.binary_search_by(|(hash, _)| hash.as_slice().cmp(digest.hash())).ok()
}

fn digest(algorithm: Algorithm, hash: &[u8]) -> Option<Digest> {
    format!("{}:{}", algorithm.name(), hex::encode(hash)).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_listed_is_found_by_its_digest() {
        let mut index = Index::default();
        let mut digests: Vec<Digest> = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            digests.extend((0..100_u32).map(|number| Digest::of(algorithm, &number.to_le_bytes())));
        }
        digests.sort_unstable();
        for (number, digest) in digests.iter().enumerate() {
            index.add(digest, number as u64);
        }
        assert_eq!((index.len(), index.bytes()), (200, 199 * 100));
        for (number, digest) in digests.iter().enumerate() {
            assert_eq!((index.position(digest), index.size(digest)), (Some(number), Some(number as u64)));
        }
        assert_eq!(index.size(&Digest::of(Algorithm::Sha256, b"another")), None);
        assert_eq!(index.iter().map(|(digest, _)| digest).collect::<Vec<_>>(), digests);
    }
}
