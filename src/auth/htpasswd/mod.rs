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

use std::path::Path;

pub use edit::Edit;
#[cfg(any(test, fuzzing))]
pub use edit::{EditError, edit};
#[cfg(test)]
pub use hash::Hash;
pub use hash::{MAX_COST, MIN_COST, MakeError, Recipe, USUAL_COST, make};
#[cfg(any(test, fuzzing))]
pub use parse::{MAX_FILE, MAX_USERS, ParseError, parse};
pub use parse::{Skipped, Users};
pub use watch::HtpasswdFile;
#[cfg(test)]
pub use watch::Refreshed;
pub use write::{ChangeError, change};

/// Users that are named where a file has none that can log in; a file of another kind has thousands.
const MAX_NAMED: usize = 20;

/// What is wrong with a file of users, if anything: it cannot be read, or has lines and nobody can log in by any of them. One without
/// lines is none that was made elsewhere: users may still come.
pub fn fault(path: &Path) -> Option<String> {
    match watch::look(path) {
        Err(error) => Some(error.to_string()),
        Ok(users) if users.is_empty() && !users.skipped().is_empty() => Some(nobody(path, users.skipped())),
        Ok(_) => None,
    }
}

fn nobody(path: &Path, skipped: &[Skipped]) -> String {
    let named: Vec<_> = skipped.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    let more = match skipped.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!("; and {more} more lines"),
    };
    let shown = path.display();
    format!(
        "{shown} has no user who can log in: {}{more}; `entrepot user passwd {shown} NAME` gives a user a password anew",
        named.join("; ")
    )
}

/// The lines of a file that nobody can log in by, each with what to do; none where the file cannot be read.
pub fn unused(path: &Path) -> Vec<(String, String)> {
    let Ok(users) = watch::look(path) else { return Vec::new() };
    let shown = path.display();
    let told = |skipped: &Skipped| {
        let name = skipped.user.as_deref();
        let remedy = match name.filter(|name| users.find(name).is_none() && !name.contains(char::is_control)) {
            Some(name) => format!("`entrepot user passwd {shown} {}` gives the user a password anew", word(name)),
            None => "correct the line, or take it away".to_owned(),
        };
        (format!("{shown}: {skipped}, so nobody can log in by this line"), remedy)
    };
    users.skipped().iter().map(told).collect()
}

/// A name as a shell takes it.
fn word(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-@/".contains(c);
    if name.chars().all(plain) { name.to_owned() } else { format!("'{}'", name.replace('\'', "'\\''")) }
}
