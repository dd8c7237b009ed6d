//! The name of a peer that may be shown to clients: a hash of its address, the same in every process.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

const BYTES: usize = 6;

/// The first 48 bits of SHA-256 over `ip:port`, written as 12 lower-case hex digits.
///
/// It tells nobody the address, and any Entrepot before the same peers computes the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId([u8; BYTES]);

/// Text that is not 12 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a peer id is 12 lower-case hex digits")]
pub struct PeerIdError;

impl PeerId {
    pub fn of(address: SocketAddr) -> Self {
        let hash = Sha256::digest(address.to_string().as_bytes());
        let mut id = [0; BYTES];
        for (to, from) in id.iter_mut().zip(hash.iter()) {
            *to = *from;
        }
        PeerId(id)
    }

    /// A number that differs from peer to peer and stays over restarts: the seed of the consistent hash.
    pub(super) fn seed(self) -> u64 {
        self.0.iter().fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for PeerId {
    type Err = PeerIdError;

    fn from_str(text: &str) -> Result<Self, PeerIdError> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(PeerIdError); // one spelling each, so that an id can be compared as text
        }
        let mut id = [0; BYTES];
        hex::decode_to_slice(text, &mut id).map_err(|_| PeerIdError)?;
        Ok(PeerId(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_start_of_the_hash_of_the_address() {
        let id = PeerId::of("127.0.0.1:5011".parse().unwrap());
        let hash = hex::encode(Sha256::digest(b"127.0.0.1:5011"));
        assert_eq!(id.to_string(), hash[..12]);
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in ["", "0011223344", "00112233445566", "00112233445G", "AABBCCDDEEFF", "aabbccddeef", "äabbccddee"] {
            assert_eq!(text.parse::<PeerId>(), Err(PeerIdError), "{text}");
        }
    }

    #[test]
    fn ipv6_addresses_are_hashed_in_brackets() {
        let id = PeerId::of("[::1]:5011".parse().unwrap());
        assert_eq!(id.to_string(), hex::encode(Sha256::digest(b"[::1]:5011"))[..12]);
    }
}
