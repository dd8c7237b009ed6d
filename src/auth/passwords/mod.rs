//! Whether a password is right: off the threads that serve, and not twice for the same question.
//!
//! A comparison takes 50 ms to a second of a core on purpose. So there are a few threads for it, of lower priority, and a
//! short queue before them; who finds it full is told so instead of waiting for long. An answer is remembered under a keyed
//! digest of name, hash and password: neither can be read from memory that is left over, and another line in the file is
//! another question. For a name that is not there, a hash is computed that costs what most users' hashes cost, and the
//! answer takes the same way.

mod memory;
mod queue;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::auth::htpasswd::Users;
use crate::limits::Source;
use memory::Memory;
use queue::{Asked, Queue};

/// Of a password, in bytes: a field `Authorization` is no longer.
pub const MAX_PASSWORD: usize = 16 << 10;
/// The block of SHA-256: a key of this length is taken by HMAC as it is.
const BLOCK: usize = 64;

/// For what is compared or remembered within this process, and never leaves it.
static KEYED: LazyLock<Hmac<Sha256>> = LazyLock::new(|| Hmac::new(&rand::random::<[u8; BLOCK]>().into()));

/// A question: name, hash and password under `KEYED`.
type Tag = [u8; 32];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With the version of the user's line.
    Right { version: Arc<str> },
    /// Also of somebody who is not there.
    Wrong,
}

/// It was not found out: too many others ask, or the machine has no memory or thread left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being checked")]
pub struct Busy;

/// Checks passwords. One for the process.
pub struct Passwords {
    queue: Queue,
}

impl Passwords {
    /// Threads come with the first who asks.
    pub fn start() -> Self {
        Passwords { queue: Queue::new(threads(), Memory::default()) }
    }

    /// Whether `user` is one of `users` and this is their password. Who stops waiting takes no place in the queue any more.
    pub async fn check(&self, (user, password): (&str, &[u8]), users: &Users, from: Source) -> Result<Outcome, Busy> {
        // A NUL ends a password in bcrypt, so what follows it would be free to choose; and it parts what is digested.
        if user.contains('\0') || password.contains(&0) || password.len() > MAX_PASSWORD {
            return Ok(Outcome::Wrong);
        }
        let found = users.find(user);
        let hash = found.map_or(users.dummy(), |user| &user.hash);
        let tag = tag(user, hash.text(), password);
        if let Some(outcome) = self.queue.memory().recall(&tag) {
            return Ok(outcome);
        }
        let asked = self.queue.ask(tag, from, || {
            let (hash, password) = (hash.clone(), Box::<[u8]>::from(password));
            let version = found.map(|user| user.version.clone());
            Box::new(move || match hash.is_of(&password) {
                Ok(is_right) => {
                    Ok(version.filter(|_| is_right).map_or(Outcome::Wrong, |version| Outcome::Right { version }))
                }
                Err(error) => {
                    tracing::error!(%error, "a password cannot be checked");
                    Err(Busy)
                }
            })
        })?;
        match asked {
            Asked::Known(outcome) => Ok(outcome),
            Asked::Coming(ticket) => ticket.answer().await,
        }
    }
}

/// Half of the cores, so that logins never take all of them; more than four would need 1 GiB for argon2id.
fn threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (cores / 2).clamp(1, 4)
}

/// No part holds a NUL, so that no two questions read alike.
fn tag(user: &str, hash: &str, password: &[u8]) -> Tag {
    let parts = [user.as_bytes(), b"\0", hash.as_bytes(), b"\0", password];
    parts.into_iter().fold(KEYED.clone(), |mac, part| mac.chain_update(part)).finalize().into_bytes().into()
}

/// Whether two secrets are the same; how long it takes says nothing of how much of them is.
pub fn same(left: &[u8], right: &[u8]) -> bool {
    let right = KEYED.clone().chain_update(right).finalize().into_bytes();
    KEYED.clone().chain_update(left).verify_slice(&right).is_ok()
}
