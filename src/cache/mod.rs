//! Verified bytes by digest, in memory and on disk. Knows digests, not repositories: whoever asks has been authorised.
//!
//! - [`BlobCache`] looks up, fills, inserts, purges; [`Content`] is what it gives, [`Reader`] streams it
//! - [`Origin`] is where content comes from on a miss
//! - `memory`, `disk`: the tiers; `fill`: downloads under way; `reader`: how bytes leave, always verified or held back
//!
//! Memory bounds: a reader holds one chunk, at most 1 MiB, and while the disk is slow one more in flight; all readers
//! together hold 128 MiB of such chunks, beyond which a chunk is 16 KiB (see `buffers`). A fill holds about 1 MiB (see
//! `fill`), or its whole small content within a quarter of the memory tier's size. A reader that passes its own origin
//! through holds one item of its stream and the last 64 KiB.

pub mod config;

mod blob_cache;
mod buffers;
mod content;
mod digest_hash;
mod disk;
#[cfg(any(test, fuzzing))]
pub use disk::fuzz;
pub use disk::leaving::free_to_leave;
mod error;
mod fill;
mod groups;
mod memory;
mod metrics;
mod origin;
mod reader;
mod shared;
#[cfg(test)]
mod tests;

pub use blob_cache::{BlobCache, InMemory, Source};
pub use buffers::{Buffers, FilePermit};
pub use config::Config;
pub use content::Content;
pub use error::FillError;
pub use groups::Groups;
pub use metrics::Metrics;
pub use origin::{Origin, OriginError, OriginStream, Refusal};
pub use reader::Reader;
