//! Who is asking: a fingerprint of the `Authorization` header, never the header itself.

use std::fmt;

use super::clock;

/// Somebody who asks. Two requests have equal credentials if their `Authorization` is the same, byte for byte, and, where
/// it matters to the peers, the address that they come from.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Credential {
    /// All zero for nobody from anywhere.
    pub(super) fingerprint: [u8; 16],
    /// Seconds since 1970.
    pub(super) expires: Option<u64>,
    /// No `Authorization`.
    pub(super) anonymous: bool,
}

impl Credential {
    /// Nobody: no `Authorization` at all.
    pub const ANONYMOUS: Credential = Credential { fingerprint: [0; 16], expires: None, anonymous: true };

    pub fn is_anonymous(&self) -> bool {
        self.anonymous
    }

    /// Whether it says of itself that it has ended. A peer may still bear it for a minute; we then ask each time.
    pub fn is_expired(&self) -> bool {
        self.expires.is_some_and(|end| end <= clock::wall() / 1_000_000_000)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_anonymous() {
            return f.write_str("anonymous");
        }
        let [a, b, c, d, ..] = self.fingerprint;
        write!(f, "{}", hex::encode([a, b, c, d]))
    }
}
