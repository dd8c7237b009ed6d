//! Deletions that meet a push of another instance, which no lock of this one keeps away.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::Value;

use super::harness::{Harness, digest_of};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::registry::{Config, Links, Unremoved};
use crate::storage::tests::hooked::{self, Hook};
use crate::storage::{Error, Link, Storage};

/// Pushes `v1` of `a` in the moment before it is deleted: its history, and then the tag.
#[derive(Default)]
struct Other {
    storage: OnceLock<Arc<Storage>>,
    pushes: Mutex<Option<Digest>>,
}

#[async_trait]
impl Hook for Other {
    async fn before(&self, call: &str) -> Result<(), Error> {
        let deletes = call.starts_with("delete ") && call.ends_with("/tags/v1/current/link");
        let digest = if deletes { self.pushes.lock().take() } else { None };
        if let (Some(digest), Some(storage)) = (digest, self.storage.get()) {
            storage.link_put(&Link::TagIndex(name(), tag(), digest), &digest).await?;
            storage.link_put(&Link::Tag(name(), tag()), &digest).await?;
        }
        Ok(())
    }

    async fn after(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }
}

fn name() -> RepositoryName {
    "a".parse().unwrap()
}

fn tag() -> Tag {
    "v1".parse().unwrap()
}

/// A registry whose `v1` and `same` are one image, with another one beside.
async fn world() -> (Harness, Arc<Other>, [Value; 2]) {
    let other = Arc::new(Other::default());
    let harness = Harness::over(Config::default(), hooked::in_memory(other.clone())).await;
    other.storage.set(harness.storage.clone()).ok().unwrap();
    let image = harness.push_image("a", "v1", "1").await;
    harness.push_manifest("a", "same", &image).await;
    let next = harness.push_image("a", "v2", "2").await;
    harness.notes.take();
    (harness, other, [image, next])
}

async fn leads(harness: &Harness, tag: &str) -> Option<Digest> {
    harness.get(&format!("/v2/a/manifests/{tag}")).await.content.map(|(digest, _)| digest)
}

#[tokio::test]
async fn a_tag_that_is_set_meanwhile_outlives_its_deletion() {
    let (harness, other, [_, next]) = world().await;
    *other.pushes.lock() = Some(digest_of(&next));
    assert_eq!(harness.status("DELETE", "/v2/a/manifests/v1").await, 202);
    assert!(other.pushes.lock().is_none(), "it never came there");
    assert_eq!(leads(&harness, "v1").await, Some(digest_of(&next)));
    assert!(harness.notes.take().is_empty(), "nothing is gone");
    assert_eq!(harness.status("DELETE", "/v2/a/manifests/v1").await, 202);
    assert_eq!((leads(&harness, "v1").await, harness.notes.take().len()), (None, 1));
}

#[tokio::test]
async fn a_manifest_goes_without_a_tag_that_is_set_to_another_one_meanwhile() {
    let (harness, other, [image, next]) = world().await;
    *other.pushes.lock() = Some(digest_of(&next));
    let target = format!("/v2/a/manifests/{}", digest_of(&image));
    assert_eq!(harness.status("DELETE", &target).await, 202);
    assert!(other.pushes.lock().is_none(), "it never came there");
    assert_eq!((leads(&harness, "v1").await, leads(&harness, "same").await), (Some(digest_of(&next)), None));
    assert_eq!(harness.status("GET", &target).await, 404);
}

#[tokio::test]
async fn a_manifest_that_is_pushed_meanwhile_stays() {
    let (harness, other, [image, _]) = world().await;
    *other.pushes.lock() = Some(digest_of(&image));
    assert_eq!(harness.status("DELETE", &format!("/v2/a/manifests/{}", digest_of(&image))).await, 202);
    assert_eq!((leads(&harness, "v1").await, leads(&harness, "same").await), (Some(digest_of(&image)), None));
}

#[tokio::test]
async fn a_repository_that_another_instance_pushes_to_keeps_its_manifests() {
    let (harness, other, [image, next]) = world().await;
    *other.pushes.lock() = Some(digest_of(&next));
    let tags = ["same", "v1", "v2"].map(|tag| tag.parse().unwrap()).to_vec();
    let links = Links { tags, revisions: vec![digest_of(&image), digest_of(&next)], ..Links::default() };
    let stays = harness.registry.remove_links(&name(), &links, None).await;
    assert!(matches!(&stays, Err(Unremoved::Pushed(tag)) if tag == "v1"), "{stays:?}");
    assert_eq!(leads(&harness, "v1").await, Some(digest_of(&next)));
}

#[tokio::test]
async fn an_operator_removes_what_he_has_seen_or_nothing() {
    let (harness, _, [image, next]) = world().await;
    let (digest, registry) = (digest_of(&image), &harness.registry);
    let remove = async |known: &[&str]| {
        let known: Vec<Tag> = known.iter().map(|tag| tag.parse().unwrap()).collect();
        registry.remove_manifest(&name(), &digest, &known, None).await
    };
    let stays = remove(&["v1"]).await;
    assert!(matches!(&stays, Err(Unremoved::Pushed(tag)) if tag == "same"), "{stays:?}");
    assert_eq!((leads(&harness, "v1").await, leads(&harness, "same").await), (Some(digest), Some(digest)));
    assert!(harness.notes.take().is_empty());
    let gone = remove(&["v1", "same", "never"]).await.unwrap();
    assert_eq!(gone, Some(vec!["same".parse().unwrap(), tag()]));
    assert_eq!((leads(&harness, "v1").await, harness.notes.take().len()), (None, 3));
    assert_eq!(remove(&[]).await.unwrap(), None);
    registry.reconfigure(&Config { immutable_tags: vec!["a:v*".into()], ..Config::default() });
    let known = ["v2".parse().unwrap()];
    let stays = registry.remove_manifest(&name(), &digest_of(&next), &known, None).await;
    assert!(matches!(stays, Err(Unremoved::Immutable(_))));
    registry.reconfigure(&Config { delete: false, ..Config::default() });
    let stays = registry.remove_manifest(&name(), &digest_of(&next), &known, None).await;
    assert!(matches!(stays, Err(Unremoved::Deletion)));
}

#[tokio::test]
async fn an_operator_removes_a_tag_as_he_has_seen_it_or_not_at_all() {
    let (harness, other, [image, next]) = world().await;
    let (digest, moved) = (digest_of(&image), digest_of(&next));
    let see = async || harness.storage.tag_files(&name(), &tag()).await.unwrap();
    let remove = async |seen: &crate::storage::TagFiles, digest: Digest| {
        harness.registry.remove_tag(&name(), &tag(), (seen, Some(digest)), None).await
    };
    let before = see().await;
    harness.push_manifest("a", "v1", &next).await;
    assert!(matches!(remove(&before, digest).await, Err(Unremoved::Pushed(tag)) if tag == "v1"));
    assert!(matches!(remove(&see().await, digest).await, Err(Unremoved::Pushed(_))), "it leads elsewhere");
    let seen = see().await;
    *other.pushes.lock() = Some(digest);
    assert!(matches!(remove(&seen, moved).await, Err(Unremoved::Pushed(_))), "another instance has set it");
    assert_eq!(leads(&harness, "v1").await, Some(digest));
    harness.notes.take();
    assert!(remove(&see().await, digest).await.unwrap());
    assert_eq!((leads(&harness, "v1").await, harness.notes.take().len()), (None, 1));
    assert!(!remove(&see().await, digest).await.unwrap());
}
