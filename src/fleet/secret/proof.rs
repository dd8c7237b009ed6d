//! Proofs: an instance shows another that it has the fleet's secret, and says when, for what and about what.
//!
//! `1.SECONDS.HEX`: the version, the time since 1970, and HMAC-SHA-256 over purpose, time and message. A proof is good for
//! a minute, so that who overhears one cannot use it long; what must not be repeated at all has a nonce in its message.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hkdf::InvalidLength;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{Keyring, Secret, Use};

const VERSION: &str = "1";
/// How old a proof may be. Clocks differ, so one of the near future is as good.
pub const MAX_AGE: Duration = Duration::from_secs(60);
const MAC: usize = 32;
/// The block of SHA-256: a key of this length is taken by HMAC as it is.
const BLOCK: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("is not written as a proof")]
    Malformed,
    #[error("is a proof of another version")]
    Version,
    #[error("does not prove this, or was made with another secret")]
    Wrong,
    #[error("is older than a minute, or the clocks of the two machines differ")]
    Stale,
}

impl Keyring {
    /// For a field of a request. Each purpose has a key of its own.
    pub fn prove(&self, purpose: &str, message: &[u8]) -> Result<String, InvalidLength> {
        self.prove_at(purpose, message, SystemTime::now())
    }

    /// Whether one with any of our secrets said this within the last minute.
    pub fn verify(&self, purpose: &str, message: &[u8], proof: &str) -> Result<(), ProofError> {
        self.verify_at(purpose, message, proof, SystemTime::now())
    }

    pub(super) fn prove_at(&self, purpose: &str, message: &[u8], now: SystemTime) -> Result<String, InvalidLength> {
        let time = seconds(now);
        let mac = mac(&self.current, purpose, time, message)?.finalize().into_bytes();
        Ok(format!("{VERSION}.{time}.{}", hex::encode(mac)))
    }

    pub(super) fn verify_at(
        &self,
        purpose: &str,
        message: &[u8],
        proof: &str,
        now: SystemTime,
    ) -> Result<(), ProofError> {
        let (version, rest) = proof.split_once('.').ok_or(ProofError::Malformed)?;
        if version != VERSION {
            return Err(ProofError::Version);
        }
        let (time, given) = rest.split_once('.').ok_or(ProofError::Malformed)?;
        let time: u64 = time.parse().map_err(|_| ProofError::Malformed)?;
        let mut said = [0; MAC];
        hex::decode_to_slice(given, &mut said).map_err(|_| ProofError::Malformed)?;
        // Compares in constant time. Only of what is genuine do we say that it is old.
        let is_from =
            |secret: &Secret| mac(secret, purpose, time, message).is_ok_and(|mac| mac.verify_slice(&said).is_ok());
        if !self.all().any(is_from) {
            return Err(ProofError::Wrong);
        }
        match seconds(now).abs_diff(time) <= MAX_AGE.as_secs() {
            true => Ok(()),
            false => Err(ProofError::Stale),
        }
    }
}

/// The purpose is in the key, the time has one length, and the message is the rest: no two read alike.
fn mac(secret: &Secret, purpose: &str, time: u64, message: &[u8]) -> Result<Hmac<Sha256>, InvalidLength> {
    let key: [u8; BLOCK] = secret.derive(Use::Prove(purpose))?;
    Ok(Hmac::<Sha256>::new(&key.into()).chain_update(time.to_be_bytes()).chain_update(message))
}

/// A clock before 1970 proves nothing to anybody.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
