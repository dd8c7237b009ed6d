//! The black box's harness: Entrepot as a process between real registries, real clients and a proxy that makes faults.
//!
//! Everything is blocking: a test is a thread, fifty clients are fifty threads. Every process started here belongs to
//! the test that started it, listens on a loopback port of its own, and ends with it.
#![allow(dead_code, unused_imports, reason = "the quick tests and the proofs share it, and each uses its part")]

pub mod authority;
pub mod azurite;
pub mod collector;
pub mod containerd;
pub mod content;
pub mod docker;
pub mod entrepot;
pub mod fault_proxy;
pub mod forge;
pub mod h2_client;
pub mod http;
pub mod issuer;
pub mod minio;
pub mod nginx;
pub mod pebble;
pub mod ports;
pub mod process;
pub mod prometheus;
pub mod redis;
pub mod registry;
pub mod remote;
pub mod repository;
pub mod secrets;
pub mod strict_peer;
pub mod token_server;
pub mod tools;

pub use authority::Authority;
pub use azurite::{Azurite, Container};
pub use collector::{Collector, Span};
pub use containerd::Containerd;
pub use content::{digest, random_bytes};
pub use docker::Dockerd;
pub use entrepot::{Entrepot, Setup};
pub use fault_proxy::{Fault, FaultProxy, Gate, Reply, Rule, Seen};
pub use forge::Signer;
pub use http::{Answer, Connection, Request};
pub use issuer::Issuer;
pub use minio::{Bucket, Minio};
pub use pebble::Pebble;
pub use prometheus::Prometheus;
pub use redis::{Redis, ServingRedis};
pub use registry::{Registry, Serving};
pub use remote::{FakeRemote, Manner};
pub use repository::{Image, Repository};
pub use token_server::TokenServer;

use std::time::{Duration, Instant};

/// How long anything that has to happen may take before the test says that it did not.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `holds`; says what it waited for when it never does.
pub fn eventually(what: &str, holds: impl FnMut() -> bool) {
    within(PATIENCE, what, holds);
}

/// [`eventually`], for what others do in their own time.
pub fn within(patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {patience:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Tells threads to stop; also when the test panics, so that nobody waits for them for ever.
#[derive(Default)]
pub struct Stop(std::sync::atomic::AtomicBool);

impl Stop {
    pub fn is_set(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Sets it when the guard goes.
    pub fn guard(&self) -> StopGuard<'_> {
        StopGuard(self)
    }
}

pub struct StopGuard<'a>(&'a Stop);

impl Drop for StopGuard<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// A folder that goes away with the test. On the disk of the build, since some systems keep /tmp in memory.
pub fn scratch() -> tempfile::TempDir {
    let parent = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(parent).expect("a folder for scratch files");
    tempfile::Builder::new().prefix("entrepot-").tempdir_in(parent).expect("a scratch folder")
}
