//! Quotas alone, and as pushes meet them.

mod accounts;
mod counting;
mod many;
mod model;
mod pushes;

use std::sync::Arc;

use super::{Amount, Config, Quotas, Usage, usage};
use crate::registry::Registry;
use crate::registry::tests::harness::{Harness, Seen};
use crate::storage::Storage;
use crate::units::Size;

/// Of so many bytes, and any number of tags.
fn of_bytes(pattern: &str, bytes: u64) -> Config {
    Config { repositories: pattern.into(), bytes: Some(Size(bytes)), tags: None }
}

async fn bounded(quotas: &[Config]) -> Harness {
    let harness = Harness::new().await;
    harness.registry.bound(quotas);
    harness
}

/// Several instances over one storage.
async fn instances(storage: &Arc<Storage>, count: usize, quotas: &[Config]) -> Vec<Harness> {
    let mut all = Vec::new();
    for _ in 0..count {
        let harness = Harness::over(crate::registry::Config::default(), storage.clone()).await;
        harness.registry.bound(quotas);
        all.push(harness);
    }
    all
}

fn quotas(registry: &Registry) -> &Quotas {
    &registry.bounds.quotas
}

/// What storage says, once everything that is known here was told.
async fn told(harness: &Harness, quota: &Config) -> Usage {
    quotas(&harness.registry).flush().await;
    usage(&harness.storage, std::slice::from_ref(quota)).await.unwrap().remove(0)
}

/// (bytes, tags) used.
async fn used(harness: &Harness, quota: &Config) -> (u64, u64) {
    let Amount { bytes, tags } = told(harness, quota).await.used;
    (bytes, tags)
}

/// Everything that is not needed was given back.
async fn rested(harness: &Harness) {
    while quotas(&harness.registry).flush().await {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[track_caller]
fn assert_full(seen: &Seen) {
    assert_eq!(seen.error(), (403, "DENIED".to_owned()), "{seen:?}");
    let message = seen.json()["errors"][0]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.starts_with("the quota of '"), "{message}");
}

fn random(seed: u8, length: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    })
    .take(length)
    .collect()
}
