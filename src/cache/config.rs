//! `[cache]`: what the blob cache may use.

use std::path::PathBuf;

use serde::Deserialize;

use crate::units::{Size, mebibytes};

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Bytes of content kept in memory; 0 switches the memory tier off.
    pub memory: Size,
    /// Bytes of files on disk; 0 switches the disk tier off: then nothing larger than `memory_max_object` is kept.
    pub disk: Size,
    /// Folder of the disk tier and of what is remembered over restarts. Needs a restart to change.
    pub path: PathBuf,
    /// The largest content kept in memory.
    pub memory_max_object: Size,
    /// Downloads from peers under way at once; further ones wait.
    pub max_fills: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            memory: mebibytes(256),
            disk: mebibytes(10 << 10),
            path: "data/cache".into(),
            memory_max_object: mebibytes(16),
            max_fills: 512,
        }
    }
}
