//! What every write tells of: each change once, and nothing where nothing changed.

use super::harness::{Harness, artifact, digest_of, on_disk, sha256};
use crate::auth::Identity;
use crate::events::{MountedFrom, What};
use crate::oci::{Digest, Tag, media_type};
use crate::registry::Config;

/// What the last request told of, in this repository.
fn told(harness: &Harness, name: &str) -> Vec<What> {
    let changes = harness.notes.take();
    assert!(changes.windows(2).all(|pair| pair[0].request == pair[1].request), "{changes:?}");
    assert!(changes.iter().all(|change| change.repository.as_str() == name && change.actor == Identity::Anonymous));
    changes.into_iter().map(|change| change.what).collect()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn moved(to: &str, old: Option<Digest>, new: Digest) -> What {
    What::TagMoved { tag: tag(to), old, new }
}

#[tokio::test]
async fn blobs_are_told_of_when_they_are_linked_and_unlinked() {
    let harness = Harness::new().await;
    let digest = harness.push_blob("a", b"in one").await;
    assert_eq!(told(&harness, "a"), [What::BlobLinked { digest, size: 6, mounted: None }]);
    // Of many requests the last one changes something; it may be asked again.
    let begun = harness.send("POST", "/v2/a/blobs/uploads/", &[], b"").await;
    let location = begun.header("location").to_owned();
    assert_eq!(harness.send("PATCH", &location, &[], b"piece").await.status, 202);
    assert_eq!(told(&harness, "a"), []);
    let digest = sha256(b"pieces");
    let put = format!("{location}?digest={digest}");
    assert_eq!(harness.send("PUT", &put, &[], b"s").await.status, 201);
    assert_eq!(told(&harness, "a"), [What::BlobLinked { digest, size: 6, mounted: None }]);
    assert_eq!(harness.status("PUT", &put).await, 201);
    assert_eq!(told(&harness, "a"), []);
    for (from, mounted) in [("&from=a", MountedFrom::Repository("a".parse().unwrap())), ("", MountedFrom::Anywhere)] {
        assert_eq!(harness.status("POST", &format!("/v2/b/blobs/uploads/?mount={digest}{from}")).await, 201);
        assert_eq!(told(&harness, "b"), [What::BlobLinked { digest, size: 6, mounted: Some(mounted) }]);
    }
    for (status, changes) in [(202, vec![What::BlobUnlinked { digest }]), (404, vec![])] {
        assert_eq!(harness.status("DELETE", &format!("/v2/a/blobs/{digest}")).await, status);
        assert_eq!(told(&harness, "a"), changes);
    }
}

#[tokio::test]
async fn manifests_and_tags_are_told_of_with_what_was_before() {
    let harness = Harness::new().await;
    let subject = sha256(b"subject");
    let [one, two] = ["one", "two"].map(|note| artifact(&subject, "application/x", note));
    let pushed = |manifest: &serde_json::Value, new| What::ManifestPushed {
        digest: digest_of(manifest),
        media_type: media_type::OCI_INDEX.to_owned(),
        size: manifest.to_string().len() as u64,
        subject: Some(subject),
        new,
    };
    let (first, second) = (digest_of(&one), digest_of(&two));
    harness.push_manifest("a", "v1", &one).await;
    assert_eq!(told(&harness, "a"), [pushed(&one, true), moved("v1", None, first)]);
    harness.push_manifest("a", "v1", &one).await;
    assert_eq!(told(&harness, "a"), [pushed(&one, false), moved("v1", Some(first), first)]);
    harness.push_manifest("a", "v1", &two).await;
    assert_eq!(told(&harness, "a"), [pushed(&two, true), moved("v1", Some(first), second)]);
    harness.push_manifest("b", &format!("{first}?tag=x&tag=y"), &one).await;
    assert_eq!(told(&harness, "b"), [pushed(&one, true), moved("x", None, first), moved("y", None, first)]);
    harness.push_manifest("a", "v1", &"{}".into()).await;
    assert_eq!(told(&harness, "a"), []);
    for changes in [vec![What::TagDeleted { tag: tag("v1"), old: Some(second) }], vec![]] {
        harness.status("DELETE", "/v2/a/manifests/v1").await;
        assert_eq!(told(&harness, "a"), changes);
    }
    let gone = |text: &str| What::TagDeleted { tag: tag(text), old: Some(first) };
    for changes in [vec![gone("x"), gone("y"), What::ManifestDeleted { digest: first }], vec![]] {
        harness.status("DELETE", &format!("/v2/b/manifests/{first}")).await;
        let mut found = told(&harness, "b");
        found.sort_by_key(What::to_string);
        let mut changes = changes;
        changes.sort_by_key(What::to_string);
        assert_eq!(found, changes);
    }
}

#[tokio::test]
async fn a_manifest_without_a_subject_is_known_under_another_tag() {
    let root = tempfile::tempdir().unwrap();
    a_manifest_is_known(Harness::new().await).await;
    a_manifest_is_known(Harness::over(Config::default(), on_disk(root.path()).await).await).await;
}

async fn a_manifest_is_known(harness: Harness) {
    let manifest = harness.push_image("a", "v1", "x").await;
    let is_new = async |name: &str, tag: &str| {
        harness.notes.take();
        harness.push_manifest(name, tag, &manifest).await;
        told(&harness, name).iter().any(|what| matches!(what, What::ManifestPushed { new: true, .. }))
    };
    assert!(!is_new("a", "v2").await);
    // Its bytes are there, and it is new all the same.
    harness.push_image("b", "other", "x").await;
    harness.push_manifest("b", "gone", &manifest).await;
    harness.status("DELETE", &format!("/v2/b/manifests/{}", digest_of(&manifest))).await;
    assert!(is_new("b", "v1").await && !is_new("b", "v2").await);
}

#[tokio::test]
async fn a_push_that_fails_half_way_tells_what_it_did() {
    let root = tempfile::tempdir().unwrap();
    let harness = Harness::over(Config::default(), on_disk(root.path()).await).await;
    let manifest = artifact(&sha256(b"subject"), "application/x", "x");
    let digest = digest_of(&manifest);
    // A file where the tag's folder would have to be: no such tag, and none can be made.
    let bad = root.path().join("docker/registry/v2/repositories/a/_manifests/tags/bad");
    std::fs::create_dir_all(&bad).unwrap();
    std::fs::write(bad.join("current"), "").unwrap();
    let seen = harness.push_manifest("a", &format!("{digest}?tag=bad&tag=good"), &manifest).await;
    assert!(seen.status.is_server_error(), "{seen:?}");
    let changes = told(&harness, "a");
    assert!(matches!(changes[0], What::ManifestPushed { new: true, .. }), "{changes:?}");
    assert_eq!(changes[1..], [moved("good", None, digest)]);
    assert_eq!(harness.get("/v2/a/tags/list").await.json()["tags"], serde_json::json!(["good"]));
}
