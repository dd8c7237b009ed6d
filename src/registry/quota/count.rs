//! Counting what the repositories of quotas hold: by whoever goes through all links anyway, or by a walk of its own.
//!
//! What is linked or taken away while somebody counts is in the log of changes from where it stood when that began. A change that
//! the walk has seen too is none any more when it is put over what was counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use globset::GlobMatcher;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::amount::Amount;
use super::config::{self, Config};
use super::entry::{Entry, Short};
use super::file::{File, MOST_CONTENTS, nonce};
use super::one::{COUNTING, now};
use super::state::{self, State};
use crate::oci::{Digest, RepositoryName};
use crate::storage::{Error, Storage};

/// Contents are made distinct when so many more came than were distinct before.
const SURPLUS: usize = 65_536;
/// Times that a file is replaced by somebody else before counting it is given up.
const TRIES: u32 = 64;
/// Before a further try, by chance up to so long.
const BACKOFF: Duration = Duration::from_millis(100);

/// A count of several quotas, under way. Dropped, it changes nothing but that nobody else begins one for ten minutes.
///
/// Whoever feeds it tells of every layer, manifest and tag that is linked, all of one repository in a row, and then of the size of
/// every blob. Memory: 16 bytes for each distinct content of each quota, up to 4,194,304 of them, and as much again while they
/// are made distinct.
pub struct Count {
    storage: Arc<Storage>,
    began: Instant,
    quotas: Vec<Counting>,
    /// The repository that is told of, and the quotas that count for it.
    of: Option<(RepositoryName, Arc<[usize]>)>,
    /// The last one that links something.
    last: Option<RepositoryName>,
}

struct Counting {
    pattern: String,
    matcher: GlobMatcher,
    file: File,
    /// Where the log of changes stood.
    stamp: Option<String>,
    recorded: u64,
    contents: Vec<Short>,
    distinct: usize,
    sorted: bool,
    used: Amount,
    repositories: u64,
    /// There are more contents than are remembered.
    too_many: bool,
}

/// What a quota's repositories were found to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// The pattern.
    pub repositories: String,
    pub used: Amount,
    /// Distinct contents.
    pub contents: u64,
    /// Milliseconds that it took.
    pub took: u64,
}

impl Count {
    /// Notes where the logs of changes stand, before anything is looked at.
    ///
    /// # Errors
    /// Storage's, or that a file was written by a newer version.
    pub async fn begin(storage: &Arc<Storage>, quotas: &[Config]) -> Result<Self, Error> {
        let patterns: Vec<&str> = quotas.iter().map(|quota| quota.repositories.as_str()).collect();
        Count::of_patterns(storage, &patterns).await
    }

    pub(super) async fn of_patterns(storage: &Arc<Storage>, patterns: &[&str]) -> Result<Self, Error> {
        let began = Instant::now();
        let mut quotas = Vec::new();
        for pattern in patterns {
            let Ok(matcher) = config::glob(pattern) else { continue };
            quotas.push(Counting::begin(storage, pattern, matcher).await?);
        }
        Ok(Count { storage: storage.clone(), began, quotas, of: None, last: None })
    }

    /// Whether any quota counts for the repository.
    pub fn concerns(&mut self, name: &RepositoryName) -> bool {
        !self.of(name).is_empty()
    }

    /// The repository links this content, as a layer or as a manifest.
    pub fn linked(&mut self, name: &RepositoryName, digest: &Digest) {
        for index in self.told_of(name).iter() {
            if let Some(counting) = self.quotas.get_mut(*index) {
                counting.linked(Short::of(digest));
            }
        }
    }

    /// The repository has one tag more.
    pub fn tagged(&mut self, name: &RepositoryName) {
        for index in self.told_of(name).iter() {
            if let Some(counting) = self.quotas.get_mut(*index) {
                counting.used.tags += 1;
            }
        }
    }

    /// The size of a blob, in bytes; it counts where it is linked. Told once for each blob, after all links.
    pub fn sized(&mut self, digest: &Digest, size: u64) {
        let short = Short::of(digest);
        for counting in &mut self.quotas {
            counting.sort();
            if counting.contents.binary_search(&short).is_ok() {
                counting.used.bytes = counting.used.bytes.saturating_add(size);
            }
        }
    }

    /// One repository more, unless the last that was told of is the same.
    fn told_of(&mut self, name: &RepositoryName) -> Arc<[usize]> {
        let of = self.of(name);
        if self.last.as_ref() != Some(name) {
            for index in of.iter() {
                if let Some(counting) = self.quotas.get_mut(*index) {
                    counting.repositories += 1;
                }
            }
            self.last = Some(name.clone());
        }
        of
    }

    fn of(&mut self, name: &RepositoryName) -> Arc<[usize]> {
        if let Some((last, of)) = &self.of
            && last == name
        {
            return of.clone();
        }
        let matching = self.quotas.iter().enumerate().filter(|(_, counting)| counting.matcher.is_match(name.as_str()));
        let of: Arc<[usize]> = matching.map(|(index, _)| index).collect();
        self.of = Some((name.clone(), of.clone()));
        of
    }

    /// Puts what was counted into the files, with what has changed meanwhile.
    ///
    /// # Errors
    /// Storage's; quotas that were done before stay so.
    pub async fn finish(self) -> Result<Vec<Counted>, Error> {
        let mut counted = Vec::new();
        for counting in self.quotas {
            let took = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            counted.push(counting.finish(&self.storage, took).await?);
        }
        Ok(counted)
    }
}

impl Counting {
    async fn begin(storage: &Storage, pattern: &str, matcher: GlobMatcher) -> Result<Self, Error> {
        let file = File::of(pattern);
        let mut tries = 0;
        let state = loop {
            let found = file.read(storage).await?;
            let mut state = found.state.unwrap_or_else(|| State::new(pattern));
            state.counting = now() + COUNTING;
            match file.write(storage, &state, &found.replaceable).await {
                Err(Error::Conflict) if tries < TRIES => pause(&mut tries).await,
                outcome => break outcome.map(|_| state)?,
            }
        };
        Ok(Counting {
            pattern: pattern.to_owned(),
            matcher,
            file,
            stamp: state.stamp().map(str::to_owned),
            recorded: state.recorded(),
            contents: Vec::new(),
            distinct: 0,
            sorted: true,
            used: Amount::NOTHING,
            repositories: 0,
            too_many: false,
        })
    }

    fn linked(&mut self, short: Short) {
        self.contents.push(short);
        self.sorted = false;
        if self.contents.len() >= self.distinct.saturating_add(SURPLUS.max(self.distinct / 4)) {
            self.sort();
        }
    }

    fn sort(&mut self) {
        if self.sorted {
            return;
        }
        self.contents.sort_unstable();
        self.contents.dedup();
        self.too_many |= self.contents.len() > MOST_CONTENTS;
        self.contents.truncate(MOST_CONTENTS);
        self.distinct = self.contents.len();
        self.sorted = true;
    }

    async fn finish(mut self, storage: &Storage, took: u64) -> Result<Counted, Error> {
        self.sort();
        if self.too_many {
            let (quota, most) = (&self.pattern, MOST_CONTENTS);
            tracing::warn!(quota, most, "a quota holds more contents than are remembered: the others are not counted");
        }
        let stamp = nonce();
        let parts = self.file.put_parts(storage, &stamp, &self.contents).await?;
        let (contents, repositories) = (self.contents.len() as u64, self.repositories);
        let count = state::Count { stamp, at: now(), took, parts, contents, repositories };
        match self.replace(storage, &count).await {
            Ok(Some(state)) => {
                self.file.sweep(storage, &count.stamp).await?;
                Ok(self.counted(state.used, &count))
            }
            Ok(None) => {
                self.file.remove(storage, Some(&count), &[]).await;
                Ok(self.counted(self.used, &count))
            }
            Err(error) => {
                self.file.remove(storage, Some(&count), &[]).await;
                Err(error)
            }
        }
    }

    fn counted(&self, used: Amount, count: &state::Count) -> Counted {
        Counted { repositories: self.pattern.clone(), used, contents: count.contents, took: count.took }
    }

    /// The new state; `None` if somebody else has counted meanwhile, so that it is not known any more what has changed since.
    async fn replace(&self, storage: &Storage, count: &state::Count) -> Result<Option<State>, Error> {
        let mut tries = 0;
        loop {
            let found = self.file.read(storage).await?;
            let old = found.state.unwrap_or_else(|| State::new(&self.pattern));
            if old.stamp() == Some(&count.stamp) {
                // The answer to our last try was lost.
                return Ok(Some(old));
            }
            let since = match old.stamp() == self.stamp.as_deref() {
                true => self.file.since(storage, &old, self.recorded).await?.unwrap_or_default(),
                false if old.count.is_some() => return Ok(None),
                // It was lost meanwhile.
                false => self.file.since(storage, &old, 0).await?.unwrap_or_default(),
            };
            let mut new = self.merged(&old, count, since);
            self.file.part_off(storage, &mut new).await?;
            match self.file.write(storage, &new, &found.replaceable).await {
                Err(Error::Conflict) if tries < TRIES => pause(&mut tries).await,
                Err(error) => return Err(error),
                Ok(_) => {
                    self.file.remove(storage, old.count.as_ref(), &old.segments).await;
                    return Ok(Some(new));
                }
            }
        }
    }

    /// What was counted, and over it what has changed since.
    fn merged(&self, old: &State, count: &state::Count, since: Vec<Entry>) -> State {
        let (mut used, mut changed, mut recent) = (self.used, HashMap::new(), Vec::new());
        for entry in since {
            let counted = || self.contents.binary_search(&entry.short).is_ok();
            if changed.get(&entry.short).copied().unwrap_or_else(counted) == entry.added {
                continue;
            }
            changed.insert(entry.short, entry.added);
            let size = Amount::bytes(entry.size);
            used = if entry.added { used.plus(size) } else { used.minus(size) };
            recent.push(entry);
        }
        State {
            repositories: self.pattern.clone(),
            used,
            count: Some(count.clone()),
            counting: 0,
            doubtful: false,
            segments: Vec::new(),
            recent,
            grants: old.grants.clone(),
        }
    }
}

async fn pause(tries: &mut u32) {
    *tries += 1;
    sleep(BACKOFF.mul_f64(rand::random())).await;
}
