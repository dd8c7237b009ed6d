//! The registry driven through `answer`, over storage in memory.

mod absent;
mod blobs;
mod bounds;
mod changes;
mod collected;
mod collected_and_deleted;
mod deletions;
pub mod harness;
mod kept;
mod lists;
mod manifests;
mod media_types;
mod model;
mod unfinished;
mod watermark;
