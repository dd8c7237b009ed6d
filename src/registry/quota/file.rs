//! A quota's files in storage: the state, and beside it what it names.
//!
//! | file | holds |
//! |---|---|
//! | `<word>` | the state |
//! | `<word>-<stamp>-p<n>` | contents that a count found: 16 bytes each, sorted |
//! | `<word>-<stamp>-s<name>` | changes since that count, as lines |
//!
//! Whatever the state names is written before it, and taken away after it names it no longer.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::entry::{self, Entry, Short};
use super::held::Held;
use super::state::{Count, Segment, State};
use crate::oci::{Algorithm, Digest};
use crate::storage::format;
use crate::storage::{Error, OwnKey, Precondition, Storage, Version, layout};

/// Characters of a word.
const WORD: usize = 32;
/// Of a state, in bytes: 1,024 changes and 256 instances are less than 100 KiB.
const MAX_STATE: u64 = 1 << 20;
/// Of a segment.
const MAX_SEGMENT: u64 = 1 << 20;
/// Contents in a part, which is 1 MiB then.
const IN_PART: usize = 65_536;
/// Parts of a count that are read; a count writes no more.
pub(super) const MOST_PARTS: u32 = 64;
/// Contents that a count remembers.
pub(super) const MOST_CONTENTS: usize = IN_PART * MOST_PARTS as usize;
/// Changes in the state itself; more go to segments.
const RECENT: usize = 1024;
/// In each, at most: less than [`MAX_SEGMENT`].
const IN_SEGMENT: usize = 8192;
/// Beyond so many segments, a count has to find what has changed. From a quarter of them on there should be one.
const MOST_SEGMENTS: usize = 256;
pub(super) const MANY_SEGMENTS: usize = MOST_SEGMENTS / 4;
/// Parts and segments that are read or written at once.
const AT_ONCE: usize = 8;
/// What nobody names any more, because who wrote it was cut off, is taken away when it is so old.
const LEFT_FOR: Duration = Duration::from_secs(24 * 3600);

/// Where one quota is kept.
#[derive(Clone, Debug)]
pub(super) struct File {
    word: String,
}

/// A state as it was read, and how it can be replaced.
pub(super) struct Found {
    /// `None`: there is none, or it cannot be read.
    pub state: Option<State>,
    pub replaceable: Precondition,
    /// Why it cannot be read.
    pub damage: Option<String>,
}

impl File {
    /// Of a pattern. Its bounds may change without it being counted anew.
    pub fn of(pattern: &str) -> Self {
        let mut word = Digest::of(Algorithm::Sha256, pattern.as_bytes()).hex();
        word.truncate(WORD);
        File { word }
    }

    /// By the name of a state; `None` of what a state names.
    pub fn of_name(name: &str) -> Option<Self> {
        let is_word = name.len() == WORD && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_word.then(|| File { word: name.to_owned() })
    }

    /// Fails if storage does, or if a newer version wrote it.
    pub async fn read(&self, storage: &Storage) -> Result<Found, Error> {
        let damaged = |replaceable, why: String| Found { state: None, replaceable, damage: Some(why) };
        match storage.own(&OwnKey::Quota(self.word.clone()), MAX_STATE).await {
            Ok(None) => Ok(Found { state: None, replaceable: Precondition::Absent, damage: None }),
            Ok(Some((bytes, version))) => match format::read::<State>(&bytes) {
                Ok(state) => {
                    Ok(Found { state: Some(state), replaceable: Precondition::Unchanged(version), damage: None })
                }
                Err(Error::Damaged(why)) => Ok(damaged(Precondition::Unchanged(version), why)),
                Err(error) => Err(error),
            },
            Err(error @ Error::TooLarge(_)) => Ok(damaged(Precondition::None, error.to_string())),
            Err(error) => Err(error),
        }
    }

    /// `Error::Conflict`: it is another one by now.
    pub async fn write(
        &self,
        storage: &Storage,
        state: &State,
        replaceable: &Precondition,
    ) -> Result<Precondition, Error> {
        let bytes: Bytes = format::write(state)?.into();
        let minded = storage.is_local() || storage.is_known_to_mind().await?;
        // Of others the last one to write wins, and what another wrote meanwhile is lost until somebody counts.
        let precondition = if minded { replaceable.clone() } else { Precondition::None };
        let version: Version = storage.own_put(&OwnKey::Quota(self.word.clone()), bytes, precondition).await?;
        Ok(Precondition::Unchanged(version))
    }

    /// What is held by this state, read from its beginning. `None`: a part of it is not there or damaged.
    pub async fn held(&self, storage: &Storage, state: &State) -> Result<Option<Held>, Error> {
        let mut counted = Vec::new();
        if let Some(count) = &state.count {
            let expected = usize::try_from(count.contents).unwrap_or(usize::MAX).min(MOST_CONTENTS);
            counted.reserve_exact(expected.min(IN_PART * count.parts.min(MOST_PARTS) as usize));
            let numbers = 0..count.parts.min(MOST_PARTS);
            let reads: Vec<_> = numbers.map(|number| self.part(storage, &count.stamp, number)).collect();
            let mut parts = stream::iter(reads).buffered(AT_ONCE);
            while let Some(part) = parts.try_next().await? {
                let Some(part) = part else { return Ok(None) };
                counted.extend(part);
            }
        }
        let mut held = Held::new(state.stamp().map(str::to_owned), counted);
        let Some(since) = self.since(storage, state, 0).await? else { return Ok(None) };
        held.apply(&since);
        Ok(Some(held))
    }

    /// The changes of a state but for the first `known`. `None`: some are not there or damaged.
    pub async fn since(&self, storage: &Storage, state: &State, known: u64) -> Result<Option<Vec<Entry>>, Error> {
        let (mut before, mut wanted) = (0, Vec::new());
        for segment in &state.segments {
            let after = segment.entries.saturating_add(before);
            if after > known {
                wanted.push((segment, known.saturating_sub(before)));
            }
            before = after;
        }
        let stamp = state.stamp().unwrap_or_default();
        let (segments, skipped): (Vec<&Segment>, Vec<u64>) = wanted.into_iter().unzip();
        // Made before they are a stream: else the compiler does not see that they may change threads.
        let reads: Vec<_> = segments.into_iter().map(|segment| self.segment(storage, stamp, segment)).collect();
        let mut reads = stream::iter(reads).buffered(AT_ONCE).zip(stream::iter(skipped));
        let mut since = Vec::new();
        while let Some((found, skipped)) = reads.next().await {
            let Some(entries) = found? else { return Ok(None) };
            since.extend(entries.into_iter().skip(usize::try_from(skipped).unwrap_or(usize::MAX)));
        }
        let skipped = usize::try_from(known.saturating_sub(before)).unwrap_or(usize::MAX);
        since.extend(state.recent.iter().skip(skipped));
        Ok(Some(since))
    }

    async fn part(&self, storage: &Storage, stamp: &str, number: u32) -> Result<Option<Vec<Short>>, Error> {
        let limit = (IN_PART * Short::LENGTH) as u64;
        let found = match storage.own(&self.part_key(stamp, number), limit).await {
            Err(Error::TooLarge(_)) => None,
            found => found?,
        };
        let Some((bytes, _)) = found else { return Ok(None) };
        let (shorts, rest) = bytes.as_chunks::<{ Short::LENGTH }>();
        Ok(rest.is_empty().then(|| shorts.iter().copied().map(Short).collect()))
    }

    async fn segment(&self, storage: &Storage, stamp: &str, segment: &Segment) -> Result<Option<Vec<Entry>>, Error> {
        let found = match storage.own(&self.segment_key(stamp, &segment.name), MAX_SEGMENT).await {
            Err(Error::TooLarge(_)) => None,
            found => found?,
        };
        let text = found.and_then(|(bytes, _)| String::from_utf8(bytes.to_vec()).ok());
        let entries = text.as_deref().and_then(entry::read);
        Ok(entries.filter(|entries| entries.len() as u64 == segment.entries))
    }

    /// Writes what a count found; how many parts that are. `contents` are sorted.
    pub async fn put_parts(&self, storage: &Storage, stamp: &str, contents: &[Short]) -> Result<u32, Error> {
        let parts = contents.chunks(IN_PART).take(MOST_PARTS as usize).zip(0_u32..);
        let writes: Vec<_> = parts.map(|(part, number)| self.put_part(storage, (stamp, number), part)).collect();
        let count = writes.len();
        let mut writes = stream::iter(writes).buffer_unordered(AT_ONCE);
        while writes.try_next().await?.is_some() {}
        Ok(u32::try_from(count).unwrap_or(MOST_PARTS))
    }

    async fn put_part(&self, storage: &Storage, (stamp, number): (&str, u32), contents: &[Short]) -> Result<(), Error> {
        let mut bytes = Vec::with_capacity(contents.len() * Short::LENGTH);
        contents.iter().for_each(|short| bytes.extend_from_slice(&short.0));
        storage.own_put(&self.part_key(stamp, number), bytes.into(), Precondition::None).await.map(drop)
    }

    /// Makes the state one that can be written: changes that are too many go to segments.
    pub async fn part_off(&self, storage: &Storage, state: &mut State) -> Result<(), Error> {
        while state.recent.len() > RECENT {
            let rest = state.recent.split_off(state.recent.len().min(IN_SEGMENT));
            let older = std::mem::replace(&mut state.recent, rest);
            if state.segments.len() >= MOST_SEGMENTS {
                state.doubtful = true;
                continue;
            }
            let segment = self.put_segment(storage, state.stamp().unwrap_or_default(), &older).await?;
            state.segments.push(segment);
        }
        Ok(())
    }

    async fn put_segment(&self, storage: &Storage, stamp: &str, entries: &[Entry]) -> Result<Segment, Error> {
        let segment = Segment { name: format!("{:016x}", rand::random::<u64>()), entries: entries.len() as u64 };
        let key = self.segment_key(stamp, &segment.name);
        storage.own_put(&key, entry::written(entries).into(), Precondition::None).await?;
        Ok(segment)
    }

    /// Takes away what a state named that is replaced. What cannot be removed now, a later count removes.
    pub async fn remove(&self, storage: &Storage, count: Option<&Count>, segments: &[Segment]) {
        let stamp = count.map(|count| count.stamp.as_str());
        let numbers = count.map_or(0..0, |count| 0..count.parts.min(MOST_PARTS));
        let parts = numbers.map(|number| self.part_key(stamp.unwrap_or_default(), number));
        let segments = segments.iter().map(|segment| self.segment_key(stamp.unwrap_or_default(), &segment.name));
        let keys: Vec<OwnKey> = parts.chain(segments).collect();
        let removals: Vec<_> = keys.iter().map(|key| storage.own_delete(key)).collect();
        let mut removals = stream::iter(removals).buffer_unordered(AT_ONCE);
        while removals.next().await.is_some() {}
    }

    /// Takes away what was left of counts that were cut off long ago.
    pub async fn sweep(&self, storage: &Storage, stamp: &str) -> Result<(), Error> {
        let own = format!("{}-", self.word);
        let present = format!("{own}{stamp}-");
        let mut entries = storage.below(layout::QUOTAS, None);
        while let Some(found) = entries.try_next().await? {
            let old = SystemTime::now().duration_since(found.changed).is_ok_and(|age| age >= LEFT_FOR);
            if old && found.name.starts_with(&own) && !found.name.starts_with(&present) {
                storage.own_delete(&OwnKey::Quota(found.name)).await?;
            }
        }
        Ok(())
    }

    fn part_key(&self, stamp: &str, number: u32) -> OwnKey {
        OwnKey::Quota(format!("{}-{stamp}-p{number:04}", self.word))
    }

    fn segment_key(&self, stamp: &str, name: &str) -> OwnKey {
        OwnKey::Quota(format!("{}-{stamp}-s{name}", self.word))
    }
}

/// Random, in hex: names of counts and of instances.
pub(super) fn nonce() -> String {
    format!("{:016x}", rand::random::<u64>())
}
