//! The configured store, measured: a wrapper around whatever driver it has. Its own functions are no trait's, so that a call
//! costs one boxed future, the driver's; and none where the driver answers at once.

use std::fs::File;
use std::io;
#[cfg(test)]
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};

use super::config::{Config, DriverKind};
use super::disk::{Below, Disk, Files, Space, on_disk, walk};
use super::driver::{Abilities, AtOnce, Driver, Entry, Listing, Opened, Part, PartOf, Parts, WholeOf, wrong_kind};
use super::metrics::{Action, DriverMetrics};
use super::remote::Remote;
use super::storage::{Precondition, Version};
use super::{Error, Metrics};

/// One configured store. What each call means, see [`Driver`].
pub(crate) struct Store {
    driver: Box<dyn Driver>,
    metrics: DriverMetrics,
}

impl Store {
    /// A filesystem's root is made if it is not there; an object store is not asked anything.
    pub(super) async fn new(config: &Config, metrics: &Metrics) -> Result<Self, Error> {
        let driver: Box<dyn Driver> = match config.driver {
            DriverKind::Filesystem => Box::new(Files::open(&config.root).await?),
            _ => Box::new(Remote::open(config)?),
        };
        Ok(Store { driver, metrics: metrics.of(config.driver) })
    }

    /// Over a driver of a test's own.
    #[cfg(test)]
    pub(super) fn over(driver: Box<dyn Driver>, kind: DriverKind, metrics: &Metrics) -> Self {
        Store { driver, metrics: metrics.of(kind) }
    }

    /// The path of a key on this machine's disk; `None` for object stores.
    #[cfg(test)]
    pub(crate) fn local_path(&self, key: &str) -> Option<PathBuf> {
        self.files().map(|disk| disk.path(key))
    }

    pub(crate) fn abilities(&self) -> Abilities {
        self.driver.abilities()
    }

    pub(crate) fn files(&self) -> Option<&Arc<Disk>> {
        self.driver.files()
    }

    pub(super) fn made_up_version(&self) -> Option<Version> {
        self.driver.made_up_version()
    }

    /// Counts what a caller found out by itself.
    pub(crate) fn failed(&self, error: Error) -> Error {
        self.metrics.failed(&error);
        error
    }

    pub(super) async fn space(&self) -> Option<Space> {
        self.driver.space().await
    }

    pub(super) async fn check(&self, folder: &str) -> Result<(), Error> {
        self.metrics.observe(Action::Stat, self.driver.check(folder)).await
    }

    pub(super) async fn check_writes(&self, probe: &str) -> Result<(), Error> {
        self.metrics.observe(Action::Stat, self.driver.check_writes(probe)).await
    }

    /// What only a filesystem has, counted.
    pub(super) async fn with_disk<T: Send + 'static>(
        &self,
        action: Action,
        disk: &Arc<Disk>,
        call: impl FnOnce(&Disk) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        self.metrics.observe(action, on_disk(disk, call)).await
    }

    /// What the driver answers without waiting, counted.
    fn at_once<T>(&self, action: Action, call: impl FnOnce(&dyn AtOnce) -> Option<T>) -> Option<T> {
        let now = self.driver.at_once()?;
        let start = Instant::now();
        let found = call(now)?;
        self.metrics.took(action, start.elapsed());
        Some(found)
    }

    /// An open file of this machine and its size; `None` also where objects are no files.
    pub(super) async fn file(&self, key: &str) -> Result<Option<(File, u64)>, Error> {
        let Some(disk) = self.files() else { return Ok(None) };
        if let Some(found) = self.at_once(Action::Reader, |now| now.file(key)) {
            return Ok(found);
        }
        let key = key.to_owned();
        self.with_disk(Action::Reader, disk, move |disk| disk.file(&key)).await
    }

    pub(crate) async fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        match self.at_once(Action::Stat, |now| now.size(key)) {
            Some(size) => Ok(size),
            None => self.metrics.observe(Action::Stat, self.driver.size(key)).await,
        }
    }

    pub(super) async fn version(&self, key: &str) -> Result<Option<Version>, Error> {
        self.metrics.observe(Action::Stat, self.driver.version(key)).await
    }

    pub(crate) async fn get(&self, key: &str, limit: u64) -> Result<Option<(Bytes, Version)>, Error> {
        match self.at_once(Action::GetContent, |now| now.get(key, limit)) {
            Some(found) => found,
            None => self.metrics.observe(Action::GetContent, self.driver.get(key, limit)).await,
        }
    }

    pub(super) async fn bytes(&self, key: &str, limit: u64) -> Result<Option<Bytes>, Error> {
        match self.at_once(Action::GetContent, |now| now.bytes(key, limit)) {
            Some(found) => found,
            None => self.metrics.observe(Action::GetContent, self.driver.bytes(key, limit)).await,
        }
    }

    pub(crate) async fn open(&self, key: &str, offset: u64, end: Option<u64>) -> Result<Option<Opened>, Error> {
        self.metrics.observe(Action::Reader, self.driver.open(key, offset, end)).await
    }

    pub(crate) async fn put(&self, key: &str, bytes: Bytes, precondition: Precondition) -> Result<Version, Error> {
        self.metrics.observe(Action::PutContent, self.driver.put(key, bytes, precondition)).await
    }

    pub(super) async fn keep(&self, key: &str, bytes: Bytes) -> Result<(), Error> {
        self.metrics.observe(Action::PutContent, self.driver.keep(key, bytes)).await
    }

    pub(crate) async fn delete(&self, key: &str) -> Result<bool, Error> {
        self.metrics.observe(Action::Delete, self.driver.delete(key)).await
    }

    pub(crate) async fn delete_all(&self, folder: &str) -> Result<(), Error> {
        self.metrics.observe(Action::Delete, self.driver.delete_all(folder)).await
    }

    pub(crate) async fn list(&self, folder: &str) -> Result<Listing, Error> {
        self.metrics.observe(Action::List, self.driver.list(folder)).await
    }

    pub(super) async fn list_holding(&self, folder: &str, file: &str) -> Result<Vec<String>, Error> {
        self.metrics.observe(Action::List, self.driver.list_holding(folder, file)).await
    }

    pub(super) async fn folder_exists(&self, folder: &str) -> Result<bool, Error> {
        self.metrics.observe(Action::Stat, self.driver.folder_exists(folder)).await
    }

    /// Not timed: it takes as long as who reads it. Its end stays the end, however often one asks.
    pub(super) fn below(&self, folder: &str, after: Option<&str>) -> BoxStream<'_, Result<Entry, Error>> {
        let counted = |entry: &Result<Entry, Error>| {
            if let Err(error) = entry {
                self.metrics.failed(error);
            }
        };
        self.driver.below(folder, after).inspect(counted).fuse().boxed()
    }

    /// As [`Self::below`], for who wants links, blobs and uploads of the tree and nothing that lies beside them.
    pub(super) fn below_known(&self, folder: &str, after: Option<&str>) -> BoxStream<'_, Result<Entry, Error>> {
        let Some(disk) = self.files() else { return self.below(folder, after) };
        let counted = |entry: &Result<Entry, Error>| {
            if let Err(error) = entry {
                self.metrics.failed(error);
            }
        };
        walk(disk, Below::new(folder, after).only_known()).inspect(counted).fuse().boxed()
    }

    pub(crate) async fn copy(&self, from: &str, to: &str) -> Result<(), Error> {
        self.metrics.observe(Action::Move, self.driver.copy(from, to)).await
    }

    pub(super) async fn signed(&self, key: &str, head: bool, valid: Duration) -> Result<Option<url::Url>, Error> {
        let method = if head { http::Method::HEAD } else { http::Method::GET };
        self.metrics.observe(Action::RedirectUrl, self.driver.signed(key, method, valid)).await
    }

    fn parts(&self) -> Result<&dyn Parts, Error> {
        self.driver.parts().ok_or_else(wrong_kind)
    }

    pub(crate) fn copies_parts(&self) -> bool {
        self.driver.parts().is_some_and(Parts::copies_parts)
    }

    pub(crate) async fn multipart_begin(&self, key: &str) -> Result<String, Error> {
        self.metrics.observe(Action::Writer, self.parts()?.begin(key)).await
    }

    pub(crate) async fn multipart_put(&self, part: PartOf<'_>, bytes: Bytes) -> Result<Part, Error> {
        self.metrics.observe(Action::Writer, self.parts()?.put_part(part, bytes)).await
    }

    pub(crate) async fn multipart_copy(
        &self,
        part: PartOf<'_>,
        from: &str,
        range: std::ops::Range<u64>,
    ) -> Result<Part, Error> {
        self.metrics.observe(Action::Writer, self.parts()?.copy_part(part, from, range)).await
    }

    pub(crate) async fn multipart_complete(&self, whole: WholeOf<'_>) -> Result<(), Error> {
        self.metrics.observe(Action::Move, self.parts()?.complete(whole)).await
    }

    pub(crate) async fn multipart_abort(&self, key: &str, id: &str) -> Result<(), Error> {
        self.metrics.observe(Action::Delete, self.parts()?.abort(key, id)).await
    }
}
