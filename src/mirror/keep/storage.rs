//! Content that stays in the integrated registry, in the repository of the canonical name: what the registry itself could serve, all
//! instances share, and nothing evicts. Tags of a remote are no tags of the registry's: they are records beside its tree.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::super::record::MAX_RECORD;
use super::super::{TagRecord, bodies};
use super::{Keep, KeepError, KeptBlob, KeptManifest};
use crate::cache::{self, free_to_leave};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::registry::{ContentBytes, DiskLevel, Registry};
use crate::storage::{Error, OwnKey, Precondition, Version};

/// How often a record is written anew that another instance has changed meanwhile.
const TRIES: usize = 4;

pub struct StorageKeep {
    registry: Arc<Registry>,
    /// Its disk is nearly full, as was said.
    told_low: AtomicBool,
}

impl StorageKeep {
    pub fn new(registry: Arc<Registry>) -> Self {
        StorageKeep { registry, told_low: AtomicBool::new(false) }
    }

    /// What is to be written, and over which version: what is there joined with `record`. `None`: it is there already.
    async fn joined(&self, key: &OwnKey, record: &TagRecord) -> Result<Option<(TagRecord, Precondition)>, KeepError> {
        let (there, version): (TagRecord, Version) = match self.registry.storage().own(key, MAX_RECORD).await {
            Ok(Some((bytes, version))) => match TagRecord::read(&bytes) {
                Ok(there) => (there, version),
                Err(Error::Damaged(_)) => return Ok(Some((record.clone(), Precondition::Unchanged(version)))),
                // Of a newer version: left as it is.
                Err(error) => return Err(error.into()),
            },
            Ok(None) => return Ok(Some((record.clone(), Precondition::Absent))),
            Err(Error::TooLarge(_)) => return Ok(Some((record.clone(), Precondition::None))),
            Err(error) => return Err(error.into()),
        };
        let joined = record.joined(&there);
        Ok((joined != there).then_some((joined, Precondition::Unchanged(version))))
    }
}

impl From<Error> for KeepError {
    fn from(error: Error) -> Self {
        KeepError(error.to_string())
    }
}

#[async_trait]
impl Keep for StorageKeep {
    async fn manifest(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<KeptManifest>, KeepError> {
        let held = self.registry.held_manifest(name, digest).await?;
        Ok(held.map(|(bytes, media_type)| KeptManifest { bytes, media_type }))
    }

    async fn put_manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        manifest: &KeptManifest,
    ) -> Result<(), KeepError> {
        let KeptManifest { bytes, media_type } = manifest;
        Ok(self.registry.keep_manifest(name, digest, bytes.clone(), media_type).await?)
    }

    async fn any_manifest(&self, digest: &Digest) -> Result<Option<Bytes>, KeepError> {
        Ok(self.registry.any_manifest(digest).await?)
    }

    async fn blob_size(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>, KeepError> {
        Ok(self.registry.held_blob_size(name, digest).await?)
    }

    async fn blob(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<KeptBlob>, KeepError> {
        Ok(self.registry.held_blob(name, digest).await?.map(|bytes| match bytes {
            ContentBytes::Whole(bytes) => KeptBlob::Whole(bytes),
            ContentBytes::Local(blob) => KeptBlob::Local(blob),
            ContentBytes::Remote(size) => KeptBlob::Stored(size),
        }))
    }

    async fn adopt(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, KeepError> {
        Ok(self.registry.adopt_blob(name, digest).await?.is_some())
    }

    async fn has_bytes(&self, digest: &Digest) -> bool {
        !matches!(self.registry.has_bytes(digest).await, Ok(false))
    }

    async fn put_blob(&self, name: &RepositoryName, digest: &Digest, content: cache::Content) -> Result<(), KeepError> {
        // Another repository's push may have brought it meanwhile.
        if self.registry.adopt_blob(name, digest).await?.is_some() {
            return Ok(());
        }
        let kept = self.registry.keep_blob(name, digest, &mut bodies::cached(content)).await;
        kept.map(drop).map_err(|error| KeepError(error.to_string()))
    }

    async fn tag(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<TagRecord>, KeepError> {
        let key = OwnKey::MirrorTag(name.clone(), tag.clone());
        let Some((bytes, _)) = self.registry.storage().own(&key, MAX_RECORD).await? else { return Ok(None) };
        Ok(Some(TagRecord::read(&bytes)?))
    }

    async fn put_tag(&self, name: &RepositoryName, tag: &Tag, record: &TagRecord) -> Result<(), KeepError> {
        self.registry.may_be_written()?;
        let key = OwnKey::MirrorTag(name.clone(), tag.clone());
        for _ in 0..TRIES {
            let Some((joined, precondition)) = self.joined(&key, record).await? else { return Ok(()) };
            match self.registry.storage().own_put(&key, joined.write()?.into(), precondition).await {
                Err(Error::Conflict) => {}
                written => return written.map(drop).map_err(KeepError::from),
            }
        }
        Err(KeepError(format!("other instances write {tag} of {name} all the time")))
    }

    async fn has_room(&self) -> bool {
        if self.registry.may_be_written().is_err() || self.registry.disk_level() == DiskLevel::Full {
            return false;
        }
        let low = self.registry.storage().usage().await.is_some_and(|usage| {
            let free = usage.total.saturating_sub(usage.used);
            free < free_to_leave(usage.total)
        });
        if low != self.told_low.swap(low, Ordering::Relaxed) {
            match low {
                true => tracing::warn!(
                    "storage is nearly full: nothing more is kept of remotes until others need less of it"
                ),
                false => tracing::info!("storage has room again: what comes of remotes is kept"),
            }
        }
        !low
    }

    async fn tags(&self, path: &str, limit: usize) -> Result<Vec<(RepositoryName, Tag)>, KeepError> {
        Ok(self.registry.storage().mirror_tags(path, limit).await?)
    }
}
