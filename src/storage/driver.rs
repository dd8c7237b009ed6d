//! What a store has to do, whatever its kind. `disk` and `remote` do it; [`Store`](super::store::Store) measures them.
//!
//! The rules, which `tests/contract` holds every kind to:
//!
//! - Keys are relative to the configured root or prefix, without a leading '/'.
//! - "Not there" is an answer (`None`, `false`, an empty list), never an error.
//! - Who reads sees an object as one writer left it, never a part. A write is durable when it returns.
//! - Every call ends: after a limit that the implementation knows (one for a disk; for an object store one that grows with the
//!   bytes and has all tries in it) it is [`Error::Unavailable`]. Only a copy on a disk takes as long as it takes.
//! - Lists have what is complete, and only that: files that are being written are left out.
//! - A call that is dropped half-way may have been carried out or not.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use super::Error;
use super::disk::{Disk, Space};
use super::storage::{Precondition, Version};

/// An object's whole size, and some of its bytes.
pub(crate) type Opened = (u64, BoxStream<'static, Result<Bytes, Error>>);
pub(super) type Entries = BoxStream<'static, Result<Entry, Error>>;

/// One store. Nothing has a default: who leaves something out does not compile.
#[async_trait]
pub(super) trait Driver: Send + Sync {
    fn abilities(&self) -> Abilities;

    /// What it can answer without waiting for anything.
    fn at_once(&self) -> Option<&dyn AtOnce>;

    /// Where its objects are files of this machine.
    fn files(&self) -> Option<&Arc<Disk>>;

    /// Where it joins an object of parts.
    fn parts(&self) -> Option<&dyn Parts>;

    /// One that no object has; `None` where versions are not the store's own.
    fn made_up_version(&self) -> Option<Version>;

    /// Something cheap that fails when the store is not there.
    async fn check(&self, folder: &str) -> Result<(), Error>;

    /// Whether it may be written to. May leave a few bytes at `probe`.
    async fn check_writes(&self, probe: &str) -> Result<(), Error>;

    /// Of the volume; `None` where there is no such thing.
    async fn space(&self) -> Option<Space>;

    async fn size(&self, key: &str) -> Result<Option<u64>, Error>;

    /// The version of an object, without its bytes.
    async fn version(&self, key: &str) -> Result<Option<Version>, Error>;

    /// A whole small object; `Error::TooLarge` beyond `limit` bytes.
    async fn get(&self, key: &str, limit: u64) -> Result<Option<(Bytes, Version)>, Error>;

    /// As [`Self::get`], where the version does not matter.
    async fn bytes(&self, key: &str, limit: u64) -> Result<Option<Bytes>, Error>;

    /// The bytes from `offset` to `end` (exclusive; `None`: to the object's end).
    async fn open(&self, key: &str, offset: u64, end: Option<u64>) -> Result<Option<Opened>, Error>;

    /// `Error::Conflict` if the precondition fails.
    async fn put(&self, key: &str, bytes: Bytes, precondition: Precondition) -> Result<Version, Error>;

    /// As [`Self::put`]; may leave an object that holds these bytes already as it is, but then makes it durable.
    async fn keep(&self, key: &str, bytes: Bytes) -> Result<(), Error>;

    /// False when it was not there, see [`Abilities::tells_removals`].
    async fn delete(&self, key: &str) -> Result<bool, Error>;

    /// Everything below a folder.
    async fn delete_all(&self, folder: &str) -> Result<(), Error>;

    /// What is directly in a folder, in no order.
    async fn list(&self, folder: &str) -> Result<Listing, Error>;

    /// Sub-folders with a file of this name or path in them, in no order. Where a folder is there only while something is in
    /// it, all of them: who removes the file removes the rest.
    async fn list_holding(&self, folder: &str, file: &str) -> Result<Vec<String>, Error>;

    /// Whether a folder is there; without folders of its own, whether anything is in it.
    async fn folder_exists(&self, folder: &str) -> Result<bool, Error>;

    /// Every object below a folder, in the bytewise order of keys, those after `after` (as an entry names it) only: so a walk
    /// that broke off goes on where it was. Ends after an error. Holds the names of one folder on each level, or one page.
    fn below(&self, folder: &str, after: Option<&str>) -> Entries;

    /// Within the store, of an object of any size; see [`Abilities::copies`].
    async fn copy(&self, from: &str, to: &str) -> Result<(), Error>;

    /// An address that anybody may use for so long; `None` where the store cannot sign any.
    async fn signed(&self, key: &str, method: http::Method, valid: Duration) -> Result<Option<url::Url>, Error>;
}

/// What not every store can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abilities {
    /// `copy` works: not on Azure, whose copies may still go on, and fail, after they were answered.
    pub copies: bool,
    /// `delete` knows whether there was anything to remove.
    pub tells_removals: bool,
    /// What another program wrote is whole and durable once it can be seen: on a filesystem it need not be either.
    pub trusts_others: bool,
}

/// Questions to which the answer may be at hand. `None`: it is not, or something is wrong; whoever may wait is to ask.
pub(super) trait AtOnce {
    fn size(&self, key: &str) -> Option<Option<u64>>;
    fn bytes(&self, key: &str, limit: u64) -> Option<Result<Option<Bytes>, Error>>;
    fn get(&self, key: &str, limit: u64) -> Option<Result<Option<(Bytes, Version)>, Error>>;
    /// An open file and its size.
    fn file(&self, key: &str) -> Option<Option<(File, u64)>>;
}

/// Objects that are put together of parts, each with 5 MiB at least but for the last.
#[async_trait]
pub(super) trait Parts: Send + Sync {
    /// Whether `copy_part` works here: only on S3.
    fn copies_parts(&self) -> bool;

    /// The id of the upload.
    async fn begin(&self, key: &str) -> Result<String, Error>;

    async fn put_part(&self, part: PartOf<'_>, bytes: Bytes) -> Result<Part, Error>;

    /// A part made of bytes of another object, without them passing through us (UploadPartCopy).
    async fn copy_part(&self, part: PartOf<'_>, from: &str, range: std::ops::Range<u64>) -> Result<Part, Error>;

    /// The object is there, whole, when this returns. Safe to call again after a failure: an id that is unknown and an object
    /// of this size mean that it was done.
    async fn complete(&self, whole: WholeOf<'_>) -> Result<(), Error>;

    /// Forgiving: an id that is unknown has been ended already.
    async fn abort(&self, key: &str, id: &str) -> Result<(), Error>;
}

/// A part of a multipart upload, as the store named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part(pub String);

/// Which part of which upload.
#[derive(Clone, Copy)]
pub(crate) struct PartOf<'a> {
    pub key: &'a str,
    pub id: &'a str,
    /// From 0.
    pub index: usize,
}

/// All parts of an upload, in order.
pub(crate) struct WholeOf<'a> {
    pub key: &'a str,
    pub id: &'a str,
    pub parts: Vec<Part>,
    /// Of the object, in bytes.
    pub size: u64,
}

/// What is directly in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Their names.
    pub folders: Vec<String>,
    pub files: Vec<Entry>,
}

/// An object that a list told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key below the folder that was listed.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// When it was written last, by the store's clock.
    pub changed: SystemTime,
}

impl Listing {
    /// (sub-folders, objects)
    #[cfg(test)]
    pub(crate) fn names(self) -> (Vec<String>, Vec<String>) {
        (self.folders, self.files.into_iter().map(|file| file.name).collect())
    }
}

pub(super) fn too_slow(limit: Duration) -> Error {
    Error::Unavailable(format!("no answer within {limit:?}"))
}

pub(super) fn absent(key: &str) -> Error {
    Error::Failed(format!("there is no {key}"))
}

pub(super) fn wrong_kind() -> Error {
    Error::Failed("this store cannot do that".to_owned())
}
