//! What the cache's handle, its contents, readers and fills have in common: the two tiers and the table of fills.

use std::sync::Arc;

use bytes::Bytes;

use super::config::Config;
use super::disk::{BlobFile, Damaged, Disk, OnDisk};
use super::fill::supply::Ticket;
use super::fill::{Attended, Complete, Fills, Joined};
use super::memory::{MemoryTier, Object};
use super::metrics::Metrics;
use super::origin::Origin;
use crate::oci::Digest;

pub(super) struct Shared {
    pub(super) memory: MemoryTier,
    pub(super) disk: Arc<Disk>,
    pub(super) fills: Fills,
    pub(super) metrics: Arc<Metrics>,
}

/// A fill to follow. `new` says that this caller began it.
pub(super) struct Following {
    pub(super) fill: Attended,
    pub(super) ticket: Ticket,
    pub(super) new: bool,
}

impl Shared {
    pub(super) fn new(config: &Config, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Shared {
            memory: MemoryTier::new(config, metrics.clone()),
            disk: Disk::new(config, metrics.clone()),
            fills: Fills::new(config.max_fills),
            metrics,
        })
    }

    /// What is complete on disk, opened and counted as a hit there.
    pub(super) async fn find_on_disk(self: &Arc<Self>, digest: &Digest) -> Option<Complete> {
        let found = self.disk.find(digest)?;
        let kept = match self.disk.opened(digest, found) {
            Some(file) => OnDisk::File(file),
            None => match self.disk.open_now(digest, found, self.disk.buffers().file().await) {
                Ok(kept) => kept,
                Err(permit) => {
                    let (disk, digest) = (self.disk.clone(), *digest);
                    tokio::task::spawn_blocking(move || disk.open(&digest, found, permit)).await.ok()??
                }
            },
        };
        let complete = match kept {
            OnDisk::File(file) => Complete::File(file),
            OnDisk::Whole(object) => Complete::Memory(Arc::new(object)),
        };
        // Not at each hit: a working set far larger than the memory would only push itself round.
        if found.hits >= 2 && found.hits.is_power_of_two() {
            self.promote(*digest, &complete);
        }
        Some(complete)
    }

    /// Brings a content from disk into memory: a small one at once, else in the background and within a budget.
    fn promote(self: &Arc<Self>, digest: Digest, complete: &Complete) {
        if !self.memory.takes(complete.len()) || self.memory.contains(&digest) {
            return;
        }
        let file = match complete {
            Complete::Memory(object) => {
                let bytes = Bytes::copy_from_slice(&object.bytes);
                return self.keep_promoted(digest, Object::new(bytes, object.media_type.as_deref()));
            }
            Complete::File(file) => file.clone(),
        };
        let Some(share) = self.memory.promoting.take(file.len()) else { return };
        let shared = self.clone();
        tokio::task::spawn_blocking(move || {
            let _share = share;
            match file.read_all() {
                Ok(bytes) => shared.keep_promoted(digest, Object::new(bytes.into(), file.media_type())),
                Err(damaged) => shared.damaged(&digest, &file, &damaged),
            }
        });
    }

    fn keep_promoted(&self, digest: Digest, object: Object) {
        self.memory.insert(digest, Arc::new(object));
        // A purge that came while we read did not see it in memory.
        if !self.disk.contains(&digest) {
            self.memory.remove(&digest);
        }
    }

    /// Joins or begins the fill of `digest`. `None`: it is complete by now, look again; not said when `again` is set.
    pub(super) fn follow(self: &Arc<Self>, digest: &Digest, origin: Arc<dyn Origin>, again: bool) -> Option<Following> {
        let complete = || !again && (self.memory.contains(digest) || self.disk.contains(digest));
        match self.fills.join(digest, origin, complete) {
            Joined::New(fill, ticket) => {
                fill.start(self);
                Some(Following { fill, ticket, new: true })
            }
            Joined::Running(fill, ticket) => Some(Following { fill, ticket, new: false }),
            Joined::Complete => None,
        }
    }

    /// Writes a content that was proven in memory to disk too, if that is possible. Blocks.
    pub(super) fn persist(&self, digest: &Digest, object: &Object, keep: impl Fn() -> bool) {
        if !keep() || !self.disk.writable() || self.disk.contains(digest) {
            return;
        }
        if let Err(error) = self.disk.store(digest, object.media_type.as_deref(), &object.bytes, keep) {
            tracing::debug!(%digest, %error, "a content is kept in memory only");
        }
    }

    pub(super) fn damaged(&self, digest: &Digest, file: &BlobFile, why: &Damaged) {
        tracing::debug!(%digest, %why, "a block of a cache file is damaged");
        self.disk.drop_damaged(digest, file.seq());
    }

    /// Removes it everywhere; true when it was in a tier.
    pub(super) fn purge(&self, digest: &Digest) -> bool {
        // The fill first: what it keeps after this, it takes back itself.
        self.fills.purge(digest);
        let on_disk = self.disk.remove(digest);
        self.memory.remove(digest) || on_disk
    }
}
