//! A folder of this machine as a [`Driver`]: what waits for the disk runs on a thread that may, within a time.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use tokio::time::timeout;

use super::{Below, Chunks, Disk, Occupant, Space};
use crate::storage::Error;
use crate::storage::driver::{Abilities, AtOnce, Driver, Entries, Listing, Opened, Parts, too_slow};
use crate::storage::error::{blocking, io_error};
use crate::storage::storage::{Precondition, Version};

/// What a call may take; a network filesystem can hang.
const LIMIT: Duration = Duration::from_secs(30);

/// A disk, asked off the async threads.
pub(in crate::storage) struct Files(Arc<Disk>);

impl Files {
    pub(in crate::storage) async fn open(root: &Path) -> Result<Self, Error> {
        let root = root.to_owned();
        Ok(Files(Arc::new(within_limit(move || Disk::open(&root)).await?)))
    }

    async fn ask<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Disk) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        on_disk(&self.0, call).await
    }
}

/// A call to a disk, off the async threads, within its time.
pub(in crate::storage) async fn on_disk<T: Send + 'static>(
    disk: &Arc<Disk>,
    call: impl FnOnce(&Disk) -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let disk = Arc::clone(disk);
    within_limit(move || call(&disk).map_err(io_error)).await
}

async fn within_limit<T: Send + 'static>(call: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    timeout(LIMIT, blocking(call)).await.map_err(|_| too_slow(LIMIT))?
}

#[async_trait]
impl Driver for Files {
    fn abilities(&self) -> Abilities {
        Abilities { copies: true, tells_removals: true, trusts_others: false }
    }

    fn at_once(&self) -> Option<&dyn AtOnce> {
        Some(&*self.0)
    }

    fn files(&self) -> Option<&Arc<Disk>> {
        Some(&self.0)
    }

    fn parts(&self) -> Option<&dyn Parts> {
        None
    }

    fn made_up_version(&self) -> Option<Version> {
        None
    }

    async fn check(&self, _folder: &str) -> Result<(), Error> {
        self.ask(Disk::check).await
    }

    async fn check_writes(&self, _probe: &str) -> Result<(), Error> {
        self.ask(Disk::check_writes).await
    }

    async fn space(&self) -> Option<Space> {
        self.ask(Disk::space).await.ok()
    }

    async fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        let key = key.to_owned();
        self.ask(move |disk| disk.size(&key)).await
    }

    async fn version(&self, key: &str) -> Result<Option<Version>, Error> {
        Ok(self.bytes(key, u64::MAX >> 1).await?.map(|bytes| content_version(&bytes)))
    }

    async fn get(&self, key: &str, limit: u64) -> Result<Option<(Bytes, Version)>, Error> {
        Ok(self.bytes(key, limit).await?.map(with_version))
    }

    async fn bytes(&self, key: &str, limit: u64) -> Result<Option<Bytes>, Error> {
        let key = key.to_owned();
        let found = self.ask(move |disk| disk.read(&key, limit)).await?;
        found.map(|found| found.map_err(|_| Error::TooLarge(limit))).transpose()
    }

    async fn open(&self, key: &str, offset: u64, end: Option<u64>) -> Result<Option<Opened>, Error> {
        let key = key.to_owned();
        let found = self.ask(move |disk| disk.chunks(&key, offset, end)).await?;
        Ok(found.map(|(size, chunks)| (size, stream(chunks))))
    }

    async fn put(&self, key: &str, bytes: Bytes, precondition: Precondition) -> Result<Version, Error> {
        let key = key.to_owned();
        let version = content_version(&bytes);
        let call = move |disk: &Disk| match precondition {
            Precondition::None => disk.write(&key, &bytes, Occupant::Any).map(|()| true),
            Precondition::Absent => match disk.write(&key, &bytes, Occupant::Empty) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                outcome => outcome.map(|()| true),
            },
            Precondition::Unchanged(version) => {
                disk.replace(&key, &bytes, u64::MAX >> 1, |present| content_version(present) == version)
            }
        };
        if self.ask(call).await? { Ok(version) } else { Err(Error::Conflict) }
    }

    async fn keep(&self, key: &str, bytes: Bytes) -> Result<(), Error> {
        let key = key.to_owned();
        let keep = move |disk: &Disk| match disk.read(&key, bytes.len() as u64)? {
            Some(Ok(present)) if present == bytes => disk.settle(&key),
            _ => disk.write(&key, &bytes, Occupant::Any),
        };
        self.ask(keep).await
    }

    async fn delete(&self, key: &str) -> Result<bool, Error> {
        let key = key.to_owned();
        self.ask(move |disk| disk.remove(&key)).await
    }

    async fn delete_all(&self, folder: &str) -> Result<(), Error> {
        let folder = folder.to_owned();
        self.ask(move |disk| disk.remove_all(&folder).map(drop)).await
    }

    async fn list(&self, folder: &str) -> Result<Listing, Error> {
        let folder = folder.to_owned();
        self.ask(move |disk| disk.list_entries(&folder)).await
    }

    async fn list_holding(&self, folder: &str, file: &str) -> Result<Vec<String>, Error> {
        let (folder, file) = (folder.to_owned(), file.to_owned());
        self.ask(move |disk| disk.list_holding(&folder, &file)).await
    }

    async fn folder_exists(&self, folder: &str) -> Result<bool, Error> {
        let folder = folder.to_owned();
        self.ask(move |disk| Ok(disk.folder_changed(&folder)?.is_some())).await
    }

    fn below(&self, folder: &str, after: Option<&str>) -> Entries {
        walk(&self.0, Below::new(folder, after))
    }

    /// Not bounded: the disk copies as many bytes as there are.
    async fn copy(&self, from: &str, to: &str) -> Result<(), Error> {
        let (disk, from, to) = (Arc::clone(&self.0), from.to_owned(), to.to_owned());
        blocking(move || disk.copy(&from, &to).map_err(io_error)).await
    }

    async fn signed(&self, _key: &str, _method: http::Method, _valid: Duration) -> Result<Option<url::Url>, Error> {
        Ok(None)
    }
}

/// Some files at a time, each call within its time.
pub(in crate::storage) fn walk(disk: &Arc<Disk>, begin: Below) -> Entries {
    let more = |(disk, mut walk): (Arc<Disk>, Below)| async move {
        if walk.is_over() {
            return Ok(None);
        }
        let next = move |disk: &Disk| Ok((walk.next(disk)?, walk));
        let (entries, walk) = on_disk(&disk, next).await?;
        Ok::<_, Error>(Some((futures::stream::iter(entries.into_iter().map(Ok)), (disk, walk))))
    };
    futures::stream::try_unfold((Arc::clone(disk), begin), more).try_flatten().boxed()
}

/// On a disk the content is the version: files of our own are small, and times are too coarse to tell two writes apart.
fn content_version(bytes: &[u8]) -> Version {
    Version(format!("{:032x}", xxhash_rust::xxh3::xxh3_128(bytes)))
}

pub(super) fn with_version(bytes: Bytes) -> (Bytes, Version) {
    let version = content_version(&bytes);
    (bytes, version)
}

fn stream(chunks: Chunks) -> BoxStream<'static, Result<Bytes, Error>> {
    let next = |mut chunks: Chunks| async move {
        let read = move || Ok((chunks.next().map_err(io_error)?, chunks));
        let (piece, chunks) = within_limit(read).await?;
        Ok(piece.map(|piece| (piece, chunks)))
    };
    futures::stream::try_unfold(chunks, next).boxed()
}
