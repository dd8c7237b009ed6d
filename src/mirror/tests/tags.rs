use futures::future::join_all;

use super::world::{image, index, repository, tag};
use super::*;
use crate::oci::{Algorithm, Digest, media_type};

const V1: &str = "/v2/fake.test/app/manifests/v1";

fn digest(text: &str) -> Digest {
    Digest::of(Algorithm::Sha256, text.as_bytes())
}

#[tokio::test]
async fn a_tag_is_asked_once_by_all_who_wait() {
    let world = World::new("").await;
    let expected = world.fake.has("app", "v1", media_type::OCI_MANIFEST, &image(&[digest("a")]));
    let gate = world.fake.holds_back();
    let all = (0..20).map(|_| world.get(V1));
    let (answers, ()) = futures::future::join(join_all(all), async {
        // All of them are polled once before anything is let through.
        tokio::task::yield_now().await;
        gate.add_permits(100);
    })
    .await;
    for answer in answers {
        assert_eq!((answer.status, answer.digest), (200, Some(expected)));
    }
    assert_eq!(world.fake.asked(), ["HEAD /v2/app/manifests/v1".into(), format!("GET /v2/app/manifests/{expected}")]);
}

#[tokio::test]
async fn a_fresh_tag_asks_nothing_and_a_restart_changes_nothing() {
    let world = World::new("tag_ttl = \"1h\"").await;
    let expected = world.fake.has("app", "v1", media_type::OCI_MANIFEST, &image(&[digest("a")]));
    assert_eq!(world.head(V1).await.digest, Some(expected));
    assert_eq!(world.fake.asked().len(), 2);
    let world = world.restarted().await;
    for _ in 0..3 {
        let seen = world.get(V1).await;
        assert_eq!((seen.status, seen.digest, seen.is_stale()), (200, Some(expected), false));
        assert_eq!(seen.media_type, media_type::OCI_MANIFEST);
    }
    assert_eq!(world.fake.asked(), [""; 0]);
}

#[tokio::test]
async fn a_tag_is_checked_by_head_and_fetched_only_when_it_moved() {
    let world = World::new("").await;
    let one = world.fake.has("app", "v1", media_type::OCI_MANIFEST, &image(&[digest("a")]));
    assert_eq!(world.get(V1).await.digest, Some(one));
    world.fake.asked();
    assert_eq!(world.get(V1).await.digest, Some(one));
    assert_eq!(world.fake.asked(), ["HEAD /v2/app/manifests/v1"]);
    let two = world.fake.has("app", "v1", media_type::OCI_MANIFEST, &image(&[digest("b")]));
    assert_eq!(world.get(V1).await.digest, Some(two));
    assert_eq!(world.fake.asked().len(), 2);
    assert_eq!(world.record("fake.test/app", "v1").await.unwrap().digests, [two, one]);
    // Back to what is kept.
    world.fake.has("app", "v1", media_type::OCI_MANIFEST, &image(&[digest("a")]));
    assert_eq!(world.get(V1).await.digest, Some(one));
    assert_eq!(world.fake.asked(), ["HEAD /v2/app/manifests/v1"]);
}

#[tokio::test]
async fn a_registry_without_digests_or_without_head_is_asked_by_get() {
    let world = World::new("").await;
    let manifest = bytes::Bytes::from(image(&[digest("a")]).to_string());
    world.fake.says("app", "v1", "text/plain", &manifest, None);
    let seen = world.get(V1).await;
    assert_eq!((seen.status, seen.digest), (200, Some(Digest::of(Algorithm::Sha256, &manifest))));
    assert_eq!(seen.media_type, media_type::OCI_MANIFEST);
    assert_eq!(world.fake.asked(), ["HEAD /v2/app/manifests/v1", "GET /v2/app/manifests/v1"]);
    world.fake.has_no_head();
    assert_eq!(world.get(V1).await.status, 200);
}

#[tokio::test]
async fn a_digest_that_lies_and_a_page_are_refused_and_not_kept() {
    let world = World::new("").await;
    let (other, page) = (digest("other"), bytes::Bytes::from_static(b"<html>Please pay</html>"));
    let manifest = bytes::Bytes::from(image(&[digest("a")]).to_string());
    for (body, told) in [(&manifest, Some(other)), (&page, None), (&page, Some(Digest::of(Algorithm::Sha256, &page)))] {
        let text = told.map(|told| told.text());
        world.fake.says("app", "v1", media_type::OCI_MANIFEST, body, text.as_deref());
        if let Some(text) = &text {
            world.fake.says("app", text, media_type::OCI_MANIFEST, body, Some(text));
            assert_eq!(world.get(&format!("/v2/fake.test/app/manifests/{text}")).await.status, 502);
        }
        let seen = world.get(V1).await;
        assert_eq!((seen.status, seen.code()), (502, "UNKNOWN".into()));
    }
    assert!(world.record("fake.test/app", "v1").await.is_none());
    let kept = world.registry.held_manifest(&repository("fake.test/app"), &other).await;
    assert!(kept.unwrap().is_none());
}

#[tokio::test]
async fn that_a_tag_is_not_there_is_remembered_a_while_and_of_a_digest_never() {
    let world = World::new("").await;
    for _ in 0..2 {
        let seen = world.get(V1).await;
        assert_eq!((seen.status, seen.code()), (404, "MANIFEST_UNKNOWN".into()));
    }
    assert_eq!(world.fake.asked(), ["HEAD /v2/app/manifests/v1"]);
    let target = format!("/v2/fake.test/app/manifests/{}", digest("x"));
    for _ in 0..2 {
        assert_eq!(world.get(&target).await.status, 404);
    }
    assert_eq!(world.fake.asked().len(), 2);
}

#[tokio::test]
async fn platforms_that_clients_take_are_noted_for_the_tag() {
    let world = World::new("tag_ttl = \"1h\"").await;
    let images = ["a", "b"].map(|text| world.fake.has("app", text, media_type::OCI_MANIFEST, &image(&[digest(text)])));
    let listed = index(&[("linux/amd64", images[0]), ("linux/arm64", images[1])]);
    let list = world.fake.has("app", "v1", media_type::OCI_INDEX, &listed);
    assert_eq!(world.head(V1).await.digest, Some(list));
    assert_eq!(world.record("fake.test/app", "v1").await.unwrap().pulled, 0);
    assert_eq!(world.get(&format!("/v2/fake.test/app/manifests/{}", images[1])).await.status, 200);
    // It is noted beside the answer.
    let noted = async {
        loop {
            let record = world.record("fake.test/app", "v1").await.unwrap();
            if !record.platforms.is_empty() {
                return record;
            }
            tokio::task::yield_now().await;
        }
    };
    let record = tokio::time::timeout(std::time::Duration::from_secs(10), noted).await.unwrap();
    assert_eq!(record.platforms, ["linux/arm64"]);
    assert!(record.pulled > 0);
    let listed = world.mirror.parts.keep.tags("fake.test", 10).await.unwrap();
    assert_eq!(listed, [(repository("fake.test/app"), tag("v1"))]);
}
