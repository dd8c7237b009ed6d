//! Blobs without repositories: a backup that was put back by half, a wrong mount, a wrong prefix. To a collection all of it would be
//! garbage, so it does not even begin.
//!
//! That everything was deleted is told from that by what is written down of each blob: a collection, retention or a command that took
//! its links away has a journal of them, and what was unlinked before has its time.

use std::time::SystemTime;

use futures::stream::TryStreamExt as _;

use super::error::GcError;
use super::marks::Marks;
use super::time::is_past;
use super::unlinked::Entries;
use super::work::Work;
use crate::maintenance::journal;
use crate::oci::Algorithm;
use crate::storage::{Error, Found, layout};

impl Work<'_> {
    /// # Errors
    /// `GcError::NoRepositories`: there are blobs of which nobody knows why no repository links them.
    pub async fn mind_missing(&self) -> Result<(), GcError> {
        if self.order.empty || self.has_links().await? {
            return Ok(());
        }
        let known = self.taken_or_unlinked().await?;
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            self.pace.take(1).await;
            let folders = self.storage.store().list(&layout::blobs_folder(algorithm)).await?.folders;
            let shards: Vec<u8> = folders.iter().filter_map(|name| u8::from_str_radix(name, 16).ok()).collect();
            for first in shards {
                self.pace.take(1).await;
                let mut blobs = self.storage.blobs(algorithm, first);
                while let Some(blob) = blobs.try_next().await? {
                    self.walked(1).await;
                    // The first push of all comes to its links yet.
                    if self.is_old(blob.changed) && !known.contains(&blob.digest) {
                        return Err(GcError::NoRepositories(blob.digest));
                    }
                }
            }
        }
        Ok(())
    }

    fn is_old(&self, changed: SystemTime) -> bool {
        is_past(changed, self.grace(), self.begun)
    }

    /// Whether any repository links anything.
    async fn has_links(&self) -> Result<bool, Error> {
        self.pace.take(1).await;
        let mut links = self.storage.all_links(None);
        while let Some((found, _)) = links.try_next().await? {
            if !matches!(found, Found::Upload(_)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Blobs of which it is written down that they were unlinked.
    async fn taken_or_unlinked(&self) -> Result<Marks, GcError> {
        let mut known = Marks::default();
        for part in self.parts_written().await? {
            self.pace.take(1).await;
            let entries = Entries::read(&self.storage, part).await?;
            entries.by_digest.keys().for_each(|digest| known.insert(digest));
        }
        let mut journals = journal::all(&self.storage);
        while let Some(kept) = journals.try_next().await? {
            self.pace.take(1).await;
            let lines = match journal::read(&self.storage, &kept.run, &kept.repository).await {
                Err(Error::Damaged(_) | Error::TooLarge(_)) => None,
                other => other?,
            };
            lines.iter().flatten().for_each(|line| known.insert(&line.target));
        }
        known.settle();
        Ok(known)
    }
}
