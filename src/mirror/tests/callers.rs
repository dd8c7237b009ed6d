use super::world::image;
use super::*;
use crate::oci::{Algorithm, Digest, media_type};

const ALICE: &str = "Basic YWxpY2U6MQ==";
const BOB: &str = "Basic Ym9iOjI=";
const V1: &str = "/v2/fake.test/app/manifests/v1";

#[tokio::test]
async fn what_one_caller_has_had_another_gets_only_by_their_own_right() {
    let world = World::new("identity = \"caller\"\ntag_ttl = \"1h\"").await;
    world.fake.asks_for(&[ALICE]);
    let blob = world.keeps("fake.test/app", b"blob").await;
    let one = world.fake.has("app", "v1", media_type::OCI_MANIFEST, &image(&[blob]));
    let by_digest = format!("/v2/fake.test/app/manifests/{one}");
    assert_eq!(world.as_caller(Some(ALICE), V1).await.digest, Some(one));
    world.fake.asked();
    // A yes is believed for a while.
    assert_eq!(world.as_caller(Some(ALICE), V1).await.digest, Some(one));
    assert_eq!(world.as_caller(Some(ALICE), &by_digest).await.digest, Some(one));
    assert_eq!(world.fake.asked(), [""; 0]);
    for who in [Some(BOB), None] {
        for target in [V1, &by_digest] {
            let seen = world.as_caller(who, target).await;
            assert_eq!((seen.status, seen.code()), (401, "UNAUTHORIZED".into()), "{who:?} {target}");
            assert!(seen.headers.contains_key("www-authenticate"));
        }
    }
    // While nobody can be asked, only who has been told yes gets it.
    world.fake.behaves(Mode::Says(503));
    assert_eq!(world.as_caller(Some(ALICE), V1).await.digest, Some(one));
    assert_eq!(world.as_caller(Some(BOB), V1).await.status, 401);
    world.fake.asks_for(&[ALICE, BOB]);
    for target in [V1, &by_digest] {
        assert_eq!(world.as_caller(Some(BOB), target).await.status, 503);
    }
    world.fake.behaves(Mode::Well);
    for target in [&by_digest, V1] {
        assert_eq!(world.as_caller(Some(BOB), target).await.digest, Some(one));
    }
}

#[tokio::test]
async fn without_that_setting_nobodys_credentials_are_passed() {
    let world = World::new("").await;
    world.fake.asks_for(&[ALICE]);
    world.fake.has("app", "v1", media_type::OCI_MANIFEST, &image(&[Digest::of(Algorithm::Sha256, b"a")]));
    let seen = world.as_caller(Some(ALICE), V1).await;
    assert_eq!((seen.status, seen.code()), (404, "MANIFEST_UNKNOWN".into()));
    assert_eq!(world.fake.asked(), [""; 0]);
}
