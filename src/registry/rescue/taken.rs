//! What collections took from a repository lately, by their journals, and when what they took had been written.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

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
/// The key of a line's time.
const CHANGED: &[u8] = b"changed";
/// Of a link of which it is not told when it was written: later than anything.
const UNKNOWN: u32 = u32::MAX;

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
    /// Sorted, each hash once, with the last time.
    taken: Arc<[One]>,
}

/// How the hash of a digest in a journal begins, and when the link was written that was taken: in seconds since 1970, [`UNKNOWN`]
/// where the journal does not tell.
type One = ([u8; PREFIX], u32);

/// Finds the digests among the strings of a text that comes in pieces, and the times of their lines.
struct Strings {
    /// What has begun, a string or what is between two; what is longer than a digest can be is not kept.
    begun: Vec<u8>,
    found: Vec<One>,
    /// How many were found before the line that has begun, and its time.
    line: usize,
    time: u32,
    /// The string before was the key of a time.
    is_time: bool,
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
        // What was among the newest then may have grown since; so may what began in the same second as the last of those.
        let newest = before.and_then(|before| before.runs.get(MAY_GROW - 1)).map(|run| began(&run.id));
        let known = |id: &str| {
            let runs = before?.runs.iter().filter(|run| newest.is_some_and(|newest| began(&run.id) < newest));
            runs.filter(|run| run.id == id).map(|run| run.taken.clone()).next()
        };
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

    /// When the link to it that was taken last had been written; `None`: none was taken.
    pub(super) fn taken(&self, digest: &Digest) -> Option<Written> {
        let prefix = prefix(digest);
        let of = |run: &Run| {
            let place = run.taken.binary_search_by_key(&prefix, |(hash, _)| *hash).ok()?;
            run.taken.get(place).map(|(_, written)| Written(*written))
        };
        self.runs.iter().filter_map(of).max()
    }

    /// Bytes of memory.
    pub(super) fn weight(&self) -> usize {
        self.runs.iter().map(|run| size_of::<Run>() + run.id.len() + run.taken.len() * size_of::<One>()).sum()
    }
}

/// When a link that was taken had been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Written(u32);

impl Written {
    /// Whether that was before a client deleted it. Both are times of the store, of which journals have the seconds; what was written in
    /// the same one counts as written later: a collection takes nothing that is so young.
    pub(super) fn is_before(self, deleted: SystemTime) -> bool {
        let deleted = deleted.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        u64::from(self.0) < deleted
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

/// The part of a run's name that tells when it began, to the second: all but what no other has.
fn began(run: &str) -> &str {
    run.rsplit_once('-').map_or(run, |(began, _)| began)
}

/// What follows the key of a time: `:1764547200,`
fn seconds(text: &str) -> Option<u32> {
    let digits = text.trim_start_matches(':').split([',', '}']).next()?;
    digits.trim().parse().ok()
}

/// How its hash begins.
fn prefix(digest: &Digest) -> [u8; PREFIX] {
    let mut prefix = [0; PREFIX];
    prefix.iter_mut().zip(digest.hash()).for_each(|(to, from)| *to = *from);
    prefix
}

impl Default for Strings {
    fn default() -> Self {
        Strings { begun: Vec::new(), found: Vec::new(), line: 0, time: UNKNOWN, is_time: false }
    }
}

impl Strings {
    fn take(&mut self, piece: &[u8]) {
        let mut parts = piece.split(|byte| *byte == b'"');
        if let Some(first) = parts.next() {
            self.grow(first);
        }
        for part in parts {
            self.ended();
            self.begun.clear();
            self.grow(part);
        }
    }

    /// A string has ended, or what is between two: journals hold no string with a quotation mark in it.
    fn ended(&mut self) {
        let text = std::str::from_utf8(&self.begun).unwrap_or_default();
        if let Some(written) = std::mem::take(&mut self.is_time).then(|| seconds(text)).flatten() {
            self.time = written;
            self.found.iter_mut().skip(self.line).for_each(|(_, time)| *time = written);
        }
        self.is_time = self.begun == CHANGED;
        // A string holds no such byte.
        if self.begun.contains(&b'\n') {
            (self.line, self.time) = (self.found.len(), UNKNOWN);
        }
        self.found.extend(text.parse().ok().as_ref().map(|digest| (prefix(digest), self.time)));
    }

    fn sorted(mut self) -> Arc<[One]> {
        self.ended();
        self.found.sort_unstable_by_key(|(hash, written)| (*hash, std::cmp::Reverse(*written)));
        self.found.dedup_by_key(|(hash, _)| *hash);
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
            assert_eq!(strings.found, [(prefix(&one), UNKNOWN), (prefix(&long), UNKNOWN)], "{size}");
        }
    }

    #[test]
    fn each_has_the_last_time_of_its_lines_however_the_text_is_cut() {
        let [one, other, third] = ["a", "b", "c"].map(|text| Digest::of(Algorithm::Sha256, text.as_bytes()));
        let text = format!(
            "{{\"version\":1,\"changed\":9}}\n\
             {{\"digest\":\"{one}\",\"target\":\"{one}\",\"changed\":1764547200,\"manifest\":\"bWFu\"}}\n\
             {{\"digest\":\"{other}\",\"tag\":\"changed\",\"target\":\"{other}\"}}\n\
             {{\"digest\":\"{third}\",\"changed\":5}}\n{{\"changed\":7,\"digest\":\"{third}\"}}\n\
             {{\"digest\":\"{third}\",\"changed\": 8}}"
        );
        for size in [1, 7, 64, 100_000] {
            let mut strings = Strings::default();
            text.as_bytes().chunks(size).for_each(|piece| strings.take(piece));
            let found = strings.sorted();
            let written =
                |digest: &Digest| found.iter().find(|(hash, _)| *hash == prefix(digest)).map(|(_, time)| *time);
            assert_eq!(
                [one, other, third].map(|digest| written(&digest)),
                [Some(1_764_547_200), Some(UNKNOWN), Some(8)]
            );
        }
    }

    #[test]
    fn what_was_written_in_the_second_of_the_deletion_counts_as_written_later() {
        let at = |millis| UNIX_EPOCH + std::time::Duration::from_millis(millis);
        assert!(Written(9).is_before(at(10_000)));
        assert!(!Written(10).is_before(at(10_999)));
        assert!(!Written(UNKNOWN).is_before(at(10_999)));
    }
}
