//! Two collections at once, which no lease keeps apart, beside somebody who pushes: each call to storage lets the others come in
//! between, in an order of chance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::yard::{Yard, collector, config, order};
use crate::maintenance::gc::{GcError, Order};
use crate::registry::tests::harness::{image, sha256};
use crate::storage::Error;
use crate::storage::tests::hooked::{self, Hook};

/// Gives way before each call, so many times as chance says.
struct Chance(Mutex<StdRng>, AtomicU64);

#[async_trait]
impl Hook for Chance {
    async fn before(&self, _: &str) -> Result<(), Error> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let times = self.0.lock().random_range(0..4_u32);
        for _ in 0..times {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn after(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }
}

/// The client's order: asks by HEAD, leaves out what is there, pushes the manifest; if it is refused, from the beginning.
async fn pushes(yard: &Yard, round: u64) -> serde_json::Value {
    let (config, layer) = (sha256(b"{}"), sha256(b"old layer"));
    let manifest = image(&config, &layer);
    for _ in 0..20 {
        for (digest, bytes) in [(config, &b"{}"[..]), (layer, b"old layer")] {
            if yard.harness.status("HEAD", &format!("/v2/a/blobs/{digest}")).await != 200 {
                let target = format!("/v2/a/blobs/uploads/?digest={digest}");
                let seen = yard.harness.send("POST", &target, &[], bytes).await;
                assert!(seen.status == 201 || seen.status == 503, "{seen:?}");
            }
        }
        let seen = yard.harness.push_manifest("a", &format!("v{round}"), &manifest).await;
        if seen.status == 201 {
            return manifest;
        }
        assert!([400, 404, 503].contains(&seen.status.as_u16()), "{seen:?}");
    }
    panic!("it is refused for ever");
}

/// `steps`: hours and runs before the two meet.
async fn meet(seed: u64, steps: &[u64], hours: u64, now: bool) {
    let chance = Arc::new(Chance(Mutex::new(StdRng::seed_from_u64(seed)), AtomicU64::new(0)));
    let yard = Yard::over(hooked::in_memory(chance), config()).await;
    for bytes in [&b"{}"[..], b"old layer", b"garbage"] {
        yard.harness.push_blob("a", bytes).await;
    }
    let kept = yard.harness.push_image("a/b", "v1", "kept").await;
    for hours in steps {
        yard.hours(*hours);
        yard.run().await;
    }
    yard.hours(hours);
    let (other, _) = collector(&yard.storage, config(), &yard.ahead).await;
    let order = Order { now, ..order() };
    let (one, two, manifest) =
        tokio::join!(yard.collector.without_lease(&order), other.without_lease(&order), pushes(&yard, seed));
    for outcome in [one, two] {
        assert!(matches!(outcome, Ok(_) | Err(GcError::Overtaken)), "{seed}: {outcome:?}");
    }
    let tag = format!("v{seed}");
    yard.pulls("a", &tag, &manifest).await;
    yard.pulls("a/b", "v1", &kept).await;
    // What was moved of it comes back into its place, for whoever else reads it there.
    yard.run().await;
    for digest in [sha256(b"{}"), sha256(b"old layer")] {
        assert!(yard.place(&digest).await && yard.layer("a", &digest).await, "{seed}: {digest}");
    }
    yard.run_for_weeks().await;
    yard.pulls("a", &tag, &manifest).await;
    yard.pulls("a/b", "v1", &kept).await;
    assert!(!yard.place(&sha256(b"garbage")).await);
    yard.is_tidy().await;
}

#[tokio::test]
async fn they_do_the_same_and_no_harm() {
    for seed in 0..60 {
        meet(seed, &[], 25, false).await;
        meet(seed, &[25], 24 * 8, false).await;
        meet(seed, &[25, 24 * 8], 25, false).await;
        meet(seed, &[], 25, true).await;
        meet(seed, &[25], 1, true).await;
    }
}
