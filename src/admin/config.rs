//! `[admin]`.

use std::net::SocketAddr;

use serde::Deserialize;

/// /metrics, /healthz, /readyz and the cache's purge. Left out: no admin endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub address: SocketAddr,
}
