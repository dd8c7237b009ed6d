//! What one request may cost: calls to storage, and memory.

use serde_json::{Value, json};

use super::harness::{Harness, artifact, digest_of, image, index, sha256};
use crate::oci::manifest::{MAX_BLOBS, MAX_LISTED};
use crate::oci::{Digest, media_type};
use crate::registry::catalog;
use crate::storage::Link;

fn descriptor(digest: &Digest) -> Value {
    json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest.text(), "size": 1})
}

fn absent(count: usize) -> Vec<Value> {
    (0..count).map(|number| descriptor(&sha256(format!("absent {number}").as_bytes()))).collect()
}

/// An image with these layers and a config that is there.
async fn with_layers(harness: &Harness, layers: Vec<Value>) -> Value {
    let config = harness.push_blob("a", b"{}").await;
    let mut manifest = image(&config, &config);
    manifest["layers"] = layers.into();
    manifest
}

#[tokio::test]
async fn a_manifest_that_names_thousands_of_absent_blobs_is_refused_after_a_few_questions() {
    let (harness, calls) = Harness::counted().await;
    let manifest = with_layers(&harness, absent(MAX_BLOBS - 1)).await;
    let before = calls();
    let seen = harness.push_manifest("a", "v1", &manifest).await;
    assert_eq!(seen.error(), (400, "MANIFEST_BLOB_UNKNOWN".into()));
    assert!(calls() > before && calls() < before + 10, "{} calls", calls() - before);
    let message = seen.json()["errors"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("the repository lacks 1 or more of"), "{message}");
    // Behind many that are there.
    let mut layers = absent(1);
    for number in 0..100 {
        layers.push(descriptor(&harness.push_blob("a", format!("there {number}").as_bytes()).await));
    }
    let manifest = with_layers(&harness, layers.into_iter().chain(absent(3000)).collect()).await;
    let before = calls();
    assert_eq!(harness.push_manifest("a", "v1", &manifest).await.error(), (400, "MANIFEST_BLOB_UNKNOWN".into()));
    assert!(calls() < before + 100, "{} calls", calls() - before);
}

#[tokio::test]
async fn a_small_manifest_is_told_all_that_is_missing() {
    let harness = Harness::new().await;
    let manifest = with_layers(&harness, absent(7)).await;
    let seen = harness.push_manifest("a", "v1", &manifest).await;
    let message = seen.json()["errors"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("the repository lacks 7 of") && message.matches("sha256:").count() == 7, "{message}");
}

#[tokio::test]
async fn a_manifest_that_names_more_than_the_bound_is_refused_without_a_question() {
    let (harness, calls) = Harness::counted().await;
    let image = with_layers(&harness, absent(MAX_BLOBS)).await;
    for (manifest, what) in
        [(image, "more than 4096 blobs"), (index(&absent(MAX_LISTED + 1)), "more than 10000 manifests")]
    {
        let before = calls();
        let seen = harness.push_manifest("a", "v1", &manifest).await;
        assert_eq!((seen.error(), calls()), ((400, "MANIFEST_INVALID".into()), before));
        let message = seen.json()["errors"][0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(what), "{message}");
    }
}

#[tokio::test]
async fn a_manifest_that_names_a_thousand_blobs_is_taken() {
    let (harness, _) = Harness::counted().await;
    let mut layers = Vec::new();
    for number in 0..1000 {
        layers.push(descriptor(&harness.push_blob("a", format!("layer {number}").as_bytes()).await));
    }
    let manifest = with_layers(&harness, layers).await;
    assert_eq!(harness.push_manifest("a", "v1", &manifest).await.status, 201);
    let listing = index(&absent(MAX_LISTED));
    assert_eq!(harness.push_manifest("a", "list", &listing).await.status, 201);
}

#[tokio::test]
async fn a_fallback_tag_that_lists_thousands_of_absent_manifests_costs_nobody_as_many_questions() {
    let (harness, calls) = Harness::counted().await;
    let subject = digest_of(&harness.push_image("a", "v1", "x").await);
    // Without `subject`: only the tag says what it is about. It is pushed later.
    let late = index(&[descriptor(&sha256(b"late"))]);
    let listing: Vec<Value> = absent(MAX_LISTED - 1).into_iter().chain([descriptor(&digest_of(&late))]).collect();
    let tag = format!("sha256-{}", subject.hex());
    assert_eq!(harness.push_manifest("a", &tag, &index(&listing)).await.status, 201);
    let path = format!("/v2/a/referrers/{subject}");
    let listed = async || harness.get(&path).await.json()["manifests"].as_array().unwrap().len();
    for (round, most) in [("cold", 30), ("warm", 8)] {
        let before = calls();
        assert_eq!(listed().await, 0);
        assert!(calls() - before <= most, "{round}: {} calls", calls() - before);
    }
    // By digest, so that no list of tags or referrers changes by it.
    let reference = digest_of(&late).text();
    assert_eq!(harness.push_manifest("a", &reference, &late).await.status, 201);
    assert_eq!(listed().await, 1);
}

#[tokio::test]
async fn referrers_that_do_not_tell_their_type_cost_no_question_each() {
    let (harness, calls) = Harness::counted().await;
    let subject = digest_of(&harness.push_image("a", "v1", "x").await);
    for number in 0..300 {
        // No mediaType, so a push may record another one; one of them has.
        let artifact = artifact(&subject, "application/x", &number.to_string());
        let mut artifact = artifact.as_object().unwrap().clone();
        artifact.remove("mediaType");
        let text = Value::from(artifact).to_string();
        let sent = if number == 7 { "application/vnd.other+json" } else { media_type::OCI_INDEX };
        let path = format!("/v2/a/manifests/t{number}");
        assert_eq!(harness.send("PUT", &path, &[("content-type", sent)], text.as_bytes()).await.status, 201);
    }
    let path = format!("/v2/a/referrers/{subject}");
    let types = async || {
        let list = harness.get(&path).await.json();
        let all = list["manifests"].as_array().unwrap().clone();
        (all.len(), all.iter().filter(|entry| entry["mediaType"] == "application/vnd.other+json").count())
    };
    assert_eq!(types().await, (300, 1));
    harness.push_manifest("a", "more", &artifact(&subject, "application/x", "more")).await;
    let before = calls();
    assert_eq!(types().await, (301, 1));
    assert!(calls() - before < 20, "{} calls", calls() - before);
}

#[tokio::test]
async fn long_annotations_are_in_lists_though_they_are_not_kept_with_them() {
    let harness = Harness::new().await;
    let subject = digest_of(&harness.push_image("a", "v1", "x").await);
    let path = format!("/v2/a/referrers/{subject}");
    harness.get(&path).await;
    for number in 0..40 {
        // Every second is short.
        let note = format!("{number}").repeat(if number % 2 == 0 { 1 } else { 80_000 });
        let artifact = artifact(&subject, "application/x", &note);
        assert_eq!(harness.push_manifest("a", &format!("t{number}"), &artifact).await.status, 201);
    }
    let (mut next, mut lengths) = (Some(path), Vec::new());
    while let Some(page) = next {
        let seen = harness.get(&page).await;
        assert!(seen.body.len() < 5 << 20);
        let list = seen.json();
        let notes = list["manifests"].as_array().unwrap().iter().map(|entry| entry["annotations"]["note"].as_str());
        lengths.extend(notes.map(|note| note.unwrap().len()));
        next = seen.header("link").strip_prefix('<').and_then(|link| Some(link.split_once('>')?.0.to_owned()));
    }
    assert_eq!((lengths.len(), lengths.iter().filter(|length| **length >= 80_000).count()), (40, 20));
}

#[tokio::test]
async fn a_catalog_that_a_gauge_read_is_not_served() {
    let harness = Harness::new().await;
    harness.push_image("a", "v1", "x").await;
    for name in ["b", "c"] {
        assert!(catalog::count(&harness.registry.lists, &harness.storage).await.unwrap() > 0);
        // As another program does: no stamp changes.
        let digest = sha256(b"{}");
        harness.storage.link_put(&Link::Revision(name.parse().unwrap(), digest), &digest).await.unwrap();
        if name == "b" {
            let listed = harness.get("/v2/_catalog").await.json();
            assert_eq!(listed["repositories"], json!(["a", "b"]));
        }
    }
    assert_eq!(catalog::count(&harness.registry.lists, &harness.storage).await.unwrap(), 3);
}
