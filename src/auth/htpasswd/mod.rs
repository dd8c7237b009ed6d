//! Users in a file of Apache's `htpasswd`: `user:hash`, a line for each.
//!
//! - `hash`: which hashes are good, how a password is compared with one, how one is made
//! - `parse`: the rules of the file
//! - `watch`: the file as it is now
//! - `edit`: a user more, less, or with another password, as bytes; `write`: the same in the file
//!
//! Computing a hash takes long on purpose: who asks whether a password is right asks `passwords`, which has threads for it.

mod edit;
mod hash;
mod parse;
#[cfg(test)]
mod tests;
mod watch;
mod write;

pub use edit::Edit;
#[cfg(any(test, fuzzing))]
pub use edit::{EditError, edit};
#[cfg(test)]
pub use hash::Hash;
pub use hash::{MAX_COST, MIN_COST, MakeError, Recipe, USUAL_COST, make};
pub use parse::Users;
#[cfg(any(test, fuzzing))]
pub use parse::{MAX_FILE, MAX_USERS, ParseError, parse};
pub use watch::HtpasswdFile;
#[cfg(test)]
pub use watch::Refreshed;
pub use write::{ChangeError, change};

/// What is wrong with a file of users, if anything.
pub fn fault(path: &std::path::Path) -> Option<String> {
    HtpasswdFile::open(path).err().map(|error| error.to_string())
}
