//! Durable bytes: distribution's tree, to the byte, on a filesystem or an object store. Knows no HTTP.
//!
//! - [`Storage`] is the door: blobs, links, lists, our own files
//! - `layout`: every key of the tree and of our own files, as values
//! - `driver`: one store, whatever its kind: `disk`, or `remote`, the only user of `object_store`

pub mod config;
pub mod layout;

mod body;
pub mod disk;
pub mod driver;
mod error;
mod lists;
mod metrics;
mod remote;
#[allow(clippy::module_inception)] // the door, as `cluster::cluster`
mod storage;
#[cfg(test)]
pub mod tests;
mod walk;

pub use body::{Body, BodyError};
pub use config::Config;
pub use error::Error;
pub use layout::{Link, OwnKey};
pub use metrics::Metrics;
pub use storage::{BlobStream, LocalBlob, Precondition, Stamp, Storage, Version};
