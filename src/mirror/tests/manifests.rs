use std::sync::Arc;

use super::world::{image, repository, request, seen};
use super::*;
use crate::oci::{Algorithm, Digest, media_type};
use crate::remote::Asker;

fn digest(text: &str) -> Digest {
    Digest::of(Algorithm::Sha256, text.as_bytes())
}

#[tokio::test]
async fn a_digest_is_fetched_once_and_then_never_asked_for() {
    let world = World::new("").await;
    let one = world.fake.has("app", "v1", media_type::OCI_MANIFEST, &image(&[digest("a")]));
    let target = format!("/v2/fake.test/app/manifests/{one}");
    let gate = world.fake.holds_back();
    let asking: Vec<_> = (0..10)
        .map(|_| {
            let (mirror, request) = (Arc::clone(&world.mirror), request("GET", &target, Asker::Mirror, false));
            tokio::spawn(async move { mirror.answer(request).await })
        })
        .collect();
    // Whoever leaves does not end it.
    asking[0].abort();
    gate.add_permits(100);
    for asking in asking.into_iter().skip(1) {
        assert_eq!(seen(asking.await.unwrap()).digest, Some(one));
    }
    assert_eq!(world.fake.asked(), [format!("GET /v2/app/manifests/{one}")]);
    world.fake.behaves(Mode::Says(500));
    for seen in [world.get(&target).await, world.head(&target).await] {
        assert_eq!((seen.status, seen.is_stale()), (200, false));
    }
    assert_eq!(world.fake.asked(), [""; 0]);
}

#[tokio::test]
async fn bytes_that_are_here_for_another_repository_are_asked_about_and_not_fetched() {
    let world = World::new("").await;
    let body = image(&[digest("a")]);
    let one = world.fake.has("app", "v1", media_type::OCI_MANIFEST, &body);
    assert_eq!(world.get(&format!("/v2/fake.test/app/manifests/{one}")).await.status, 200);
    world.fake.asked();
    // Not in this one.
    assert_eq!(world.get(&format!("/v2/fake.test/other/manifests/{one}")).await.status, 404);
    assert_eq!(world.fake.asked(), [format!("HEAD /v2/other/manifests/{one}")]);
    world.fake.has("other", "v1", media_type::OCI_MANIFEST, &body);
    assert_eq!(world.get(&format!("/v2/fake.test/other/manifests/{one}")).await.digest, Some(one));
    assert_eq!(world.fake.asked(), [format!("HEAD /v2/other/manifests/{one}")]);
    assert_eq!(world.get("/v2/fake.test/other/manifests/v1").await.digest, Some(one));
    assert_eq!(world.fake.asked(), ["HEAD /v2/other/manifests/v1"]);
}

#[tokio::test]
async fn what_is_kept_is_in_the_registry_as_if_it_had_been_pushed() {
    let world = World::new("").await;
    let one = world.fake.has("team/app", "v1", media_type::OCI_MANIFEST, &image(&[digest("a")]));
    assert_eq!(world.get("/v2/fake.test/team/app/manifests/v1").await.status, 200);
    let held = world.registry.held_manifest(&repository("fake.test/team/app"), &one).await.unwrap();
    assert_eq!(held.map(|(_, media_type)| media_type).as_deref(), Some(media_type::OCI_MANIFEST));
    assert!(world.registry.storage().repository_exists(&repository("fake.test/team/app")).await.unwrap());
    // No tag of the registry's own.
    let tags = world.registry.storage().tags(&repository("fake.test/team/app")).await.unwrap();
    assert_eq!(tags, Some(Vec::new()));
}
