//! What collections took from a repository lately: only that may be linked again because a manifest names it. A manifest may name
//! whatever its author likes, also what only another repository holds, which is not to be given to everybody who knows its digest;
//! and what somebody has deleted on purpose stays deleted.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use futures::stream::TryStreamExt as _;

use super::work::Work;
use crate::maintenance::journal::{self, Kind, Taken};
use crate::oci::{Digest, RepositoryName};
use crate::storage::{Error, Storage};

/// Which repositories have journals of collections: 24 bytes for each such repository and run.
#[derive(Default)]
pub struct Evidence {
    runs: Vec<String>,
    /// By the hash of a name: places in `runs`.
    by_name: HashMap<u64, Vec<u32>>,
    hasher: RandomState,
}

impl Evidence {
    /// Lists all journals.
    pub async fn gather(storage: &Storage) -> Result<Self, Error> {
        let mut evidence = Evidence::default();
        let mut all = journal::all(storage);
        while let Some(kept) = all.try_next().await? {
            if journal::is_collection(&kept.run) {
                evidence.add(&kept.run, &kept.repository);
            }
        }
        Ok(evidence)
    }

    pub fn add(&mut self, run: &str, name: &RepositoryName) {
        // They come one run after the other.
        if self.runs.last().is_none_or(|last| last != run) {
            self.runs.push(run.to_owned());
        }
        let place = u32::try_from(self.runs.len() - 1).unwrap_or(u32::MAX);
        let places = self.by_name.entry(self.hasher.hash_one(name.as_str())).or_default();
        if places.last() != Some(&place) {
            places.push(place);
        }
    }

    /// Runs that may have a journal of the repository, the last one first.
    fn of(&self, name: &RepositoryName) -> Vec<&str> {
        let places = self.by_name.get(&self.hasher.hash_one(name.as_str()));
        let runs = places.into_iter().flatten().rev().filter_map(|place| self.runs.get(*place as usize));
        runs.map(String::as_str).collect()
    }
}

impl Work<'_> {
    /// What collections, this one too, have taken from a repository, as far as anybody remembers, and no client has deleted since: blobs
    /// and manifests.
    pub async fn taken(&self, name: &RepositoryName) -> Result<Vec<Taken>, Error> {
        let runs: Vec<String> = {
            let evidence = self.evidence.lock();
            evidence.of(name).into_iter().map(str::to_owned).collect()
        };
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        self.pace.take(1).await;
        let deleted = self.storage.deleted_of(name).await?;
        let counts = |line: &Taken| deleted.get(&line.digest).is_none_or(|at| !line.is_before(*at));
        let (mut found, mut known) = (Vec::new(), HashSet::<(Kind, Digest)>::new());
        for run in runs {
            self.pace.take(1).await;
            let lines = match journal::read(&self.storage, &run, name).await {
                Ok(lines) => lines.unwrap_or_default(),
                // It can bring nothing back then; what manifests name is kept without it.
                Err(error @ (Error::Damaged(_) | Error::Newer { .. } | Error::TooLarge(_))) => {
                    tracing::warn!(%error, run, %name, "a journal cannot be read");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let links =
                lines.into_iter().filter(|line| matches!(line.kind, Kind::Layer | Kind::Manifest) && counts(line));
            found.extend(links.filter(|line| known.insert((line.kind, line.digest))));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maintenance::journal::Journal;
    use crate::oci::Algorithm;
    use crate::storage::tests::in_memory;

    #[tokio::test]
    async fn only_what_collections_took_counts() {
        let storage = in_memory().await;
        let taken = [Taken::layer(Digest::of(Algorithm::Sha256, b"x"))];
        for (run, name) in [("gc-1", "a"), ("gc-2", "a"), ("gc-2", "a/b"), ("rm-1", "a"), ("retention-1", "c")] {
            Journal::begin(&storage, run, &name.parse().unwrap()).take(&taken).await.unwrap();
        }
        let mut evidence = Evidence::gather(&storage).await.unwrap();
        evidence.add("gc-3", &"c".parse().unwrap());
        let of = |name: &str| evidence.of(&name.parse().unwrap());
        assert_eq!(of("a"), ["gc-2", "gc-1"]);
        assert_eq!(of("a/b"), ["gc-2"]);
        assert_eq!(of("c"), ["gc-3"]);
        assert_eq!(of("b"), [""; 0]);
    }
}
