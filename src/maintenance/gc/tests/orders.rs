//! When a run begins, waits and ends, and what is told of it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use parking_lot::Mutex;

use super::super::lease::{Lease, OVER};
use super::yard::{Heard, Yard, collector, config, name, order};
use crate::maintenance::gc::{Config, Foreign, GcError, Order, Phase, Step, Trash};
use crate::maintenance::journal::{self, Journal, Taken};
use crate::registry::tests::harness::sha256;
use crate::storage::tests::hooked::{self, Hook};
use crate::storage::{Error, OwnKey, Precondition, Storage, layout};
use crate::units::seconds;

#[tokio::test]
async fn a_plan_says_what_would_go_and_changes_nothing() {
    for yard in Yard::each().await {
        yard.harness.push_image("a", "latest", "x").await;
        let blob = yard.harness.push_blob("a", b"garbage").await;
        let other = yard.harness.push_blob("b", b"other").await;
        yard.hours(25);
        let heard = Heard::default();
        let dry = Order { dry: true, ..order() };
        let report = yard.collector.run(dry.clone(), &heard).await.unwrap();
        assert_eq!((report.counts.condemned_blobs, report.counts.unlinked, report.counts.moved), (2, 2, 0));
        assert_eq!(report.repositories.iter().map(|from| from.bytes).sum::<u64>(), 12);
        let now = Order { dry: true, now: true, ..order() };
        let report = yard.collector.run(now, &heard).await.unwrap();
        assert_eq!((report.counts.deleted, report.counts.freed_bytes), (2, 12));
        let steps = heard.0.lock().clone();
        for (digest, size) in [(blob, 7), (other, 5)] {
            assert!(steps.contains(&Step::Eligible { digest, size }), "{steps:?}");
        }
        let files = yard.files("gc").await;
        assert_eq!(files, ["references/a/_references"], "what manifests name is all that it keeps");
        assert!(yard.layer("a", &blob).await && yard.place(&blob).await);
        // What it said comes true.
        assert_eq!(yard.run().await.counts.condemned_blobs, 2);
        yard.hours(24 * 8);
        assert_eq!(yard.collector.run(dry, &()).await.unwrap().counts.moved, 2);
        assert!(yard.place(&blob).await);
    }
}

#[tokio::test]
async fn while_another_program_pushes_nothing_is_collected_unless_that_is_meant() {
    let yard = Yard::in_memory().await;
    let blob = yard.harness.push_blob("a", b"x").await;
    let upload = format!("{}/b/_uploads/id/startedat", layout::REPOSITORIES);
    yard.storage.store().put(&upload, Bytes::from_static(b"x"), Precondition::None).await.unwrap();
    // Young by the store's clock, that is: the blob is old here, and so would the upload be.
    let careful = Order { foreign_careful: true, ..order() };
    let refused = yard.try_run(order()).await.unwrap_err();
    assert!(matches!(&refused, GcError::Foreign(repository) if *repository == name("b")), "{refused}");
    assert!(refused.to_string().contains("foreign = \"careful\""), "{refused}");
    assert!(refused.to_string().contains("--careful"), "{refused}");
    // It says so before it begins the next time.
    assert!(matches!(yard.try_run(order()).await, Err(GcError::Foreign(_))));
    yard.try_run(careful).await.unwrap();
    let report = yard.try_run(Order { dry: true, ..order() }).await.unwrap();
    assert!(report.notes.iter().any(|note| note.contains("garbage-collect")), "{:?}", report.notes);
    let yard = yard.with(Config { foreign: Foreign::Careful, ..config() }).await;
    yard.run().await;
    let yard = yard.with(config()).await;
    yard.hours(25);
    assert_eq!(yard.run().await.counts.condemned_blobs, 1);
    assert!(!yard.layer("a", &blob).await);
}

/// For a registry that goes on believing what it once saw.
#[tokio::test]
async fn with_a_trash_what_goes_now_is_deleted_by_the_next_run_after_grace() {
    for yard in Yard::each().await {
        let blob = yard.harness.push_blob("a", b"four").await;
        yard.hours(25);
        let now = Order { now: true, trash: Trash::Always, ..order() };
        let plan = yard.try_run(Order { dry: true, ..now.clone() }).await.unwrap();
        assert_eq!((plan.counts.moved, plan.counts.moved_bytes, plan.counts.deleted), (1, 4, 0));
        let report = yard.try_run(now.clone()).await.unwrap();
        assert_eq!((report.counts.moved, report.counts.moved_bytes, report.counts.deleted), (1, 4, 0));
        assert_eq!((yard.place(&blob).await, yard.trash(&blob).await), (false, 1));
        yard.hours(23);
        yard.try_run(now.clone()).await.unwrap();
        assert_eq!(yard.trash(&blob).await, 1, "not before");
        yard.hours(2);
        let report = yard.try_run(now).await.unwrap();
        assert_eq!((report.counts.deleted, report.counts.freed_bytes, yard.trash(&blob).await), (1, 4, 0));
    }
}

/// What the trash is for: it had said that the layer is there, and took the manifest without looking.
#[tokio::test]
async fn with_a_trash_what_another_program_believed_to_be_there_comes_back() {
    for yard in Yard::each().await {
        let blob = yard.harness.push_blob("a", b"layer").await;
        yard.hours(25);
        let now = Order { now: true, trash: Trash::Always, ..order() };
        yard.try_run(now.clone()).await.unwrap();
        assert!(!yard.place(&blob).await && !yard.layer("a", &blob).await);
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "layers": [{ "mediaType": "application/octet-stream", "digest": blob.text(), "size": 5 }],
        });
        yard.foreign_manifest("a", Some("v1"), &manifest).await;
        yard.hours(26);
        yard.try_run(now).await.unwrap();
        assert!(yard.place(&blob).await && yard.layer("a", &blob).await);
    }
}

#[tokio::test]
async fn a_trash_for_others_is_used_where_another_program_pushed_within_a_day() {
    for (upload, moved, deleted) in [(false, 1, 1), (true, 1, 0)] {
        let yard = Yard::on_disk().await;
        let blob = yard.harness.push_blob("a", b"x").await;
        yard.hours(25);
        if upload {
            let key = format!("{}/b/_uploads/id/startedat", layout::REPOSITORIES);
            yard.storage.store().put(&key, Bytes::from_static(b"x"), Precondition::None).await.unwrap();
            let file = std::fs::File::options().write(true).open(yard.storage.store().local_path(&key).unwrap());
            let young = std::time::SystemTime::now() + std::time::Duration::from_secs(24 * 3600);
            file.unwrap().set_modified(young).unwrap();
        }
        let order = Order { now: true, trash: Trash::BesideOthers, foreign_careful: true, ..order() };
        let report = yard.try_run(order).await.unwrap();
        assert_eq!((report.counts.moved, report.counts.deleted), (moved, deleted));
        assert_eq!(yard.trash(&blob).await, usize::from(upload));
    }
}

/// A backup that was put back by half, or a wrong mount.
#[tokio::test]
async fn blobs_without_repositories_are_not_collected_unless_that_is_meant() {
    for yard in Yard::each().await {
        let orders = [false, true].map(|now| Order { now, foreign_careful: true, empty: false, ..order() });
        yard.harness.push_image("a", "latest", "x").await;
        let blobs = yard.blobs().await;
        let links: Vec<_> = yard.storage.below(layout::REPOSITORIES, None).try_collect().await.unwrap();
        for link in &links {
            yard.storage.store().delete(&format!("{}/{}", layout::REPOSITORIES, link.name)).await.unwrap();
        }
        // It may be a push that has not come to its links.
        for order in &orders {
            yard.try_run(order.clone()).await.unwrap();
        }
        yard.hours(25);
        for order in &orders {
            for order in [order.clone(), Order { dry: true, ..order.clone() }] {
                let error = yard.try_run(order).await.unwrap_err();
                assert!(matches!(error, GcError::NoRepositories(digest) if blobs.contains(&digest)), "{error}");
                assert!(error.to_string().contains("gc run --empty"), "{error}");
            }
        }
        assert_eq!(yard.files("gc/unlinked").await, [""; 0]);
        assert_eq!(yard.blobs().await, blobs);
        yard.run().await;
        // Meant once, it goes on by its schedule.
        for _ in 0..3 {
            yard.hours(24 * 8);
            yard.try_run(orders[0].clone()).await.unwrap();
        }
        assert!(yard.blobs().await.is_empty());
        yard.is_tidy().await;
    }
}

#[tokio::test]
async fn a_storage_that_was_emptied_by_collections_is_none_that_lacks_its_repositories() {
    let yard = Yard::in_memory().await;
    let order = Order { empty: false, ..order() };
    yard.try_run(order.clone()).await.unwrap();
    let blob = yard.harness.push_blob("a", b"garbage").await;
    for _ in 0..3 {
        yard.hours(24 * 8);
        yard.try_run(order.clone()).await.unwrap();
    }
    assert!(!yard.place(&blob).await);
    yard.is_tidy().await;
}

#[tokio::test]
async fn a_pause_keeps_runs_from_beginning() {
    let yard = Yard::in_memory().await;
    yard.harness.push_blob("a", b"x").await;
    let paused = yard.collector.pause("alice").await.unwrap();
    assert_eq!(yard.collector.pause("bob").await.unwrap(), paused);
    let refused = yard.try_run(order()).await.unwrap_err().to_string();
    assert!(refused.contains("alice") && refused.contains("entrepot gc resume"), "{refused}");
    assert_eq!(yard.collector.status().await.unwrap().paused, Some(paused));
    assert_eq!(yard.metric("entrepot_gc_paused"), 1.0);
    yard.try_run(Order { dry: true, ..order() }).await.unwrap();
    assert!(yard.collector.resume().await.unwrap() && !yard.collector.resume().await.unwrap());
    yard.run().await;
    // One that cannot be read is one.
    yard.storage.own_put(&OwnKey::GcPaused, Bytes::from_static(b"{"), Precondition::None).await.unwrap();
    assert!(matches!(yard.try_run(order()).await, Err(GcError::Paused { .. })));
}

#[tokio::test]
async fn one_run_at_a_time_until_it_is_not_heard_of_any_more() {
    let yard = Yard::in_memory().await;
    let (other, _) = collector(&yard.storage, config(), &yard.ahead).await;
    let lease = Lease::take(&other.tools, "another", OVER).await.unwrap();
    let refused = yard.try_run(order()).await.unwrap_err();
    assert!(matches!(&refused, GcError::UnderWay { by, .. } if by == "another"), "{refused}");
    let status = yard.collector.status().await.unwrap();
    assert!(status.running.is_none() && status.last.is_none(), "it has not written its state");
    yard.ahead.fetch_add(121_000, Ordering::SeqCst);
    yard.run().await;
    // It finds out, and does not give back what is another's.
    let (third, _) = collector(&yard.storage, config(), &yard.ahead).await;
    let held = Lease::take(&third.tools, "third", OVER).await.unwrap();
    assert!(matches!(lease.beat().await, Err(GcError::Overtaken)));
    lease.release().await;
    assert!(matches!(yard.try_run(order()).await, Err(GcError::UnderWay { .. })));
    held.release().await;
    yard.run().await;
}

/// Ctrl-C, or a client of the admin endpoint that left.
#[tokio::test]
async fn a_run_that_was_dropped_lets_the_next_one_begin_and_gives_back_what_is_its_own_only() {
    let yard = Yard::in_memory().await;
    let key = OwnKey::Lease("gc");
    let held = async || yard.storage.own(&key, 4096).await.unwrap();
    drop(Lease::take(&yard.collector.tools, "one", OVER).await.unwrap());
    for _ in 0..500 {
        if held().await.is_none() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    yard.run().await;
    let overtaken = Lease::take(&yard.collector.tools, "one", OVER).await.unwrap();
    yard.hours(1);
    let (other, _) = collector(&yard.storage, config(), &yard.ahead).await;
    let mine = Lease::take(&other.tools, "another", OVER).await.unwrap();
    let before = held().await.unwrap().0;
    drop(overtaken);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(held().await.unwrap().0, before);
    mine.release().await;
    assert!(held().await.is_none());
}

/// Another takes the lease over when the first blob is in the trash.
#[derive(Default)]
struct Overtaker {
    storage: OnceLock<Arc<Storage>>,
    lease: Mutex<Option<Bytes>>,
}

#[async_trait]
impl Hook for Overtaker {
    async fn before(&self, call: &str) -> Result<(), Error> {
        let is_move = call.starts_with(&format!("delete {}/blobs/", layout::TREE));
        let lease = if is_move { self.lease.lock().take() } else { None };
        if let (Some(lease), Some(storage)) = (lease, self.storage.get()) {
            storage.own_put(&OwnKey::Lease("gc"), lease, Precondition::None).await?;
        }
        Ok(())
    }

    async fn after(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }
}

/// It stalled between its move and its deletion, for longer than others wait for it.
#[tokio::test]
async fn one_that_was_overtaken_deletes_nothing_at_once() {
    let overtaker = Arc::new(Overtaker::default());
    let yard = Yard::over(hooked::in_memory(overtaker.clone()), config()).await;
    overtaker.storage.set(yard.storage.clone()).ok().unwrap();
    let blob = yard.harness.push_blob("a", b"garbage").await;
    yard.hours(25);
    let held =
        r#"{"version":1,"nonce":"other","by":"another","since":"2026-11-30T00:00:00Z","beat":"2026-11-30T00:00:00Z"}"#;
    *overtaker.lease.lock() = Some(Bytes::from_static(held.as_bytes()));
    let outcome = yard.try_run(Order { now: true, ..order() }).await;
    assert!(matches!(outcome, Err(GcError::Overtaken)), "{outcome:?}");
    assert!(overtaker.lease.lock().is_none(), "it never came there");
    assert_eq!((yard.trash(&blob).await, yard.place(&blob).await), (1, false));
    assert_eq!(yard.storage.own(&OwnKey::Lease("gc"), 4096).await.unwrap().unwrap().0, held);
    // That one is not heard of any more.
    let report = yard.try_run(Order { now: true, ..order() }).await.unwrap();
    assert_eq!(report.counts.lost, 0);
    yard.hours(26);
    assert_eq!(yard.try_run(Order { now: true, ..order() }).await.unwrap().counts.deleted, 1);
    yard.is_tidy().await;
}

#[tokio::test]
async fn a_damaged_lease_is_nobodys() {
    let yard = Yard::in_memory().await;
    yard.storage.own_put(&OwnKey::Lease("gc"), Bytes::from_static(b"{"), Precondition::None).await.unwrap();
    yard.run().await;
    yard.is_tidy().await;
}

#[tokio::test]
async fn the_status_says_what_is_due() {
    let yard = Yard::in_memory().await;
    assert_eq!(yard.collector.status().await.unwrap().last, None);
    yard.harness.push_blob("a", b"four").await;
    yard.hours(25);
    let report = yard.run().await;
    let status = yard.collector.status().await.unwrap();
    assert_eq!((status.unlinked.blobs, status.unlinked.bytes, status.due.blobs), (1, 4, 0));
    let last = status.last.unwrap();
    assert_eq!((last.run, last.phase, last.ended), (report.run, Phase::Done, Some(report.ended)));
    assert!(status.next_due.unwrap() > report.ended.plus(std::time::Duration::from_secs(24 * 3600 * 6)));
    yard.hours(24 * 8);
    assert_eq!(yard.collector.status().await.unwrap().due.blobs, 1);
    yard.run().await;
    let status = yard.collector.status().await.unwrap();
    assert_eq!((status.unlinked.blobs, status.trash.blobs, status.trash.bytes, status.due.blobs), (0, 1, 4, 0));
    assert_eq!(yard.metric("entrepot_gc_trash_bytes"), 4.0);
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!((json["trash"]["bytes"].as_u64(), json["last"]["moved"].as_u64()), (Some(4), Some(1)));
    assert!(json["last"]["begun"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn journals_go_when_nothing_can_be_brought_back_by_them() {
    let yard = Yard::in_memory().await;
    let taken = [Taken::layer(sha256(b"x"))];
    Journal::begin(&yard.storage, "rm-1", &name("a")).take(&taken).await.unwrap();
    yard.hours(24 * 9 - 1);
    yard.run().await;
    assert!(journal::read(&yard.storage, "rm-1", &name("a")).await.unwrap().is_some());
    yard.hours(2);
    yard.run().await;
    assert_eq!(journal::read(&yard.storage, "rm-1", &name("a")).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_wrong_in_the_configuration_is_told_before_anything_is_done() {
    let yard = Yard::in_memory().await.with(Config { grace: seconds(60), ..config() }).await;
    let refused = yard.try_run(order()).await.unwrap_err().to_string();
    assert!(refused.starts_with("[gc] grace is 1m; allowed: 2h"), "{refused}");
}

#[tokio::test]
async fn a_run_can_be_spawned() {
    let yard = Yard::in_memory().await;
    let Yard { collector, .. } = yard;
    let run = tokio::spawn(async move {
        collector.undelete(crate::maintenance::gc::Undelete::Run("gc-1".into()), &()).await.unwrap_err();
        collector.run(order(), &()).await
    });
    run.await.unwrap().unwrap();
}
