//! A collection is killed at every call to storage, before it is carried out and after it: what is needed is never lost, and what is
//! garbage goes with the next runs.
//!
//! `ENTREPOT_SCHEDULES=20` looks at twenty times as many of the calls; usually some are left out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::times;
use super::yard::{Yard, collector, config, order};
use crate::maintenance::gc::{Config, Order, Untagged};
use crate::oci::Digest;
use crate::registry::tests::harness::{digest_of, index};
use crate::storage::Error;
use crate::storage::tests::hooked::{self, Hook};
use crate::units::seconds;

/// Far longer than a run lasts.
const PATIENCE: Duration = Duration::from_secs(120);
/// Calls at which a run is killed, of each scene.
const KILLS: u64 = 24;

/// Every call fails from the one with this number on.
#[derive(Default)]
struct Killer {
    calls: AtomicU64,
    /// 0: none.
    from: AtomicU64,
    /// The first one is carried out.
    after: AtomicBool,
}

impl Killer {
    fn kills(&self, number: u64) -> Result<(), Error> {
        match self.from.load(Ordering::SeqCst) {
            from if from > 0 && number >= from => Err(Error::Unavailable("killed".into())),
            _ => Ok(()),
        }
    }

    /// Counts from here on; the number of calls since it did so last.
    fn arm(&self, from: u64, after: bool) -> u64 {
        self.from.store(from, Ordering::SeqCst);
        self.after.store(after, Ordering::SeqCst);
        self.calls.swap(0, Ordering::SeqCst)
    }
}

#[async_trait]
impl Hook for Killer {
    async fn before(&self, _: &str) -> Result<(), Error> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        self.kills(if self.after.load(Ordering::SeqCst) { number - 1 } else { number })
    }

    async fn after(&self, _: &str) -> Result<(), Error> {
        match self.after.load(Ordering::SeqCst) {
            true => self.kills(self.calls.load(Ordering::SeqCst)),
            false => Ok(()),
        }
    }
}

/// What is there before the run that is killed.
struct Scene {
    yard: Yard,
    killer: Arc<Killer>,
    /// Repository, reference, manifest.
    kept: Vec<(&'static str, String, serde_json::Value)>,
    garbage: Vec<Digest>,
    /// Blobs that are needed.
    needed: BTreeSet<Digest>,
}

/// `steps`: runs that were done before, with the hours before each.
async fn scene(steps: &[u64]) -> Scene {
    let killer = Arc::new(Killer::default());
    let config = Config { untagged: Untagged::After(seconds(0)), ..config() };
    let yard = Yard::over(hooked::in_memory(killer.clone()), config).await;
    let image = yard.harness.push_image("a", "v1", "one").await;
    let child = yard.harness.push_image("a", "once", "child").await;
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let list = index(&[serde_json::json!({"mediaType": media_type, "digest": digest_of(&child), "size": 1})]);
    yard.harness.push_manifest("a", "list", &list).await;
    let gone = yard.harness.push_image("a/b", "once", "gone").await;
    for target in ["/v2/a/manifests/once", "/v2/a/b/manifests/once"] {
        assert_eq!(yard.harness.status("DELETE", target).await, 202);
    }
    let layers = gone["layers"][0]["digest"].as_str().unwrap().parse().unwrap();
    let garbage = vec![digest_of(&gone), layers, yard.harness.push_blob("b", b"loose").await];
    let mut needed = yard.blobs().await;
    let config = gone["config"]["digest"].as_str().unwrap().parse().unwrap();
    garbage.iter().chain([&config]).for_each(|digest| assert!(needed.remove(digest)));
    for hours in steps {
        yard.hours(*hours);
        yard.run().await;
    }
    let kept =
        vec![("a", "v1".to_owned(), image), ("a", "list".to_owned(), list), ("a", digest_of(&child).text(), child)];
    Scene { yard, killer, kept, garbage, needed }
}

impl Scene {
    async fn is_whole(&self) {
        let missing: Vec<_> = self.needed.difference(&self.yard.blobs().await).copied().collect();
        assert_eq!(missing, []);
        for (repository, reference, manifest) in &self.kept {
            self.yard.pulls(repository, reference, manifest).await;
        }
    }

    /// The run after the kill, by another process.
    async fn goes_on(&mut self, order: &Order) {
        self.killer.arm(0, false);
        // The dead one's lease is over.
        self.yard.ahead.fetch_add(125_000, Ordering::SeqCst);
        let config = self.yard.collector.config.clone();
        (self.yard.collector, self.yard.prometheus) = collector(&self.yard.storage, config, &self.yard.ahead).await;
        self.is_whole().await;
        self.yard.try_run(order.clone()).await.unwrap();
        self.is_whole().await;
    }
}

async fn killed_at_every_call(steps: &[u64], hours: u64, now: bool) {
    let order = Order { now, ..order() };
    let counted = scene(steps).await;
    counted.yard.hours(hours);
    counted.killer.arm(0, false);
    counted.yard.try_run(order.clone()).await.unwrap();
    let calls = counted.killer.arm(0, false);
    assert!(calls > 50, "{calls}");
    let every = (calls / (KILLS * times())).max(1);
    // Not the same ones each day.
    let first = 1 + std::process::id() as u64 % every;
    for number in (first..=calls).step_by(every as usize) {
        for after in [false, true] {
            let mut scene = scene(steps).await;
            scene.yard.hours(hours);
            scene.killer.arm(number, after);
            // Its last calls only tidy up: then it may not even notice.
            let run = scene.yard.try_run(order.clone());
            let outcome = tokio::time::timeout(PATIENCE, run).await.expect("a run that is killed ends");
            assert!(outcome.is_err() || number + 20 > calls, "{number} of {calls}: {outcome:?}");
            scene.goes_on(&order).await;
            scene.yard.run_for_weeks().await;
            scene.is_whole().await;
            for digest in &scene.garbage {
                assert!(!scene.yard.place(digest).await, "{digest} is left after a kill at {number}");
            }
            assert_eq!(scene.yard.blobs().await, scene.needed);
            scene.yard.is_tidy().await;
        }
    }
}

#[tokio::test]
async fn while_it_marks_and_condemns() {
    killed_at_every_call(&[], 25, false).await;
}

#[tokio::test]
async fn while_it_moves() {
    killed_at_every_call(&[25], 24 * 8, false).await;
}

#[tokio::test]
async fn while_it_deletes() {
    killed_at_every_call(&[25, 24 * 8], 25, false).await;
}

#[tokio::test]
async fn while_it_does_all_at_once() {
    killed_at_every_call(&[], 25, true).await;
}
