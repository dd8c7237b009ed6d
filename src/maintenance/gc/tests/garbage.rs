//! Garbage goes, in its steps, and nothing else.

use serde_json::json;

use super::yard::{Heard, Yard, config, name, order};
use crate::maintenance::gc::{Order, Step};
use crate::oci::media_type;
use crate::registry::tests::harness::{digest_of, image, index, sha256};

#[tokio::test]
async fn a_blob_that_nothing_needs_is_unlinked_then_moved_then_deleted() {
    for yard in Yard::each().await {
        let manifest = yard.harness.push_image("a", "latest", "x").await;
        let blob = yard.harness.push_blob("a", b"nobody needs this").await;
        let report = yard.run().await;
        assert_eq!((report.counts.condemned_blobs, report.counts.unlinked), (0, 0), "it is young: {report:?}");
        yard.hours(25);
        let report = yard.run().await;
        assert_eq!((report.counts.condemned_blobs, report.counts.unlinked), (1, 1));
        assert_eq!(report.repositories[0].bytes, 17);
        assert_eq!(yard.harness.status("HEAD", &format!("/v2/a/blobs/{blob}")).await, 404);
        assert!(yard.place(&blob).await && !yard.layer("a", &blob).await);
        yard.hours(24 * 7 - 1);
        assert_eq!(yard.run().await.counts.moved, 0);
        yard.hours(2);
        let report = yard.run().await;
        assert_eq!((report.counts.moved, report.counts.moved_bytes, report.counts.trash_bytes), (1, 17, 17));
        assert_eq!((yard.place(&blob).await, yard.trash(&blob).await), (false, 1));
        yard.hours(23);
        assert_eq!(yard.run().await.counts.freed_bytes, 0);
        assert_eq!(yard.trash(&blob).await, 1);
        yard.hours(2);
        let report = yard.run().await;
        assert_eq!((report.counts.deleted, report.counts.freed_bytes, report.counts.trash), (1, 17, 0));
        assert_eq!(yard.trash(&blob).await, 0);
        yard.pulls("a", "latest", &manifest).await;
        assert_eq!(yard.blobs().await.len(), 3);
        yard.run().await;
        yard.is_tidy().await;
        assert_eq!(yard.files("gc/clock").await, [""; 0]);
        assert_eq!(yard.metric("entrepot_gc_freed_bytes_total"), 17.0);
        assert_eq!(yard.metric("entrepot_gc_runs_total"), 7.0);
    }
}

#[tokio::test]
async fn an_image_that_was_deleted_goes_with_what_no_other_needs() {
    for yard in Yard::each().await {
        let shared = yard.harness.push_blob("a", b"shared").await;
        let config = yard.harness.push_blob("a", b"{}").await;
        let kept = image(&config, &shared);
        yard.harness.push_manifest("a", "kept", &kept).await;
        let own = yard.harness.push_blob("a", b"own").await;
        let mut gone = image(&config, &shared);
        gone["layers"][0]["digest"] = own.text().into();
        yard.harness.push_manifest("a", "gone", &gone).await;
        let before = yard.blobs().await;
        assert_eq!(yard.harness.status("DELETE", &format!("/v2/a/manifests/{}", digest_of(&gone))).await, 202);
        yard.run_for_weeks().await;
        let mut expected = before;
        assert!(expected.remove(&own) && expected.remove(&digest_of(&gone)));
        assert_eq!(yard.blobs().await, expected);
        yard.pulls("a", "kept", &kept).await;
        yard.is_tidy().await;
    }
}

#[tokio::test]
async fn repositories_whose_names_begin_alike_are_kept_apart() {
    for yard in Yard::each().await {
        let names = ["a", "a/b", "a-b", "a/b/c", "a/0"];
        let mut manifests = Vec::new();
        for name in names {
            manifests.push(yard.harness.push_image(name, "v1", name).await);
            yard.harness.push_blob(name, b"a layer of all").await;
            yard.harness.push_blob(name, format!("garbage of {name}").as_bytes()).await;
        }
        yard.hours(25);
        let report = yard.run().await;
        assert_eq!((report.counts.repositories, report.counts.condemned_blobs), (5, 10));
        // In one of them it is needed after all.
        yard.harness.push_blob("a/b", b"a layer of all").await;
        let layer = sha256(b"a layer of all");
        let late = image(&sha256(b"{\"config\":\"a/b\"}"), &layer);
        assert_eq!(yard.harness.push_manifest("a/b", "late", &late).await.status, 201);
        yard.run_for_weeks().await;
        for (name, manifest) in names.iter().zip(&manifests) {
            yard.pulls(name, "v1", manifest).await;
            assert!(!yard.place(&sha256(format!("garbage of {name}").as_bytes())).await);
        }
        yard.pulls("a/b", "late", &late).await;
        yard.is_tidy().await;
    }
}

#[tokio::test]
async fn nothing_in_place_is_touched_that_is_young_whoever_linked_it() {
    let yard = Yard::in_memory().await;
    // Bytes come before their link.
    let digest = sha256(b"no link yet");
    yard.storage.blob_put(&digest, "no link yet".into()).await.unwrap();
    yard.hours(23);
    assert_eq!(yard.run().await.counts.unlinked, 0);
    yard.hours(2);
    assert_eq!(yard.run().await.counts.unlinked, 1);
    yard.hours(24 * 8);
    yard.run().await;
    assert_eq!(yard.trash(&digest).await, 1);
}

#[tokio::test]
async fn with_now_what_is_old_goes_at_once_and_what_is_young_stays() {
    for yard in Yard::each().await {
        let manifest = yard.harness.push_image("a", "latest", "x").await;
        let old = yard.harness.push_blob("a", b"old").await;
        yard.hours(25);
        let before = yard.harness.push_image("b", "latest", "y").await;
        // The store's own clock has not gone on: what is pushed now would be old as well.
        let now = Order { now: true, ..order() };
        let report = yard.try_run(now.clone()).await.unwrap();
        assert_eq!((report.counts.condemned_blobs, report.counts.deleted, report.counts.freed_bytes), (1, 1, 3));
        assert_eq!((yard.place(&old).await, yard.trash(&old).await), (false, 0));
        yard.pulls("a", "latest", &manifest).await;
        yard.pulls("b", "latest", &before).await;
        yard.is_tidy().await;
        let young = yard.harness.push_blob("a", b"young").await;
        yard.ahead.store(0, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(yard.try_run(now).await.unwrap().counts.deleted, 0);
        assert!(yard.layer("a", &young).await);
    }
}

#[tokio::test]
async fn what_waits_in_quarantine_goes_with_now_too() {
    let yard = Yard::in_memory().await;
    let digest = yard.harness.push_blob("a", b"x").await;
    yard.hours(25);
    yard.run().await;
    yard.hours(24 * 8);
    yard.run().await;
    assert_eq!(yard.trash(&digest).await, 1);
    // In the trash for less than the grace, that stays.
    let now = Order { now: true, ..order() };
    assert_eq!(yard.try_run(now.clone()).await.unwrap().counts.deleted, 0);
    yard.hours(25);
    assert_eq!(yard.try_run(now).await.unwrap().counts.deleted, 1);
    yard.is_tidy().await;
}

#[tokio::test]
async fn a_run_tells_its_steps() {
    let yard = Yard::in_memory().await;
    let blob = yard.harness.push_blob("a", b"x").await;
    yard.hours(25);
    let heard = Heard::default();
    yard.collector.run(order(), &heard).await.unwrap();
    let steps = std::mem::take(&mut *heard.0.lock());
    let condemned = Step::Condemned { repository: name("a"), blobs: vec![blob], manifests: vec![] };
    assert!(steps.contains(&condemned), "{steps:?}");
    assert!(steps.contains(&Step::Marking { repository: name("a"), repositories: 1 }));
    assert!(steps.contains(&Step::Shard { done: 512, of: 512 }));
    yard.hours(24 * 8);
    yard.collector.run(order(), &heard).await.unwrap();
    assert!(heard.0.lock().contains(&Step::Moved { digest: blob, size: 1 }));
    yard.hours(25);
    yard.collector.run(order(), &heard).await.unwrap();
    assert!(heard.0.lock().contains(&Step::Deleted { digest: blob, size: 1 }));
    let json = serde_json::to_value(&condemned).unwrap();
    assert_eq!(json, json!({"step": "condemned", "repository": "a", "blobs": [blob.text()], "manifests": []}));
}

#[tokio::test]
async fn an_index_and_its_children_stay_without_a_tag_while_manifests_are_kept() {
    let yard = Yard::in_memory().await;
    let one = yard.harness.push_image("a", "one", "1").await;
    let child = json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest_of(&one).text(), "size": 1});
    let list = index(&[child]);
    yard.harness.push_manifest("a", &digest_of(&list).text(), &list).await;
    assert_eq!(yard.harness.status("DELETE", "/v2/a/manifests/one").await, 202);
    let before = yard.blobs().await;
    yard.run_for_weeks().await;
    assert_eq!(yard.blobs().await, before);
    yard.pulls("a", &digest_of(&list).text(), &list).await;
}

#[tokio::test]
async fn a_second_run_reads_no_manifest_again() {
    let yard = Yard::in_memory().await.with(config()).await;
    for number in 0..5 {
        yard.harness.push_image("a", &format!("v{number}"), &number.to_string()).await;
    }
    yard.run().await;
    assert_eq!(yard.storage.references(&name("a")).await.unwrap().len(), 5);
    assert_eq!(yard.harness.status("DELETE", "/v2/a/manifests/v0").await, 202);
    yard.harness.push_image("a", "v5", "5").await;
    yard.run().await;
    assert_eq!(yard.storage.references(&name("a")).await.unwrap().len(), 6);
}
