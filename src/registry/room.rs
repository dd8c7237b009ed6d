//! What a copy within the registry asks before it links anything: whether it would be taken, and room for all of it.

use tokio::sync::Mutex;

use super::answer::may_write;
use super::quota::Hold;
use super::reply::Refusal;
use super::{Registry, Reply, manifest, tags};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::storage::Error;

/// What a copy is about to bring to one repository.
pub struct Coming<'a> {
    pub name: &'a RepositoryName,
    /// Tags, each once, and where they are to lead.
    pub tags: &'a [(Tag, Digest)],
    /// Content, each once, and its size in bytes.
    pub blobs: &'a [(Digest, u64)],
    pub manifests: &'a [(Digest, u64)],
}

/// What quotas have reserved for one copy. What is left of it is given back when it is dropped.
pub struct Room(Mutex<Hold>);

impl Registry {
    /// Reserves room for all of it; the registry's own refusal, if it would refuse any of it.
    pub async fn room_for(&self, coming: &Coming<'_>) -> Result<Room, Box<Reply>> {
        self.room(coming).await.map_err(|refusal| Box::new(refusal.into_reply()))
    }

    async fn room(&self, coming: &Coming<'_>) -> Result<Room, Refusal> {
        let Coming { name, tags, blobs, manifests } = *coming;
        may_write(self)?;
        if self.stores.storage.is_local() {
            let bytes = manifests.iter().fold(0, |sum: u64, (_, size)| sum.saturating_add(*size));
            self.health.watermark.admit(Some(bytes))?;
        }
        let mut new_tags = 0;
        for (tag, digest) in tags {
            match tags::read(&self.stores.storage, name, tag).await? {
                None => new_tags += 1,
                Some(old) if old != *digest && self.is_immutable(name, tag) => return Err(manifest::immutable(tag)),
                Some(_) => {}
            }
        }
        let mut hold = self.bounds.quotas.hold(name);
        if !hold.is_none() {
            hold.afford(blobs.iter().chain(manifests).copied().collect(), new_tags).await?;
        }
        Ok(Room(Mutex::new(hold)))
    }
}

impl Room {
    /// A blob is linked: what was reserved for it is used up.
    pub(super) async fn linked(&self, digest: &Digest, size: u64) {
        self.0.lock().await.one_linked(digest, size);
    }

    /// A manifest is pushed next, which reserves for itself what it and a tag take.
    ///
    /// # Errors
    /// Storage's: it cannot be told what is held.
    pub async fn make_way(&self, digest: &Digest, size: u64, tags: u64) -> Result<(), Error> {
        self.0.lock().await.make_way((digest, size), tags).await
    }
}
