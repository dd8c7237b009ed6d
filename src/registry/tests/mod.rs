//! The registry driven through `answer`, over storage in memory.

mod blobs;
mod bounds;
mod changes;
pub mod harness;
mod lists;
mod manifests;
mod media_types;
mod model;
mod unfinished;
