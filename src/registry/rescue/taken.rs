//! What collections took from a repository lately, by their journals.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::oci::{Digest, RepositoryName};
use crate::registry::fan::PER_REQUEST;
use crate::storage::{Epoch, Error, Storage};

/// Runs that are collections are called so; others delete at somebody's wish.
const COLLECTION: &str = "gc-";
/// Runs whose journals are read, the newest first; bytes of them, and digests in them. What lies beyond does not come back before
/// the next collection.
const RUNS: usize = 128;
const JOURNALS: usize = 256 << 20;
const DIGESTS: usize = 1_000_000;
/// The newest runs may be under way: their journals grow, and are read again each time; those of the others only once.
const MAY_GROW: usize = 2;
/// Bytes of a hash that are kept: enough to tell a million from each other.
const PREFIX: usize = 16;
/// Longest text that is looked at: a digest has 135 bytes.
const LONGEST: usize = 136;

/// What collections took from one repository.
pub(super) struct Journals {
    /// Before they were read.
    since: Instant,
    epoch: Epoch,
    /// The newest first.
    runs: Vec<Run>,
}

/// What one of them took.
struct Run {
    id: String,
    /// How the hashes of the digests in its journal begin, sorted.
    taken: Arc<[[u8; PREFIX]]>,
}

/// Finds the digests among the strings of a text that comes in pieces.
#[derive(Default)]
struct Strings {
    /// The one that has begun; what is longer than a digest can be is not kept.
    begun: Vec<u8>,
    found: Vec<[u8; PREFIX]>,
}

impl Journals {
    /// `before`: what was read of it earlier.
    pub(super) async fn read(
        storage: &Storage,
        name: &RepositoryName,
        before: Option<&Journals>,
    ) -> Result<Self, Error> {
        let (since, epoch) = (Instant::now(), storage.epoch().await?);
        let ids: Vec<String> =
            storage.journals().await?.into_iter().filter(|run| run.starts_with(COLLECTION)).take(RUNS).collect();
        // What was among the newest then may have grown since.
        let known = |id: &str| before?.runs.iter().skip(MAY_GROW).find(|run| run.id == id).map(|run| run.taken.clone());
        let left = Left { bytes: AtomicUsize::new(JOURNALS), digests: AtomicUsize::new(DIGESTS) };
        let left = &left;
        let mut each = Vec::with_capacity(ids.len());
        for id in ids {
            let known = known(&id);
            each.push(async move {
                // To its end here: a journal that is open and that nobody goes on with holds a connection, which the next may wait for.
                let taken = match known {
                    Some(taken) => taken,
                    None => strings_of(storage, (name, &id), left).await?.sorted(),
                };
                Ok::<_, Error>(Run { id, taken })
            });
        }
        let mut runs: Vec<Run> = stream::iter(each).buffered(PER_REQUEST).try_collect().await?;
        // With what was known before, too; the newest go first.
        let mut room = DIGESTS;
        runs.retain(|run| {
            let kept = room > 0;
            room = room.saturating_sub(run.taken.len());
            kept
        });
        Ok(Journals { since, epoch, runs })
    }

    /// Whether they were read then, or later.
    pub(super) fn are_since(&self, since: Instant) -> bool {
        self.since >= since
    }

    /// Whether nobody has taken anything since they were read, if this is the epoch now.
    pub(super) fn are_of(&self, epoch: &Epoch) -> bool {
        !epoch.is_moving() && self.epoch == *epoch
    }

    /// Whether the digest is among what was taken.
    pub(super) fn holds(&self, digest: &Digest) -> bool {
        let prefix = prefix(digest);
        self.runs.iter().any(|run| run.taken.binary_search(&prefix).is_ok())
    }

    /// Bytes of memory.
    pub(super) fn weight(&self) -> usize {
        self.runs.iter().map(|run| size_of::<Run>() + run.id.len() + run.taken.len() * PREFIX).sum()
    }
}

/// How much more of all journals is read.
struct Left {
    bytes: AtomicUsize,
    digests: AtomicUsize,
}

/// The digests in the journal of a run.
async fn strings_of(storage: &Storage, (name, id): (&RepositoryName, &str), left: &Left) -> Result<Strings, Error> {
    let (mut strings, mut counted) = (Strings::default(), 0);
    let Some(mut journal) = storage.journal(id, name).await? else { return Ok(strings) };
    while let Some(piece) = journal.try_next().await? {
        let found = strings.found.len() - counted;
        counted = strings.found.len();
        if !take(&left.bytes, piece.len()) || !take(&left.digests, found) {
            tracing::warn!(%name, "more was taken from this repository than is looked at");
            break;
        }
        strings.take(&piece);
    }
    Ok(strings)
}

/// `false`: there is not so much left.
fn take(left: &AtomicUsize, amount: usize) -> bool {
    left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(amount)).is_ok()
}

/// How its hash begins.
fn prefix(digest: &Digest) -> [u8; PREFIX] {
    let mut prefix = [0; PREFIX];
    prefix.iter_mut().zip(digest.hash()).for_each(|(to, from)| *to = *from);
    prefix
}

impl Strings {
    fn take(&mut self, piece: &[u8]) {
        let mut parts = piece.split(|byte| *byte == b'"');
        if let Some(first) = parts.next() {
            self.grow(first);
        }
        for part in parts {
            let digest = std::str::from_utf8(&self.begun).ok().and_then(|text| text.parse().ok());
            self.found.extend(digest.as_ref().map(prefix));
            self.begun.clear();
            self.grow(part);
        }
    }

    fn sorted(mut self) -> Arc<[[u8; PREFIX]]> {
        self.found.sort_unstable();
        self.found.dedup();
        self.found.into()
    }

    fn grow(&mut self, part: &[u8]) {
        let room = LONGEST.saturating_sub(self.begun.len());
        self.begun.extend_from_slice(part.get(..part.len().min(room)).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn digests_are_found_however_the_text_is_cut() {
        let [one, other, long] = [(Algorithm::Sha256, "a"), (Algorithm::Sha256, "b"), (Algorithm::Sha512, "c")]
            .map(|(algorithm, text)| Digest::of(algorithm, text.as_bytes()));
        let filler = "x".repeat(1000);
        let text = format!(
            "{{\"version\":1}}\n{{\"digest\":\"{one}\",\"manifest\":\"{filler}{other}\"}}\n{{\"digest\":\"{long}\",\"{other}x\":1}}\n"
        );
        for size in [1, 7, 64, 100_000] {
            let mut strings = Strings::default();
            text.as_bytes().chunks(size).for_each(|piece| strings.take(piece));
            assert_eq!(strings.found, [prefix(&one), prefix(&long)], "{size}");
        }
    }
}
