use bytes::Bytes;

use super::world::{repository, tag};
use super::*;
use crate::mirror::{Keep, KeptBlob, KeptManifest, StorageKeep, TagRecord};
use crate::oci::{Algorithm, Digest};
use crate::storage::{OwnKey, Precondition};

fn digest(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

#[tokio::test]
async fn content_is_of_the_repository_that_it_was_kept_for() {
    let world = World::new("").await;
    let keep = StorageKeep::new(world.registry.clone());
    let (app, other) = (repository("fake.test/app"), repository("fake.test/other"));
    let manifest = KeptManifest { bytes: Bytes::from_static(b"{\"a\":1}"), media_type: "application/vnd.odd".into() };
    let one = digest(&manifest.bytes);
    keep.put_manifest(&app, &one, &manifest).await.unwrap();
    let kept = keep.manifest(&app, &one).await.unwrap().unwrap();
    assert_eq!((kept.bytes, kept.media_type.as_str()), (manifest.bytes.clone(), "application/vnd.odd"));
    assert!(keep.manifest(&other, &one).await.unwrap().is_none());
    assert_eq!(keep.any_manifest(&one).await.unwrap(), Some(manifest.bytes));
    let blob = world.keeps("fake.test/app", b"blob").await;
    assert_eq!(keep.blob_size(&app, &blob).await.unwrap(), Some(4));
    assert_eq!(keep.blob_size(&other, &blob).await.unwrap(), None);
    assert!(keep.adopt(&other, &blob).await.unwrap() && !keep.adopt(&other, &digest(b"none")).await.unwrap());
    assert!(matches!(keep.blob(&other, &blob).await.unwrap(), Some(KeptBlob::Whole(bytes)) if bytes == "blob"));
}

#[tokio::test]
async fn a_blob_comes_over_from_the_cache() {
    let world = World::new("").await;
    let keep = StorageKeep::new(world.registry.clone());
    let (app, bytes) = (repository("fake.test/app"), Bytes::from(vec![7; 300 << 10]));
    let blob = digest(&bytes);
    let cache = &world.mirror.parts.cache;
    assert!(cache.insert(&blob, None, bytes).await.is_ok());
    keep.put_blob(&app, &blob, cache.get(&blob).await.unwrap()).await.unwrap();
    assert_eq!(keep.blob_size(&app, &blob).await.unwrap(), Some(300 << 10));
}

#[tokio::test]
async fn a_record_is_joined_with_what_is_there_and_a_newer_version_stays() {
    let world = World::new("").await;
    let keep = StorageKeep::new(world.registry.clone());
    let (app, v1) = (repository("fake.test/app"), tag("v1"));
    let mut newer = TagRecord::new(digest(b"new"), 20);
    newer.note_platform("linux/amd64");
    keep.put_tag(&app, &v1, &newer).await.unwrap();
    keep.put_tag(&app, &v1, &TagRecord::new(digest(b"old"), 10)).await.unwrap();
    let record = keep.tag(&app, &v1).await.unwrap().unwrap();
    assert_eq!((record.digests, record.asked), (vec![digest(b"new"), digest(b"old")], 20));
    let key = OwnKey::MirrorTag(app.clone(), v1.clone());
    let newer = Bytes::from_static(b"{\"version\":9}");
    world.registry.storage().own_put(&key, newer.clone(), Precondition::None).await.unwrap();
    assert!(keep.put_tag(&app, &v1, &TagRecord::new(digest(b"old"), 30)).await.is_err());
    assert!(keep.tag(&app, &v1).await.is_err());
    assert_eq!(world.registry.storage().own(&key, 100).await.unwrap().unwrap().0, newer);
    // What was torn is written anew.
    world.registry.storage().own_put(&key, Bytes::from_static(b"{"), Precondition::None).await.unwrap();
    keep.put_tag(&app, &v1, &TagRecord::new(digest(b"old"), 30)).await.unwrap();
    assert_eq!(keep.tag(&app, &v1).await.unwrap().unwrap().asked, 30);
}

#[tokio::test]
async fn tags_are_listed_below_a_path_only_and_within_the_bound() {
    let world = World::new("").await;
    let keep = StorageKeep::new(world.registry.clone());
    for (name, text) in [("fake.test/a", "1"), ("fake.test/a/b", "2"), ("fake.testing/c", "3"), ("other/d", "4")] {
        keep.put_tag(&repository(name), &tag(text), &TagRecord::new(digest(b"x"), 1)).await.unwrap();
    }
    let listed = keep.tags("fake.test", 10).await.unwrap();
    assert_eq!(listed, [(repository("fake.test/a"), tag("1")), (repository("fake.test/a/b"), tag("2"))]);
    assert_eq!(keep.tags("fake.test", 1).await.unwrap().len(), 1);
    assert!(keep.tags("fake", 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn nothing_is_kept_while_nothing_may_be_written() {
    let world = World::new("").await;
    let settings = crate::registry::Config { read_only: true, ..crate::registry::Config::default() };
    world.registry.reconfigure(&settings);
    let keep = StorageKeep::new(world.registry.clone());
    let manifest = KeptManifest { bytes: Bytes::from_static(b"{}"), media_type: "application/x".into() };
    let app = repository("fake.test/app");
    assert!(keep.put_manifest(&app, &digest(b"{}"), &manifest).await.is_err());
    assert!(keep.put_tag(&app, &tag("v1"), &TagRecord::new(digest(b"{}"), 1)).await.is_err());
    // What cannot be kept is served all the same.
    let one = world.fake.has("app", "v1", crate::oci::media_type::OCI_INDEX, &super::world::index(&[]));
    assert_eq!(world.get("/v2/fake.test/app/manifests/v1").await.digest, Some(one));
}
