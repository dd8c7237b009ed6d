//! Changes of one repository that must not meet, within this process. Other instances are not kept out: what can happen
//! between two of them is a tag that leads to a manifest deleted at the same moment, which is answered with 404, and a list
//! that lacks until `list_ttl` is over what was deleted and pushed at the same moment. Immutable
//! tags are created on condition that they are not there, which storage sees to.

use std::hash::{BuildHasher, RandomState};

use tokio::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::oci::{RepositoryName, Tag};

/// Locks are shared by what hashes alike, so that they need no table: a few too many wait for each other. A deletion that
/// has to read thousands of tags keeps pushes to one repository in a thousand waiting, beside its own.
const REPOSITORIES: usize = 1024;
const TAGS: usize = 256;

pub(super) struct Locks {
    repositories: [RwLock<()>; REPOSITORIES],
    tags: [Mutex<()>; TAGS],
    hasher: RandomState,
}

/// While it lives, nothing of the repository is deleted, and nobody else writes the tags.
pub(super) struct Changing<'a> {
    _repository: RwLockReadGuard<'a, ()>,
    _tags: Vec<MutexGuard<'a, ()>>,
}

impl Locks {
    pub(super) fn new() -> Self {
        Locks {
            repositories: std::array::from_fn(|_| RwLock::default()),
            tags: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }

    /// `alone` are tags that have to be compared before they are written.
    pub(super) async fn changing<'a>(
        &'a self,
        name: &RepositoryName,
        alone: impl Iterator<Item = &'a Tag>,
    ) -> Changing<'a> {
        let repository = self.repository(name).read().await;
        let mut wanted: Vec<usize> =
            alone.map(|tag| self.hasher.hash_one((name.as_str(), tag.as_str())) as usize % TAGS).collect();
        // In one order for everybody, and each once: so no two wait for each other.
        wanted.sort_unstable();
        wanted.dedup();
        let mut tags = Vec::with_capacity(wanted.len());
        for index in wanted {
            if let Some(lock) = self.tags.get(index) {
                tags.push(lock.lock().await);
            }
        }
        Changing { _repository: repository, _tags: tags }
    }

    pub(super) async fn deleting(&self, name: &RepositoryName) -> RwLockWriteGuard<'_, ()> {
        self.repository(name).write().await
    }

    fn repository(&self, name: &RepositoryName) -> &RwLock<()> {
        let [first, ..] = &self.repositories;
        self.repositories.get(self.hasher.hash_one(name.as_str()) as usize % REPOSITORIES).unwrap_or(first)
    }
}
