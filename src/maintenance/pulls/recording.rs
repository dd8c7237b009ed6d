//! Since when pulls are recorded. The file lies among the records, so that whoever deletes these, or restores a backup without them,
//! loses it too: then everything counts as pulled on the day on which recording begins anew.

use serde::{Deserialize, Serialize};

use crate::maintenance::day::Day;
use crate::storage::format::{self, Format};
use crate::storage::{Error, OwnKey, Precondition, Storage};

/// Bytes of the file.
const MAX_FILE: u64 = 64 << 10;
/// How often it is written anew that another instance has changed meanwhile; then over whatever is there.
const TRIES: usize = 8;

/// Pulls are recorded without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    pub since: Day,
    /// The last day on which somebody did.
    pub until: Day,
}

impl Format for Recording {
    const WHAT: &'static str = "since when pulls are recorded";
    const VERSION: u32 = 1;
}

impl Recording {
    /// `None`: nobody records.
    pub async fn read(storage: &Storage) -> Result<Option<Self>, Error> {
        Ok(read(storage).await?.0)
    }

    /// Writes what `next` makes of it, if that is anything new; what was there, and what is.
    pub async fn change(
        storage: &Storage,
        next: impl Fn(Option<Self>) -> Self + Send + Sync,
    ) -> Result<(Option<Self>, Self), Error> {
        for left in (0..TRIES).rev() {
            let (before, precondition) = read(storage).await?;
            let now = next(before);
            if before == Some(now) {
                return Ok((before, now));
            }
            let precondition = if left == 0 { Precondition::None } else { precondition };
            match storage.own_put(&OwnKey::Recording, format::write(&now)?.into(), precondition).await {
                Err(Error::Conflict) => {}
                written => return written.map(|_| (before, now)),
            }
        }
        Err(Error::Conflict)
    }
}

/// A damaged one is as good as none.
async fn read(storage: &Storage) -> Result<(Option<Recording>, Precondition), Error> {
    match storage.own(&OwnKey::Recording, MAX_FILE).await {
        Ok(None) => Ok((None, Precondition::Absent)),
        Ok(Some((bytes, version))) => match format::read(&bytes) {
            Ok(recording) => Ok((Some(recording), Precondition::Unchanged(version))),
            Err(Error::Damaged(_)) => Ok((None, Precondition::Unchanged(version))),
            Err(error) => Err(error),
        },
        Err(Error::TooLarge(_)) => Ok((None, Precondition::None)),
        Err(error) => Err(error),
    }
}
