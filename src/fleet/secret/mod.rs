//! One secret that all instances of a fleet have. Nothing is done with it itself: each use has a key of its own, derived
//! by HKDF-SHA-256 (RFC 5869) under a label, so that what one key gives away says nothing of another.
//!
//! [`seal`] keeps what storage shall not show, [`proof`] tells an instance from a stranger, `file` is where the secret
//! comes from. Several secrets are a change from one to the next under way: the first seals and proves, all open and
//! verify.

mod file;
pub mod proof;
pub mod seal;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use hkdf::{Hkdf, InvalidLength};
use sha2::Sha256;

pub use file::{fresh, inspect, load, may_be_read_by_others};

/// Makes our keys other ones than those of another program with the same secret; the number is that of this derivation.
const SALT: &[u8] = b"entrepot fleet 1";

/// What a key is for.
#[derive(Clone, Copy)]
enum Use<'a> {
    /// A name that secrets are told apart by; it may be shown.
    Name,
    /// Sealing what is kept under this label.
    Seal(&'a str),
    /// The name of the sealing key of this label, in what it sealed.
    SealName(&'a str),
    Prove(&'a str),
}

/// The secrets of the file, ready to derive from. Has no `Debug`, and gives none of them away.
pub struct Keyring {
    /// Never empty.
    current: Secret,
    former: Vec<Secret>,
}

struct Secret(Hkdf<Sha256>);

impl Secret {
    fn new(material: &[u8]) -> Self {
        Secret(Hkdf::new(Some(SALT), material))
    }

    /// Fails only for keys of more than 8,160 bytes.
    fn derive<const LENGTH: usize>(&self, purpose: Use<'_>) -> Result<[u8; LENGTH], InvalidLength> {
        let (word, label) = match purpose {
            Use::Name => ("name", ""),
            Use::Seal(label) => ("seal", label),
            Use::SealName(label) => ("seal name", label),
            Use::Prove(label) => ("prove", label),
        };
        let mut key = [0; LENGTH];
        // No word holds a NUL, so that no two uses read alike whatever their labels.
        self.0.expand_multi_info(&[word.as_bytes(), b"\0", label.as_bytes()], &mut key)?;
        Ok(key)
    }
}

impl Keyring {
    fn new(current: &[u8], former: &[Vec<u8>]) -> Self {
        Keyring { current: Secret::new(current), former: former.iter().map(|material| Secret::new(material)).collect() }
    }

    /// Tells secrets apart, for people who compare instances; says nothing of the secret.
    pub fn name(&self) -> String {
        self.current.derive::<4>(Use::Name).map(hex::encode).unwrap_or_default()
    }

    /// How many secrets there are: more than one while they are being changed.
    pub fn count(&self) -> usize {
        1 + self.former.len()
    }

    fn all(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.current).chain(&self.former)
    }
}

/// The secret as it is now, if there is one: a reload may change it.
#[derive(Default)]
pub struct FleetSecret(ArcSwapOption<Keyring>);

/// There is no secret, and something cannot be done without.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what_for} needs the fleet's secret, and there is none: set `secret_file` in [fleet]")]
pub struct NoSecret {
    what_for: String,
}

impl FleetSecret {
    pub fn replace(&self, keyring: Option<Keyring>) {
        self.0.store(keyring.map(Arc::new));
    }

    pub fn is_present(&self) -> bool {
        self.0.load().is_some()
    }

    /// `what_for` begins the sentence that says what is missing.
    pub fn need(&self, what_for: &str) -> Result<Arc<Keyring>, NoSecret> {
        self.0.load_full().ok_or_else(|| NoSecret { what_for: what_for.to_owned() })
    }
}
