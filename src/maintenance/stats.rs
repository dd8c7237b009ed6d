//! How much there is: counted by a walk over all blobs and links, and a line kept of each day.

mod metrics;

use std::collections::HashSet;
use std::time::SystemTime;

use futures::stream::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use super::day;
use super::pulls::Pulled;
use super::verify::{Holdings, Index, Pace, grouped};
use crate::limits::config::Rate;
use crate::oci::{Digest, RepositoryName};
use crate::storage::format::{self, Format};
use crate::storage::{Error, OwnKey, Precondition, Storage, layout};
pub use metrics::Metrics;

/// Days that are kept.
pub const MOST_DAYS: usize = 400;
/// Largest ones that are told.
const LARGEST: usize = 10;
/// Largest repositories that are gauges.
const MEASURED: usize = 100;
/// Links of a walk that come with one call to storage, about.
const LINKS: usize = 1000;
/// Bytes of a day's file.
const LIMIT: u64 = 4 << 10;
/// Files of days read or removed at once.
const AT_ONCE: usize = 16;

/// What there is. Sizes are in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// In RFC 3339.
    pub at: String,
    pub repositories: u64,
    /// Manifests and indexes, each once for each repository that holds it.
    pub manifests: u64,
    pub tags: u64,
    /// Blobs in place, of manifests too.
    pub blobs: u64,
    pub bytes: u64,
    /// What repositories would take if each kept its own copies; `saved` is what they do not take because they share.
    pub bytes_of_repositories: u64,
    pub saved: u64,
    /// In place and linked by no repository: what a collection will take away.
    pub unlinked: Amount,
    /// Taken away, and not deleted yet: each time that a blob was.
    pub trash: Amount,
    /// Of each what it takes alone, whoever else has the same.
    pub largest_repositories: Vec<RepositorySize>,
    pub largest_blobs: Vec<BlobSize>,
    /// Since pulls are recorded, by what is recorded: not those that another program answered.
    pub most_pulled: Vec<RepositoryPulls>,
    /// The last days on which somebody counted, oldest first.
    pub days: Vec<Day>,
    /// For gauges.
    #[serde(skip)]
    pub measured: Measured,
}

/// Bytes of all blobs in place, and the largest repositories, the largest one first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    pub bytes: u64,
    pub repositories: Vec<RepositorySize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    pub blobs: u64,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RepositorySize {
    pub repository: String,
    pub bytes: u64,
    pub manifests: u64,
    pub tags: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlobSize {
    pub digest: Digest,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RepositoryPulls {
    pub repository: String,
    /// Of its manifests.
    pub pulls: u64,
}

/// How much there was on a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// `2026-11-30`, in UTC.
    pub day: String,
    pub repositories: u64,
    pub manifests: u64,
    pub tags: u64,
    pub blobs: u64,
    pub bytes: u64,
    pub saved: u64,
}

impl Format for Day {
    const WHAT: &'static str = "how much there was on a day";
    const VERSION: u32 = 1;
}

/// What a walk has counted so far, for whoever watches.
#[derive(Clone, Copy, Debug)]
pub enum Counting {
    Blobs(u64),
    Repositories(u64),
}

impl Stats {
    /// Counts everything. Takes memory for 40 bytes of each blob, and for the links of one repository.
    pub async fn gather(storage: &Storage, told: &(dyn Fn(Counting) + Send + Sync)) -> Result<Self, Error> {
        let pace = Pace::new(None);
        let index = Index::read(storage, &pace, |index| told(Counting::Blobs(index.len() as u64))).await?;
        let count = walk(storage, &index, &pace, told).await?;
        let trash = trash(storage).await?;
        let mut stats = count.stats(trash);
        stats.most_pulled = most_pulled(storage).await?;
        stats.days = days(storage).await?;
        Ok(stats)
    }

    /// The line of a day.
    pub fn day(&self) -> Day {
        Day {
            day: self.at.get(..10).unwrap_or_default().to_owned(),
            repositories: self.repositories,
            manifests: self.manifests,
            tags: self.tags,
            blobs: self.blobs,
            bytes: self.bytes,
            saved: self.saved,
        }
    }

    /// Keeps the line of this day, and forgets those that are too old.
    pub async fn keep(&self, storage: &Storage) -> Result<(), Error> {
        let day = self.day();
        let bytes = format::write(&day)?;
        storage.own_put(&OwnKey::Stats(day.day), bytes.into(), Precondition::None).await?;
        let mut names = names(storage).await?;
        let old = names.len().saturating_sub(MOST_DAYS);
        names.truncate(old);
        let removals = names.into_iter().map(|name| async move { storage.own_delete(&OwnKey::Stats(name)).await });
        futures::stream::iter(removals).buffer_unordered(AT_ONCE).try_collect::<Vec<bool>>().await.map(drop)
    }
}

/// What gauges tell, no faster than that; memory as for all of it.
pub async fn measure(storage: &Storage, rate: Option<Rate>) -> Result<Measured, Error> {
    let pace = Pace::new(rate);
    let index = Index::read(storage, &pace, |_| ()).await?;
    let count = walk(storage, &index, &pace, &|_| ()).await?;
    Ok(count.measured())
}

/// Counts what each repository holds.
async fn walk<'a>(
    storage: &Storage,
    index: &'a Index,
    pace: &Pace,
    told: &(dyn Fn(Counting) + Send + Sync),
) -> Result<Count<'a>, Error> {
    let mut count = Count::new(index);
    let mut repositories = grouped(storage.links(None));
    let mut links = 0;
    while let Some((name, held)) = repositories.try_next().await? {
        links += held.layers.len() + held.revisions.len() + held.tags.len() + held.histories.len();
        if links >= LINKS {
            pace.take((links / LINKS) as u64).await;
            links %= LINKS;
        }
        count.repository(name.as_str(), &held);
        told(Counting::Repositories(count.repositories));
    }
    Ok(count)
}

/// Of a walk under way.
struct Count<'a> {
    index: &'a Index,
    /// By position in the index: whether any repository links it.
    linked: Vec<bool>,
    repositories: u64,
    manifests: u64,
    tags: u64,
    /// Of what each repository links, together.
    bytes: u64,
    largest: Vec<RepositorySize>,
}

impl<'a> Count<'a> {
    fn new(index: &'a Index) -> Self {
        let linked = vec![false; index.len()];
        Count { index, linked, repositories: 0, manifests: 0, tags: 0, bytes: 0, largest: Vec::new() }
    }

    fn repository(&mut self, name: &str, held: &Holdings) {
        let mut bytes = 0_u64;
        let digests: HashSet<&Digest> = held.layers.iter().chain(&held.revisions).collect();
        for position in digests.into_iter().filter_map(|digest| self.index.position(digest)) {
            bytes = bytes.saturating_add(self.index.size_at(position).unwrap_or(0));
            if let Some(linked) = self.linked.get_mut(position) {
                *linked = true;
            }
        }
        let (manifests, tags) = (held.revisions.len() as u64, held.tags.len() as u64);
        self.bytes = self.bytes.saturating_add(bytes);
        self.manifests += manifests;
        self.tags += tags;
        // What holds blobs alone is in no catalog.
        if manifests + tags == 0 {
            return;
        }
        self.repositories += 1;
        let size = RepositorySize { repository: name.to_owned(), bytes, manifests, tags };
        keep_largest(&mut self.largest, MEASURED, size, |size| size.bytes);
    }

    fn measured(self) -> Measured {
        Measured { bytes: self.index.bytes(), repositories: self.largest }
    }

    fn stats(self, trash: Amount) -> Stats {
        let (mut unlinked, mut linked, mut largest_blobs) = (Amount::default(), 0_u64, Vec::new());
        for ((digest, bytes), is_linked) in self.index.iter().zip(&self.linked) {
            match is_linked {
                true => linked = linked.saturating_add(bytes),
                false => unlinked.add(bytes),
            }
            keep_largest(&mut largest_blobs, LARGEST, BlobSize { digest, bytes }, |blob| blob.bytes);
        }
        Stats {
            at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            repositories: self.repositories,
            manifests: self.manifests,
            tags: self.tags,
            blobs: self.index.len() as u64,
            bytes: self.index.bytes(),
            bytes_of_repositories: self.bytes,
            saved: self.bytes.saturating_sub(linked),
            unlinked,
            trash,
            largest_repositories: self.largest.iter().take(LARGEST).cloned().collect(),
            largest_blobs,
            most_pulled: Vec::new(),
            days: Vec::new(),
            measured: self.measured(),
        }
    }
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.blobs += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Keeps the list sorted, and short.
fn keep_largest<T>(list: &mut Vec<T>, most: usize, one: T, size: impl Fn(&T) -> u64) {
    let at = list.partition_point(|other| size(other) >= size(&one));
    if at < most {
        list.insert(at, one);
        list.truncate(most);
    }
}

async fn trash(storage: &Storage) -> Result<Amount, Error> {
    let mut amount = Amount::default();
    let mut files = storage.below(layout::TRASH, None);
    while let Some(file) = files.try_next().await? {
        amount.add(file.size);
    }
    Ok(amount)
}

async fn most_pulled(storage: &Storage) -> Result<Vec<RepositoryPulls>, Error> {
    let names = storage.below(layout::PULLS, None).try_filter_map(|file| {
        let name = file.name.strip_suffix(layout::PULLS_FILE).and_then(|name| name.parse::<RepositoryName>().ok());
        std::future::ready(Ok(name))
    });
    let mut counts = names.map_ok(|name| pulls(storage, name)).try_buffer_unordered(AT_ONCE).boxed();
    let mut most = Vec::new();
    while let Some(one) = counts.try_next().await? {
        if one.pulls > 0 {
            keep_largest(&mut most, LARGEST, one, |one| one.pulls);
        }
    }
    Ok(most)
}

async fn pulls(storage: &Storage, name: RepositoryName) -> Result<RepositoryPulls, Error> {
    let pulls = match Pulled::of(storage, &name, day::Day::default()).await {
        Ok(pulled) => pulled.count(),
        // What cannot be read is not counted.
        Err(Error::Newer { .. }) => 0,
        Err(error) => return Err(error),
    };
    Ok(RepositoryPulls { repository: name.to_string(), pulls })
}

/// Days of which a line is kept, oldest first.
async fn names(storage: &Storage) -> Result<Vec<String>, Error> {
    let files = storage.below(layout::STATS, None).map_ok(|file| file.name);
    files.try_collect().await
}

/// The lines that are kept, oldest first. One that cannot be read is left out.
pub async fn days(storage: &Storage) -> Result<Vec<Day>, Error> {
    let names = names(storage).await?;
    let skipped = names.len().saturating_sub(MOST_DAYS);
    let reads = names.into_iter().skip(skipped).map(|name| async move {
        match storage.own(&OwnKey::Stats(name), LIMIT).await {
            Ok(Some((bytes, _))) => Ok(format::read::<Day>(&bytes).ok()),
            Ok(None) | Err(Error::TooLarge(_)) => Ok(None),
            Err(error) => Err(error),
        }
    });
    let days: Vec<Option<Day>> = futures::stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
    Ok(days.into_iter().flatten().collect())
}
