//! Entrepot: how container images are served, in one binary.
//!
//! The rooms, each importing only rooms above it in this list (see ARCHITECTURE.md):
//!
//! - [`units`]: sizes, spans of time, secrets
//! - [`oci`]: digest, name, tag, reference, route, range, error codes: values, no I/O
//! - [`outbound`]: the way out to addresses that others name: which may be gone to
//! - [`telemetry`]: metrics registry, logs, access log, admin endpoint
//! - [`cluster`]: a pool of peers: choice, health, connections; knows no OCI
//! - [`cache`]: verified bytes by digest in memory and on disk; knows no repositories
//! - [`auth`]: who may read what, as the peers said
//! - [`storage`]: distribution's tree on a filesystem or object store; knows no HTTP
//! - [`shared_state`]: what a fleet's instances tell each other: memory or Redis; never the truth
//! - [`registry`]: registry meaning over storage; knows no proxy
//! - [`frontend`]: listeners, TLS, the proxy
//! - [`config`]: the file and the environment, joined into the rooms' own structs
//! - [`app`]: builds the rooms and wires them
//! - [`cli`]: one file per command
#![forbid(unsafe_code)]

pub mod app;
pub mod auth;
pub mod cache;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod frontend;
pub mod oci;
pub mod outbound;
pub mod registry;
pub mod shared_state;
pub mod storage;
pub mod telemetry;
pub mod units;
