//! Durable bytes: distribution's tree, to the byte, on a filesystem or an object store. Knows no HTTP.
//!
//! - [`Storage`] is the door: blobs, links, lists, our own files
//! - `layout`: every key of the tree and of our own files, as values; `format`: the versions of our own
//! - `driver`: what a store has to do, whatever its kind; `disk` does it, and `remote`, the only user of `object_store`
//! - `store`: the configured one, measured
//! - `rights`: what may be done in it, found out by doing it; `identity`: which one it is
//! - `lists`, `walk`, `links`: what is in it; `trash`, `epoch`: bytes that are taken away, and that somebody does so; `deleted`: what
//!   clients deleted of it; `dropping`: tags

pub mod config;
pub mod layout;

mod body;
mod deleted;
pub(crate) mod disk;
pub(crate) mod driver;
mod dropping;
mod emptied;
mod epoch;
mod error;
pub(crate) mod format;
mod identity;
mod links;
mod lists;
mod metrics;
mod references;
mod remote;
mod rights;
#[allow(clippy::module_inception)] // the door, as `cluster::cluster`
mod storage;
mod store;
#[cfg(test)]
pub mod tests;
mod trash;
mod walk;

pub use body::{Body, BodyError};
pub use config::Config;
pub use dropping::TagFiles;
pub use epoch::Epoch;
pub use error::Error;
pub(crate) use error::{blocking, io_error};
pub use layout::{Found, Link, OwnKey};
pub use links::{FoundAt, StoredBlob, TrashedBlob};
pub use metrics::Metrics;
pub use references::{References, Refers};
pub use rights::Rights;
pub use storage::{BlobStream, LocalBlob, Precondition, Stamp, Storage, Usage, Version};
pub(crate) use store::Store;
