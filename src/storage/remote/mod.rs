//! An object store: S3, GCS, Azure, or memory.

mod build;
mod driver;
mod errors;
mod http;
mod multipart;
mod s3;
mod tries;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{Attribute, Attributes, ObjectMeta, ObjectStore, ObjectStoreExt as _, UpdateVersion};

use errors::store_error;
use s3::Copier;
use tries::Before;

use super::config::{Config, DriverKind};
use super::driver::Driver as _;
use super::storage::Version;
use super::{Error, layout};

/// A body of so many bytes adds a second to the time that its call may take; a stalled one is noticed before.
const SLOWEST: u64 = 256 << 10;
/// The longest that a store may work on one call (completing a multipart upload of thousands of parts) while it shows
/// that it lives.
const LONGEST: Duration = Duration::from_secs(600);

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
    /// Of blobs; S3 only.
    class: Option<String>,
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
    /// What the store is to keep of a blob beside its bytes.
    fn attributes(&self) -> Attributes {
        let class = self.class.clone().map(|class| (Attribute::StorageClass, class));
        class.into_iter().collect()
    }

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

    /// True after an answer that was lost: then it was there, for all that is known.
    async fn remove(&self, path: &Path) -> Result<bool, Error> {
        let remove = async |before| {
            let removed = present(self.writes.delete(path).await).map_err(store_error)?;
            Ok(removed.is_some() || before == Before::Doubt)
        };
        self.tried(self.limit, remove).await
    }

    /// GCS compares generations, the others ETags.
    fn name_version(&self, e_tag: Option<String>, version: Option<String>) -> Version {
        let name = if self.kind == DriverKind::Gcs { version } else { e_tag };
        Version(name.unwrap_or_default())
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
