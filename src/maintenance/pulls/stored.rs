//! The files, one for each repository that anything was pulled of.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::recording::Recording;
use crate::maintenance::day::Day;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::storage::format::{self, Format};
use crate::storage::{Error, OwnKey, Precondition, Storage};

/// Tags and digests of one repository that are remembered; beyond, those that were pulled longest ago are forgotten.
const MOST_ENTRIES: usize = 50_000;
/// Bytes of a file: as many entries with the longest names.
const MAX_FILE: u64 = 16 << 20;
/// How often a file is written anew that another instance has changed meanwhile.
const TRIES: usize = 6;

/// When something was pulled last, and how often since that is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last(pub Day, pub u64);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct File {
    /// What is not in here may have been pulled until the end of this day.
    #[serde(default)]
    since: Day,
    #[serde(default)]
    tags: BTreeMap<String, Last>,
    #[serde(default)]
    digests: BTreeMap<String, Last>,
}

impl Format for File {
    const WHAT: &'static str = "the pulls of a repository";
    const VERSION: u32 = 1;
}

/// A pull of a tag or a digest, as it is noted until it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub reference: Box<str>,
    pub day: Day,
    pub count: u64,
}

/// What is known of the pulls of one repository.
#[derive(Clone, Debug, Default)]
pub struct Pulled(File);

impl Pulled {
    /// `since`: see [`recorded_since`].
    pub async fn of(storage: &Storage, name: &RepositoryName, since: Day) -> Result<Self, Error> {
        let mut file = match storage.own(&OwnKey::Pulls(name.clone()), MAX_FILE).await {
            Ok(None) => File::default(),
            Ok(Some((bytes, _))) => match format::read(&bytes) {
                Ok(file) => file,
                Err(Error::Damaged(what)) => unreadable(name, &what),
                Err(error) => return Err(error),
            },
            Err(Error::TooLarge(_)) => unreadable(name, "it is too large"),
            Err(error) => return Err(error),
        };
        file.since = file.since.max(since);
        Ok(Pulled(file))
    }

    /// What has not been pulled by what is recorded, and was there then, may have been pulled until the end of this day.
    pub fn since(&self) -> Day {
        self.0.since
    }

    pub fn tag(&self, tag: &Tag) -> Option<Last> {
        self.0.tags.get(tag.as_str()).copied()
    }

    pub fn digest(&self, digest: &Digest) -> Option<Last> {
        self.0.digests.get(&digest.text()).copied()
    }

    /// All pulls that were counted: those by a tag are pulls of its digest too.
    pub fn count(&self) -> u64 {
        self.0.digests.values().fold(0, |sum: u64, last| sum.saturating_add(last.1))
    }

    /// The latest moment at which something can have been pulled that is in the repository since `added`: what is recorded of
    /// its tag or its digest, or the day when recording began, if it was there before.
    pub fn last(&self, tag: Option<&Tag>, digest: Option<&Digest>, added: SystemTime) -> Option<SystemTime> {
        let by_tag = tag.and_then(|tag| self.tag(tag));
        let by_digest = digest.and_then(|digest| self.digest(digest));
        let unseen = (Day::of(added) <= self.0.since).then_some(self.0.since);
        let days = [by_tag.map(|last| last.0), by_digest.map(|last| last.0), unseen];
        days.into_iter().flatten().max().map(Day::end)
    }
}

/// Rather everything was pulled today than nothing ever.
fn unreadable(name: &RepositoryName, what: &str) -> File {
    tracing::warn!(%name, what, "the record of pulls cannot be read: all of the repository counts as pulled today");
    File { since: Day::today(), ..File::default() }
}

/// Since when pulls are recorded here; today, if nobody does, or what was recorded is gone. By `now`, the time of whoever asks.
pub async fn recorded_since(storage: &Storage, now: SystemTime) -> Result<Day, Error> {
    let recording = Recording::read(storage).await?;
    Ok(recording.map_or(Day::of(now), |recording| recording.since))
}

/// Which of these manifests were pulled since then, or may have been.
pub async fn pulled_since(
    storage: &Storage,
    name: &RepositoryName,
    manifests: &[Digest],
    since: SystemTime,
) -> Result<Vec<Digest>, Error> {
    let recorded = recorded_since(storage, SystemTime::now()).await?;
    let pulled = Pulled::of(storage, name, recorded).await?;
    if pulled.since().end() >= since {
        return Ok(manifests.to_vec());
    }
    let recently = |digest: &&Digest| pulled.digest(digest).is_some_and(|last| last.0.end() >= since);
    Ok(manifests.iter().filter(recently).copied().collect())
}

/// Joins notes with what is written down. Nothing is written of a repository that is not there.
pub(super) async fn write(storage: &Storage, name: &RepositoryName, notes: &[Note]) -> Result<(), Error> {
    let key = OwnKey::Pulls(name.clone());
    for _ in 0..TRIES {
        let found = storage.own(&key, MAX_FILE).await;
        if matches!(found, Ok(None)) && !storage.repository_exists(name).await? {
            return Ok(());
        }
        let (mut file, precondition) = match found {
            Ok(None) => (File::default(), Precondition::Absent),
            Ok(Some((bytes, version))) => match format::read(&bytes) {
                Ok(file) => (file, Precondition::Unchanged(version)),
                Err(Error::Damaged(what)) => (unreadable(name, &what), Precondition::Unchanged(version)),
                Err(error) => return Err(error),
            },
            Err(Error::TooLarge(_)) => (unreadable(name, "it is too large"), Precondition::None),
            Err(error) => return Err(error),
        };
        file.join(notes);
        file.shrink(MOST_ENTRIES);
        match storage.own_put(&key, format::write(&file)?.into(), precondition).await {
            Err(Error::Conflict) => {}
            written => return written.map(drop),
        }
    }
    Err(Error::Unavailable("other instances write the pulls of this repository all the time".to_owned()))
}

impl File {
    fn join(&mut self, notes: &[Note]) {
        for Note { reference, day, count } in notes {
            let entries = if reference.contains(':') { &mut self.digests } else { &mut self.tags };
            let last = entries.entry(reference.to_string()).or_default();
            *last = Last(last.0.max(*day), last.1.saturating_add(*count));
        }
    }

    /// Forgets what was pulled longest ago: it counts as pulled on the latest day that is forgotten.
    fn shrink(&mut self, most: usize) {
        let surplus = (self.tags.len() + self.digests.len()).saturating_sub(most);
        let Some(last) = surplus.checked_sub(1) else { return };
        let mut days: Vec<Day> = self.tags.values().chain(self.digests.values()).map(|last| last.0).collect();
        let last = last.min(days.len().saturating_sub(1));
        let (_, forgotten, _) = days.select_nth_unstable(last);
        let forgotten = *forgotten;
        self.tags.retain(|_, last| last.0 > forgotten);
        self.digests.retain(|_, last| last.0 > forgotten);
        self.since = self.since.max(forgotten);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(reference: &str, day: u32, count: u64) -> Note {
        Note { reference: reference.into(), day: Day(day), count }
    }

    #[test]
    fn the_last_day_counts_and_all_pulls_do() {
        let mut file = File::default();
        file.join(&[note("v1", 7, 2), note("sha256:aa", 8, 1), note("v1", 5, 3)]);
        assert_eq!((file.tags["v1"], file.digests["sha256:aa"]), (Last(Day(7), 5), Last(Day(8), 1)));
        assert_eq!(Pulled(file.clone()).count(), 1);
        let text = String::from_utf8(format::write(&file).unwrap()).unwrap();
        assert_eq!(text, r#"{"version":1,"since":0,"tags":{"v1":[7,5]},"digests":{"sha256:aa":[8,1]}}"#);
        assert_eq!(format::read::<File>(text.as_bytes()).unwrap(), file);
    }

    #[test]
    fn what_is_forgotten_counts_as_pulled_when_it_was_forgotten() {
        let mut file = File::default();
        file.join(&(0..100).map(|n| note(&format!("t{n}"), n, 1)).collect::<Vec<_>>());
        file.join(&[note("sha256:aa", 200, 1)]);
        file.shrink(200);
        assert_eq!((file.tags.len(), file.since), (100, Day(0)));
        file.shrink(11);
        assert_eq!((file.tags.len(), file.digests.len(), file.since), (10, 1, Day(89)));
        let pulled = Pulled(file);
        let added = Day(3).end();
        assert_eq!(pulled.last(Some(&"t5".parse().unwrap()), None, added), Some(Day(89).end()));
        assert_eq!(pulled.last(Some(&"t95".parse().unwrap()), None, added), Some(Day(95).end()));
        assert_eq!(pulled.last(Some(&"new".parse().unwrap()), None, Day(90).end()), None, "it came later");
    }

    #[test]
    fn a_tag_is_pulled_with_what_it_leads_to() {
        let digest = Digest::of(crate::oci::Algorithm::Sha256, b"x");
        let mut file = File { since: Day(10), ..File::default() };
        file.join(&[note("v1", 20, 1), note(&digest.text(), 30, 1)]);
        let pulled = Pulled(file);
        let tag = "v1".parse().unwrap();
        assert_eq!(pulled.last(Some(&tag), Some(&digest), Day(15).end()), Some(Day(30).end()));
        assert_eq!(pulled.last(Some(&tag), None, Day(15).end()), Some(Day(20).end()));
        assert_eq!(pulled.last(None, Some(&digest), Day(15).end()), Some(Day(30).end()));
        assert_eq!(pulled.last(None, None, Day(5).end()), Some(Day(10).end()));
        assert_eq!(pulled.last(None, None, Day(11).end()), None);
    }
}
