//! Bytes to push and pull: reproducible, and of a kind that nothing compresses.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// `length` bytes that only `seed` decides.
pub fn random_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Random::new(seed).fill(&mut bytes);
    bytes
}

/// `sha256:…` of `bytes`.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// An endless source of the same bytes as [`random_bytes`].
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Random { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// Whole words, so that any split at a multiple of eight gives the same bytes.
    fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            word.copy_from_slice(&self.state.to_le_bytes()[..word.len()]);
        }
    }
}

impl Read for Random {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let whole = if buffer.len() >= 8 { buffer.len() & !7 } else { buffer.len() };
        self.fill(&mut buffer[..whole]);
        Ok(whole)
    }
}

/// Hashes what is read, without keeping it: for content that is larger than memory should be.
pub fn digest_of(mut source: impl Read) -> io::Result<(String, u64)> {
    let (mut hash, mut length, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            return Ok((format!("sha256:{}", hex::encode(hash.finalize())), length));
        }
        hash.update(&buffer[..count]);
        length += count as u64;
    }
}
