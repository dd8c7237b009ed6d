//! The door of the room.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::stream::BoxStream;

use super::layout::{self, Link, OwnKey};
use super::metrics::Action;
use super::store::Store;
use super::{Config, Error, Metrics, identity};
use crate::oci::Digest;

/// A link holds a digest, the longest of which has 135 bytes; distribution writes no newline, people do.
const LINK_LIMIT: u64 = 256;
/// docker-registry 2 writes a link over the old one's bytes, so that who reads at that moment finds it empty or cut: it is
/// looked at again so often, with so long a pause before.
const LINK_LOOKS: u32 = 10;
const LINK_PAUSE: Duration = Duration::from_millis(20);

/// Blobs of an object store that are known to be damaged, so many and so long at most: enough for who pushes them again.
const DAMAGED: u64 = 1000;
const DAMAGED_TIME: Duration = Duration::from_secs(3600);

/// The registry's bytes. Shared behind an `Arc`.
pub struct Storage {
    store: Store,
    /// Whether the store minds conditions of a write, once it was asked.
    conditions: tokio::sync::OnceCell<bool>,
    damaged: moka::sync::Cache<Digest, ()>,
    /// What the operator calls it.
    place: String,
    /// Which one it is, where it is no folder.
    pub(super) bucket: Option<String>,
}

/// A blob's bytes from an offset to its end.
pub struct BlobStream {
    /// Size of the whole blob in bytes.
    pub total: u64,
    pub body: BoxStream<'static, Result<Bytes, Error>>,
}

/// A blob on this machine's disk, open.
pub struct LocalBlob {
    pub file: std::fs::File,
    pub size: u64,
}

/// What a conditional write demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    None,
    Absent,
    /// The version that was read.
    Unchanged(Version),
}

/// The store's own name of a version of an object (an ETag). Opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

/// Tells whether a list may have changed: equal stamps mean that nobody who tells us has changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp(pub String);

/// Of the volume that holds the root.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub used: u64,
    pub total: u64,
    /// Of `used`: free, but for the system's administrator only.
    pub reserved: u64,
}

impl Storage {
    /// Builds the driver; a filesystem's root is made if it is not there. Does not need the store to answer.
    pub async fn open(config: &Config, metrics: Arc<Metrics>) -> Result<Arc<Self>, Error> {
        let damaged = moka::sync::Cache::builder().max_capacity(DAMAGED).time_to_live(DAMAGED_TIME).build();
        let store = Store::new(config, &metrics).await?;
        let conditions = tokio::sync::OnceCell::new();
        let (place, bucket) = (config.place(), identity::of_bucket(config));
        Ok(Arc::new(Storage { store, conditions, damaged, place, bucket }))
    }

    #[cfg(test)]
    pub(super) fn over(store: Store) -> Arc<Self> {
        let damaged = moka::sync::Cache::new(DAMAGED);
        let conditions = tokio::sync::OnceCell::new();
        Arc::new(Storage { store, conditions, damaged, place: "a test".into(), bucket: None })
    }

    /// For uploads, which have files of their own.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn conditions(&self) -> &tokio::sync::OnceCell<bool> {
        &self.conditions
    }

    /// Asks the store something cheap: for readiness. A refusal is a sentence for who can act on it.
    pub async fn check(&self) -> Result<(), Error> {
        self.store.check(layout::LEASES).await.map_err(|error| self.explained(error))
    }

    /// Whether it may be written to: asks for a write whose condition is not met. Stores that mind no conditions then hold a
    /// few bytes of ours, `entrepot/v1/probe`.
    pub async fn check_writes(&self) -> Result<(), Error> {
        let outcome = self.store.check_writes(&OwnKey::Probe.key()).await;
        outcome.map_err(|error| self.explained(error))
    }

    fn explained(&self, error: Error) -> Error {
        match &error {
            Error::Refused(why) => Error::Refused(format!("{} ({}): {why}", error.told(), self.place)),
            _ => error,
        }
    }

    /// What the operator calls it.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Whether blobs are files of this machine.
    pub fn is_local(&self) -> bool {
        self.store.files().is_some()
    }

    /// Filesystem only.
    pub async fn usage(&self) -> Option<Usage> {
        let space = self.store.space().await?;
        Some(Usage { used: space.used, total: space.total, reserved: space.reserved })
    }

    // Blobs: by digest, of no repository. Who asks has checked that a repository holds them.

    pub async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        self.store.size(&layout::blob(digest)).await
    }

    /// All of a small blob, such as a manifest.
    pub async fn blob_bytes(&self, digest: &Digest, limit: u64) -> Result<Option<Bytes>, Error> {
        self.store.bytes(&layout::blob(digest), limit).await
    }

    pub async fn blob_open(&self, digest: &Digest, offset: u64) -> Result<Option<BlobStream>, Error> {
        let found = self.store.open(&layout::blob(digest), offset, None).await?;
        Ok(found.map(|(total, body)| BlobStream { total, body }))
    }

    /// `None` also where storage is not local.
    pub async fn blob_file(&self, digest: &Digest) -> Result<Option<LocalBlob>, Error> {
        let found = self.store.file(&layout::blob(digest)).await?;
        Ok(found.map(|(file, size)| LocalBlob { file, size }))
    }

    /// Whoever read the blob found other bytes than its digest says: the next push of it is written, though it is there.
    /// Known to this process.
    pub fn blob_damaged(&self, digest: &Digest) {
        self.damaged.insert(*digest, ());
    }

    /// It has been written with the right bytes.
    pub(crate) fn blob_healed(&self, digest: &Digest) {
        self.damaged.invalidate(digest);
    }

    /// Whether a blob of so many bytes is there that nobody found to be damaged: then it need not be written again.
    pub(crate) async fn blob_serves(&self, digest: &Digest, size: u64) -> Result<bool, Error> {
        Ok(!self.damaged.contains_key(digest) && self.blob_size(digest).await? == Some(size))
    }

    /// An address that serves GET (and HEAD) of the blob to anybody for so long; `None` where the store cannot.
    pub async fn blob_address(&self, digest: &Digest, head: bool, valid: Duration) -> Result<Option<url::Url>, Error> {
        self.store.signed(&layout::blob(digest), head, valid).await
    }

    /// Whether `blob_put` may be left out: a blob of this size is there. On a disk it never may, because whoever wrote the
    /// blob may not have made it durable.
    pub async fn blob_present(&self, digest: &Digest, size: u64) -> Result<bool, Error> {
        Ok(self.store.abilities().trusts_others && self.blob_serves(digest, size).await?)
    }

    /// Writes a small blob whose digest the caller has verified. A disk is left as it is when it holds these bytes already.
    pub async fn blob_put(&self, digest: &Digest, bytes: Bytes) -> Result<(), Error> {
        self.store.keep(&layout::blob(digest), bytes).await.map(|()| self.blob_healed(digest))
    }

    #[cfg(test)]
    pub async fn blob_delete(&self, digest: &Digest) -> Result<bool, Error> {
        self.store.delete(&layout::blob(digest)).await
    }

    // Links.

    /// The digest in a link. A damaged one (empty, cut) is `Error::Damaged`; on a filesystem only if it stays so.
    pub async fn link(&self, link: &Link) -> Result<Option<Digest>, Error> {
        let key = link.key();
        let looks = if self.store.abilities().trusts_others { 0 } else { LINK_LOOKS };
        for _ in 0..looks {
            match self.link_now(&key).await {
                Err(Error::Damaged(_)) => tokio::time::sleep(LINK_PAUSE).await,
                other => return other,
            }
        }
        self.link_now(&key).await.map_err(|error| match error {
            Error::Damaged(_) => self.store.failed(error),
            other => other,
        })
    }

    async fn link_now(&self, key: &str) -> Result<Option<Digest>, Error> {
        let bytes = match self.store.bytes(key, LINK_LIMIT).await {
            Err(Error::TooLarge(_)) => return Err(Error::Damaged(format!("{key} is too large"))),
            other => other?,
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let digest = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim_ascii().parse().ok());
        digest.map(Some).ok_or_else(|| Error::Damaged(format!("{key} holds no digest")))
    }

    pub async fn link_exists(&self, link: &Link) -> Result<bool, Error> {
        Ok(self.store.size(&link.key()).await?.is_some())
    }

    pub async fn link_put(&self, link: &Link, target: &Digest) -> Result<(), Error> {
        self.store.put(&link.key(), target.text().into(), Precondition::None).await.map(drop)
    }

    /// Like `link_put`, but false, and nothing is written, when the link is there: of many who create it, here and on other
    /// instances, one succeeds.
    pub async fn link_create(&self, link: &Link, target: &Digest) -> Result<bool, Error> {
        match self.store.put(&link.key(), target.text().into(), Precondition::Absent).await {
            Err(Error::Conflict) => Ok(false),
            other => other.map(|_| true),
        }
    }

    pub async fn link_delete(&self, link: &Link) -> Result<bool, Error> {
        self.store.delete(&link.key()).await
    }

    /// Deletes a link that was written last at that time, as a look has told just before; on a disk it is looked once more, and nothing
    /// comes between. Whether it is gone by that.
    pub async fn link_delete_unchanged(&self, link: &Link, changed: SystemTime) -> Result<bool, Error> {
        let key = link.key();
        match self.store.files() {
            Some(disk) => {
                self.store.with_disk(Action::Delete, disk, move |disk| disk.remove_unchanged(&key, changed)).await
            }
            None => self.store.delete(&key).await.map(|_| true),
        }
    }

    /// The tag's whole folder (`current` first), as other programs delete it; we do by [`Self::tag_drop`].
    #[cfg(test)]
    pub async fn tag_delete(&self, name: &crate::oci::RepositoryName, tag: &crate::oci::Tag) -> Result<bool, Error> {
        let link = Link::Tag(name.clone(), tag.clone());
        let there = self.store.abilities().tells_removals || self.link_exists(&link).await?;
        let removed = self.link_delete(&link).await?;
        self.store.delete_all(&layout::tag_folder(name, tag)).await?;
        Ok(there && removed)
    }

    // Our own files. Lists are in `lists`.

    pub async fn own(&self, key: &OwnKey, limit: u64) -> Result<Option<(Bytes, Version)>, Error> {
        self.store.get(&key.key(), limit).await
    }

    pub async fn own_put(&self, key: &OwnKey, bytes: Bytes, precondition: Precondition) -> Result<Version, Error> {
        self.store.put(&key.key(), bytes, precondition).await
    }

    /// Names of all robots' files.
    pub async fn robots(&self) -> Result<Vec<String>, Error> {
        Ok(self.store.list(layout::ROBOTS).await?.files.into_iter().map(|file| file.name).collect())
    }

    pub async fn own_delete(&self, key: &OwnKey) -> Result<bool, Error> {
        self.store.delete(&key.key()).await
    }
}
