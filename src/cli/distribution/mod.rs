//! The configuration of distribution (registry:2, registry:3), as far as it says where its content is: the section `storage`, with the
//! variables `REGISTRY_STORAGE_…` over it.
//!
//! - `config`: the file, and which of the drivers it names; `environment`: the variables
//! - `section`: the keys of one driver; `drivers`: what each of them is here

mod config;
mod drivers;
mod environment;
mod section;
#[cfg(test)]
mod tests;

use crate::storage::Config as Storage;

pub use config::find;

/// What was read.
#[derive(Debug, PartialEq)]
pub struct Distribution {
    pub storage: Storage,
    /// Where a registry that runs with this file remembers blobs that it saw: `inmemory`, `redis`.
    pub cache: Option<&'static str>,
    /// Such a registry takes no pushes.
    pub read_only: bool,
    /// Of keys that mean nothing here, and of what its operator should know; a sentence each.
    pub notes: Vec<String>,
}
