//! One configured store, whatever its kind. Keys are relative to the configured root or prefix.

use std::io;
#[cfg(test)]
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use tokio::time::timeout;

use super::config::{Config, DriverKind};
use super::disk::{self, Chunks, Disk, Occupant, Space};
use super::metrics::{Action, DriverMetrics};
use super::remote::Remote;
use super::storage::{Precondition, Version};
use super::{Error, Metrics};

/// What a call to a disk may take; a network filesystem can hang.
const DISK_LIMIT: Duration = Duration::from_secs(30);

/// One configured store. Every call is bounded in time and retried as `[storage]` says; each is counted in the metrics.
pub struct Driver {
    store: Store,
    metrics: DriverMetrics,
}

enum Store {
    Disk(Arc<Disk>),
    Remote(Box<Remote>),
}

/// A part of a multipart upload, as the store named it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Part(pub String);

impl Driver {
    /// A filesystem's root is made if it is not there; an object store is not asked anything.
    pub(crate) async fn new(config: &Config, metrics: &Metrics) -> Result<Self, Error> {
        let store = match config.driver {
            DriverKind::Filesystem => {
                let root = config.root.clone();
                Store::Disk(Arc::new(on_disk(move || Ok(Disk::open(&root))).await??))
            }
            _ => Store::Remote(Box::new(Remote::open(config)?)),
        };
        Ok(Driver { store, metrics: metrics.of(config.driver) })
    }

    /// The path of a key on this machine's disk; `None` for object stores.
    #[cfg(test)]
    pub fn local_path(&self, key: &str) -> Option<PathBuf> {
        match &self.store {
            Store::Disk(disk) => Some(disk.path(key)),
            Store::Remote(_) => None,
        }
    }

    pub(crate) fn disk(&self) -> Option<&Arc<Disk>> {
        match &self.store {
            Store::Disk(disk) => Some(disk),
            Store::Remote(_) => None,
        }
    }

    /// Counts what a caller found out by itself.
    pub(crate) fn failed(&self, error: Error) -> Error {
        self.metrics.failed(&error);
        error
    }

    /// Of the volume; `None` for object stores.
    pub(crate) async fn space(&self) -> Option<Space> {
        let disk = Arc::clone(self.disk()?);
        on_disk(move || disk.space()).await.ok()
    }

    /// Something cheap that fails when the store is not there.
    pub(crate) async fn check(&self, folder: &str) -> Result<(), Error> {
        match &self.store {
            Store::Disk(disk) => {
                let disk = Arc::clone(disk);
                self.metrics.observe(Action::Stat, on_disk(move || disk.check())).await
            }
            Store::Remote(remote) => self.metrics.observe(Action::List, remote.list(folder)).await.map(drop),
        }
    }

    /// A call to the disk, counted.
    pub(crate) async fn with_disk<T: Send + 'static>(
        &self,
        action: Action,
        disk: &Arc<Disk>,
        call: impl FnOnce(&Disk) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let disk = Arc::clone(disk);
        self.metrics.observe(action, on_disk(move || call(&disk))).await
    }

    /// An open file of this machine and its size; `None` also for object stores.
    pub(crate) async fn file(&self, key: &str) -> Result<Option<(std::fs::File, u64)>, Error> {
        let Store::Disk(disk) = &self.store else { return Ok(None) };
        if let Some(found) = self.at_once(Action::Reader, || disk.file_now(key)) {
            return Ok(found);
        }
        let key = key.to_owned();
        self.with_disk(Action::Reader, disk, move |disk| disk.file(&key)).await
    }

    /// What the kernel answers from its memory, counted; `None` where it cannot.
    fn at_once<T>(&self, action: Action, call: impl FnOnce() -> Option<io::Result<T>>) -> Option<T> {
        let start = std::time::Instant::now();
        let found = call()?.ok()?;
        self.metrics.took(action, start.elapsed());
        Some(found)
    }

    pub async fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        match &self.store {
            Store::Disk(disk) => {
                if let Some(size) = self.at_once(Action::Stat, || disk.size_now(key)) {
                    return Ok(size);
                }
                let key = key.to_owned();
                self.with_disk(Action::Stat, disk, move |disk| disk.size(&key)).await
            }
            Store::Remote(remote) => self.metrics.observe(Action::Stat, remote.size(key)).await,
        }
    }

    /// The version of an object, without its bytes.
    pub(crate) async fn version(&self, key: &str) -> Result<Option<Version>, Error> {
        match &self.store {
            Store::Disk(_) => Ok(self.get(key, u64::MAX >> 1).await?.map(|(_, version)| version)),
            Store::Remote(remote) => self.metrics.observe(Action::Stat, remote.version(key)).await,
        }
    }

    /// One that no object has; `None` on a disk, where versions are not the store's.
    pub(crate) fn made_up_version(&self) -> Option<Version> {
        self.remote().ok().map(Remote::made_up_version)
    }

    /// A whole small object; `Error::TooLarge` beyond `limit` bytes.
    pub async fn get(&self, key: &str, limit: u64) -> Result<Option<(Bytes, Version)>, Error> {
        let Store::Remote(remote) = &self.store else {
            let Some(bytes) = self.bytes(key, limit).await? else { return Ok(None) };
            let version = content_version(&bytes);
            return Ok(Some((bytes, version)));
        };
        self.metrics.observe(Action::GetContent, remote.get(key, limit)).await
    }

    /// As [`Self::get`], where the version does not matter.
    pub(crate) async fn bytes(&self, key: &str, limit: u64) -> Result<Option<Bytes>, Error> {
        match &self.store {
            Store::Disk(disk) => {
                let found = match self.at_once(Action::GetContent, || disk.read_now(key, limit)) {
                    Some(found) => found,
                    None => {
                        let key = key.to_owned();
                        self.with_disk(Action::GetContent, disk, move |disk| disk.read(&key, limit)).await?
                    }
                };
                found.map(|found| found.map_err(|_| Error::TooLarge(limit))).transpose()
            }
            Store::Remote(remote) => {
                let found = self.metrics.observe(Action::GetContent, remote.get(key, limit)).await?;
                Ok(found.map(|(bytes, _)| bytes))
            }
        }
    }

    /// The bytes from `offset` to `end` (exclusive; `None`: to the object's end), and the object's whole size.
    pub async fn open(
        &self,
        key: &str,
        offset: u64,
        end: Option<u64>,
    ) -> Result<Option<(u64, BoxStream<'static, Result<Bytes, Error>>)>, Error> {
        match &self.store {
            Store::Disk(disk) => {
                let key = key.to_owned();
                let call = move |disk: &Disk| disk.chunks(&key, offset, end);
                let found = self.with_disk(Action::Reader, disk, call).await?;
                Ok(found.map(|(size, chunks)| (size, stream(chunks))))
            }
            Store::Remote(remote) => self.metrics.observe(Action::Reader, remote.open_at(key, offset, end)).await,
        }
    }

    /// Durable and atomic when it returns (on a filesystem: file and folder are fsynced). `Error::Conflict` if the precondition fails.
    pub async fn put(&self, key: &str, bytes: Bytes, precondition: Precondition) -> Result<Version, Error> {
        let Store::Disk(disk) = &self.store else {
            let Store::Remote(remote) = &self.store else { return Err(wrong_kind()) };
            return self.metrics.observe(Action::PutContent, remote.put(key, bytes, precondition)).await;
        };
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
        let written = self.with_disk(Action::PutContent, disk, call).await?;
        if written { Ok(version) } else { Err(Error::Conflict) }
    }

    /// False when it was not there (where the store tells).
    pub async fn delete(&self, key: &str) -> Result<bool, Error> {
        match &self.store {
            Store::Disk(disk) => {
                let key = key.to_owned();
                self.with_disk(Action::Delete, disk, move |disk| disk.remove(&key)).await
            }
            Store::Remote(remote) => self.metrics.observe(Action::Delete, remote.delete(key)).await,
        }
    }

    /// Everything under a folder.
    pub async fn delete_all(&self, folder: &str) -> Result<(), Error> {
        match &self.store {
            Store::Disk(disk) => {
                let folder = folder.to_owned();
                self.with_disk(Action::Delete, disk, move |disk| disk.remove_all(&folder).map(drop)).await
            }
            Store::Remote(remote) => self.metrics.observe(Action::Delete, remote.delete_all(folder)).await,
        }
    }

    /// Names directly under a folder, in no order: (sub-folders, objects). Files that are being written are left out.
    pub async fn list(&self, folder: &str) -> Result<(Vec<String>, Vec<String>), Error> {
        match &self.store {
            Store::Disk(disk) => {
                let folder = folder.to_owned();
                let names = self.with_disk(Action::List, disk, move |disk| disk.list(&folder)).await?;
                Ok((names.folders, names.files))
            }
            Store::Remote(remote) => self.metrics.observe(Action::List, remote.list(folder)).await,
        }
    }

    /// Whether `copy` works here: not on Azure, whose copies may still go on, and fail, after they were answered.
    pub fn copies(&self) -> bool {
        match &self.store {
            Store::Disk(_) => true,
            Store::Remote(remote) => remote.copies(),
        }
    }

    /// Server-side copy of an object of any size (beyond 5 GiB on S3: by parts, in parallel).
    pub async fn copy(&self, from: &str, to: &str) -> Result<(), Error> {
        match &self.store {
            Store::Disk(disk) => {
                let (from, to) = (from.to_owned(), to.to_owned());
                let disk = Arc::clone(disk);
                // Not bounded: the disk copies as many bytes as there are.
                let call = blocking(move || disk.copy(&from, &to));
                self.metrics.observe(Action::Move, call).await
            }
            Store::Remote(remote) => self.metrics.observe(Action::Move, remote.copy(from, to)).await,
        }
    }

    /// An address that anybody may use for so long; `None` where the store cannot sign any.
    pub(crate) async fn signed(&self, key: &str, head: bool, valid: Duration) -> Result<Option<url::Url>, Error> {
        let Store::Remote(remote) = &self.store else { return Ok(None) };
        let method = if head { http::Method::HEAD } else { http::Method::GET };
        self.metrics.observe(Action::RedirectUrl, remote.signed(key, method, valid)).await
    }

    /// Object stores only; parts other than the last have at least 5 MiB. `Part`s are listed in order in `complete`.
    pub async fn multipart_begin(&self, key: &str) -> Result<String, Error> {
        self.metrics.observe(Action::Writer, self.remote()?.multipart_begin(key)).await
    }

    pub async fn multipart_put(&self, key: &str, id: &str, index: usize, bytes: Bytes) -> Result<Part, Error> {
        self.metrics.observe(Action::Writer, self.remote()?.multipart_put(key, id, index, bytes)).await
    }

    /// Whether `multipart_copy` works here: only on S3.
    pub fn copies_parts(&self) -> bool {
        self.remote().is_ok_and(Remote::copies_parts)
    }

    /// A part made of bytes `range` of another object, without them passing through us (UploadPartCopy).
    pub async fn multipart_copy(
        &self,
        key: &str,
        id: &str,
        index: usize,
        from: &str,
        range: std::ops::Range<u64>,
    ) -> Result<Part, Error> {
        self.metrics.observe(Action::Writer, self.remote()?.multipart_copy(key, id, index, from, range)).await
    }

    /// Safe to call again after a failure: an id that is unknown and an object of this size, in bytes, mean that it was done.
    pub async fn multipart_complete(&self, key: &str, id: &str, parts: Vec<Part>, size: u64) -> Result<(), Error> {
        self.metrics.observe(Action::Move, self.remote()?.multipart_complete(key, id, parts, size)).await
    }

    /// Forgiving: an id that is unknown has been ended already.
    pub async fn multipart_abort(&self, key: &str, id: &str) -> Result<(), Error> {
        self.metrics.observe(Action::Delete, self.remote()?.multipart_abort(key, id)).await
    }

    fn remote(&self) -> Result<&Remote, Error> {
        match &self.store {
            Store::Remote(remote) => Ok(remote),
            Store::Disk(_) => Err(wrong_kind()),
        }
    }
}

/// On a disk the content is the version: files of our own are small, and times are too coarse to tell two writes apart.
fn content_version(bytes: &[u8]) -> Version {
    Version(format!("{:032x}", xxhash_rust::xxh3::xxh3_128(bytes)))
}

fn stream(chunks: Chunks) -> BoxStream<'static, Result<Bytes, Error>> {
    let next = |mut chunks: Chunks| async move {
        let (piece, chunks) = on_disk(move || Ok((chunks.next()?, chunks))).await?;
        Ok(piece.map(|piece| (piece, chunks)))
    };
    futures::stream::try_unfold(chunks, next).boxed()
}

async fn on_disk<T: Send + 'static>(call: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Error> {
    timeout(DISK_LIMIT, blocking(call)).await.map_err(|_| too_slow(DISK_LIMIT))?
}

async fn blocking<T: Send + 'static>(call: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(call).await {
        Ok(outcome) => outcome.map_err(|error| disk::io_error(&error)),
        Err(error) => Err(Error::Failed(error.to_string())),
    }
}

pub(crate) fn too_slow(limit: Duration) -> Error {
    Error::Unavailable(format!("no answer within {limit:?}"))
}

pub(crate) fn absent(key: &str) -> Error {
    Error::Failed(format!("there is no {key}"))
}

pub(crate) fn wrong_kind() -> Error {
    Error::Failed("this store cannot do that".to_owned())
}
