//! What is under a key, by reading all of it: a piece at a time, so that a blob of any size takes the same memory.

use bytes::Bytes;
use futures::StreamExt as _;

use super::pace::UNIT;
use super::run::{PAUSE, Run, TRIES};
use crate::oci::{Digest, Hasher};
use crate::storage::{Error, blocking, layout};

/// Hashing less than this on an async thread is cheaper than changing threads.
const INLINE: usize = 64 << 10;

/// What is under a key that should hold the bytes of a digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Seen {
    /// So many bytes, and they are the right ones.
    Right(u64),
    Gone,
    /// So many bytes of another digest.
    Other(u64),
    /// It is there, and storage does not give it.
    Unreadable(String),
}

impl Run<'_> {
    /// Reads what is in a blob's place.
    ///
    /// # Errors
    /// Storage gives no answer, about this or anything.
    pub(super) async fn see(&self, digest: &Digest) -> Result<Seen, Error> {
        self.see_at(&layout::blob(digest), digest).await
    }

    /// Reads what is under a key, for the bytes of `expected`.
    pub(super) async fn see_at(&self, key: &str, expected: &Digest) -> Result<Seen, Error> {
        let mut tries = TRIES;
        loop {
            tries -= 1;
            match self.read(key, expected).await {
                Err(Error::Unavailable(_)) if tries > 0 => tokio::time::sleep(PAUSE).await,
                // A file that a disk cannot read, or that is not ours to read, is damage; a store that refuses us refuses all.
                Err(Error::Failed(why)) => return Ok(Seen::Unreadable(why)),
                Err(Error::Refused(why)) if self.parts.storage.is_local() => return Ok(Seen::Unreadable(why)),
                other => return other,
            }
        }
    }

    async fn read(&self, key: &str, expected: &Digest) -> Result<Seen, Error> {
        self.pace.take(1).await;
        let Some((_, mut body)) = self.parts.storage.store().open(key, 0, None).await? else { return Ok(Seen::Gone) };
        let (mut hasher, mut size, mut unpaid) = (Hasher::new(expected.algorithm()), 0, 0);
        while let Some(piece) = body.next().await {
            let piece = piece?;
            let length = piece.len() as u64;
            (size, unpaid) = (size + length, unpaid + length);
            hasher = update(hasher, piece).await?;
            self.has_read(length);
            if unpaid >= UNIT {
                self.pace.take(unpaid / UNIT).await;
                unpaid %= UNIT;
            }
        }
        Ok(if hasher.finish() == *expected { Seen::Right(size) } else { Seen::Other(size) })
    }
}

async fn update(mut hasher: Hasher, piece: Bytes) -> Result<Hasher, Error> {
    if piece.len() <= INLINE {
        hasher.update(&piece);
        return Ok(hasher);
    }
    let work = move || {
        hasher.update(&piece);
        Ok::<_, Error>(hasher)
    };
    blocking(work).await
}
