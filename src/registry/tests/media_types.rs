//! What a repository holds a manifest as.

use serde_json::{Value, json};

use super::harness::{Harness, digest_of, sha256};
use crate::oci::media_type::{OCI_INDEX, OCI_MANIFEST};
use crate::registry::Config;

const THING: &str = "application/vnd.example.thing+json";
const OTHER: &str = "application/vnd.example.other+json";

/// Whose bytes do not tell their type.
fn untold() -> Value {
    json!({"schemaVersion": 2, "manifests": [],
        "subject": {"mediaType": OCI_MANIFEST, "digest": sha256(b"s").text(), "size": 1}})
}

async fn push(harness: &Harness, name: &str, media_type: &str) {
    let target = format!("/v2/{name}/manifests/latest");
    let body = untold().to_string();
    let seen = harness.send("PUT", &target, &[("content-type", media_type)], body.as_bytes()).await;
    assert_eq!(seen.status, 201, "{seen:?}");
}

/// Asked in every way.
async fn assert_is(harness: &Harness, name: &str, media_type: &str) {
    let digest = digest_of(&untold());
    for reference in ["latest", &digest.text()] {
        for method in ["GET", "HEAD", "GET"] {
            let seen = harness.send(method, &format!("/v2/{name}/manifests/{reference}"), &[], b"").await;
            assert_eq!(seen.content, Some((digest, media_type.to_owned())), "{method} {name} {reference}");
        }
    }
    let listed = harness.get(&format!("/v2/{name}/referrers/{}", sha256(b"s"))).await.json();
    assert_eq!(listed["manifests"][0]["mediaType"], media_type, "{listed}");
}

#[tokio::test]
async fn what_one_repository_was_told_is_nothing_to_others() {
    let harness = Harness::new().await;
    push(&harness, "a", OCI_INDEX).await;
    push(&harness, "a/b", THING).await;
    push(&harness, "c", OTHER).await;
    let fresh = Harness::over(Config::default(), harness.storage.clone()).await;
    for harness in [&harness, &fresh] {
        for (name, media_type) in [("a", OCI_INDEX), ("a/b", THING), ("c", OTHER)] {
            assert_is(harness, name, media_type).await;
        }
    }
}

#[tokio::test]
async fn another_type_for_the_same_bytes_is_seen_by_every_instance() {
    let one = Harness::new().await;
    let other = Harness::over(Config::default(), one.storage.clone()).await;
    for [one, other] in [[one, other], Harness::fleet().await] {
        push(&one, "b", THING).await;
        for media_type in [OCI_INDEX, THING, OTHER, OCI_INDEX, OCI_INDEX, THING] {
            push(&one, "a", media_type).await;
            for harness in [&one, &other] {
                assert_is(harness, "a", media_type).await;
                assert_is(harness, "b", THING).await;
            }
        }
        let fresh = Harness::over(Config::default(), one.storage.clone()).await;
        assert_is(&fresh, "a", THING).await;
    }
}

#[tokio::test]
async fn what_is_no_manifest_to_us_keeps_its_type_over_a_restart() {
    let harness = Harness::new().await;
    let body = br#"{"layers": 5}"#;
    let seen = harness.send("PUT", "/v2/a/manifests/x", &[("content-type", THING)], body).await;
    assert_eq!(seen.status, 201);
    let fresh = Harness::over(Config::default(), harness.storage.clone()).await;
    for harness in [&harness, &fresh] {
        assert_eq!(harness.get("/v2/a/manifests/x").await.content.unwrap().1, THING);
    }
}
