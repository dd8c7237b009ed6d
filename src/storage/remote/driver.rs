//! An object store as a [`Driver`]. Each call has all its tries within its time, see `tries`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{Attributes, GetOptions, GetRange, ObjectMeta, ObjectStoreExt as _, PutMode, PutOptions};

use super::errors::{self, store_error};
use super::tries::Before;
use super::{DriverKind, LONGEST, Remote, present};
use crate::storage::Error;
use crate::storage::disk::{Disk, Space};
use crate::storage::driver::{Abilities, AtOnce, Driver, Entries, Entry, Listing, Opened, Parts};
use crate::storage::storage::{Precondition, Version};

/// From so many bytes on it is a blob.
const BULK: usize = 1 << 20;
/// Removals under way at once while a folder is removed.
const REMOVALS: usize = 16;
/// The longest that a folder's removal may take: hours of tag history, or the pieces of an upload, sixteen at once.
const FOLDER: Duration = Duration::from_secs(3600);

#[async_trait]
impl Driver for Remote {
    /// Azure answers Copy Blob before it has copied, and tells in a header that the library does not hand on: whoever
    /// acknowledged a push by that answer would lose it if the copy fails.
    fn abilities(&self) -> Abilities {
        Abilities { copies: self.kind != DriverKind::Azure, tells_removals: false, trusts_others: true }
    }

    fn at_once(&self) -> Option<&dyn AtOnce> {
        None
    }

    fn files(&self) -> Option<&Arc<Disk>> {
        None
    }

    fn parts(&self) -> Option<&dyn Parts> {
        Some(self)
    }

    fn made_up_version(&self) -> Option<Version> {
        let name = if self.kind == DriverKind::Gcs { "1".to_owned() } else { format!("\"{:032x}\"", 1) };
        Some(Version(name))
    }

    async fn check(&self, folder: &str) -> Result<(), Error> {
        self.list(folder).await.map(drop)
    }

    /// Asks for a write whose condition is not met. Stores that mind no conditions then hold a few bytes of ours.
    async fn check_writes(&self, probe: &str) -> Result<(), Error> {
        let Some(made_up) = self.made_up_version() else { return Ok(()) };
        let bytes = Bytes::copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        match self.put(probe, bytes, Precondition::Unchanged(made_up)).await {
            Err(Error::Conflict | Error::Failed(_)) => Ok(()),
            other => other.map(drop),
        }
    }

    async fn space(&self) -> Option<Space> {
        None
    }

    async fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        let path = self.path(key)?;
        Ok(self.head(&path).await?.map(|meta| meta.size))
    }

    async fn version(&self, key: &str) -> Result<Option<Version>, Error> {
        let path = self.path(key)?;
        Ok(self.head(&path).await?.map(|meta| self.name_version(meta.e_tag, meta.version)))
    }

    async fn get(&self, key: &str, limit: u64) -> Result<Option<(Bytes, Version)>, Error> {
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

    async fn bytes(&self, key: &str, limit: u64) -> Result<Option<Bytes>, Error> {
        Ok(self.get(key, limit).await?.map(|(bytes, _)| bytes))
    }

    async fn open(&self, key: &str, offset: u64, end: Option<u64>) -> Result<Option<Opened>, Error> {
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

    async fn put(&self, key: &str, bytes: Bytes, precondition: Precondition) -> Result<Version, Error> {
        let path = self.path(key)?;
        let conditional = precondition != Precondition::None;
        let mode = match precondition {
            Precondition::None => PutMode::Overwrite,
            Precondition::Absent => PutMode::Create,
            Precondition::Unchanged(version) => PutMode::Update(self.parse_version(version)),
        };
        let (store, attributes) = match bytes.len() < BULK {
            true => (&self.writes, Attributes::new()),
            false => (&self.bulk, self.attributes()),
        };
        let put = async |before: Before| {
            let options = PutOptions { attributes: attributes.clone(), ..PutOptions::from(mode.clone()) };
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

    async fn keep(&self, key: &str, bytes: Bytes) -> Result<(), Error> {
        self.put(key, bytes, Precondition::None).await.map(drop)
    }

    async fn delete(&self, key: &str) -> Result<bool, Error> {
        self.remove(&self.path(key)?).await
    }

    async fn delete_all(&self, folder: &str) -> Result<(), Error> {
        let path = self.path(folder)?;
        let remove_all = async |_| {
            let listed = self.reads.list(Some(&path)).map_err(store_error);
            let removed = listed.map_ok(|found| async move { self.remove(&found.location).await.map(drop) });
            removed.try_buffer_unordered(REMOVALS).try_collect::<()>().await
        };
        self.tried(FOLDER, remove_all).await
    }

    async fn list(&self, folder: &str) -> Result<Listing, Error> {
        let path = self.path(folder)?;
        // Pages come one after the other: each has its own limit in the transport.
        let found = self.tried(LONGEST, |_| self.asked(self.reads.list_with_delimiter(Some(&path)))).await?;
        self.bucket_missing.store(false, Ordering::Relaxed);
        let name = |path: &Path| path.filename().map(str::to_owned);
        let folders = found.common_prefixes.iter().filter_map(name).collect();
        Ok(Listing { folders, files: found.objects.into_iter().filter_map(|object| entry(&path, object)).collect() })
    }

    async fn list_holding(&self, folder: &str, _file: &str) -> Result<Vec<String>, Error> {
        Ok(self.list(folder).await?.folders)
    }

    async fn folder_exists(&self, folder: &str) -> Result<bool, Error> {
        let found = self.list(folder).await?;
        Ok(!found.folders.is_empty() || !found.files.is_empty())
    }

    fn below(&self, folder: &str, after: Option<&str>) -> Entries {
        let path = match self.path(folder) {
            Ok(path) => path,
            Err(error) => return futures::stream::once(std::future::ready(Err(error))).boxed(),
        };
        // The library asks for a page when it is wanted, and again for one that broke off.
        let found = match after.map(|after| self.path(&format!("{folder}/{after}"))) {
            None => self.reads.list(Some(&path)),
            Some(Ok(after)) => self.reads.list_with_offset(Some(&path), &after),
            Some(Err(error)) => return futures::stream::once(std::future::ready(Err(error))).boxed(),
        };
        // Some stores pass over the offset: Azurite does.
        let after = after.map(str::to_owned);
        let is_after = move |entry: &Entry| after.as_ref().is_none_or(|after| entry.name > *after);
        let told = move |object| std::future::ready(Ok(entry(&path, object).filter(&is_after)));
        found.map_err(store_error).try_filter_map(told).boxed()
    }

    async fn copy(&self, from: &str, to: &str) -> Result<(), Error> {
        self.copied(from, to).await
    }

    async fn signed(&self, key: &str, method: http::Method, valid: Duration) -> Result<Option<url::Url>, Error> {
        let Some(signer) = &self.signer else { return Ok(None) };
        let path = self.path(key)?;
        let sign = |_| self.asked(signer.signed_url(method.clone(), &path, valid));
        self.tried(self.limit, sign).await.map(Some)
    }
}

/// `None`: the listed folder's own marker, which some programs write, has no name below the folder.
fn entry(folder: &Path, object: ObjectMeta) -> Option<Entry> {
    let name = object.location.as_ref().strip_prefix(folder.as_ref())?.trim_start_matches('/').to_owned();
    (!name.is_empty()).then(|| Entry { name, size: object.size, changed: object.last_modified.into() })
}

fn is_conflict(error: &object_store::Error) -> bool {
    use object_store::Error as E;
    let refused = matches!(error, E::AlreadyExists { .. } | E::Precondition { .. } | E::NotModified { .. });
    (refused || matches!(error, E::NotFound { .. })) && !errors::is_undecided(error) && !errors::is_about_bucket(error)
}
