//! The rules of the file, which are Apache's.
//!
//! - A line is `user:hash`; the user may hold anything but `:`. What follows a second colon is not read.
//! - Blank lines and lines that begin with `#` are passed over, and so is white space around a line, `\r` too.
//! - The first line of a user counts, also when it cannot be used: `alice:!` above an older line locks alice out.
//! - A line that cannot be used is skipped, and the others stand.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::hash::{Hash, USUAL_COST, Work};

/// In bytes: all users that may be there, with comments.
pub const MAX_FILE: usize = 1 << 20;
/// Lines that are neither blank nor a comment.
pub const MAX_USERS: usize = 10_000;
/// Of a user's name, in bytes, as in Apache.
pub const MAX_NAME: usize = 255;
/// Of the digest of a line, in hexadecimal digits: 16 bytes tell versions apart.
const VERSION: usize = 32;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Why none of a file can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("is longer than {MAX_FILE} bytes")]
    TooLong,
    #[error("has more than {MAX_USERS} users")]
    TooMany,
    #[error("is written in UTF-16: save it as UTF-8")]
    Utf16,
}

/// Those of one file.
pub struct Users {
    by_name: HashMap<Box<str>, User>,
    /// Costs what most of the users cost.
    dummy: Arc<Hash>,
    skipped: Vec<Skipped>,
}

/// A line that is not used. Holds nothing of its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// From 1.
    pub line: usize,
    /// What stands before its colon; `None` where there is none: it may be anything, a password too.
    pub user: Option<String>,
    pub reason: &'static str,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some(user) => write!(f, "line {} (user '{}') {}", self.line, user.escape_debug(), self.reason),
            None => write!(f, "line {} {}", self.line, self.reason),
        }
    }
}

pub struct User {
    pub hash: Arc<Hash>,
    /// Of the line: another password is another version. Says nothing of either.
    pub version: Arc<str>,
}

impl Users {
    pub fn find(&self, name: &str) -> Option<&User> {
        self.by_name.get(name)
    }

    pub fn version(&self, name: &str) -> Option<&str> {
        self.find(name).map(|user| &*user.version)
    }

    /// What is compared with for a name that is not there, so that it takes as long.
    pub fn dummy(&self) -> &Arc<Hash> {
        &self.dummy
    }

    /// The lines that are not used, in order.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    fn new(by_name: HashMap<Box<str>, User>, skipped: Vec<Skipped>) -> Self {
        let mut kinds: BTreeMap<Work, (usize, &Hash)> = BTreeMap::new();
        for user in by_name.values() {
            kinds.entry(user.hash.work()).or_insert((0, &*user.hash)).0 += 1;
        }
        let usual = kinds.values().max_by_key(|(count, _)| *count).map(|(_, hash)| hash.dummy());
        let dummy = Arc::new(usual.unwrap_or_else(|| Hash::dummy_bcrypt(USUAL_COST)));
        Users { by_name, dummy, skipped }
    }
}

impl Default for Users {
    /// Nobody.
    fn default() -> Self {
        Users::new(HashMap::new(), Vec::new())
    }
}

impl fmt::Debug for Users {
    /// The names alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

/// Reads a whole file.
pub fn parse(bytes: &[u8]) -> Result<Users, ParseError> {
    let (_, text) = without_bom(bytes)?;
    let (mut by_name, mut skipped, mut seen) = (HashMap::new(), Vec::new(), HashSet::new());
    let mut count = 0;
    for (index, line) in lines(text).enumerate() {
        let Some(name) = name(line) else { continue };
        count += 1;
        if count > MAX_USERS {
            return Err(ParseError::TooMany);
        }
        let read = match seen.insert(name) {
            true => user(line.trim_ascii()),
            false => Err("has a name that a line before it has: the first one counts"),
        };
        match read {
            Ok((name, user)) => drop(by_name.insert(name.into(), user)),
            Err(reason) => skipped.push(Skipped { line: index + 1, user: shown(line), reason }),
        }
    }
    Ok(Users::new(by_name, skipped))
}

/// The mark that some editors put first, and what follows it.
pub(super) fn without_bom(bytes: &[u8]) -> Result<(&[u8], &[u8]), ParseError> {
    match bytes.strip_prefix(BOM) {
        _ if bytes.len() > MAX_FILE => Err(ParseError::TooLong),
        _ if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") => Err(ParseError::Utf16),
        Some(text) => Ok((BOM, text)),
        None => Ok((b"", bytes)),
    }
}

/// Each with its end.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n')
}

/// The name that a line is about; `None` of blank lines and comments.
pub(super) fn name(line: &[u8]) -> Option<&[u8]> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with(b"#") {
        return None;
    }
    line.split(|byte| *byte == b':').next()
}

/// The name of a line, to be told; cut, so that a file of another kind fills no log.
fn shown(line: &[u8]) -> Option<String> {
    let name = line.contains(&b':').then(|| name(line)).flatten().filter(|name| !name.is_empty())?;
    Some(String::from_utf8_lossy(name.get(..MAX_NAME).unwrap_or(name)).into_owned())
}

fn user(line: &[u8]) -> Result<(&str, User), &'static str> {
    if line.contains(&0) {
        return Err("holds a NUL");
    }
    let text = std::str::from_utf8(line).map_err(|_| "is not UTF-8")?;
    let (name, rest) = text.split_once(':').ok_or("has no colon")?;
    if name.is_empty() {
        return Err("has no name");
    }
    if name.len() > MAX_NAME {
        return Err("has a name of more than 255 bytes");
    }
    let hash = rest.split(':').next().unwrap_or_default();
    Ok((name, User { hash: Arc::new(Hash::read(hash)?), version: version(line) }))
}

fn version(line: &[u8]) -> Arc<str> {
    hex::encode(Sha256::digest(line)).chars().take(VERSION).collect::<String>().into()
}
