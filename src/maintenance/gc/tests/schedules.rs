//! Real pushes and real collections, call by call, in every order with two switches between them and in many by chance. What the model
//! of the protocol leaves out (lists, memories, the content of manifests) is in it here.
//!
//! `ENTREPOT_SCHEDULES=20` makes it twenty times as many orders by chance, and leaves out fewer of the others.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures::future::{BoxFuture, FutureExt as _};
use serde_json::{Value, json};

use super::super::time::LATER;
use super::times;
use super::turns::{Preempt, Random, Schedule, Turns};
use super::yard::{Yard, collector, config, name};
use crate::maintenance::gc::{Config, GcError, Order, Untagged};
use crate::oci::Digest;
use crate::registry;
use crate::registry::tests::harness::{Harness, digest_of, image, index, sha256, with_time};
use crate::storage::tests::hooked;
use crate::storage::{Link, Storage};
use crate::units::seconds;

/// A push that is refused begins again.
const TRIES: usize = 12;
/// Orders by chance, of each scene.
const CHANCES: u64 = 12;
/// Of the orders with two switches, so many at most of each scene.
const SWITCHES: usize = 90;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// An image whose layers are there, linked by nobody's manifest.
    Image,
    /// The same, mounted into another repository.
    Mount,
    /// An index of a manifest that no tag leads to.
    Index,
    /// As distribution pushes an image: it looks, and writes what it saw to be right.
    Foreign,
}

/// What a push came to.
struct Pushed {
    repository: &'static str,
    manifest: Value,
    acknowledged: bool,
}

struct Scene {
    turns: Arc<Turns>,
    storage: Arc<Storage>,
    what: What,
    order: Order,
    /// Hours before each run of a collection.
    hours: &'static [u64],
    child: Value,
}

const LAYER: &str = "a layer";

fn layers() -> [Vec<u8>; 2] {
    [b"{\"config\":1}".to_vec(), LAYER.as_bytes().to_vec()]
}

fn pushed_image() -> Value {
    let [config, layer] = layers();
    image(&sha256(&config), &sha256(&layer))
}

impl Scene {
    async fn new(what: What, now: bool) -> Self {
        let turns = Arc::new(Turns::default());
        let storage = hooked::in_memory(turns.clone());
        let order = Order { now, by: "a test".into(), foreign_careful: true, empty: true, ..Order::default() };
        // Weeks, and somewhat more; at once, it is over with the first day.
        let hours: &'static [u64] = if now { &[25, 25] } else { &[25, 24 * 8, 25, 25] };
        let scene = Scene { turns, storage, what, order, hours, child: Value::Null };
        // From here on everybody knows that there are collections.
        scene.collects().await;
        let harness = scene.harness().await;
        let mut child = Value::Null;
        for blob in layers() {
            harness.push_blob("a", &blob).await;
        }
        if what == What::Index {
            child = pushed_image();
            assert_eq!(harness.push_manifest("a", &digest_of(&child).text(), &child).await.status, 201);
        }
        Scene { child, ..scene }
    }

    fn config() -> Config {
        Config { untagged: Untagged::After(seconds(0)), ..config() }
    }

    async fn harness(&self) -> Harness {
        Harness::over(registry::Config::default(), self.storage.clone()).await
    }

    /// One run.
    async fn collects(&self) {
        let (collector, _) = collector(&self.storage, Scene::config(), &Arc::new(AtomicU64::new(0))).await;
        let report = collector.run(self.order.clone(), &()).await.unwrap();
        assert!(report.ended >= report.begun);
    }

    /// All runs, one after the other, with the time that passes between them.
    async fn collector(&self) -> BoxFuture<'static, Option<Pushed>> {
        let (collector, _) = collector(&self.storage, Scene::config(), &Arc::new(AtomicU64::new(0))).await;
        let (turns, order, hours, clock) = (self.turns.clone(), self.order.clone(), self.hours, self.turns.clone());
        let runs = async move {
            for hours in hours {
                turns.hours(*hours).await;
                match collector.run(order.clone(), &()).await {
                    // A late one finds that another has begun, or that its looks are too old.
                    Ok(_) | Err(GcError::UnderWay { .. } | GcError::Overtaken | GcError::Slow) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            None
        };
        LATER.scope(Arc::new(move || clock.ahead()), runs).boxed()
    }

    async fn pusher(&self) -> BoxFuture<'static, Option<Pushed>> {
        let (harness, what, child) = (self.harness().await, self.what, self.child.clone());
        let (turns, storage, clock) = (self.turns.clone(), self.storage.clone(), self.turns.clone());
        let pushes = async move {
            Some(match what {
                What::Image => push(&harness, "a", None).await,
                What::Mount => push(&harness, "b", Some("a")).await,
                What::Index => push_index(&harness, &child).await,
                What::Foreign => push_foreign(&turns, &storage).await,
            })
        };
        with_time(move || clock.ahead(), pushes).boxed()
    }

    /// Everybody by this schedule; then all is quiet, and judged.
    async fn plays(&self, all: Vec<BoxFuture<'static, Option<Pushed>>>, schedule: &mut dyn Schedule) -> Vec<usize> {
        let (outcomes, turns) = self.turns.run(all, schedule).await;
        let pushed: Vec<Pushed> = outcomes.into_iter().flatten().collect();
        let judged = async {
            self.is_whole(&pushed).await;
            for hours in [25, 24 * 8, 25, 25] {
                self.turns.hours(hours).await;
                self.collects().await;
                self.is_whole(&pushed).await;
            }
        };
        if let Err(panic) = std::panic::AssertUnwindSafe(judged).catch_unwind().await {
            println!("{:?}, now: {}; the order was:\n{}", self.what, self.order.now, self.turns.way());
            std::panic::resume_unwind(panic);
        }
        turns
    }

    /// What was acknowledged pulls from an instance that remembers nothing.
    async fn is_whole(&self, pushed: &[Pushed]) {
        let (yard_collector, prometheus) =
            collector(&self.storage, Scene::config(), &Arc::new(AtomicU64::new(0))).await;
        let yard = Yard {
            harness: self.harness().await,
            storage: self.storage.clone(),
            collector: yard_collector,
            ahead: Arc::new(AtomicU64::new(0)),
            prometheus,
            _folder: None,
        };
        for Pushed { repository, manifest, .. } in pushed.iter().filter(|pushed| pushed.acknowledged) {
            yard.pulls(repository, "v1", manifest).await;
            if self.what == What::Index {
                yard.pulls(repository, &digest_of(&self.child).text(), &self.child).await;
            }
        }
    }
}

/// As docker does, with ours: what is there is left out.
async fn push(harness: &Harness, repository: &'static str, from: Option<&str>) -> Pushed {
    let manifest = pushed_image();
    for _ in 0..TRIES {
        let mut there = true;
        for blob in layers() {
            there &= brings(harness, repository, from, &blob).await;
        }
        if !there {
            continue;
        }
        let seen = harness.push_manifest(repository, "v1", &manifest).await;
        if seen.status == 201 {
            return Pushed { repository, manifest, acknowledged: true };
        }
        assert!([400, 404, 503].contains(&seen.status.as_u16()), "{seen:?}");
    }
    panic!("a push is refused again and again");
}

async fn brings(harness: &Harness, repository: &str, from: Option<&str>, blob: &[u8]) -> bool {
    let digest = sha256(blob);
    if harness.status("HEAD", &format!("/v2/{repository}/blobs/{digest}")).await == 200 {
        return true;
    }
    if let Some(from) = from {
        let target = format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={from}");
        match harness.status("POST", &target).await {
            201 => return true,
            status => assert!([202, 503].contains(&status), "{status}"),
        }
    }
    let seen = harness.send("POST", &format!("/v2/{repository}/blobs/uploads/?digest={digest}"), &[], blob).await;
    assert!([201, 503].contains(&seen.status.as_u16()), "{seen:?}");
    seen.status == 201
}

/// A client whose child manifest is there needs to push the index alone; else it pushes the child again.
async fn push_index(harness: &Harness, child: &Value) -> Pushed {
    let digest = digest_of(child);
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = index(&[json!({"mediaType": media_type, "digest": digest, "size": child.to_string().len()})]);
    for _ in 0..TRIES {
        if harness.status("HEAD", &format!("/v2/a/manifests/{digest}")).await != 200 {
            let mut there = true;
            for blob in layers() {
                there &= brings(harness, "a", None, &blob).await;
            }
            if !there || harness.push_manifest("a", &digest.text(), child).await.status != 201 {
                continue;
            }
        }
        let seen = harness.push_manifest("a", "v1", &manifest).await;
        if seen.status == 201 {
            return Pushed { repository: "a", manifest, acknowledged: true };
        }
        assert!([400, 404, 503].contains(&seen.status.as_u16()), "{seen:?}");
    }
    panic!("an index is refused again and again");
}

/// Distribution, which knows of no epoch: a request of its own is over before hours pass.
async fn push_foreign(turns: &Arc<Turns>, storage: &Arc<Storage>) -> Pushed {
    let manifest = pushed_image();
    for _ in 0..TRIES {
        for blob in layers() {
            let _hurry = turns.hurry();
            let (digest, link) = (sha256(&blob), Link::Layer(name("a"), sha256(&blob)));
            let linked = storage.link_exists(&link).await.unwrap();
            if linked && storage.blob_size(&digest).await.unwrap().is_some() {
                continue;
            }
            if storage.blob_size(&digest).await.unwrap().is_none() {
                storage.blob_put(&digest, blob.into()).await.unwrap();
            }
            storage.link_put(&link, &digest).await.unwrap();
        }
        let _hurry = turns.hurry();
        let mut there = true;
        for blob in layers() {
            let digest = sha256(&blob);
            there &= storage.link_exists(&Link::Layer(name("a"), digest)).await.unwrap()
                && storage.blob_size(&digest).await.unwrap().is_some();
        }
        if there {
            writes(storage, &manifest).await;
            return Pushed { repository: "a", manifest, acknowledged: true };
        }
    }
    panic!("a push is refused again and again");
}

async fn writes(storage: &Storage, manifest: &Value) {
    let digest: Digest = digest_of(manifest);
    let (repository, tag) = (name("a"), "v1".parse::<crate::oci::Tag>().unwrap());
    storage.blob_put(&digest, manifest.to_string().into()).await.unwrap();
    let tags = [Link::TagIndex(repository.clone(), tag.clone(), digest), Link::Tag(repository.clone(), tag)];
    for link in [Link::Revision(repository, digest)].into_iter().chain(tags) {
        storage.link_put(&link, &digest).await.unwrap();
    }
}

/// So many of a number of places, the first and the last among them.
fn some(count: usize, most: usize) -> impl Iterator<Item = usize> {
    let most = most.clamp(2, count.max(2));
    (0..most).map(move |at| at * count.saturating_sub(1) / (most - 1))
}

async fn switches(what: What, now: bool) {
    let alone = Scene::new(what, now).await;
    let both = vec![alone.pusher().await, alone.collector().await];
    let turns = alone.plays(both, &mut Preempt { first: usize::MAX, second: 0 }).await;
    // Of the pusher, every place: there are few. The collections are left at so many that the product is bounded.
    let places = (SWITCHES * times() as usize / turns[0]).max(4);
    let mut count = 0;
    for first in 1..turns[0] {
        for second in some(turns[1], places) {
            let scene = Scene::new(what, now).await;
            let both = vec![scene.pusher().await, scene.collector().await];
            scene.plays(both, &mut Preempt { first, second: second + 1 }).await;
            count += 1;
        }
    }
    println!("{what:?}, now: {now}: {turns:?} calls, {count} orders with two switches");
    assert!(count >= 20, "there is more to it than that");
}

async fn chances(what: What, now: bool, collectors: usize) {
    for seed in 0..CHANCES * times() {
        let scene = Scene::new(what, now).await;
        let mut all = vec![scene.pusher().await];
        for _ in 0..collectors {
            all.push(scene.collector().await);
        }
        scene.plays(all, &mut Random::new(seed)).await;
    }
}

#[tokio::test]
async fn an_image_of_layers_that_nothing_needed() {
    switches(What::Image, false).await;
}

#[tokio::test]
async fn an_image_of_layers_of_another_repository() {
    switches(What::Mount, false).await;
}

#[tokio::test]
async fn an_index_of_a_manifest_that_nothing_needed() {
    switches(What::Index, false).await;
}

#[tokio::test]
async fn an_image_of_another_program() {
    switches(What::Foreign, false).await;
}

#[tokio::test]
async fn what_is_pushed_while_all_goes_at_once() {
    switches(What::Image, true).await;
    switches(What::Index, true).await;
}

#[tokio::test]
async fn by_chance() {
    for what in [What::Image, What::Mount, What::Index, What::Foreign] {
        chances(what, false, 1).await;
        chances(what, false, 2).await;
    }
    chances(What::Image, true, 1).await;
    chances(What::Index, true, 1).await;
}
