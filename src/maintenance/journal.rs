//! What was taken away: each link, before it is deleted, so that it can be brought back as long as its bytes are there.
//!
//! One file for each run and repository: `gc/journal/<run>/<name>/_journal`. Collections write it, and retention, and people who
//! remove something by a command. How a run is called says who it was: see [`run_id`].

use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::oci::{Digest, RepositoryName, Tag};
use crate::storage::format::{self, Format};
use crate::storage::{Error, Link, OwnKey, Precondition, Storage, layout};

/// Largest file, in bytes: so many links of one repository go in one run, at most.
const MAX_FILE: u64 = 256 << 20;
/// Links that one run takes from one repository, at most; what is more goes with the next.
pub const MAX_LINKS: usize = 200_000;
/// Bytes of manifests that one file holds; of more, only the links are written: their bytes stay where they are for as long as the
/// journal does, or nearly.
const MAX_MANIFESTS: usize = 64 << 20;
/// Others who write the same file: a run that goes on while the one that it took over still lives.
const TRIES: usize = 8;

/// What a run of collections is called begins so: what it took may be linked again when a manifest turns out to need it, which what
/// somebody deleted must not.
pub const COLLECTION: &str = "gc";

/// A link that was, or is about to be, deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "as_text")]
    pub tag: Option<Tag>,
    /// What stands in its path; of a tag, what it led to.
    pub digest: Digest,
    /// Where its bytes are: what stood in it.
    pub target: Digest,
    /// When it was written last, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<u64>,
    /// The bytes of a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "as_base64")]
    pub manifest: Option<Bytes>,
}

/// Kinds of links, in the order in which they are written again; they are deleted the other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Layer,
    Manifest,
    TagIndex,
    Tag,
}

impl Taken {
    pub fn layer(digest: Digest) -> Self {
        Taken { kind: Kind::Layer, tag: None, digest, target: digest, changed: None, manifest: None }
    }

    pub fn manifest(digest: Digest, bytes: Option<Bytes>) -> Self {
        Taken { kind: Kind::Manifest, manifest: bytes, ..Taken::layer(digest) }
    }

    pub fn tag(tag: Tag, digest: Digest) -> Self {
        Taken { kind: Kind::Tag, tag: Some(tag), ..Taken::layer(digest) }
    }

    pub fn tag_index(tag: Tag, digest: Digest) -> Self {
        Taken { kind: Kind::TagIndex, tag: Some(tag), ..Taken::layer(digest) }
    }

    #[must_use]
    pub fn changed(self, changed: SystemTime) -> Self {
        Taken { changed: changed.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs()), ..self }
    }

    /// `None` of a line that lacks its tag.
    pub fn link(&self, name: &RepositoryName) -> Option<Link> {
        Some(match (self.kind, &self.tag) {
            (Kind::Layer, _) => Link::Layer(name.clone(), self.digest),
            (Kind::Manifest, _) => Link::Revision(name.clone(), self.digest),
            (Kind::Tag, Some(tag)) => Link::Tag(name.clone(), tag.clone()),
            (Kind::TagIndex, Some(tag)) => Link::TagIndex(name.clone(), tag.clone(), self.digest),
            (Kind::Tag | Kind::TagIndex, None) => return None,
        })
    }

    /// Whether it was written before that time of the store, of which a journal has the seconds; one of which that is not known was not.
    pub fn is_before(&self, time: SystemTime) -> bool {
        let time = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.changed.is_some_and(|changed| changed < time)
    }

    fn key(&self) -> (Kind, Option<Tag>, Digest) {
        (self.kind, self.tag.clone(), self.digest)
    }
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    links: usize,
}

impl Format for Head {
    const WHAT: &'static str = "a journal of what was taken away";
    const VERSION: u32 = 1;
}

/// A name for a run: who it is (`gc`, `retention`, `rm`), when it began, and something that no other has.
pub fn run_id(word: &str, now: SystemTime) -> String {
    let time: DateTime<Utc> = now.into();
    let chance = uuid::Uuid::new_v4().simple().to_string();
    format!("{word}-{}-{}", time.format("%Y%m%dT%H%M%SZ"), chance.get(..8).unwrap_or_default())
}

/// When a run began, as its name says.
pub fn began(run: &str) -> Option<SystemTime> {
    let time = run.split('-').nth(1)?;
    let time = chrono::NaiveDateTime::parse_from_str(time, "%Y%m%dT%H%M%SZ").ok()?.and_utc().timestamp();
    UNIX_EPOCH.checked_add(std::time::Duration::from_secs(u64::try_from(time).ok()?))
}

/// Whether what the run took away was garbage to it, and nobody's wish.
pub fn is_collection(run: &str) -> bool {
    run.split('-').next() == Some(COLLECTION)
}

/// Whether some text can be the name of a run.
pub fn is_run(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !text.is_empty() && text.len() <= 128 && text.contains('-') && text.bytes().all(word)
}

/// The journal of one run and repository, while it is written.
pub struct Journal<'a> {
    storage: &'a Storage,
    run: String,
    name: RepositoryName,
}

impl<'a> Journal<'a> {
    pub fn begin(storage: &'a Storage, run: &str, name: &RepositoryName) -> Self {
        Journal { storage, run: run.to_owned(), name: name.clone() }
    }

    /// Writes down what is about to be deleted: durable when it returns, beside what the journal holds already.
    ///
    /// # Errors
    /// Then nothing may be deleted.
    pub async fn take(&self, taken: &[Taken]) -> Result<(), Error> {
        let key = OwnKey::Journal(self.run.clone(), self.name.clone());
        for left in (0..TRIES).rev() {
            let (mut lines, precondition) = match self.storage.own(&key, MAX_FILE).await? {
                Some((bytes, version)) => (parse(&bytes)?, Precondition::Unchanged(version)),
                None => (Vec::new(), Precondition::Absent),
            };
            let known: HashSet<_> = lines.iter().map(Taken::key).collect();
            lines.extend(taken.iter().filter(|line| !known.contains(&line.key())).cloned());
            if lines.len() == known.len() && !lines.is_empty() {
                return Ok(());
            }
            match self.storage.own_put(&key, text(&lines)?, precondition).await {
                Err(Error::Conflict) if left > 0 => {}
                outcome => return outcome.map(drop),
            }
        }
        Err(Error::Conflict)
    }
}

/// What a run took from a repository; `None` if there is no such journal.
pub async fn read(storage: &Storage, run: &str, name: &RepositoryName) -> Result<Option<Vec<Taken>>, Error> {
    let found = storage.own(&OwnKey::Journal(run.to_owned(), name.clone()), MAX_FILE).await?;
    found.map(|(bytes, _)| parse(&bytes)).transpose()
}

/// What can no longer be brought back.
pub async fn forget(storage: &Storage, run: &str, name: &RepositoryName) -> Result<bool, Error> {
    storage.own_delete(&OwnKey::Journal(run.to_owned(), name.clone())).await
}

/// A journal that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub run: String,
    pub repository: RepositoryName,
    /// When it was written last, by the store's clock; not before its run began.
    pub changed: SystemTime,
}

/// All journals, of the runs in their order.
pub fn all(storage: &Storage) -> BoxStream<'_, Result<Kept, Error>> {
    let entries = storage.below(layout::JOURNALS, None);
    let kept = |entry: crate::storage::driver::Entry| {
        let (run, below) = entry.name.split_once('/')?;
        let repository = below.strip_suffix("/_journal")?.parse().ok()?;
        let changed = entry.changed.max(began(run).unwrap_or(UNIX_EPOCH));
        Some(Kept { run: run.to_owned(), repository, changed })
    };
    entries.try_filter_map(move |entry| std::future::ready(Ok(kept(entry)))).boxed()
}

fn text(lines: &[Taken]) -> Result<Bytes, Error> {
    let mut text = format::write(&Head { links: lines.len() })?;
    let mut room = MAX_MANIFESTS;
    for line in lines {
        let size = line.manifest.as_ref().map_or(0, Bytes::len);
        let shortened = match room.checked_sub(size) {
            Some(left) => {
                room = left;
                None
            }
            None => Some(Taken { manifest: None, ..line.clone() }),
        };
        text.push(b'\n');
        let written = serde_json::to_writer(&mut text, shortened.as_ref().unwrap_or(line));
        written.map_err(|error| Error::Failed(error.to_string()))?;
    }
    Ok(text.into())
}

fn parse(bytes: &[u8]) -> Result<Vec<Taken>, Error> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let head: Head = format::read(lines.next().unwrap_or_default())?;
    let damaged = |why: String| Error::Damaged(format!("{}: {why}", Head::WHAT));
    let taken = lines.map(|line| serde_json::from_slice(line).map_err(|error| damaged(error.to_string())));
    let taken: Vec<Taken> = taken.collect::<Result<_, _>>()?;
    if taken.len() == head.links { Ok(taken) } else { Err(damaged("lines are missing".into())) }
}

mod as_text {
    use serde::de::Error as _;

    use super::{Deserialize, Deserializer, Serializer, Tag};

    pub fn serialize<S: Serializer>(tag: &Option<Tag>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(tag.as_ref().map_or("", Tag::as_str))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Tag>, D::Error> {
        String::deserialize(deserializer)?.parse().map(Some).map_err(D::Error::custom)
    }
}

mod as_base64 {
    use base64::Engine as _;
    use serde::de::Error as _;

    use super::{BASE64, Bytes, Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&bytes.as_ref().map(|bytes| BASE64.encode(bytes)).unwrap_or_default())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
        let bytes = BASE64.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)?;
        Ok(Some(bytes.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::oci::Algorithm;
    use crate::storage::tests::in_memory;

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    fn some() -> Vec<Taken> {
        let tag: Tag = "v1".parse().unwrap();
        let when = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        vec![
            Taken::layer(digest("1")).changed(when),
            Taken { target: digest("2"), ..Taken::layer(Digest::of(Algorithm::Sha512, b"2")) },
            Taken::manifest(digest("3"), Some(Bytes::from_static(b"{\"a\":\"\xc3\xa9\"}"))),
            Taken::manifest(digest("4"), None),
            Taken::tag_index(tag.clone(), digest("3")),
            Taken::tag(tag, digest("3")),
        ]
    }

    #[tokio::test]
    async fn what_was_taken_is_read_back_and_nothing_twice() {
        let storage = in_memory().await;
        let (run, repository) = (run_id(COLLECTION, SystemTime::now()), name("a/b"));
        assert_eq!(read(&storage, &run, &repository).await.unwrap(), None);
        let journal = Journal::begin(&storage, &run, &repository);
        journal.take(&some()[..3]).await.unwrap();
        journal.take(&some()[1..]).await.unwrap();
        journal.take(&some()).await.unwrap();
        assert_eq!(read(&storage, &run, &repository).await.unwrap().unwrap(), some());
        Journal::begin(&storage, "rm-x", &name("a")).take(&some()[..1]).await.unwrap();
        let kept: Vec<Kept> = all(&storage).try_collect().await.unwrap();
        let told: Vec<_> = kept.iter().map(|kept| (kept.run.as_str(), kept.repository.as_str())).collect();
        assert_eq!(told, [(run.as_str(), "a/b"), ("rm-x", "a")]);
        assert!(forget(&storage, &run, &repository).await.unwrap());
        assert_eq!(read(&storage, &run, &repository).await.unwrap(), None);
    }

    #[tokio::test]
    async fn of_two_who_write_the_same_journal_nothing_is_lost() {
        let storage = in_memory().await;
        let (run, repository) = ("gc-1", name("a"));
        let lines: Vec<Taken> = (0..20).map(|number| Taken::layer(digest(&number.to_string()))).collect();
        let takes = lines.chunks(5).map(|some| async {
            Journal::begin(&storage, run, &repository).take(some).await.unwrap();
        });
        futures::future::join_all(takes).await;
        let mut found = read(&storage, run, &repository).await.unwrap().unwrap();
        found.sort_by_key(|line| lines.iter().position(|other| other == line));
        assert_eq!(found, lines);
    }

    #[test]
    fn a_journal_that_was_cut_or_is_newer_is_refused() {
        let text = text(&some()).unwrap();
        assert_eq!(parse(&text).unwrap(), some());
        for end in 0..text.len() {
            assert!(matches!(parse(&text[..end]), Err(Error::Damaged(_))), "{end}");
        }
        assert!(matches!(parse(br#"{"version":2}"#), Err(Error::Newer { .. })));
    }

    #[test]
    fn manifests_beyond_the_bound_are_left_to_their_place() {
        let large = Bytes::from(vec![b' '; MAX_MANIFESTS / 2 + 1]);
        let lines = [Taken::manifest(digest("1"), Some(large.clone())), Taken::manifest(digest("2"), Some(large))];
        let read = parse(&text(&lines).unwrap()).unwrap();
        assert!(read[0] == lines[0]);
        assert_eq!(read[1], Taken::manifest(digest("2"), None));
    }

    #[test]
    fn runs_say_who_they_are() {
        let now = UNIX_EPOCH + Duration::from_secs(1_796_004_245);
        let run = run_id(COLLECTION, now);
        assert!(run.starts_with("gc-20261130T") && is_run(&run) && is_collection(&run), "{run}");
        assert_eq!(began(&run), Some(now));
        assert_eq!((began("rm-1"), began("rm")), (None, None));
        assert!(!is_collection(&run_id("rm", now)) && !is_collection("gcx-1"));
        for text in ["", "library", "a/b-c", "gc_1", &"a-".repeat(100)] {
            assert!(!is_run(text), "{text}");
        }
    }
}
