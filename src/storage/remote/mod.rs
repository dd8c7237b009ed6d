//! An object store: S3, GCS, Azure, or memory.

mod build;
mod errors;
mod http;
mod s3;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, UpdateVersion};
use tokio::time::timeout;

use errors::store_error;
use s3::Copier;

use super::config::{Config, DriverKind};
use super::driver::Part;
use super::storage::{Precondition, Version};
use super::{Error, driver};

/// From so many bytes on it is a blob.
const BULK: usize = 1 << 20;
/// Removals under way at once while a folder is removed.
const REMOVALS: usize = 16;
/// A body of so many bytes adds a second to the time that its call may take; a stalled one is noticed before.
const SLOWEST: u64 = 256 << 10;
/// The longest that a store may work on one call (completing a multipart upload of thousands of parts) while it shows
/// that it lives.
const LONGEST: Duration = Duration::from_secs(600);

/// One bucket, below one prefix.
pub(super) struct Remote {
    kind: DriverKind,
    store: Arc<dyn ObjectStore>,
    /// For blobs: their bytes are not hashed once more for the request's signature, by us and by the store. Whoever
    /// reads them checks their digest. What has no digest (links, our own files) is small and goes through `store`.
    bulk: Arc<dyn ObjectStore>,
    parts: Arc<dyn MultipartStore>,
    signer: Option<Arc<dyn Signer>>,
    /// S3 only.
    copier: Option<Copier>,
    /// "" or ends with '/'.
    prefix: String,
    /// For one small call with its tries.
    limit: Duration,
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

    async fn within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Error> {
        match timeout(limit, call).await {
            Ok(outcome) => outcome.map_err(store_error),
            Err(_) => Err(driver::too_slow(limit)),
        }
    }

    fn limit_for(&self, bytes: usize) -> Duration {
        self.limit + Duration::from_secs(bytes as u64 / SLOWEST)
    }

    pub(super) async fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        let path = self.path(key)?;
        let call = async { present(self.store.head(&path).await) };
        Ok(self.within(self.limit, call).await?.map(|meta| meta.size))
    }

    pub(super) async fn version(&self, key: &str) -> Result<Option<Version>, Error> {
        let path = self.path(key)?;
        let call = async { present(self.store.head(&path).await) };
        Ok(self.within(self.limit, call).await?.map(|meta| self.name_version(meta.e_tag, meta.version)))
    }

    pub(super) async fn get(&self, key: &str, limit: u64) -> Result<Option<(Bytes, Version)>, Error> {
        let path = self.path(key)?;
        let call = async {
            let Some(found) = present(self.store.get(&path).await)? else { return Ok(None) };
            let version = self.name_version(found.meta.e_tag.clone(), found.meta.version.clone());
            if found.meta.size > limit {
                return Ok(Some(None));
            }
            Ok(Some(Some((found.bytes().await?, version))))
        };
        let allowed = self.limit_for(usize::try_from(limit.min(64 << 20)).unwrap_or(0));
        match self.within(allowed, call).await? {
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
        let call = async { present(self.store.get_opts(&path, GetOptions { range, ..GetOptions::default() }).await) };
        match self.within(self.limit, call).await {
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
        let limit = self.limit_for(bytes.len());
        let store = if bytes.len() < BULK { &self.store } else { &self.bulk };
        let call = async {
            match store.put_opts(&path, bytes.into(), PutOptions::from(mode)).await {
                Err(error) if conditional && is_conflict(&error) => Ok(None),
                outcome => outcome.map(Some),
            }
        };
        match self.within(limit, call).await? {
            Some(done) => Ok(self.name_version(done.e_tag, done.version)),
            None => Err(Error::Conflict),
        }
    }

    pub(super) async fn delete(&self, key: &str) -> Result<bool, Error> {
        let path = self.path(key)?;
        let call = async { present(self.store.delete(&path).await) };
        Ok(self.within(self.limit, call).await?.is_some())
    }

    pub(super) async fn delete_all(&self, folder: &str) -> Result<(), Error> {
        let path = self.path(folder)?;
        let listed = self.store.list(Some(&path)).map_err(store_error);
        let removed = listed.map_ok(|found| async move {
            let call = async { present(self.store.delete(&found.location).await) };
            self.within(self.limit, call).await.map(drop)
        });
        removed.try_buffer_unordered(REMOVALS).try_collect::<()>().await
    }

    pub(super) async fn list(&self, folder: &str) -> Result<(Vec<String>, Vec<String>), Error> {
        let path = self.path(folder)?;
        // Pages come one after the other: each has its own limit in the transport.
        let found = self.within(LONGEST, self.store.list_with_delimiter(Some(&path))).await?;
        let name = |path: &Path| path.filename().map(str::to_owned);
        let folders = found.common_prefixes.iter().filter_map(name).collect();
        // A folder's own marker, which some programs write, has no name below the folder.
        let files = found.objects.iter().filter(|object| object.location != path).filter_map(|o| name(&o.location));
        Ok((folders, files.collect()))
    }

    pub(super) async fn copy(&self, from: &str, to: &str) -> Result<(), Error> {
        let (from_path, to_path) = (self.path(from)?, self.path(to)?);
        match &self.copier {
            Some(copier) => {
                let Some(size) = self.size(from).await? else { return Err(driver::absent(from)) };
                copier.copy(self.parts.as_ref(), &from_path, &to_path, size).await
            }
            None => self.within(LONGEST, self.store.copy(&from_path, &to_path)).await,
        }
    }

    pub(super) async fn signed(
        &self,
        key: &str,
        method: ::http::Method,
        valid: Duration,
    ) -> Result<Option<url::Url>, Error> {
        let Some(signer) = &self.signer else { return Ok(None) };
        let path = self.path(key)?;
        self.within(self.limit, signer.signed_url(method, &path, valid)).await.map(Some)
    }

    pub(super) async fn multipart_begin(&self, key: &str) -> Result<String, Error> {
        let path = self.path(key)?;
        self.within(self.limit, self.parts.create_multipart(&path)).await
    }

    pub(super) async fn multipart_put(&self, key: &str, id: &str, index: usize, bytes: Bytes) -> Result<Part, Error> {
        let path = self.path(key)?;
        let (limit, id) = (self.limit_for(bytes.len()), id.to_owned());
        let part = self.within(limit, self.parts.put_part(&path, &id, index, bytes.into())).await?;
        Ok(Part(part.content_id))
    }

    pub(super) fn copies_parts(&self) -> bool {
        self.copier.is_some()
    }

    pub(super) async fn multipart_copy(
        &self,
        key: &str,
        id: &str,
        index: usize,
        from: &str,
        range: std::ops::Range<u64>,
    ) -> Result<Part, Error> {
        let (from, path) = (self.path(from)?, self.path(key)?);
        let Some(copier) = &self.copier else {
            return Err(Error::Failed("this store cannot make parts of other objects".to_owned()));
        };
        copier.part(&path, id, index, &from, range).await
    }

    pub(super) async fn multipart_complete(
        &self,
        key: &str,
        id: &str,
        parts: Vec<Part>,
        size: u64,
    ) -> Result<(), Error> {
        let path = self.path(key)?;
        let parts = parts.into_iter().map(|part| PartId { content_id: part.0 }).collect();
        let id = id.to_owned();
        let call = async { present(self.parts.complete_multipart(&path, &id, parts).await) };
        if self.within(LONGEST, call).await?.is_some() {
            return Ok(());
        }
        // Unknown id: a try before may have succeeded without our hearing of it.
        match self.size(key).await? {
            Some(there) if there == size => Ok(()),
            _ => Err(Error::Failed("the store does not know this multipart upload".to_owned())),
        }
    }

    pub(super) async fn multipart_abort(&self, key: &str, id: &str) -> Result<(), Error> {
        let path = self.path(key)?;
        let id = id.to_owned();
        let call = async { present(self.parts.abort_multipart(&path, &id).await) };
        match self.within(self.limit, call).await {
            // Memory has no words of its own for an id that it does not know.
            Err(Error::Failed(_)) if self.kind == DriverKind::Memory => Ok(()),
            outcome => outcome.map(drop),
        }
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
    matches!(error, E::AlreadyExists { .. } | E::Precondition { .. } | E::NotModified { .. })
        || matches!(error, E::NotFound { .. }) && !errors::is_about_bucket(error)
}
