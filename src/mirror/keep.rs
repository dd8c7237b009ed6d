//! Where the content of a mirror stays: behind one trait, the registry's storage or the cache.

mod cache;
mod storage;

pub use self::cache::CacheKeep;
pub use storage::StorageKeep;

use async_trait::async_trait;
use bytes::Bytes;

use super::record::TagRecord;
use crate::cache as blob_cache;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::remote::config::KeepIn;
use crate::storage::LocalBlob;

/// Why what is kept cannot be read or written now.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeepError(pub String);

#[derive(Clone, Debug)]
pub struct KeptManifest {
    pub bytes: Bytes,
    pub media_type: String,
}

/// A blob that is kept, and how to get at its bytes.
pub enum KeptBlob {
    /// In memory.
    Whole(Bytes),
    /// A file of this machine.
    Local(LocalBlob),
    /// In the registry's object store, so many bytes.
    Stored(u64),
    /// In the cache, or on its way.
    Cached(blob_cache::Content, blob_cache::Source),
}

/// One place for what mirrors keep. Names are canonical. What cannot be written is an error for the log: the answer goes on without.
#[async_trait]
pub trait Keep: Send + Sync + 'static {
    /// Where it is.
    fn stays_in(&self) -> KeepIn {
        KeepIn::Storage
    }

    async fn manifest(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<KeptManifest>, KeepError>;

    /// Keeps a manifest whose bytes have that digest.
    async fn put_manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        manifest: &KeptManifest,
    ) -> Result<(), KeepError>;

    /// The bytes of a manifest that is kept of whatever repository, proven; who asks knows that this repository of the remote has it, or
    /// finds out before anybody gets them.
    async fn any_manifest(&self, digest: &Digest) -> Result<Option<Bytes>, KeepError>;

    /// Whether the repository holds the blob, and its size.
    async fn blob_size(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>, KeepError>;

    /// A blob that the repository holds, to be read.
    async fn blob(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<KeptBlob>, KeepError>;

    /// Takes a blob that is here in whatever repository into this one; false: it is nowhere here. The caller knows that this repository
    /// of the remote has it.
    async fn adopt(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, KeepError>;

    /// Whether its bytes are here for whatever repository, beside the cache's. Where that cannot be read: yes, so that the remote is
    /// asked.
    async fn has_bytes(&self, _digest: &Digest) -> bool {
        false
    }

    /// Keeps a blob that has come into the cache; resolves when it is kept.
    async fn put_blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        content: blob_cache::Content,
    ) -> Result<(), KeepError>;

    async fn tag(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<TagRecord>, KeepError>;
    /// Joined with what is there ([`TagRecord::joined`]), since other instances write it too.
    async fn put_tag(&self, name: &RepositoryName, tag: &Tag, record: &TagRecord) -> Result<(), KeepError>;

    /// A client has taken an image's manifest: of what can leave, it leaves last.
    async fn pulled(&self, _name: &RepositoryName, _digest: &Digest) {}

    /// Whether more may be kept: false where that would fill a disk of this machine.
    async fn has_room(&self) -> bool {
        true
    }

    /// All tags with a record whose repository stands below `path`: for status and offline lists. Bounded by `limit`.
    async fn tags(&self, path: &str, limit: usize) -> Result<Vec<(RepositoryName, Tag)>, KeepError>;
}
