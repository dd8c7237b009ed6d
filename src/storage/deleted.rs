//! What clients deleted of what collections had taken away before.
//!
//! A collection's journal lets whoever needs a link write it again. A client who deletes that link afterwards wants the contrary, and the
//! journal does not know it: so a file beside it says when that was. Of what a journal tells, only links that were written since count:
//! those that somebody has pushed again, and another collection has taken.
//!
//! The time is that of the file itself, by the store's clock, as the times of links are. A file may be lost: what was deleted comes back
//! then where a manifest names it, as long as the journal is kept.

use std::collections::HashMap;
use std::time::SystemTime;

use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};

use super::driver::Entry;
use super::layout::{self, OwnKey};
use super::storage::{Precondition, Storage};
use super::{Error, layout::DELETED};
use crate::oci::{Digest, RepositoryName};

/// What the file holds: that it is there says all.
const NOTHING: &[u8] = b"\n";

/// That somebody deleted something, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    pub name: RepositoryName,
    pub digest: Digest,
    pub at: SystemTime,
}

impl Storage {
    /// Writes down that the link to it was deleted just now.
    pub async fn deleted_put(&self, name: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        let key = OwnKey::Deleted(name.clone(), *digest);
        self.own_put(&key, bytes::Bytes::from_static(NOTHING), Precondition::None).await.map(drop)
    }

    /// When the link to it was deleted last, if that is written down.
    pub async fn deleted_at(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<SystemTime>, Error> {
        let key = OwnKey::Deleted(name.clone(), *digest).key();
        let (folder, file) = key.rsplit_once('/').unwrap_or(("", &key));
        let files = self.store().list(folder).await?.files;
        Ok(files.into_iter().find(|entry| entry.name == file).map(|entry| entry.changed))
    }

    /// All of a repository.
    pub async fn deleted_of(&self, name: &RepositoryName) -> Result<HashMap<Digest, SystemTime>, Error> {
        let folder = layout::deleted_folder(name);
        let entries = self.below(&folder, None);
        entries
            .try_filter_map(|entry| {
                std::future::ready(Ok(layout::deleted_digest(&entry.name).map(|it| (it, entry.changed))))
            })
            .try_collect()
            .await
    }

    /// All that is written down.
    pub fn deleted_all(&self) -> BoxStream<'_, Result<Deleted, Error>> {
        let told = |entry: Entry| {
            let (name, below) = entry.name.split_once(layout::DELETED_FILES)?;
            let (name, digest) = (name.parse().ok()?, layout::deleted_digest(below)?);
            Some(Deleted { name, digest, at: entry.changed })
        };
        self.below(DELETED, None).try_filter_map(move |entry| std::future::ready(Ok(told(entry)))).boxed()
    }
}
