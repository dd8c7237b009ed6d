//! The registry driven through `answer`, over storage in memory.

mod absent;
mod blobs;
mod bounds;
mod changes;
pub mod harness;
mod kept;
mod lists;
mod manifests;
mod media_types;
mod model;
mod unfinished;
