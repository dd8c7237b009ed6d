use futures::StreamExt as _;

use super::world::{image, index, repository};
use super::*;
use crate::mirror::warm::Step;
use crate::mirror::{Wanted, WantedPlatforms, Wish, warm};
use crate::oci::{Digest, Reference, media_type};

fn wish(world: &World, reference: &str) -> Wish {
    let reference: Reference = reference.parse().unwrap();
    let wanted = Wanted { mirror: world.mirror.clone(), name: repository("fake.test/app"), reference };
    Wish { image: "app".into(), found: Ok(wanted) }
}

fn only(platform: &str) -> WantedPlatforms {
    WantedPlatforms::These(vec![platform.into()])
}

/// Two platforms of one blob each; the digests of the index, of its images, and of their blobs.
fn multi(world: &World) -> (Digest, [Digest; 2], [Digest; 2]) {
    let blobs = [world.fake.has_blob("app", b"amd64"), world.fake.has_blob("app", b"arm64")];
    let images = blobs.map(|blob| world.fake.has("app", "x", media_type::OCI_MANIFEST, &image(&[blob])));
    let list = index(&[("linux/amd64", images[0]), ("linux/arm64", images[1])]);
    (world.fake.has("app", "v1", media_type::OCI_INDEX, &list), images, blobs)
}

async fn steps(wishes: Vec<Wish>, platforms: WantedPlatforms) -> Vec<Step> {
    warm(wishes, platforms).collect().await
}

#[tokio::test]
async fn an_image_is_brought_whole_for_the_platforms_that_are_wanted() {
    let world = World::new("").await;
    let (list, images, blobs) = multi(&world);
    let told = steps(vec![wish(&world, "v1")], only("linux/arm64")).await;
    let done = told.iter().find_map(|step| match step {
        Step::Done { digest, platforms, blobs, stale, .. } => Some((*digest, platforms.clone(), *blobs, *stale)),
        _ => None,
    });
    assert_eq!(done, Some((list, vec!["linux/arm64".to_owned()], 1, false)), "{told:?}");
    assert_eq!(told.last(), Some(&Step::End { images: 1, failed: 0 }));
    let asked = world.fake.asked();
    assert!(!asked.iter().any(|line| line.contains(&images[0].text()) || line.contains(&blobs[0].text())), "{asked:?}");
    // By digest, with the remote gone: it is here.
    world.fake.behaves(Mode::Says(503));
    let told =
        steps(vec![wish(&world, &images[1].text()), wish(&world, &images[0].text())], WantedPlatforms::All).await;
    let failed = told.iter().filter(|step| matches!(step, Step::Failed { .. })).count();
    assert_eq!((failed, told.last()), (1, Some(&Step::End { images: 2, failed: 1 })), "{told:?}");
    let told = steps(vec![wish(&world, "v1")], only("linux/arm64")).await;
    assert!(told.iter().any(|step| matches!(step, Step::Done { stale: true, fetched: 0, .. })), "{told:?}");
}

#[tokio::test]
async fn a_blob_that_does_not_come_is_named() {
    let world = World::new("").await;
    let blob = Digest::of(crate::oci::Algorithm::Sha256, b"nowhere");
    world.fake.has("app", "v1", media_type::OCI_MANIFEST, &image(&[blob]));
    let told = steps(vec![wish(&world, "v1")], WantedPlatforms::All).await;
    let failed = told.iter().find_map(|step| match step {
        Step::Failed { message, .. } => Some(message.clone()),
        _ => None,
    });
    assert!(failed.as_ref().is_some_and(|message| message.starts_with(&format!("blob {blob}: "))), "{told:?}");
}

#[tokio::test]
async fn who_no_longer_listens_ends_it() {
    let world = World::new("").await;
    multi(&world);
    let gate = world.fake.holds_back();
    let mut begun = warm(vec![wish(&world, "v1"), wish(&world, "v2"), wish(&world, "v3")], WantedPlatforms::All);
    // Both that are under way wait for the remote, so nothing is told.
    assert!(futures::poll!(begun.next()).is_pending());
    drop(begun);
    gate.add_permits(100);
    assert!(!world.fake.asked().iter().any(|line| line.contains("v3")));
}

#[tokio::test]
async fn what_is_explained_is_what_is_served() {
    let world = World::new("tag_ttl = \"1h\"").await;
    let (list, images, _) = multi(&world);
    let name = repository("fake.test/app");
    let explain = async |reference: &str| world.mirror.explain(&name, &reference.parse().unwrap(), true).await;
    let before = explain("v1").await;
    assert!(!before.here && before.tag.is_none() && before.manifests.is_empty());
    assert!(world.fake.asked().is_empty(), "nobody is asked");
    steps(vec![wish(&world, "v1")], only("linux/amd64")).await;
    let told = explain("v1").await;
    let tag = told.tag.as_ref().unwrap();
    assert_eq!((tag.fresh, tag.offline, told.here, told.pushed), (true, Some(list), true, None));
    assert_eq!(told.answer, "what is here is served without asking the remote");
    let found: Vec<_> = told.manifests.iter().map(|manifest| (manifest.digest, manifest.whole)).collect();
    assert_eq!(found, [(list, true), (images[0], true)]);
    assert!(told.manifests[1].blobs.iter().all(|blob| blob.places.contains(&"storage")), "{told:?}");
    // What was pushed goes before.
    let json = image(&[world.keeps("fake.test/app", b"own").await]);
    let own = Digest::of(crate::oci::Algorithm::Sha256, json.to_string().as_bytes());
    world.registry.keep_manifest(&name, &own, json.to_string().into(), media_type::OCI_MANIFEST).await.unwrap();
    let told = explain(&own.text()).await;
    assert_eq!((told.pushed, told.answer), (Some(own), "what was pushed here is served"));
    let status = world.mirror.status(10, |_| true).await;
    assert_eq!((status.tags, status.images.len(), status.images[0].served), (1, 1, Some(list)));
}
