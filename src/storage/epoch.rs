//! Whether somebody moves bytes of blobs away now, or did since one looked; and what time it is for the store.
//!
//! Who writes links reads the epoch before he looks whether the bytes are there, and again after he has written: an odd number,
//! or another epoch than before, means that he has to look once more. It only speeds that up: what it cannot tell (lost, from a
//! backup, two who move at once) is covered by the time that bytes stay in the trash.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::format::{self, Format};
use super::layout::{self, OwnKey};
use super::storage::{Precondition, Storage};
use super::{Error, Version};

/// Bytes of the file.
const LIMIT: u64 = 4 << 10;
/// Tries to be the next one; then it is written over whatever is there, which changes it as well.
const TRIES: usize = 8;
/// Another who asks may sweep the file of one that slept; that one asks so many times.
const NOW_TRIES: usize = 3;
/// Files that a store's time was read from and that somebody left go after this time, so many at once.
const LEFT: Duration = Duration::from_secs(3600);
const SWEPT: usize = 16;

/// Equal epochs that do not move mean that nobody has moved bytes between the two looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// Odd: bytes are being moved.
    number: u64,
    /// Of who wrote it: where two write the same number, or a store minds no conditions, it is another epoch all the same.
    #[serde(default)]
    nonce: String,
}

impl Format for Epoch {
    const WHAT: &'static str = "the epoch of collections";
    const VERSION: u32 = 1;
}

impl Epoch {
    /// Nobody has ever moved any bytes here.
    pub const ZERO: Epoch = Epoch { number: 0, nonce: String::new() };
    /// It cannot be read: whatever happens, one looks twice.
    const UNKNOWN: Epoch = Epoch { number: u64::MAX, nonce: String::new() };

    /// Whether bytes may be being moved now.
    pub fn is_moving(&self) -> bool {
        !self.number.is_multiple_of(2)
    }

    /// Another one, which says so.
    fn next(&self, moving: bool) -> Epoch {
        let step = if self.is_moving() == moving { 2 } else { 1 };
        Epoch { number: self.number.wrapping_add(step), nonce: uuid::Uuid::new_v4().simple().to_string() }
    }
}

impl Storage {
    /// The epoch now: one small read. A damaged one, and one that a newer version of this program wrote, is moving.
    pub async fn epoch(&self) -> Result<Epoch, Error> {
        let found = match self.own(&OwnKey::Epoch, LIMIT).await {
            Ok(None) => return Ok(Epoch::ZERO),
            Ok(Some((bytes, _))) => format::read(&bytes),
            Err(error) => Err(error),
        };
        match found {
            Err(error @ (Error::Damaged(_) | Error::TooLarge(_) | Error::Newer { .. })) => {
                tracing::warn!(%error, "the epoch of collections cannot be read: what pushes name is looked at twice");
                Ok(Epoch::UNKNOWN)
            }
            found => found,
        }
    }

    /// Whether a collection has ever begun here: before, nothing can have been moved or unlinked by one.
    pub async fn has_collected(&self) -> Result<bool, Error> {
        for key in [OwnKey::GcRun, OwnKey::Epoch] {
            if self.store().size(&key.key()).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Bytes are about to be moved: to be told before the look that decides which. [`Error::Newer`] if a newer version of this
    /// program collects here.
    pub async fn epoch_moving(&self) -> Result<Epoch, Error> {
        self.epoch_follows(true).await
    }

    /// They are moved.
    pub async fn epoch_still(&self) -> Result<Epoch, Error> {
        self.epoch_follows(false).await
    }

    async fn epoch_follows(&self, moving: bool) -> Result<Epoch, Error> {
        let conditional = self.is_local() || self.minds_conditions().await;
        let mut tries = TRIES;
        loop {
            let (present, version) = self.epoch_for_change().await?;
            let next = present.next(moving);
            tries -= 1;
            let condition = match version {
                _ if !conditional || tries == 0 => Precondition::None,
                Some(version) => Precondition::Unchanged(version),
                None => Precondition::Absent,
            };
            match self.own_put(&OwnKey::Epoch, format::write(&next)?.into(), condition).await {
                Err(Error::Conflict) if tries > 0 => {}
                outcome => return outcome.map(|_| next),
            }
        }
    }

    async fn epoch_for_change(&self) -> Result<(Epoch, Option<Version>), Error> {
        match self.own(&OwnKey::Epoch, LIMIT).await {
            Ok(None) => Ok((Epoch::ZERO, None)),
            Ok(Some((bytes, version))) => match format::read(&bytes) {
                Ok(epoch) => Ok((epoch, Some(version))),
                Err(Error::Damaged(_)) => Ok((Epoch::UNKNOWN, Some(version))),
                Err(error) => Err(error),
            },
            // Not one of ours, and nobody can need it.
            Err(Error::TooLarge(_)) => {
                self.own_delete(&OwnKey::Epoch).await?;
                Ok((Epoch::UNKNOWN, None))
            }
            Err(error) => Err(error),
        }
    }

    /// The time by the clock that the store gives its objects, which need not be ours.
    pub async fn now(&self) -> Result<SystemTime, Error> {
        for _ in 0..NOW_TRIES {
            if let Some(now) = self.asked_now().await? {
                return Ok(now);
            }
        }
        Err(Error::Failed("the store does not list what was just written to it".to_owned()))
    }

    /// `None`: what was written for it is not listed.
    async fn asked_now(&self) -> Result<Option<SystemTime>, Error> {
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        let key = OwnKey::Clock(nonce.clone());
        self.own_put(&key, Bytes::from_static(b"."), Precondition::None).await?;
        let listed = self.store().list(layout::CLOCK).await;
        _ = self.own_delete(&key).await; // else it is swept later
        let files = listed?.files;
        let own = files.iter().find(|file| file.name == nonce).map(|file| file.changed);
        let Some(now) = own else { return Ok(None) };
        let left = files.into_iter().filter(|file| now.duration_since(file.changed).is_ok_and(|age| age > LEFT));
        for file in left.take(SWEPT) {
            _ = self.own_delete(&OwnKey::Clock(file.name)).await; // by the next who asks
        }
        Ok(Some(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_epoch_is_another_one_and_says_what_it_should() {
        for present in [Epoch::ZERO, Epoch::UNKNOWN, Epoch { number: 7, nonce: "x".into() }] {
            for moving in [true, false] {
                let next = present.next(moving);
                assert_eq!(next.is_moving(), moving, "{present:?}");
                assert!(next != present && next != Epoch::ZERO);
                assert_ne!(next, present.next(moving), "of two who write it");
            }
        }
    }
}
