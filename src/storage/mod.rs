//! Durable bytes: distribution's tree, to the byte, on a filesystem or an object store. Knows no HTTP.
//!
//! - [`Storage`] is the door: blobs, links, lists, our own files
//! - `layout`: every key of the tree and of our own files, as values; `format`: the versions of our own
//! - `driver`: what a store has to do, whatever its kind; `disk` does it, and `remote`, the only user of `object_store`
//! - `store`: the configured one, measured

pub mod config;
pub mod layout;

mod body;
pub(crate) mod disk;
pub(crate) mod driver;
mod error;
pub(crate) mod format;
mod lists;
mod metrics;
mod remote;
#[allow(clippy::module_inception)] // the door, as `cluster::cluster`
mod storage;
mod store;
#[cfg(test)]
pub mod tests;
mod walk;

pub use body::{Body, BodyError};
pub use config::Config;
pub use error::Error;
pub(crate) use error::{blocking, io_error};
pub use layout::{Link, OwnKey};
pub use metrics::Metrics;
pub use storage::{BlobStream, LocalBlob, Precondition, Stamp, Storage, Version};
pub(crate) use store::Store;
