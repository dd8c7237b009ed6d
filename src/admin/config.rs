//! `[admin]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// Metrics, probes, and what an operator does at run time. Left out: no admin endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub address: SocketAddr,
    /// A socket beside the address, for whoever runs the process.
    pub unix: Option<PathBuf>,
}
