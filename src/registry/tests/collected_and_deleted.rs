//! What a collection took, and a client deleted afterwards, stays deleted, whoever names it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::collected::journaled;
use super::harness::{Harness, digest_of, image, index};
use crate::oci::{Digest, RepositoryName, media_type};
use crate::registry::Config;
use crate::storage::Link;

/// In seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn name() -> RepositoryName {
    "a".parse().unwrap()
}

fn line(kind: &str, digest: &Digest, changed: u64) -> Value {
    json!({"kind": kind, "digest": digest.text(), "target": digest.text(), "changed": changed})
}

/// A collection takes links that were written a minute ago.
async fn taken(harness: &Harness, run: &str, links: &[Link], changed: u64) {
    let lines = links.iter().map(|link| match link {
        Link::Revision(_, digest) => line("manifest", digest, changed),
        Link::Layer(_, digest) => line("layer", digest, changed),
        _ => unreachable!(),
    });
    journaled(&harness.storage, "a", run, lines.collect::<Vec<_>>()).await;
    for link in links {
        assert!(harness.storage.link_delete(link).await.unwrap(), "{link:?}");
    }
    // That no collection has ever run was asked just now.
    harness.registry.rescue.forget();
}

/// An index that names a manifest without a tag.
async fn indexed(harness: &Harness) -> (Digest, Value) {
    let manifest = harness.push_image("a", "child", "x").await;
    let child = digest_of(&manifest);
    let listed = json!({"mediaType": media_type::OCI_MANIFEST, "digest": child.text(), "size": 1});
    assert_eq!(harness.push_manifest("a", "all", &index(&[listed])).await.status, 201);
    harness.storage.tag_delete(&name(), &"child".parse().unwrap()).await.unwrap();
    (child, manifest)
}

#[tokio::test]
async fn a_manifest_that_came_back_and_was_deleted_stays_away_though_an_index_names_it() {
    for came_back in [true, false] {
        let harness = Harness::new().await;
        let (child, manifest) = indexed(&harness).await;
        let (link, target) = (Link::Revision(name(), child), format!("/v2/a/manifests/{child}"));
        taken(&harness, "gc-20261130T000000Z-1", std::slice::from_ref(&link), now() - 60).await;
        if came_back {
            assert_eq!(harness.status("GET", &target).await, 200);
            assert!(harness.storage.link_exists(&link).await.unwrap());
        }
        // What a pull would get can be deleted.
        assert_eq!(harness.status("DELETE", &target).await, 202, "{came_back}");
        let fresh = Harness::over(Config::default(), harness.storage.clone()).await;
        for harness in [&harness, &fresh] {
            assert_eq!(harness.status("GET", &target).await, 404);
            assert_eq!(harness.status("DELETE", &target).await, 404);
            assert_eq!(harness.status("GET", "/v2/a/manifests/all").await, 200);
        }
        // Nor does the next index bring it back.
        let listed = json!({"mediaType": media_type::OCI_MANIFEST, "digest": child.text(), "size": 2});
        assert_eq!(harness.push_manifest("a", "all", &index(&[listed])).await.status, 201);
        assert!(!harness.storage.link_exists(&link).await.unwrap());
        // Who pushes it again has it, and the next collection that takes it takes nothing that is needed.
        assert_eq!(harness.push_manifest("a", &child.text(), &manifest).await.status, 201);
        assert_eq!(fresh.status("GET", &target).await, 200);
        taken(&harness, "gc-20261130T010000Z-2", std::slice::from_ref(&link), now()).await;
        for harness in [&harness, &fresh] {
            assert_eq!(harness.status("GET", &target).await, 200);
            assert!(harness.storage.link_exists(&link).await.unwrap());
            harness.storage.link_delete(&link).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_blob_that_came_back_and_was_deleted_stays_away_though_a_manifest_names_it() {
    for came_back in [true, false] {
        let harness = Harness::new().await;
        let (layer, config) = (harness.push_blob("a", b"layer").await, harness.push_blob("a", b"{}").await);
        let manifest = image(&config, &layer);
        assert_eq!(harness.push_manifest("a", "v1", &manifest).await.status, 201);
        let (link, target) = (Link::Layer(name(), layer), format!("/v2/a/blobs/{layer}"));
        taken(&harness, "gc-20261130T000000Z-1", std::slice::from_ref(&link), now() - 60).await;
        if came_back {
            assert_eq!(harness.status("HEAD", &target).await, 200);
        }
        assert_eq!(harness.status("DELETE", &target).await, 202, "{came_back}");
        for method in ["HEAD", "GET", "DELETE"] {
            assert_eq!(harness.status(method, &target).await, 404, "{method}");
        }
        let again = harness.push_manifest("a", "v1", &manifest).await;
        assert_eq!(again.error(), (400, "MANIFEST_BLOB_UNKNOWN".into()));
        harness.push_blob("a", b"layer").await;
        assert_eq!(harness.push_manifest("a", "v1", &manifest).await.status, 201);
    }
}

#[tokio::test]
async fn of_what_no_collection_took_nothing_is_written_down() {
    let harness = Harness::new().await;
    let (child, _) = indexed(&harness).await;
    let other = harness.push_blob("a", b"other").await;
    taken(&harness, "gc-20261130T000000Z-1", &[Link::Layer(name(), other)], now() - 60).await;
    assert_eq!(harness.status("DELETE", &format!("/v2/a/manifests/{child}")).await, 202);
    assert!(harness.storage.deleted_of(&name()).await.unwrap().is_empty());
}
