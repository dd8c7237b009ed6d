//! The file as it is now.
//!
//! Its content is compared, not its time or inode: a Secret of Kubernetes changes by a link that is turned to another
//! folder, and a file written twice within a second may have one time. Everything here waits for the disk: it is called on
//! threads that may.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::parse::{MAX_FILE, ParseError, Skipped, Users, parse};

/// Some write into the file as it stands, Apache's `htpasswd` too: what is read then may be half of it. Only what is the
/// same after this time is taken.
const SETTLED: Duration = Duration::from_millis(20);
/// Skipped lines that are told one by one; a file of another kind has thousands.
const MAX_TOLD: usize = 20;

/// Why the file is not read. Never shows what is in it.
#[derive(Debug, thiserror::Error)]
#[error("{} {fault}", path.display())]
pub struct HtpasswdError {
    path: PathBuf,
    fault: Fault,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("does not exist")]
    Absent,
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("is no regular file")]
    NoFile,
    #[error(transparent)]
    Parse(#[from] ParseError),
}

/// What a look at the file found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    Unchanged,
    Changed,
    /// It cannot be read, or is being written: the users stay as they were.
    Kept,
}

/// The users of a file, and what is needed to follow it.
pub struct HtpasswdFile {
    path: PathBuf,
    users: ArcSwap<Users>,
    /// Held while the file is looked at, so that an older look never wins over a newer one.
    seen: Mutex<Seen>,
}

struct Seen {
    digest: Digest,
    /// What was said about a file that cannot be read: said once.
    trouble: Option<String>,
}

type Digest = [u8; 32];

impl HtpasswdFile {
    /// Reads it for the first time: then it has to be there.
    pub fn open(path: &Path) -> Result<Self, HtpasswdError> {
        let (digest, users) = first(path)?;
        tell(path, &users);
        let seen = Mutex::new(Seen { digest, trouble: None });
        Ok(HtpasswdFile { path: path.to_owned(), users: ArcSwap::from_pointee(users), seen })
    }

    /// Those of the last time that the file could be read.
    pub fn users(&self) -> Arc<Users> {
        self.users.load_full()
    }

    /// Looks whether the file says something else. To be called every few seconds.
    pub fn refresh(&self) -> Refreshed {
        self.refresh_after(|| thread::sleep(SETTLED))
    }

    /// `settle` passes between two looks at a file that has changed.
    pub(super) fn refresh_after(&self, settle: impl FnOnce()) -> Refreshed {
        let mut seen = self.seen.lock();
        match self.look(&seen.digest, settle) {
            Ok(Look::Same) => {
                self.good_again(&mut seen);
                Refreshed::Unchanged
            }
            Ok(Look::Moving) => Refreshed::Kept,
            Ok(Look::Other(digest, users)) => {
                self.good_again(&mut seen);
                tracing::info!(path = %self.path.display(), users = users.len(), "the file of users was read again");
                tell(&self.path, &users);
                seen.digest = digest;
                self.users.store(Arc::new(users));
                Refreshed::Changed
            }
            Err(fault) => {
                let trouble = fault.to_string();
                if seen.trouble.as_ref() != Some(&trouble) {
                    tracing::warn!(path = %self.path.display(), %fault, "the file of users cannot be used now; the users stay as they were");
                    seen.trouble = Some(trouble);
                }
                Refreshed::Kept
            }
        }
    }

    fn look(&self, known: &Digest, settle: impl FnOnce()) -> Result<Look, Fault> {
        let first = digest(&read(&self.path)?);
        if first == *known {
            return Ok(Look::Same);
        }
        settle();
        let bytes = read(&self.path)?;
        match digest(&bytes) == first {
            true => Ok(Look::Other(first, parse(&bytes)?)),
            false => Ok(Look::Moving),
        }
    }

    fn good_again(&self, seen: &mut Seen) {
        if seen.trouble.take().is_some() {
            tracing::info!(path = %self.path.display(), "the file of users can be used again");
        }
    }
}

/// Reads it once, and tells nobody what is skipped.
pub(super) fn look(path: &Path) -> Result<Users, HtpasswdError> {
    first(path).map(|(_, users)| users)
}

fn first(path: &Path) -> Result<(Digest, Users), HtpasswdError> {
    let found = read(path).and_then(|bytes| Ok((digest(&bytes), parse(&bytes)?)));
    found.map_err(|fault| HtpasswdError { path: path.to_owned(), fault })
}

enum Look {
    Same,
    Moving,
    Other(Digest, Users),
}

fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Fault::Absent,
        _ => Fault::Unreadable(error),
    };
    // Before it is opened: opening a pipe waits for who writes to it.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(Fault::NoFile);
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    // One byte more than may be, so that a longer file is seen to be one.
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn tell(path: &Path, users: &Users) {
    let (path, skipped) = (path.display(), users.skipped());
    for Skipped { line, user, reason } in skipped.iter().take(MAX_TOLD) {
        let user = user.as_deref();
        tracing::warn!(%path, line, user, reason, "a line of the file of users is skipped");
    }
    if skipped.len() > MAX_TOLD {
        tracing::warn!(%path, lines = skipped.len() - MAX_TOLD, "further lines of the file of users are skipped");
    }
}
