//! The format of a cache file; values only, no I/O.
//!
//! ```text
//! data                                     `length` bytes
//! xxh3-64 of each 64 KiB block of data     8 bytes each, little-endian
//! media type                               as in the footer
//! footer                                   96 bytes: magic, version, algorithm, length of the media type,
//!                                          length of the data, hash, xxh3-64 of all the trailer before it
//! ```
//! The SHA of the data was proven before the trailer was written, while the block checksums were computed over the same
//! bytes in memory. So a block that has its checksum is that content's block: no SHA is needed to read it again.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::oci::{Algorithm, Digest};

/// Bytes under one checksum. Small, because a reader must hold a whole block to verify it.
pub(in crate::cache) const BLOCK: usize = 64 << 10;
/// Bytes of the fixed end of a file.
pub(super) const FOOTER: usize = 96;
const MAGIC: [u8; 8] = *b"ENTREPOT";
const VERSION: u32 = 1;
/// Media types are short; a longer one is not kept.
const MAX_MEDIA_TYPE: usize = 255;

/// Everything but the data.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trailer {
    pub(super) length: u64,
    pub(super) media_type: Option<Box<str>>,
    /// Checksums of the blocks: 1/8192 of the data in memory.
    pub(super) table: Box<[u64]>,
}

/// Number of blocks of `length` bytes of data.
pub(super) fn blocks(length: u64) -> u64 {
    length.div_ceil(BLOCK as u64)
}

/// Bytes that the trailer adds to `length` bytes of data, at most.
pub(super) fn overhead(length: u64) -> u64 {
    blocks(length).saturating_mul(8).saturating_add((MAX_MEDIA_TYPE + FOOTER) as u64)
}

impl Trailer {
    pub(super) fn new(length: u64, media_type: Option<&str>, table: Box<[u64]>) -> Self {
        let media_type = media_type.filter(|text| text.len() <= MAX_MEDIA_TYPE).map(Box::from);
        Trailer { length, media_type, table }
    }

    pub(super) fn encode(&self, digest: &Digest) -> Vec<u8> {
        let media_type = self.media_type.as_deref().unwrap_or_default();
        let mut out = Vec::with_capacity(self.table.len() * 8 + media_type.len() + FOOTER);
        for sum in &self.table {
            out.extend_from_slice(&sum.to_le_bytes());
        }
        out.extend_from_slice(media_type.as_bytes());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.push(algorithm_code(digest.algorithm()));
        out.push(media_type.len() as u8); // at most MAX_MEDIA_TYPE, see `new`
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.length.to_le_bytes());
        let mut hash = [0; 64];
        hash[..digest.hash().len()].copy_from_slice(digest.hash());
        out.extend_from_slice(&hash);
        let sum = xxh3_64(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// Bytes of the trailer at the end of a file of `size` bytes whose last bytes are `footer`; `None` if that cannot be.
    pub(super) fn measure(footer: &[u8], size: u64) -> Option<u64> {
        let footer = Footer::parse(footer)?;
        let rest = (blocks(footer.length)).checked_mul(8)?.checked_add(footer.media_type as u64 + FOOTER as u64)?;
        (footer.length.checked_add(rest)? == size).then_some(rest)
    }

    /// The trailer, if `bytes` are a whole and undamaged one of `digest`.
    pub(super) fn decode(bytes: &[u8], digest: &Digest) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<8>()?;
        let footer = Footer::parse(bytes)?;
        let intact = xxh3_64(body) == u64::from_le_bytes(*sum);
        if !intact || footer.algorithm != algorithm_code(digest.algorithm()) || !footer.hash.starts_with(digest.hash())
        {
            return None;
        }
        let table_len = usize::try_from(blocks(footer.length).checked_mul(8)?).ok()?;
        let (table, rest) = bytes.split_at_checked(table_len)?;
        let (media_type, _) = rest.split_at_checked(rest.len().checked_sub(FOOTER)?)?;
        let media_type = std::str::from_utf8(media_type).ok()?;
        let (sums, _) = table.as_chunks::<8>();
        Some(Trailer {
            length: footer.length,
            media_type: (!media_type.is_empty()).then(|| media_type.into()),
            table: sums.iter().map(|sum| u64::from_le_bytes(*sum)).collect(),
        })
    }
}

struct Footer<'a> {
    algorithm: u8,
    media_type: u8,
    length: u64,
    hash: &'a [u8],
}

impl<'a> Footer<'a> {
    /// Reads the last 96 of `bytes`; checks only magic and version.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (_, footer) = bytes.split_last_chunk::<FOOTER>()?;
        let (magic, rest) = footer.split_first_chunk::<8>()?;
        let (version, rest) = rest.split_first_chunk::<4>()?;
        let ([algorithm, media_type, _, _], rest) = rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (hash, _) = rest.split_first_chunk::<64>()?;
        let known = *magic == MAGIC && u32::from_le_bytes(*version) == VERSION;
        known.then_some(Footer {
            algorithm: *algorithm,
            media_type: *media_type,
            length: u64::from_le_bytes(*length),
            hash,
        })
    }
}

fn algorithm_code(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Sha256 => 1,
        Algorithm::Sha512 => 2,
    }
}

/// Checksums of data as it comes, in pieces of any length.
#[derive(Default)]
pub(super) struct BlockSums {
    running: Xxh3,
    filled: usize,
}

impl BlockSums {
    /// Takes `bytes`, calling `complete` with the checksum of each block that they complete.
    pub(super) fn update(&mut self, mut bytes: &[u8], mut complete: impl FnMut(u64)) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.filled));
            bytes = later;
            if now.len() == BLOCK {
                complete(xxh3_64(now)); // a whole block at once: the one-shot form is faster
                continue;
            }
            self.running.update(now);
            self.filled += now.len();
            if self.filled == BLOCK {
                complete(self.running.digest());
                self.running.reset();
                self.filled = 0;
            }
        }
    }

    /// The checksum of the last, incomplete block.
    pub(super) fn finish(&self) -> Option<u64> {
        (self.filled > 0).then(|| self.running.digest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (Digest, Trailer) {
        let digest = Digest::of(Algorithm::Sha512, b"x");
        (digest, Trailer::new(3 * BLOCK as u64 + 1, Some("application/json"), Box::new([1, 2, 3, 4])))
    }

    #[test]
    fn a_trailer_round_trips() {
        let (digest, trailer) = example();
        let bytes = trailer.encode(&digest);
        assert_eq!(Trailer::decode(&bytes, &digest), Some(trailer.clone()));
        let size = trailer.length + bytes.len() as u64;
        assert_eq!(Trailer::measure(&bytes, size), Some(bytes.len() as u64));
        assert_eq!(Trailer::measure(&bytes, size + 1), None);
        assert!(bytes.len() as u64 <= overhead(trailer.length));
    }

    #[test]
    fn any_flipped_bit_and_another_digest_are_noticed() {
        let (digest, trailer) = example();
        let bytes = trailer.encode(&digest);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Trailer::decode(&bad, &digest), None, "bit {bit}");
        }
        assert_eq!(Trailer::decode(&bytes, &Digest::of(Algorithm::Sha512, b"y")), None);
        for len in 0..bytes.len() {
            assert_eq!(Trailer::decode(&bytes[..len], &digest), None, "{len} bytes");
        }
    }

    #[test]
    fn pieces_of_any_length_give_the_same_sums() {
        let data: Vec<u8> = (0..BLOCK * 3 + 77).map(|n| (n * 31) as u8).collect();
        let expected: Vec<u64> = data.chunks(BLOCK).map(xxh3_64).collect();
        for step in [1000, BLOCK - 1, BLOCK, BLOCK + 1, BLOCK * 2, data.len()] {
            let (mut sums, mut table) = (BlockSums::default(), Vec::new());
            data.chunks(step).for_each(|piece| sums.update(piece, |sum| table.push(sum)));
            table.extend(sums.finish());
            assert_eq!(table, expected, "{step}");
        }
    }
}
