//! Content digests: `sha256:<64 hex>` and `sha512:<128 hex>` (OCI image-spec, "Digests").

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};

/// The registered hash functions that we can verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

/// The name of some bytes. Invariants: the algorithm is one that we can compute, and the hash has exactly its length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    /// The first `algorithm.len()` bytes count; the rest are zero, so that derived equality and hash hold.
    hash: [u8; 64],
}

/// Why some text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    #[error("a digest is written algorithm:hex")]
    Shape,
    #[error("unsupported digest algorithm: sha256 and sha512 are known")]
    Algorithm,
    #[error("a {0} digest has {1} lower-case hex digits")]
    Hex(&'static str, usize),
}

impl Algorithm {
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// Length of a hash, in bytes.
    #[allow(clippy::len_without_is_empty)] // a length of a hash, not of a collection
    pub const fn len(self) -> usize {
        match self {
            Algorithm::Sha256 => 32,
            Algorithm::Sha512 => 64,
        }
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text {
            "sha256" => Ok(Algorithm::Sha256),
            "sha512" => Ok(Algorithm::Sha512),
            _ => Err(DigestError::Algorithm),
        }
    }
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// From the hash itself; `None` if it has another length.
    pub fn from_hash(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        let mut hash = [0; 64];
        hash.get_mut(..algorithm.len()).filter(|hash| hash.len() == bytes.len())?.copy_from_slice(bytes);
        Some(Digest { algorithm, hash })
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hash itself, 32 or 64 bytes.
    pub fn hash(&self) -> &[u8] {
        &self.hash[..self.algorithm.len()]
    }

    /// The hash in lower-case hex, without the algorithm.
    pub fn hex(&self) -> String {
        self.text().split_off(self.algorithm.name().len() + 1)
    }

    /// As it is written: `sha256:…`. One allocation; for the hot path.
    pub fn text(&self) -> String {
        let mut digits = [0; 128];
        let digits = digits.get_mut(..2 * self.algorithm.len()).unwrap_or_default();
        // Cannot fail: the room is exactly what the hash needs.
        let _ = hex::encode_to_slice(self.hash(), digits);
        let mut text = String::with_capacity(self.algorithm.name().len() + 1 + digits.len());
        text.push_str(self.algorithm.name());
        text.push(':');
        text.push_str(std::str::from_utf8(digits).unwrap_or_default());
        text
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, digits) = text.split_once(':').ok_or(DigestError::Shape)?;
        let algorithm: Algorithm = algorithm.parse()?;
        let wrong = DigestError::Hex(algorithm.name(), algorithm.len() * 2);
        if digits.len() != algorithm.len() * 2 || digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(wrong);
        }
        let mut hash = [0; 64];
        hex::decode_to_slice(digits, &mut hash[..algorithm.len()]).map_err(|_| wrong)?;
        Ok(Digest { algorithm, hash })
    }
}

/// As its text.
impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names the layout of [`Hasher::state`]: `sha2` keeps it within its 0.11 releases, and no longer.
pub const STATE_FORMAT: &str = "sha2-0.11";

/// A running hash; `Clone` so that a reader can go on where a fill stopped.
#[derive(Clone)]
pub enum Hasher {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Hasher::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(sha2::Sha512::new()),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The running state, to go on from in another process: see [`Hasher::restore`]. Its layout belongs to [`STATE_FORMAT`].
    pub fn state(&self) -> Vec<u8> {
        match self {
            Hasher::Sha256(hasher) => SerializableState::serialize(hasher).to_vec(),
            Hasher::Sha512(hasher) => SerializableState::serialize(hasher).to_vec(),
        }
    }

    /// Goes on from a state of the same [`STATE_FORMAT`]; `None` if it cannot be one. A state that was altered but is still
    /// well formed is not noticed: whoever keeps it keeps a checksum with it.
    pub fn restore(algorithm: Algorithm, state: &[u8]) -> Option<Self> {
        Some(match algorithm {
            Algorithm::Sha256 => {
                let state = SerializedState::<sha2::Sha256>::try_from(state).ok()?;
                Hasher::Sha256(SerializableState::deserialize(&state).ok()?)
            }
            Algorithm::Sha512 => {
                let state = SerializedState::<sha2::Sha512>::try_from(state).ok()?;
                Hasher::Sha512(SerializableState::deserialize(&state).ok()?)
            }
        })
    }

    pub fn algorithm(&self) -> Algorithm {
        match self {
            Hasher::Sha256(_) => Algorithm::Sha256,
            Hasher::Sha512(_) => Algorithm::Sha512,
        }
    }

    pub fn finish(self) -> Digest {
        let mut hash = [0; 64];
        let algorithm = match self {
            Hasher::Sha256(hasher) => {
                hash[..32].copy_from_slice(&hasher.finalize());
                Algorithm::Sha256
            }
            Hasher::Sha512(hasher) => {
                hash.copy_from_slice(&hasher.finalize());
                Algorithm::Sha512
            }
        };
        Digest { algorithm, hash }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_round_trips() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let digest = Digest::of(algorithm, b"entrepot");
            assert_eq!(digest.to_string().parse(), Ok(digest));
        }
    }

    #[test]
    fn a_hash_goes_on_from_its_state() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for split in [0, 1, 63, 64, 65, 127, 128, 300] {
                let bytes = [7; 400];
                let mut first = Hasher::new(algorithm);
                first.update(&bytes[..split]);
                let mut second = Hasher::restore(algorithm, &first.state()).unwrap();
                second.update(&bytes[split..]);
                assert_eq!(second.finish(), Digest::of(algorithm, &bytes), "{algorithm:?} {split}");
            }
            assert!(Hasher::restore(algorithm, b"short").is_none());
        }
    }

    #[test]
    fn what_is_not_a_digest_is_refused() {
        let hex = "a".repeat(64);
        for bad in [
            String::new(),
            "sha256".into(),
            "sha256:".into(),
            format!("sha256:{}", "A".repeat(64)),
            format!("sha256:{}", "g".repeat(64)),
            format!("sha256:{hex}a"),
            format!("sha256:{}", &hex[1..]),
            format!("SHA256:{hex}"),
            format!("md5:{hex}"),
            format!("sha512:{hex}"),
            format!("sha256:{}é", &hex[2..]),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
