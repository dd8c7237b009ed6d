//! When tags were pushed that somebody brought back: their links are as young as the undelete, which to retention would be the newest of
//! all tags. One file for each repository, written before the links are.
//!
//! A record counts as long as the link is the one that the undelete wrote: the same digest, written at that time. Whoever pushes the tag
//! later makes it void. Losing the file costs that such tags count as pushed when they came back.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::stream::TryStreamExt as _;
use serde::{Deserialize, Serialize};

use super::journal::Taken;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::storage::format::{self, Format};
use crate::storage::{Error, OwnKey, Precondition, Storage, layout};

/// Tags that one file holds: as many as retention looks at. What is more counts as pushed when it came back.
const MAX_TAGS: usize = 100_000;
/// Of the file, in bytes: so many tags, with the longest names and digests that there are.
const MAX_FILE: u64 = 48 << 20;
/// How far the time of a link may be from that of its record: an undelete of many tags takes its time, and a store may have more than
/// one clock.
const TOLERANCE: Duration = Duration::from_secs(120);
/// How often the time is written anew while tags come back.
const EVERY: Duration = Duration::from_secs(30);
/// Others who write the same file.
const TRIES: usize = 8;

/// The file `gc/restored/<name>/_restored`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredTags {
    tags: BTreeMap<String, Record>,
}

/// Times are in seconds since 1970, by the store's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    digest: Digest,
    /// When somebody pushed it.
    pushed: u64,
    /// When its link was written again.
    restored: u64,
}

impl Format for RestoredTags {
    const WHAT: &'static str = "when tags were pushed that were brought back";
    const VERSION: u32 = 1;
}

impl Record {
    /// Whether a link of this time is the one that the undelete wrote.
    fn wrote(&self, changed: SystemTime) -> bool {
        let apart = |restored| changed.duration_since(restored).unwrap_or_else(|earlier| earlier.duration());
        at(self.restored).is_some_and(|restored| apart(restored) <= TOLERANCE)
    }
}

impl RestoredTags {
    /// # Errors
    /// Also of a damaged file: who takes tags away by their age rather takes none.
    pub async fn read(storage: &Storage, name: &RepositoryName) -> Result<Self, Error> {
        match storage.own(&OwnKey::Restored(name.clone()), MAX_FILE).await? {
            Some((bytes, _)) => format::read(&bytes),
            None => Ok(RestoredTags::default()),
        }
    }

    /// When a tag was pushed whose link was written at `changed` by an undelete; `None`: a push wrote it, as far as anybody knows.
    /// `digest`: what it leads to, if that is known yet.
    pub fn pushed(&self, tag: &Tag, digest: Option<&Digest>, changed: SystemTime) -> Option<SystemTime> {
        let record = self.tags.get(tag.as_str())?;
        let same = digest.is_none_or(|digest| *digest == record.digest);
        let pushed = at(record.pushed).filter(|_| same && record.wrote(changed))?;
        Some(pushed.min(changed))
    }

    /// What a journal says of a tag; one that had come back before is as old as it was then.
    fn record(&self, line: &Taken, now: SystemTime) -> Option<(String, Record)> {
        let (tag, changed) = (line.tag.as_ref()?, line.changed?);
        let before = self.pushed(tag, Some(&line.digest), at(changed)?);
        let pushed = before.map_or(changed, seconds);
        Some((tag.to_string(), Record { digest: line.digest, pushed, restored: seconds(now) }))
    }
}

/// An undelete of some tags of a repository, while it goes on.
pub struct Recording<'a> {
    storage: &'a Storage,
    name: RepositoryName,
    /// With the places of their lines.
    own: Vec<(usize, String, Record)>,
    /// Of tags that are gone or were set again.
    void: HashMap<String, Record>,
    /// The first line whose link was not written when the file was.
    from: usize,
    written: Instant,
}

impl<'a> Recording<'a> {
    /// Writes down when these tags were pushed, as their lines of a journal say. Those that are there now are somebody's push.
    pub async fn begin(storage: &'a Storage, name: &RepositoryName, lines: &[Taken]) -> Result<Self, Error> {
        let written = Instant::now();
        let mut recording =
            Recording { storage, name: name.clone(), own: Vec::new(), void: HashMap::new(), from: 0, written };
        if lines.is_empty() {
            return Ok(recording);
        }
        let (before, _) = to_write(storage, name).await?;
        let meant: HashSet<&str> = lines.iter().filter_map(|line| line.tag.as_ref()).map(Tag::as_str).collect();
        let mut there: HashMap<String, SystemTime> = HashMap::new();
        let mut entries = storage.below(&layout::tags_folder(name), None);
        while let Some(entry) = entries.try_next().await? {
            let tag = entry.name.strip_suffix("/current/link");
            if let Some(tag) = tag.filter(|tag| meant.contains(tag) || before.tags.contains_key(*tag)) {
                there.insert(tag.to_owned(), entry.changed);
            }
        }
        let now = storage.now().await?;
        let own = lines.iter().enumerate().filter_map(|(place, line)| {
            let (tag, record) = before.record(line, now)?;
            (!there.contains_key(&tag)).then_some((place, tag, record))
        });
        recording.own = own.collect();
        let is_void = |tag: &String, record: &Record| !there.get(tag).is_some_and(|changed| record.wrote(*changed));
        recording.void = before.tags.into_iter().filter(|(tag, record)| is_void(tag, record)).collect();
        recording.write().await?;
        Ok(recording)
    }

    /// Before the link of a line is written, and after the last.
    pub async fn keep_up(&mut self, place: usize) -> Result<(), Error> {
        if self.own.is_empty() || self.written.elapsed() < EVERY {
            return Ok(());
        }
        let (began, now) = (Instant::now(), seconds(self.storage.now().await?));
        let from = self.from;
        self.own.iter_mut().filter(|(place, ..)| *place >= from).for_each(|(.., record)| record.restored = now);
        self.write().await?;
        (self.from, self.written) = (place, began);
        Ok(())
    }

    async fn write(&self) -> Result<(), Error> {
        for left in (0..TRIES).rev() {
            let (before, precondition) = to_write(self.storage, &self.name).await?;
            let mut file = before.clone();
            file.tags.retain(|tag, record| self.void.get(tag) != Some(&*record));
            for (_, tag, record) in &self.own {
                if file.tags.len() < MAX_TAGS || file.tags.contains_key(tag) {
                    file.tags.insert(tag.clone(), record.clone());
                }
            }
            if file == before {
                return Ok(());
            }
            let key = OwnKey::Restored(self.name.clone());
            match self.storage.own_put(&key, format::write(&file)?.into(), precondition).await {
                Err(Error::Conflict) if left > 0 => {}
                outcome => return outcome.map(drop),
            }
        }
        Err(Error::Conflict)
    }
}

/// A damaged file is written over.
async fn to_write(storage: &Storage, name: &RepositoryName) -> Result<(RestoredTags, Precondition), Error> {
    match storage.own(&OwnKey::Restored(name.clone()), MAX_FILE).await {
        Ok(None) => Ok((RestoredTags::default(), Precondition::Absent)),
        Ok(Some((bytes, version))) => match format::read(&bytes) {
            Ok(file) => Ok((file, Precondition::Unchanged(version))),
            Err(Error::Damaged(what)) => {
                tracing::warn!(%name, what, "tags that came back before count as pushed when they did");
                Ok((RestoredTags::default(), Precondition::Unchanged(version)))
            }
            Err(error) => Err(error),
        },
        Err(Error::TooLarge(_)) => Ok((RestoredTags::default(), Precondition::None)),
        Err(error) => Err(error),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// `None` of what no clock can say.
fn at(seconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;
    use crate::storage::Link;
    use crate::storage::tests::in_memory;

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    fn line(tag: &str, pushed: u64) -> Taken {
        Taken::tag(tag.parse().unwrap(), digest(tag)).changed(at(pushed).unwrap())
    }

    #[tokio::test]
    async fn a_tag_is_as_old_as_it_was_until_it_is_pushed_again() {
        let (storage, name) = (in_memory().await, "a".parse::<RepositoryName>().unwrap());
        let tag: Tag = "v1".parse().unwrap();
        let lines = [line("v1", 1_000_000), Taken { changed: None, ..line("v2", 0) }];
        Recording::begin(&storage, &name, &lines).await.unwrap();
        let now = storage.now().await.unwrap();
        let restored = RestoredTags::read(&storage, &name).await.unwrap();
        let of = |tag: &Tag, digest: Option<&Digest>, changed| restored.pushed(tag, digest, changed);
        assert_eq!(of(&tag, None, now), at(1_000_000));
        assert_eq!(of(&tag, Some(&digest("v1")), now + TOLERANCE / 2), at(1_000_000));
        assert_eq!(of(&tag, Some(&digest("x")), now), None);
        assert_eq!(of(&tag, Some(&digest("v1")), now + TOLERANCE * 2), None);
        assert_eq!(of(&tag, Some(&digest("v1")), now - TOLERANCE * 2), None);
        assert_eq!(of(&"v2".parse().unwrap(), None, now), None, "its journal does not say when it was pushed");
        assert_eq!(RestoredTags::read(&storage, &"b".parse().unwrap()).await.unwrap(), RestoredTags::default());
    }

    #[tokio::test]
    async fn what_is_void_goes_and_what_came_back_twice_is_as_old_as_at_first() {
        let (storage, name) = (in_memory().await, "a".parse::<RepositoryName>().unwrap());
        let link = |tag: &str| Link::Tag(name.clone(), tag.parse().unwrap());
        Recording::begin(&storage, &name, &[line("1", 1_000), line("2", 2_000)]).await.unwrap();
        storage.link_put(&link("1"), &digest("1")).await.unwrap();
        storage.link_put(&link("there"), &digest("there")).await.unwrap();
        // The second was removed again: its journal says when it had come back.
        let again = line("2", seconds(storage.now().await.unwrap()));
        Recording::begin(&storage, &name, &[again, line("there", 3_000)]).await.unwrap();
        let file = RestoredTags::read(&storage, &name).await.unwrap();
        let pushed: Vec<_> = file.tags.iter().map(|(tag, record)| (tag.as_str(), record.pushed)).collect();
        assert_eq!(pushed, [("1", 1_000), ("2", 2_000)], "a tag that is there was pushed");
        Recording::begin(&storage, &name, &[line("3", 4_000)]).await.unwrap();
        let file = RestoredTags::read(&storage, &name).await.unwrap();
        assert_eq!(file.tags.keys().collect::<Vec<_>>(), ["1", "3"], "the second is gone");
    }

    #[tokio::test]
    async fn a_damaged_file_is_told_and_written_over_and_a_newer_one_is_left() {
        let (storage, name) = (in_memory().await, "a".parse::<RepositoryName>().unwrap());
        let key = OwnKey::Restored(name.clone());
        storage.own_put(&key, "{".into(), Precondition::None).await.unwrap();
        assert!(matches!(RestoredTags::read(&storage, &name).await, Err(Error::Damaged(_))));
        Recording::begin(&storage, &name, &[line("1", 1_000)]).await.unwrap();
        assert_eq!(RestoredTags::read(&storage, &name).await.unwrap().tags.len(), 1);
        storage.own_put(&key, r#"{"version":2}"#.into(), Precondition::None).await.unwrap();
        assert!(matches!(Recording::begin(&storage, &name, &[line("1", 1)]).await, Err(Error::Newer { .. })));
    }
}
