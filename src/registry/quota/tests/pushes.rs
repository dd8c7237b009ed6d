//! What pushes are told, over storage in memory and on a disk.

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;

use super::super::{Amount, usage};
use super::{assert_full, bounded, of_bytes, quotas, random, rested, told, used};
use crate::oci::{Digest, Reference};
use crate::registry::quota::Config;
use crate::registry::tests::harness::{Harness, Whole, digest_of, image, index, on_disk, sha256};
use crate::registry::{Body, BodyError};
use crate::storage::{Link, OwnKey, Precondition};

/// Breaks off after its pieces.
struct Broken(Vec<Bytes>);

#[async_trait]
impl Body for Broken {
    fn length(&self) -> Option<u64> {
        None
    }

    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        Some(self.0.pop().ok_or_else(|| BodyError("the client has gone".into())))
    }
}

async fn begin(harness: &Harness, name: &str) -> String {
    let seen = harness.send("POST", &format!("/v2/{name}/blobs/uploads/"), &[], b"").await;
    assert_eq!(seen.status, 202, "{seen:?}");
    seen.header("location").to_owned()
}

/// As docker does: POST, one PATCH without a length, PUT.
async fn push_as_docker(harness: &Harness, name: &str, bytes: &[u8]) -> u16 {
    let upload = begin(harness, name).await;
    let patched = harness.send_body("PATCH", &upload, &[], &mut Whole::new(bytes, true)).await;
    if patched.status != 202 {
        assert_full(&patched);
        return 403;
    }
    harness.status("PUT", &format!("{upload}?digest={}", sha256(bytes))).await
}

#[tokio::test]
async fn a_push_is_refused_where_there_is_no_room_whichever_way_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    for local in [false, true] {
        let quota = of_bytes("team/**", 10_000);
        let harness = match local {
            true => Harness::over(crate::registry::Config::default(), on_disk(folder.path()).await).await,
            false => Harness::new().await,
        };
        harness.registry.bound(std::slice::from_ref(&quota));
        harness.push_blob("team/a", &random(1, 6000)).await;
        let large = random(2, 6000);
        let at_once = |name: &str| format!("/v2/{name}/blobs/uploads/?digest={}", sha256(&large));
        for chunked in [false, true] {
            assert_full(&harness.send_body("POST", &at_once("team/b"), &[], &mut Whole::new(&large, chunked)).await);
            let upload = begin(&harness, "team/b").await;
            assert_full(&harness.send_body("PATCH", &upload, &[], &mut Whole::new(&large, chunked)).await);
            let upload = begin(&harness, "team/b").await;
            let closing = format!("{upload}?digest={}", sha256(&large));
            assert_full(&harness.send_body("PUT", &closing, &[], &mut Whole::new(&large, chunked)).await);
        }
        // In two pieces that fit each for itself.
        let upload = begin(&harness, "team/b").await;
        assert_eq!(harness.send("PATCH", &upload, &[], &large[..3000]).await.status, 202);
        assert_full(&harness.send("PATCH", &upload, &[], &large[3000..]).await);
        let first = harness.send("PATCH", &upload, &[("content-range", "3000-3000")], b"x").await;
        assert!([202, 416].contains(&first.status.as_u16()), "{first:?}");
        // What is mounted is weighed, too.
        harness.push_blob("other", &large).await;
        let mount = format!("/v2/team/b/blobs/uploads/?mount={}&from=other", sha256(&large));
        assert_full(&harness.send("POST", &mount, &[], b"").await);
        // Others are not concerned, and what fits is taken.
        assert_eq!(push_as_docker(&harness, "other", &large).await, 201);
        harness.push_blob("team/b", &random(3, 500)).await;
        assert_eq!(used(&harness, &quota).await, (6500, 0), "local {local}");
    }
}

#[tokio::test]
async fn a_refusal_names_what_is_used_and_the_limit() {
    let harness = bounded(&[of_bytes("a", 1 << 20)]).await;
    harness.push_blob("a", &random(1, 1 << 19)).await;
    let seen = harness.send("POST", &format!("/v2/a/blobs/uploads/?digest={}", sha256(b"x")), &[], &[7; 1 << 20]).await;
    assert_full(&seen);
    let error = &seen.json()["errors"][0];
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("512.0 KiB of 1.0 MiB are used") && message.contains("1.0 MiB more"), "{message}");
    assert_eq!((&error["detail"]["quota"], &error["detail"]["used"]["bytes"]), (&json!("a"), &json!(1 << 19)));
}

#[tokio::test]
async fn what_a_repository_of_the_quota_holds_costs_the_others_nothing() {
    let (team, all) = (of_bytes("team/**", 10_000), of_bytes("**", 20_000));
    let harness = bounded(&[team.clone(), all.clone()]).await;
    let layer = random(1, 6000);
    for name in ["team/a", "team/b"] {
        harness.push_blob(name, &layer).await;
    }
    let mount = format!("/v2/team/c/blobs/uploads/?mount={}&from=team/a", sha256(&layer));
    assert_eq!(harness.status("POST", &mount).await, 201);
    // Nobody knows what comes, so there has to be room while it does.
    assert_eq!(push_as_docker(&harness, "team/d", &layer).await, 403);
    assert_eq!((used(&harness, &team).await, used(&harness, &all).await), ((6000, 0), (6000, 0)));
    // Once for each quota.
    harness.push_blob("other", &random(2, 6000)).await;
    assert_eq!((used(&harness, &team).await, used(&harness, &all).await), ((6000, 0), (12_000, 0)));
    let shared = format!("/v2/team/e/blobs/uploads/?mount={}&from=other", sha256(&random(2, 6000)));
    assert_full(&harness.send("POST", &shared, &[], b"").await);
}

#[tokio::test]
async fn a_push_that_fails_gives_back_what_it_had() {
    let quota = of_bytes("a", 10_000);
    let harness = bounded(std::slice::from_ref(&quota)).await;
    let bytes = random(1, 9000);
    // Another digest.
    for _ in 0..3 {
        let upload = begin(&harness, "a").await;
        assert_eq!(harness.send("PATCH", &upload, &[], &bytes).await.status, 202);
        assert_eq!(harness.status("PUT", &format!("{upload}?digest={}", sha256(b"other"))).await, 400);
    }
    // Given up.
    for _ in 0..3 {
        let upload = begin(&harness, "a").await;
        assert_eq!(harness.send("PATCH", &upload, &[], &bytes).await.status, 202);
        assert_eq!(harness.status("DELETE", &upload).await, 204);
    }
    // Broken off: what is in memory came to nothing.
    for _ in 0..3 {
        let upload = begin(&harness, "a").await;
        let mut broken = Broken(vec![bytes.clone().into()]);
        assert_eq!(harness.send_body("PATCH", &upload, &[], &mut broken).await.status, 400);
        let mut broken = Broken(vec![bytes.clone().into()]);
        let whole = format!("/v2/a/blobs/uploads/?digest={}", sha256(&bytes));
        assert_eq!(harness.send_body("POST", &whole, &[], &mut broken).await.status, 400);
    }
    // Nobody goes on with it: it waits for a moment.
    let upload = begin(&harness, "a").await;
    assert_eq!(harness.send("PATCH", &upload, &[], &bytes).await.status, 202);
    rested(&harness).await;
    assert_eq!(told(&harness, &quota).await.reserved, Amount::default());
    harness.push_blob("a", &bytes).await;
    assert_eq!(used(&harness, &quota).await, (9000, 0));
}

#[tokio::test]
async fn a_manifest_counts_and_so_do_tags() {
    let quota = Config { repositories: "a*".into(), bytes: Some(crate::units::Size(20_000)), tags: Some(3) };
    let harness = bounded(std::slice::from_ref(&quota)).await;
    let manifest = harness.push_image("a", "one", "x").await;
    let bytes = manifest.to_string().len() as u64 + 1 + "{\"config\":\"x\"}".len() as u64;
    assert_eq!(used(&harness, &quota).await, (bytes, 1));
    // The same again, under the same tag and another one.
    for tag in ["one", "two"] {
        assert_eq!(harness.push_manifest("a", tag, &manifest).await.status, 201);
    }
    assert_eq!(used(&harness, &quota).await, (bytes, 2));
    harness.push_image("ab", "one", "x").await;
    assert_eq!(used(&harness, &quota).await, (bytes, 3));
    assert_full(&harness.push_manifest("a", "four", &manifest).await);
    assert_full(&harness.push_manifest("a", &format!("{}?tag=five", digest_of(&manifest)), &manifest).await);
    assert_eq!(harness.push_manifest("a", "two", &manifest).await.status, 201);
    // A tag that moves is none more; one that is deleted makes room.
    let other = harness.push_manifest("a", "two", &index(&[])).await;
    assert_eq!(other.status, 201, "{other:?}");
    assert_eq!(harness.status("DELETE", "/v2/a/manifests/one").await, 202);
    assert_eq!(used(&harness, &quota).await.1, 2);
    assert_eq!(harness.push_manifest("a", "four", &manifest).await.status, 201);
    assert_full(&harness.push_manifest("a", "five", &manifest).await);
}

#[tokio::test]
async fn a_manifest_that_there_is_no_room_for_is_refused() {
    let quota = of_bytes("a", 1000);
    let harness = bounded(std::slice::from_ref(&quota)).await;
    let (config, layer) = (harness.push_blob("a", b"{}").await, harness.push_blob("a", &random(1, 900)).await);
    let seen = harness.push_manifest("a", "latest", &image(&config, &layer)).await;
    assert_full(&seen);
    assert_eq!(harness.status("GET", "/v2/a/manifests/latest").await, 404);
    assert_eq!(used(&harness, &quota).await, (902, 0));
}

#[tokio::test]
async fn clients_are_warned_before_it_is_used_up() {
    let harness = bounded(&[of_bytes("a", 10_000), of_bytes("**", 1 << 30)]).await;
    let push = async |bytes: Vec<u8>| {
        let target = format!("/v2/a/blobs/uploads/?digest={}", sha256(&bytes));
        harness.send("POST", &target, &[], &bytes).await
    };
    assert_eq!(push(random(1, 8000)).await.header("warning"), "");
    let seen = push(random(2, 1500)).await;
    assert_eq!(seen.status, 201);
    let expected = "299 - \"the quota of 'a' is nearly used up: 9.3 KiB of 9.8 KiB are used\"";
    assert_eq!(seen.header("warning"), expected);
    let seen = harness.push_manifest("a", "latest", &index(&[])).await;
    assert!(seen.header("warning").starts_with("299 - \""), "{seen:?}");
}

#[tokio::test]
async fn what_is_deleted_makes_room_once_nobody_else_holds_it() {
    for pattern in ["team/a", "team/**"] {
        let quota = of_bytes(pattern, 10_000);
        let harness = bounded(std::slice::from_ref(&quota)).await;
        let layer = harness.push_blob("team/a", &random(1, 8000)).await;
        if pattern == "team/**" {
            harness.push_blob("team/b", &random(1, 8000)).await;
            assert_eq!(harness.status("DELETE", &format!("/v2/team/b/blobs/{layer}")).await, 202);
            quotas(&harness.registry).seek().await;
            assert_eq!(used(&harness, &quota).await, (8000, 0));
        }
        assert_eq!(harness.status("DELETE", &format!("/v2/team/a/blobs/{layer}")).await, 202);
        quotas(&harness.registry).seek().await;
        assert_eq!(used(&harness, &quota).await, (0, 0), "{pattern}");
        harness.push_blob("team/a", &random(2, 9000)).await;
        assert!(!told(&harness, &quota).await.doubtful);
    }
}

/// As by a command, which ends when it is done.
#[tokio::test]
async fn what_is_deleted_just_before_the_end_makes_room() {
    let quota = of_bytes("a", 10_000);
    let harness = bounded(std::slice::from_ref(&quota)).await;
    let layer = harness.push_blob("a", &random(1, 8000)).await;
    assert_eq!(harness.status("DELETE", &format!("/v2/a/blobs/{layer}")).await, 202);
    harness.registry.close().await;
    let left = usage(&harness.storage, std::slice::from_ref(&quota)).await.unwrap().remove(0);
    assert_eq!((left.used, left.reserved, left.doubtful), (Amount::default(), Amount::default(), false));
}

#[tokio::test]
async fn a_deletion_of_a_manifest_is_found_too() {
    let quota = of_bytes("a", 10_000);
    let harness = bounded(std::slice::from_ref(&quota)).await;
    let manifest = harness.push_image("a", "one", "x").await;
    let before = used(&harness, &quota).await;
    assert_eq!(harness.status("DELETE", &format!("/v2/a/manifests/{}", digest_of(&manifest))).await, 202);
    quotas(&harness.registry).seek().await;
    assert_eq!(used(&harness, &quota).await, (before.0 - manifest.to_string().len() as u64, 0));
}

#[tokio::test]
async fn what_was_linked_by_others_is_charged_with_the_manifest_that_names_it() {
    let quota = of_bytes("a", 10_000);
    let harness = bounded(std::slice::from_ref(&quota)).await;
    let config = harness.push_blob("a", b"{}").await;
    // Another program in the same storage.
    let layer = harness.push_blob("other", &random(1, 7000)).await;
    harness.storage.link_put(&Link::Layer("a".parse().unwrap(), layer), &layer).await.unwrap();
    assert_eq!(used(&harness, &quota).await, (2, 0));
    let manifest = image(&config, &layer);
    assert_eq!(harness.push_manifest("a", "latest", &manifest).await.status, 201);
    assert_eq!(used(&harness, &quota).await, (7002 + manifest.to_string().len() as u64, 1));
    let layer = harness.push_blob("other", &random(2, 7000)).await;
    harness.storage.link_put(&Link::Layer("a".parse().unwrap(), layer), &layer).await.unwrap();
    assert_full(&harness.push_manifest("a", "next", &image(&config, &layer)).await);
}

#[tokio::test]
async fn what_is_kept_of_other_registries_counts_and_is_never_refused() {
    let quota = of_bytes("docker.io/**", 1000);
    let harness = bounded(std::slice::from_ref(&quota)).await;
    let (name, bytes) = ("docker.io/library/a".parse().unwrap(), random(1, 5000));
    let digest = sha256(&bytes);
    let size = harness.registry.keep_blob(&name, &digest, &mut Whole::new(&bytes, false)).await.unwrap();
    let manifest = image(&digest, &digest).to_string();
    let of_manifest = sha256(manifest.as_bytes());
    harness.registry.keep_manifest(&name, &of_manifest, manifest.clone().into(), "a/b").await.unwrap();
    assert_eq!(used(&harness, &quota).await, (size + manifest.len() as u64, 0));
    assert_full(&harness.send("POST", "/v2/docker.io/library/a/blobs/uploads/", &[], b"").await);
}

#[tokio::test]
async fn an_upload_is_refused_before_it_begins_where_nothing_more_may_come() {
    let quota = of_bytes("a", 1000);
    let harness = bounded(std::slice::from_ref(&quota)).await;
    harness.push_blob("a", &random(1, 1000)).await;
    assert_full(&harness.send("POST", "/v2/a/blobs/uploads/", &[], b"").await);
    // An instance that is started now knows as much, once it was told.
    quotas(&harness.registry).flush().await;
    let other = Harness::over(crate::registry::Config::default(), harness.storage.clone()).await;
    other.registry.bound(std::slice::from_ref(&quota));
    assert_full(&other.send("POST", "/v2/a/blobs/uploads/", &[], b"").await);
    // A reload gives more.
    harness.registry.bound(&[of_bytes("a", 2000)]);
    harness.push_blob("a", &random(2, 1000)).await;
    harness.registry.bound(&[]);
    harness.push_blob("a", &random(3, 5000)).await;
}

/// Nothing can be said of such a file, and nobody may write over it: pushes go on.
#[tokio::test]
async fn a_file_of_a_newer_version_stops_no_push_and_is_left_alone() {
    let quota = of_bytes("a", 1000);
    let harness = bounded(std::slice::from_ref(&quota)).await;
    harness.push_blob("a", &random(1, 10)).await;
    quotas(&harness.registry).flush().await;
    let word = Digest::of(crate::oci::Algorithm::Sha256, b"a").hex()[..32].to_owned();
    let newer = r#"{"version":2,"other":[]}"#;
    harness.storage.own_put(&OwnKey::Quota(word.clone()), newer.into(), Precondition::None).await.unwrap();
    let other = Harness::over(crate::registry::Config::default(), harness.storage.clone()).await;
    other.registry.bound(std::slice::from_ref(&quota));
    for seed in 2..5 {
        assert_eq!(push_as_docker(&other, "a", &random(seed, 900)).await, 201);
    }
    let manifest = other.push_image("a", "latest", "x").await;
    let reference: Reference = digest_of(&manifest).to_string().parse().unwrap();
    assert_eq!(other.status("GET", &format!("/v2/a/manifests/{reference}")).await, 200);
    quotas(&other.registry).flush().await;
    let left = harness.storage.own(&OwnKey::Quota(word), 1000).await.unwrap().unwrap().0;
    assert_eq!(left, newer);
    assert!(usage(&harness.storage, std::slice::from_ref(&quota)).await.is_err());
}
