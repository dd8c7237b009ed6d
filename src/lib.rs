//! Entrepot: how container images are served, in one binary.
//!
//! The rooms, each importing only rooms above it in this list (see ARCHITECTURE.md):
//!
//! - `units`: sizes, spans of time, secrets
//! - [`oci`]: digest, name, tag, reference, what is asked, range, error codes: values, no I/O
//! - `outbound`: the way out to addresses that others name: which may be gone to
//! - `sockets`: listening sockets: opened, inherited, handed on
//! - `telemetry`: metrics registry, logs, access log
//! - `cluster`: a pool of peers: choice, health, connections; knows no OCI
//! - `cache`: verified bytes by digest in memory and on disk; knows no repositories
//! - `verdicts`: who may read what, as the peers said
//! - `storage`: distribution's tree on a filesystem or object store; knows no HTTP
//! - `uploads`: pushes of blobs under way
//! - `fleet`: what a fleet's instances tell each other: memory or Redis; never the truth
//! - `remote`: another registry, as it is asked: challenge, tokens, redirects, budget; stores nothing
//! - `limits`: how much one client may ask for
//! - `auth`: who asks, and what they may do
//! - `events`: what changed in the registry, and who listens
//! - `audit`: who did what, one line each
//! - `registry`: registry meaning over storage; knows no proxy
//! - `mirror`: what is served of remotes, and kept of them
//! - `maintenance`: what looks after the registry's storage while it serves: collection, retention, verification
//! - `listener`: accept, TLS, framing
//! - `acme`: certificates that come by themselves
//! - `cors`: what browsers are told of who may read our answers
//! - `routing`: who answers: hosts, repositories, clusters, the registry
//! - `exchange`: one request and its answer
//! - `front`: what a cluster's peers answer
//! - `http`: the door, pingora's hooks, the journal
//! - `admin`: the admin endpoint
//! - `config`: the file and the environment, joined into the rooms' own structs
//! - `app`: builds the rooms and wires them
//! - [`cli`]: one file per command
#![forbid(unsafe_code)]
// How deep the compiler follows one future into the next: a command's goes through most of the rooms.
#![recursion_limit = "256"]

pub mod cli;
pub mod oci;

mod acme;
mod admin;
mod app;
mod audit;
mod auth;
mod cache;
mod cluster;
mod config;
mod cors;
mod events;
mod exchange;
mod fleet;
mod front;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod http;
mod limits;
mod listener;
mod maintenance;
mod mirror;
mod outbound;
mod registry;
mod remote;
mod routing;
mod sockets;
mod storage;
mod telemetry;
mod units;
mod uploads;
mod verdicts;
