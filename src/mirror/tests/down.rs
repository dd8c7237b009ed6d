use super::world::{image, index};
use super::*;
use crate::oci::{Algorithm, Digest, media_type};

const V1: &str = "/v2/fake.test/app/manifests/v1";

fn digest(text: &str) -> Digest {
    Digest::of(Algorithm::Sha256, text.as_bytes())
}

/// Of one platform, whose blobs are kept here (or not), pulled by a client.
async fn pulled_index(world: &World, tag: &str, blobs: &[(&str, &'static [u8], bool)]) -> Digest {
    let mut listed = Vec::new();
    for (platform, bytes, kept) in blobs {
        let blob = if *kept { world.keeps("fake.test/app", bytes).await } else { Digest::of(Algorithm::Sha256, bytes) };
        let image = world.fake.has("app", "x", media_type::OCI_MANIFEST, &image(&[blob]));
        assert_eq!(world.get(&format!("/v2/fake.test/app/manifests/{image}")).await.status, 200);
        listed.push((*platform, image));
    }
    let list = world.fake.has("app", tag, media_type::OCI_INDEX, &index(&listed));
    assert_eq!(world.get(&format!("/v2/fake.test/app/manifests/{tag}")).await.digest, Some(list));
    list
}

#[tokio::test]
async fn while_the_remote_is_down_a_tag_is_what_can_be_pulled_whole() {
    let world = World::new("").await;
    let old = pulled_index(&world, "v1", &[("linux/amd64", b"a1", true), ("linux/arm64", b"b1", true)]).await;
    // Of the newer one, one platform has come.
    let _new = pulled_index(&world, "v1", &[("linux/amd64", b"a2", true), ("linux/arm64", b"b2", false)]).await;
    world.fake.behaves(Mode::Says(503));
    let seen = world.get(V1).await;
    assert_eq!((seen.status, seen.digest, seen.is_stale()), (200, Some(old), true));
    let world = world.restarted().await;
    let seen = world.head(V1).await;
    assert_eq!((seen.status, seen.digest, seen.is_stale()), (200, Some(old), true));
}

#[tokio::test]
async fn a_newer_one_that_has_all_of_the_older_is_served() {
    let world = World::new("").await;
    pulled_index(&world, "v1", &[("linux/amd64", b"a1", true), ("linux/arm64", b"b1", false)]).await;
    let new = pulled_index(&world, "v1", &[("linux/amd64", b"a2", true), ("linux/arm64", b"b2", false)]).await;
    for mode in [Mode::Says(500), Mode::Says(429), Mode::Says(401), Mode::Says(403)] {
        world.fake.behaves(mode.clone());
        let seen = world.get(V1).await;
        assert_eq!((seen.status, seen.digest, seen.is_stale()), (200, Some(new), true), "{mode:?}");
    }
}

#[tokio::test]
async fn a_blob_of_another_repository_does_not_complete_an_image_whose_manifest_names_it() {
    let world = World::new("").await;
    let blob = world.keeps("fake.test/base", b"base").await;
    let one = world.fake.has("app", "v1", media_type::OCI_MANIFEST, &image(&[blob]));
    assert_eq!(world.get(V1).await.digest, Some(one));
    world.fake.behaves(Mode::Says(503));
    assert_eq!(world.get(V1).await.status, 503, "the remote has not said that it is this one's too");
}

#[tokio::test]
async fn where_nothing_is_whole_a_refusal_comes_soon() {
    let world = World::new("timeouts = { manifest = \"500ms\" }").await;
    let one = world.fake.has("app", "v1", media_type::OCI_MANIFEST, &image(&[digest("absent")]));
    assert_eq!(world.get(V1).await.digest, Some(one));
    world.fake.behaves(Mode::Silent);
    let seen = world.get(V1).await;
    assert_eq!((seen.status, seen.code()), (503, "UNAVAILABLE".into()));
    assert!(seen.headers.contains_key("retry-after"));
    // By digest it is kept.
    assert_eq!(world.get(&format!("/v2/fake.test/app/manifests/{one}")).await.status, 200);
    assert_eq!(world.get(&format!("/v2/fake.test/app/manifests/{}", digest("other"))).await.status, 503);
}

#[tokio::test]
async fn a_remote_that_says_no_is_believed() {
    let world = World::new("").await;
    let blob = world.keeps("fake.test/app", b"blob").await;
    world.fake.has("app", "v1", media_type::OCI_MANIFEST, &image(&[blob]));
    assert_eq!(world.get(V1).await.status, 200);
    world.fake.loses("app", "v1");
    assert_eq!(world.get(V1).await.status, 404);
    // Whoever asks for what is not kept is told no more than that.
    world.fake.behaves(Mode::Says(403));
    let seen = world.get("/v2/fake.test/secret/manifests/v1").await;
    assert_eq!((seen.status, seen.code()), (404, "MANIFEST_UNKNOWN".into()));
}

#[tokio::test]
async fn what_is_too_old_is_not_served() {
    let world = World::new("stale = \"1ms\"").await;
    let blob = world.keeps("fake.test/app", b"blob").await;
    world.fake.has("app", "v1", media_type::OCI_MANIFEST, &image(&[blob]));
    assert_eq!(world.get(V1).await.status, 200);
    world.fake.behaves(Mode::Says(503));
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(world.get(V1).await.status, 503);
}

#[tokio::test]
async fn without_pulls_left_the_newest_whose_manifests_are_kept_is_served() {
    let world = World::new("on_exhausted = \"429\"").await;
    let one = pulled_index(&world, "v1", &[("linux/amd64", b"a1", false)]).await;
    world.fake.has("app", "v1", media_type::OCI_INDEX, &index(&[("linux/amd64", digest("a2"))]));
    world.fake.behaves(Mode::NoPulls);
    let seen = world.get(V1).await;
    assert_eq!((seen.status, seen.digest, seen.is_stale()), (200, Some(one), true));
    world.fake.has("app", "new", media_type::OCI_INDEX, &index(&[]));
    let seen = world.get("/v2/fake.test/app/manifests/new").await;
    assert_eq!((seen.status, seen.code()), (429, "TOOMANYREQUESTS".into()));
    assert!(seen.headers.contains_key("retry-after"));
}
