//! What counts as needed.

use bytes::Bytes;
use serde_json::{Value, json};

use super::yard::{Yard, name};
use crate::mirror::TagRecord;
use crate::oci::{Algorithm, Digest, media_type};
use crate::registry::tests::harness::{digest_of, image, sha256};
use crate::storage::{Link, OwnKey, Precondition};

async fn stays(yard: &Yard, digests: &[Digest]) {
    for digest in digests {
        assert!(yard.layer("a", digest).await && yard.place(digest).await, "{digest}");
    }
}

#[tokio::test]
async fn every_digest_in_a_manifest_counts_whatever_its_place() {
    for yard in Yard::each().await {
        let mut blobs = Vec::new();
        for number in 0..9 {
            blobs.push(yard.foreign_blob("a", &format!("blob {number}")).await);
        }
        let garbage = yard.foreign_blob("a", "garbage").await;
        let text = |at: usize| blobs[at].text();
        let manifests: [Value; 5] = [
            // BuildKit's cache: an index whose manifests are layers.
            json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [
                {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": text(0), "size": 1},
                {"mediaType": "application/vnd.buildkit.cacheconfig.v0", "digest": text(1), "size": 1},
            ]}),
            json!({"schemaVersion": 1, "name": "a", "fsLayers": [{"blobSum": text(2)}],
                "history": [{"v1Compatibility": format!("{{\"throwaway\":\"{}\"}}", text(3))}]}),
            json!({"mediaType": "application/vnd.oci.artifact.manifest.v1+json", "blobs": [{"digest": text(4)}]}),
            json!({"what": {"ever": [[{"name": format!("app@{}", text(5))}]]}, "annotations": {text(6): ""}}),
            json!({"config": {"digest": text(7)}, "layers": [], "subject": {"digest": text(8)}}),
        ];
        for (number, manifest) in manifests.iter().enumerate() {
            yard.foreign_manifest("a", (number % 2 == 0).then_some(&format!("v{number}")), manifest).await;
        }
        yard.run_for_weeks().await;
        stays(&yard, &blobs).await;
        assert!(!yard.place(&garbage).await);
        yard.is_tidy().await;
    }
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_keeps_its_repository_and_no_other() {
    let damaged = json!({"layers": []});
    for (what, bytes) in
        [("no JSON", Some("{")), ("gone", None), ("of another digest", Some("{}")), ("sha384", Some(""))]
    {
        let yard = Yard::in_memory().await;
        let digest = match what {
            "no JSON" => sha256(b"{"),
            "sha384" => {
                let manifest = json!({"layers": [{"digest": format!("sha384:{}", "a".repeat(96))}]});
                yard.foreign_manifest("a", Some("v1"), &manifest).await
            }
            _ => digest_of(&damaged),
        };
        yard.storage.link_put(&Link::Revision(name("a"), digest), &digest).await.unwrap();
        if let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) {
            yard.storage.blob_put(&digest, Bytes::from_static(bytes.as_bytes())).await.unwrap();
        }
        let kept = yard.harness.push_blob("a", b"kept").await;
        let gone = yard.harness.push_blob("b", b"gone").await;
        yard.hours(25);
        let report = yard.run().await;
        assert_eq!((report.counts.kept_whole, report.counts.condemned_blobs), (1, 1), "{what}");
        assert_eq!(report.kept_whole, ["a"]);
        assert!(report.notes.iter().any(|note| note.contains("verify")), "{:?}", report.notes);
        yard.run_for_weeks().await;
        stays(&yard, &[kept]).await;
        assert!(!yard.place(&gone).await);
    }
}

#[tokio::test]
async fn what_an_unreadable_repository_held_lately_is_not_moved() {
    let yard = Yard::in_memory().await;
    let blob = yard.harness.push_blob("a", b"perhaps").await;
    yard.hours(25);
    assert_eq!(yard.run().await.counts.condemned_blobs, 1);
    // It may name it.
    let digest = sha256(b"{");
    yard.storage.link_put(&Link::Revision(name("a"), digest), &digest).await.unwrap();
    yard.hours(24 * 8);
    assert_eq!(yard.run().await.counts.moved, 0);
    assert!(yard.place(&blob).await);
}

#[tokio::test]
async fn a_manifest_whose_bytes_are_in_the_trash_is_brought_back() {
    let yard = Yard::in_memory().await;
    let manifest = yard.harness.push_image("a", "v1", "x").await;
    assert!(yard.storage.blob_trash(&digest_of(&manifest)).await.unwrap());
    yard.hours(25);
    assert_eq!(yard.run().await.counts.kept_whole, 0);
    assert!(yard.place(&digest_of(&manifest)).await);
    yard.pulls("a", "v1", &manifest).await;
    // What is left in the trash goes as well.
    yard.run_for_weeks().await;
    yard.pulls("a", "v1", &manifest).await;
    yard.is_tidy().await;
}

/// Distribution stores what is pushed by its sha512 digest under the sha256 one.
#[tokio::test]
async fn a_link_to_another_digest_keeps_what_it_leads_to() {
    for yard in Yard::each().await {
        let link = |digest| Link::Layer(name("a"), digest);
        let long = Digest::of(Algorithm::Sha512, b"layer");
        let target = yard.foreign_blob("a", "layer").await;
        yard.storage.link_put(&link(long), &target).await.unwrap();
        let (loose, loose_target) = (Digest::of(Algorithm::Sha512, b"loose"), yard.foreign_blob("a", "loose").await);
        yard.storage.link_put(&link(loose), &loose_target).await.unwrap();
        let own = Digest::of(Algorithm::Sha512, b"own");
        yard.storage.blob_put(&own, "own".into()).await.unwrap();
        yard.storage.link_put(&link(own), &own).await.unwrap();
        let config = yard.foreign_blob("a", "{}").await;
        let manifest = json!({"config": {"digest": config}, "layers": [{"digest": long}, {"digest": own}]});
        yard.foreign_manifest("a", Some("v1"), &manifest).await;
        yard.run_for_weeks().await;
        stays(&yard, &[target, config, own]).await;
        assert!(yard.layer("a", &long).await);
        assert!(!yard.place(&loose_target).await && !yard.layer("a", &loose).await);
        assert_eq!(yard.harness.status("GET", &format!("/v2/a/blobs/{long}")).await, 200);
        yard.is_tidy().await;
    }
}

/// Cut off while it was written: what the manifest names by the one digest is linked by the other, and nothing says so any more.
#[tokio::test]
async fn a_torn_link_to_another_digest_keeps_its_whole_repository() {
    for yard in Yard::each().await {
        let link = Link::Layer(name("a"), Digest::of(Algorithm::Sha512, b"layer"));
        let long = Digest::of(Algorithm::Sha512, b"layer");
        let target = yard.foreign_blob("a", "layer").await;
        yard.storage.link_put(&link, &target).await.unwrap();
        let config = yard.foreign_blob("a", "{}").await;
        let manifest = json!({"config": {"digest": config}, "layers": [{"digest": long}]});
        yard.foreign_manifest("a", Some("v1"), &manifest).await;
        let other = yard.foreign_blob("b", "garbage").await;
        yard.storage.store().put(&link.key(), Bytes::new(), Precondition::None).await.unwrap();
        yard.hours(25);
        let report = yard.run().await;
        assert_eq!((report.counts.condemned_blobs, report.kept_whole), (1, vec!["a".to_owned()]));
        yard.run_for_weeks().await;
        assert!(yard.layer("a", &target).await && yard.place(&target).await);
        assert!(!yard.place(&other).await);
        // Mended, it is served as before.
        yard.storage.link_put(&link, &target).await.unwrap();
        assert_eq!(yard.harness.status("GET", &format!("/v2/a/blobs/{long}")).await, 200);
    }
}

#[tokio::test]
async fn what_a_mirror_keeps_is_kept_by_its_links() {
    let yard = Yard::in_memory().await;
    let repository = name("remote.test/app");
    let (config, layer) = (sha256(b"{}"), sha256(b"layer"));
    let manifest = image(&config, &layer);
    let digest = digest_of(&manifest);
    let bytes = Bytes::from(manifest.to_string());
    yard.harness.registry.keep_manifest(&repository, &digest, bytes, media_type::OCI_MANIFEST).await.unwrap();
    yard.foreign_blob("remote.test/app", "layer").await;
    let record = TagRecord::new(digest, 1).write().unwrap();
    let key = OwnKey::MirrorTag(repository, "v1".parse().unwrap());
    yard.storage.own_put(&key, record.into(), Precondition::None).await.unwrap();
    yard.run_for_weeks().await;
    assert!(yard.revision("remote.test/app", &digest).await && yard.layer("remote.test/app", &layer).await);
    assert!(yard.place(&layer).await && yard.place(&digest).await);
    // Its config was never fetched: nothing is made of that.
    assert_eq!(yard.metric("entrepot_gc_lost_blobs_total"), 0.0);
}

#[tokio::test]
async fn content_that_a_manifest_names_stays_though_another_repository_links_it_no_more() {
    let yard = Yard::in_memory().await;
    let base = yard.harness.push_image("base", "v1", "x").await;
    let digest = digest_of(&base);
    let manifest = json!({"schemaVersion": 2, "config": {"digest": yard.foreign_blob("a", "{}").await}, "layers": [],
        "annotations": {"org.opencontainers.image.base.digest": digest}});
    yard.foreign_manifest("a", Some("v1"), &manifest).await;
    assert_eq!(yard.harness.status("DELETE", &format!("/v2/base/manifests/{digest}")).await, 202);
    yard.run_for_weeks().await;
    assert!(yard.place(&digest).await);
    // But it is given to nobody who could not have it before.
    assert!(!yard.revision("a", &digest).await && !yard.layer("a", &digest).await);
    assert_eq!(yard.harness.status("GET", &format!("/v2/a/manifests/{digest}")).await, 404);
}
