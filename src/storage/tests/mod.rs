//! One contract for every kind of store, and what only some can do.

pub mod azurite;
mod contract;
mod contract_collect;
mod contract_lists;
mod contract_objects;
mod contract_own;
mod fault_proxy;
mod faults;
mod filesystem;
pub mod hooked;
mod lost_answers;
pub mod minio;
mod s3;
mod wiring;

use std::sync::Arc;

use bytes::Bytes;

use super::config::DriverKind;
use super::driver::{Part, PartOf, WholeOf};
use super::{Config, Metrics, Storage};
use crate::oci::{Algorithm, Digest, RepositoryName, Tag};

async fn storage(config: &Config) -> Arc<Storage> {
    let metrics = Metrics::new(&prometheus::Registry::new()).expect("metrics");
    assert_eq!(config.check(), []);
    Storage::open(config, Arc::new(metrics)).await.expect("storage")
}

pub async fn in_memory() -> Arc<Storage> {
    storage(&Config { driver: DriverKind::Memory, ..Config::default() }).await
}

/// A storage on this machine's disk, and the folder that it is in.
pub async fn on_disk() -> (Arc<Storage>, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = storage(&Config { root: folder.path().join("registry"), ..Config::default() }).await;
    (storage, folder)
}

async fn repositories(storage: &Storage) -> Vec<RepositoryName> {
    let mut all = Vec::new();
    storage.walk(|names| all.extend(names)).await.expect("a walk");
    all
}

fn name(text: &str) -> RepositoryName {
    text.parse().expect("a name")
}

fn tag(text: &str) -> Tag {
    text.parse().expect("a tag")
}

fn digest(content: &str) -> Digest {
    Digest::of(Algorithm::Sha256, content.as_bytes())
}

fn part_of<'a>(key: &'a str, id: &'a str, index: usize) -> PartOf<'a> {
    PartOf { key, id, index }
}

fn whole_of<'a>(key: &'a str, id: &'a str, parts: Vec<Part>, size: u64) -> WholeOf<'a> {
    WholeOf { key, id, parts, size }
}

/// Content that does not repeat soon.
fn content(length: usize) -> Bytes {
    let mut state = 88_172_645_463_325_252_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

async fn whole(mut body: futures::stream::BoxStream<'static, Result<Bytes, super::Error>>) -> Vec<u8> {
    use futures::StreamExt as _;
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece.expect("a piece"));
    }
    bytes
}
