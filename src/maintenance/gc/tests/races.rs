//! Who pushes while something goes, at each step, as another program does it: without an epoch.

use serde_json::Value;

use super::yard::{Yard, config, name, order};
use crate::maintenance::gc::Order;
use crate::maintenance::journal::{Journal, Taken};
use crate::oci::Digest;
use crate::registry::tests::harness::{digest_of, image};
use crate::storage::Link;

/// A blob that nothing needs, with its config, linked in `a` long ago; and the image that somebody pushes for it.
struct Orphan {
    layer: Digest,
    config: Digest,
    manifest: Value,
}

async fn orphan(yard: &Yard) -> Orphan {
    let (config, layer) = (yard.foreign_blob("a", "{}").await, yard.foreign_blob("a", "orphan").await);
    Orphan { layer, config, manifest: image(&config, &layer) }
}

/// The image is whole, for distribution too: bytes in place, and links.
async fn is_whole(yard: &Yard, orphan: &Orphan) {
    let Orphan { layer, config, manifest } = orphan;
    for digest in [layer, config] {
        assert!(yard.layer("a", digest).await && yard.place(digest).await, "{digest}");
    }
    assert!(yard.revision("a", &digest_of(manifest)).await && yard.place(&digest_of(manifest)).await);
    yard.pulls("a", "v1", manifest).await;
}

/// The run that sees the push makes it whole, and it stays so.
async fn heals(yard: &Yard, orphan: &Orphan) {
    yard.run().await;
    is_whole(yard, orphan).await;
    yard.run_for_weeks().await;
    is_whole(yard, orphan).await;
    yard.is_tidy().await;
}

#[tokio::test]
async fn a_manifest_that_comes_after_its_layers_were_condemned_gets_them_back() {
    for yard in Yard::each().await {
        let orphan = orphan(&yard).await;
        yard.hours(25);
        assert_eq!(yard.run().await.counts.condemned_blobs, 2);
        // The client was told before that the layer is there.
        yard.foreign_manifest("a", Some("v1"), &orphan.manifest).await;
        heals(&yard, &orphan).await;
        assert_eq!(yard.metric("entrepot_gc_healed_total"), 2.0);
    }
}

#[tokio::test]
async fn a_manifest_that_comes_when_the_bytes_are_about_to_go_keeps_them() {
    for yard in Yard::each().await {
        let orphan = orphan(&yard).await;
        yard.hours(25);
        yard.run().await;
        yard.hours(24 * 8);
        yard.foreign_manifest("a", Some("v1"), &orphan.manifest).await;
        assert_eq!(yard.run().await.counts.moved, 0);
        heals(&yard, &orphan).await;
    }
}

#[tokio::test]
async fn a_manifest_that_comes_when_the_bytes_are_in_the_trash_brings_them_back() {
    for yard in Yard::each().await {
        for last_moment in [false, true] {
            let orphan = orphan(&yard).await;
            yard.hours(25);
            yard.run().await;
            yard.hours(24 * 8);
            assert_eq!(yard.run().await.counts.moved, 2);
            if last_moment {
                yard.hours(25);
            }
            yard.foreign_manifest("a", Some("v1"), &orphan.manifest).await;
            let report = yard.run().await;
            assert_eq!((report.counts.deleted, report.counts.healed), (0, 2), "{report:?}");
            heals(&yard, &orphan).await;
            // Again from the beginning.
            let digest = digest_of(&orphan.manifest);
            assert_eq!(yard.harness.status("DELETE", &format!("/v2/a/manifests/{digest}")).await, 202);
            yard.run_for_weeks().await;
            assert_eq!(yard.blobs().await.len(), 0);
        }
    }
}

/// A link without any manifest, of whatever repository, written a moment ago.
#[tokio::test]
async fn a_mount_or_an_upload_of_what_is_about_to_go_keeps_it() {
    let yard = Yard::on_disk().await;
    for repository in ["a", "b"] {
        let orphan = orphan(&yard).await;
        yard.hours(25);
        yard.run().await;
        yard.hours(24 * 8);
        let link = Link::Layer(name(repository), orphan.layer);
        yard.storage.link_put(&link, &orphan.layer).await.unwrap();
        yard.written_now(&link);
        let report = yard.run().await;
        assert_eq!((report.counts.condemned_blobs, report.counts.moved), (0, 1), "only the config: {report:?}");
        assert!(yard.layer(repository, &orphan.layer).await && yard.place(&orphan.layer).await);
        yard.run_for_weeks().await;
        assert_eq!(yard.blobs().await.len(), 0);
    }
}

#[tokio::test]
async fn what_is_linked_while_it_waits_is_forgotten_to_be_garbage() {
    let yard = Yard::in_memory().await;
    let orphan = orphan(&yard).await;
    yard.hours(25);
    yard.run().await;
    yard.hours(24 * 6);
    let other = image(&yard.foreign_blob("b", "{}").await, &yard.foreign_blob("b", "orphan").await);
    yard.foreign_manifest("b", Some("v1"), &other).await;
    assert_eq!(yard.run().await.counts.unlinked, 0);
    assert_eq!(yard.files("gc/unlinked").await, [""; 0]);
    // When it is garbage again, it waits from the beginning.
    let digest = digest_of(&other);
    assert_eq!(yard.harness.status("DELETE", &format!("/v2/b/manifests/{digest}")).await, 202);
    yard.hours(25);
    yard.run().await;
    yard.hours(24 * 6);
    assert_eq!(yard.run().await.counts.moved, 0);
    assert!(yard.place(&orphan.layer).await);
}

/// No run saw the link: it came after one, and was condemned by the next.
#[tokio::test]
async fn what_is_condemned_again_waits_from_the_beginning() {
    let yard = Yard::in_memory().await;
    let orphan = orphan(&yard).await;
    yard.hours(25);
    yard.run().await;
    yard.hours(24 * 8);
    yard.storage.link_put(&Link::Layer(name("b"), orphan.layer), &orphan.layer).await.unwrap();
    let report = yard.run().await;
    assert_eq!((report.counts.condemned_blobs, report.counts.moved), (1, 1), "only the config is moved: {report:?}");
    assert!(yard.place(&orphan.layer).await);
    yard.hours(24 * 8);
    assert_eq!(yard.run().await.counts.moved, 1);
}

/// Whoever uploads it again while it lies in the trash writes it to its place: two of the same are there then.
#[tokio::test]
async fn what_was_pushed_again_has_its_own_time() {
    for yard in Yard::each().await {
        let orphan = orphan(&yard).await;
        yard.hours(25);
        yard.run().await;
        yard.hours(24 * 8);
        assert_eq!(yard.run().await.counts.moved, 2);
        yard.foreign_blob("a", "orphan").await;
        yard.storage.link_delete(&Link::Layer(name("a"), orphan.layer)).await.unwrap();
        yard.hours(25);
        let report = yard.run().await;
        assert_eq!((report.counts.deleted, report.counts.unlinked), (1, 1), "only the config is gone: {report:?}");
        assert_eq!((yard.place(&orphan.layer).await, yard.trash(&orphan.layer).await), (true, 0));
        yard.hours(24 * 8);
        assert_eq!(yard.run().await.counts.moved, 1);
        yard.hours(25);
        assert_eq!(yard.run().await.counts.deleted, 1);
        yard.is_tidy().await;
    }
}

#[tokio::test]
async fn only_what_the_repository_had_is_linked_again() {
    let yard = Yard::in_memory().await;
    let orphan = orphan(&yard).await;
    yard.hours(25);
    yard.run().await;
    // Another repository names it, which never held it: its bytes stay, and nobody there gets them.
    yard.foreign_manifest("b", Some("v1"), &orphan.manifest).await;
    yard.run_for_weeks().await;
    assert!(yard.place(&orphan.layer).await && !yard.layer("b", &orphan.layer).await);
    assert_eq!(yard.harness.status("GET", &format!("/v2/b/blobs/{}", orphan.layer)).await, 404);
}

#[tokio::test]
async fn what_somebody_removed_on_purpose_stays_removed() {
    let yard = Yard::in_memory().await;
    let manifest = yard.harness.push_image("a", "v1", "x").await;
    let layer: Digest = manifest["layers"][0]["digest"].as_str().unwrap().parse().unwrap();
    Journal::begin(&yard.storage, "rm-1", &name("a")).take(&[Taken::layer(layer)]).await.unwrap();
    yard.storage.link_delete(&Link::Layer(name("a"), layer)).await.unwrap();
    assert_eq!(yard.run().await.counts.healed, 0);
    assert!(!yard.layer("a", &layer).await);
}

#[tokio::test]
async fn with_now_too_a_manifest_that_came_in_time_keeps_its_layers() {
    let yard = Yard::in_memory().await.with(config()).await;
    let orphan = orphan(&yard).await;
    yard.hours(25);
    yard.run().await;
    yard.foreign_manifest("a", Some("v1"), &orphan.manifest).await;
    let report = yard.try_run(Order { now: true, ..order() }).await.unwrap();
    assert_eq!((report.counts.deleted, report.counts.healed), (0, 2));
    is_whole(&yard, &orphan).await;
}
