use super::world::{image, repository};
use super::*;
use crate::oci::{Algorithm, Digest, media_type};
use crate::storage::Link;

const V1: &str = "/v2/fake.test/app/manifests/v1";

#[tokio::test]
async fn what_was_pushed_here_wins_until_it_is_deleted() {
    let world = World::new("").await;
    let name = repository("fake.test/app");
    let blob = world.keeps("fake.test/app", b"blob").await;
    let theirs = world.fake.has("app", "v1", media_type::OCI_MANIFEST, &image(&[blob]));
    let ours = bytes::Bytes::from(image(&[blob, blob]).to_string());
    let pushed = Digest::of(Algorithm::Sha256, &ours);
    world.registry.keep_manifest(&name, &pushed, ours, media_type::OCI_MANIFEST).await.unwrap();
    let link = Link::Tag(name.clone(), "v1".parse().unwrap());
    world.registry.storage().link_put(&link, &pushed).await.unwrap();
    assert_eq!(world.over(V1).await.digest, Some(pushed));
    assert_eq!(world.fake.asked(), [""; 0]);
    // Where nothing is pushed to, the remote is all there is.
    assert_eq!(world.get(V1).await.digest, Some(theirs));
    assert_eq!(world.over(V1).await.digest, Some(pushed));
    assert_eq!(world.over(&format!("/v2/fake.test/app/manifests/{pushed}")).await.status, 200);
    world.registry.storage().link_delete(&link).await.unwrap();
    assert_eq!(world.over(V1).await.digest, Some(theirs));
}

#[tokio::test]
async fn manifests_are_brought_from_what_is_kept_or_from_the_remote() {
    let world = World::new("").await;
    let name = repository("fake.test/app");
    let one = world.fake.has("app", "v1", media_type::OCI_MANIFEST, &image(&[Digest::of(Algorithm::Sha256, b"a")]));
    assert!(world.mirror.bring_manifest(&name, &one).await);
    assert!(world.registry.held_manifest(&name, &one).await.unwrap().is_some());
    assert!(!world.mirror.bring_manifest(&name, &Digest::of(Algorithm::Sha256, b"other")).await);
}

#[tokio::test]
async fn a_blob_of_a_strangers_repository_is_not_brought_without_the_remotes_word() {
    let world = World::new("").await;
    let (name, secret) = (repository("fake.test/app"), world.keeps("team/secret", b"secret").await);
    assert!(!world.mirror.bring(&name, &secret).await);
    assert_eq!(world.registry.held_blob_size(&name, &secret).await.unwrap(), None);
    let own = world.keeps("fake.test/app", b"own").await;
    assert!(world.mirror.bring(&name, &own).await);
}
