//! An object store: S3, GCS, Azure, or memory.

mod build;
mod errors;
mod http;
mod multipart;
mod s3;
mod tries;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, UpdateVersion,
};

use errors::store_error;
use s3::Copier;
use tries::Before;

use super::config::{Config, DriverKind};
use super::storage::{Precondition, Version};
use super::{Error, layout};

/// From so many bytes on it is a blob.
const BULK: usize = 1 << 20;
/// Removals under way at once while a folder is removed.
const REMOVALS: usize = 16;
/// A body of so many bytes adds a second to the time that its call may take; a stalled one is noticed before.
const SLOWEST: u64 = 256 << 10;
/// The longest that a store may work on one call (completing a multipart upload of thousands of parts) while it shows
/// that it lives.
const LONGEST: Duration = Duration::from_secs(600);
/// The longest that a folder's removal may take: hours of tag history, or the pieces of an upload, sixteen at once.
const FOLDER: Duration = Duration::from_secs(3600);

/// One bucket, below one prefix.
pub(super) struct Remote {
    kind: DriverKind,
    /// For GET, HEAD and lists: the library tries them again, and goes on with a body that broke off.
    reads: Arc<dyn ObjectStore>,
    /// For what changes something: the library tries nothing again, so that we know what may have been carried out.
    writes: Arc<dyn ObjectStore>,
    /// As `writes`, for blobs: their bytes are not hashed once more for the request's signature, by us and by the store.
    /// Whoever reads them checks their digest. What has no digest (links, our own files) is small and goes through `writes`.
    bulk: Arc<dyn ObjectStore>,
    parts: Arc<dyn MultipartStore>,
    signer: Option<Arc<dyn Signer>>,
    /// S3 only.
    copier: Option<Copier>,
    /// "" or ends with '/'.
    prefix: String,
    /// For one small call with its tries.
    limit: Duration,
    /// Further tries of a call.
    retries: u32,
    /// A store said so: until a list proves otherwise, "not there" is asked about again, because HEAD cannot tell a missing
    /// bucket from a missing object.
    bucket_missing: AtomicBool,
}

impl Remote {
    /// Does not ask the store anything.
    pub(super) fn open(config: &Config) -> Result<Self, Error> {
        build::remote(config)
    }

    /// For tests: small objects are copied as large ones are.
    #[cfg(test)]
    pub(super) fn with_small_parts(mut self, whole: u64, part: u64) -> Self {
        if let Some(copier) = &mut self.copier {
            copier.shrink(whole, part);
        }
        self
    }

    fn path(&self, key: &str) -> Result<Path, Error> {
        Path::parse(format!("{}{key}", self.prefix)).map_err(|error| Error::Failed(error.to_string()))
    }

    /// One try; whoever asks bounds it.
    async fn asked<T>(&self, call: impl Future<Output = object_store::Result<T>>) -> Result<T, Error> {
        call.await.map_err(store_error)
    }

    fn limit_for(&self, bytes: usize) -> Duration {
        self.limit + Duration::from_secs(bytes as u64 / SLOWEST)
    }

    pub(super) async fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        let path = self.path(key)?;
        Ok(self.head(&path).await?.map(|meta| meta.size))
    }

    pub(super) async fn version(&self, key: &str) -> Result<Option<Version>, Error> {
        let path = self.path(key)?;
        Ok(self.head(&path).await?.map(|meta| self.name_version(meta.e_tag, meta.version)))
    }

    async fn head(&self, path: &Path) -> Result<Option<ObjectMeta>, Error> {
        let found = self.tried(self.limit, async |_| present(self.reads.head(path).await).map_err(store_error)).await;
        let wordless = match &found {
            Ok(None) => self.bucket_missing.load(Ordering::Relaxed),
            // Such an answer has no words: a list has them, of what is wrong with the whole bucket.
            Err(Error::Failed(_) | Error::Refused(_)) => true,
            _ => false,
        };
        if wordless {
            self.list(layout::LEASES).await?; // a folder of few
        }
        found
    }

    pub(super) async fn get(&self, key: &str, limit: u64) -> Result<Option<(Bytes, Version)>, Error> {
        let path = self.path(key)?;
        let read = async |_| {
            let Some(found) = present(self.reads.get(&path).await).map_err(store_error)? else { return Ok(None) };
            let version = self.name_version(found.meta.e_tag.clone(), found.meta.version.clone());
            if found.meta.size > limit {
                return Ok(Some(None));
            }
            Ok(Some(Some((found.bytes().await.map_err(store_error)?, version))))
        };
        let allowed = self.limit_for(usize::try_from(limit.min(64 << 20)).unwrap_or(0));
        match self.tried(allowed, read).await? {
            Some(None) => Err(Error::TooLarge(limit)),
            Some(found) => Ok(found),
            None => Ok(None),
        }
    }

    pub(super) async fn open_at(
        &self,
        key: &str,
        offset: u64,
        end: Option<u64>,
    ) -> Result<Option<(u64, BoxStream<'static, Result<Bytes, Error>>)>, Error> {
        let path = self.path(key)?;
        let range = match end {
            Some(end) if end <= offset => {
                return Ok(self.size(key).await?.map(|size| (size, futures::stream::empty().boxed())));
            }
            Some(end) => Some(GetRange::Bounded(offset..end)),
            None => (offset > 0).then_some(GetRange::Offset(offset)),
        };
        let ranged = range.is_some();
        let options = GetOptions { range, ..GetOptions::default() };
        let open = async |_| present(self.reads.get_opts(&path, options.clone()).await).map_err(store_error);
        match self.tried(self.limit, open).await {
            // Nothing begins at this offset: stores say so in many ways.
            Err(error @ Error::Failed(_)) if ranged => match self.size(key).await? {
                Some(size) if size <= offset => Ok(Some((size, futures::stream::empty().boxed()))),
                Some(_) => Err(error),
                None => Ok(None),
            },
            Err(error) => Err(error),
            Ok(None) => Ok(None),
            Ok(Some(found)) => {
                let size = found.meta.size;
                Ok(Some((size, found.into_stream().map_err(store_error).boxed())))
            }
        }
    }

    pub(super) async fn put(&self, key: &str, bytes: Bytes, precondition: Precondition) -> Result<Version, Error> {
        let path = self.path(key)?;
        let conditional = precondition != Precondition::None;
        let mode = match precondition {
            Precondition::None => PutMode::Overwrite,
            Precondition::Absent => PutMode::Create,
            Precondition::Unchanged(version) => PutMode::Update(self.parse_version(version)),
        };
        let store = if bytes.len() < BULK { &self.writes } else { &self.bulk };
        let put = async |before: Before| {
            let options = PutOptions::from(mode.clone());
            match store.put_opts(&path, bytes.clone().into(), options).await {
                Ok(done) => Ok(self.name_version(done.e_tag, done.version)),
                Err(error) if conditional && is_conflict(&error) => match before {
                    Before::Nothing => Err(Error::Conflict),
                    // Perhaps with ourselves.
                    Before::Doubt => self.ours(key, &bytes).await?.ok_or(Error::Conflict),
                },
                Err(error) => Err(store_error(error)),
            }
        };
        self.tried(self.limit_for(bytes.len()), put).await
    }

    pub(super) async fn delete(&self, key: &str) -> Result<bool, Error> {
        self.remove(&self.path(key)?).await
    }

    /// True after an answer that was lost: then it was there, for all that is known.
    async fn remove(&self, path: &Path) -> Result<bool, Error> {
        let remove = async |before| {
            let removed = present(self.writes.delete(path).await).map_err(store_error)?;
            Ok(removed.is_some() || before == Before::Doubt)
        };
        self.tried(self.limit, remove).await
    }

    pub(super) async fn delete_all(&self, folder: &str) -> Result<(), Error> {
        let path = self.path(folder)?;
        let remove_all = async |_| {
            let listed = self.reads.list(Some(&path)).map_err(store_error);
            let removed = listed.map_ok(|found| async move { self.remove(&found.location).await.map(drop) });
            removed.try_buffer_unordered(REMOVALS).try_collect::<()>().await
        };
        self.tried(FOLDER, remove_all).await
    }

    pub(super) async fn list(&self, folder: &str) -> Result<(Vec<String>, Vec<String>), Error> {
        let path = self.path(folder)?;
        // Pages come one after the other: each has its own limit in the transport.
        let found = self.tried(LONGEST, |_| self.asked(self.reads.list_with_delimiter(Some(&path)))).await?;
        self.bucket_missing.store(false, Ordering::Relaxed);
        let name = |path: &Path| path.filename().map(str::to_owned);
        let folders = found.common_prefixes.iter().filter_map(name).collect();
        // A folder's own marker, which some programs write, has no name below the folder.
        let files = found.objects.iter().filter(|object| object.location != path).filter_map(|o| name(&o.location));
        Ok((folders, files.collect()))
    }

    pub(super) async fn signed(
        &self,
        key: &str,
        method: ::http::Method,
        valid: Duration,
    ) -> Result<Option<url::Url>, Error> {
        let Some(signer) = &self.signer else { return Ok(None) };
        let path = self.path(key)?;
        let sign = |_| self.asked(signer.signed_url(method.clone(), &path, valid));
        self.tried(self.limit, sign).await.map(Some)
    }

    /// GCS compares generations, the others ETags.
    fn name_version(&self, e_tag: Option<String>, version: Option<String>) -> Version {
        let name = if self.kind == DriverKind::Gcs { version } else { e_tag };
        Version(name.unwrap_or_default())
    }

    pub(super) fn made_up_version(&self) -> Version {
        let name = if self.kind == DriverKind::Gcs { "1".to_owned() } else { format!("\"{:032x}\"", 1) };
        Version(name)
    }

    fn parse_version(&self, version: Version) -> UpdateVersion {
        match self.kind {
            DriverKind::Gcs => UpdateVersion { e_tag: None, version: Some(version.0) },
            _ => UpdateVersion { e_tag: Some(version.0), version: None },
        }
    }
}

/// "Not there" is an answer, unless the whole bucket is not there.
fn present<T>(outcome: object_store::Result<T>) -> object_store::Result<Option<T>> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error @ object_store::Error::NotFound { .. }) if errors::is_about_bucket(&error) => Err(error),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_conflict(error: &object_store::Error) -> bool {
    use object_store::Error as E;
    let refused = matches!(error, E::AlreadyExists { .. } | E::Precondition { .. } | E::NotModified { .. });
    (refused || matches!(error, E::NotFound { .. })) && !errors::is_undecided(error) && !errors::is_about_bucket(error)
}
