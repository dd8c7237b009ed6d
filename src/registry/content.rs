//! Manifests and small blobs in memory, by digest. Bytes under a digest never change, so nothing here is ever stale; that a
//! repository holds the digest is asked anew each time, before anything is taken from here.

use std::sync::Arc;

use bytes::Bytes;
use moka::sync::Cache;

use super::apart::apart;
use super::media_types::ImpliedType;
use super::shared_read::SharedReads;
use crate::oci::manifest::MAX_MANIFEST;
use crate::oci::{Digest, Manifest};
use crate::storage::{Error, Storage};

/// Bytes of all kept content together.
const MAX_KEPT: u64 = 64 << 20;
/// Blobs up to so many bytes are kept and answered whole; larger ones are streamed.
pub(super) const MAX_SMALL_BLOB: u64 = 64 << 10;
/// What an entry costs beside its bytes.
const ENTRY_OVERHEAD: usize = 300;

pub(super) struct ContentCache {
    kept: Cache<Digest, Arc<KeptContent>>,
    reads: SharedReads<Digest, Result<Option<Arc<KeptContent>>, Error>>,
}

/// Content whose digest was proven when it was read.
pub(super) struct KeptContent {
    pub bytes: Bytes,
    /// Of a manifest; `None`: it has only been asked for as a blob.
    pub told: Option<ImpliedType>,
}

impl ContentCache {
    pub(super) fn new() -> Self {
        let weigh = |_: &Digest, kept: &Arc<KeptContent>| {
            let told = kept.told.as_ref().map_or(0, |told| told.media_type.len());
            u32::try_from(kept.bytes.len() + told + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
        };
        let kept = Cache::builder().max_capacity(MAX_KEPT).weigher(weigh).build();
        ContentCache { kept, reads: SharedReads::new() }
    }

    /// What is kept of a blob.
    pub(super) fn blob(&self, digest: &Digest) -> Option<Bytes> {
        self.kept.get(digest).map(|kept| kept.bytes.clone())
    }

    /// Takes over bytes whose digest is proven.
    pub(super) fn keep(&self, digest: Digest, bytes: Bytes, told: Option<ImpliedType>) -> Arc<KeptContent> {
        // A piece of a larger buffer would hold all of it.
        let kept = Arc::new(KeptContent { bytes: Bytes::copy_from_slice(&bytes), told });
        self.kept.insert(digest, kept.clone());
        kept
    }

    /// A manifest of any repository, from memory or storage; `told` is there. Simultaneous askers share a read.
    pub(super) async fn manifest(&self, storage: &Storage, digest: &Digest) -> Result<Option<Arc<KeptContent>>, Error> {
        match self.kept.get(digest) {
            Some(kept) if kept.told.is_some() => Ok(Some(kept)),
            _ => self.reads.get(digest, || self.read_manifest(storage, digest)).await,
        }
    }

    async fn read_manifest(&self, storage: &Storage, digest: &Digest) -> Result<Option<Arc<KeptContent>>, Error> {
        let Some(bytes) = read(storage, digest, MAX_MANIFEST as u64).await? else { return Ok(None) };
        let text = bytes.clone();
        let told = apart(bytes.len(), move || ImpliedType::by(&Manifest::parse(&text).unwrap_or_default())).await?;
        Ok(Some(self.keep(*digest, bytes, Some(told))))
    }
}

/// Small content, proven to be what its digest says.
pub(super) async fn read(storage: &Storage, digest: &Digest, limit: u64) -> Result<Option<Bytes>, Error> {
    let Some(bytes) = storage.blob_bytes(digest, limit).await? else { return Ok(None) };
    let (text, algorithm) = (bytes.clone(), digest.algorithm());
    if apart(bytes.len(), move || Digest::of(algorithm, &text)).await? != *digest {
        storage.blob_damaged(digest);
        return Err(Error::Damaged(format!("the {} bytes of {digest} have another digest", bytes.len())));
    }
    Ok(Some(bytes))
}
