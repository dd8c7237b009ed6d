//! What was taken away comes back, bit by bit.

use std::collections::BTreeSet;

use serde_json::json;

use super::yard::{Yard, config, name, order};
use crate::maintenance::gc::{Config, GcError, Order, Undelete, Untagged};
use crate::maintenance::journal::{Journal, Taken};
use crate::oci::{Digest, Tag, media_type};
use crate::registry::tests::harness::{digest_of, index};
use crate::storage::Link;
use crate::units::seconds;

fn untagged() -> Config {
    Config { untagged: Untagged::After(seconds(0)), ..config() }
}

/// What a condemned image looks like from then on.
#[derive(Clone, Copy, Debug)]
enum Until {
    Condemned,
    Moved,
}

#[tokio::test]
async fn by_run_by_repository_and_by_digest() {
    for until in [Until::Condemned, Until::Moved] {
        for yard in Yard::each().await {
            let yard = yard.with(untagged()).await;
            let manifest = yard.harness.push_image("a/b", "v1", "x").await;
            let other = yard.harness.push_image("c", "v1", "y").await;
            assert_eq!(yard.harness.status("DELETE", "/v2/a/b/manifests/v1").await, 202);
            let digest = digest_of(&manifest);
            let before = yard.blobs().await;
            for what in [Undelete::Repository(name("a/b")), Undelete::Digest(digest), Undelete::Run(String::new())] {
                yard.hours(25);
                let mut run = yard.run().await;
                assert!(run.counts.condemned_manifests > 0);
                let condemned = run.run.clone();
                if let Until::Moved = until {
                    yard.hours(24 * 7 + 1);
                    run = yard.run().await;
                    assert!(run.counts.moved >= 3, "{run:?}");
                }
                assert_eq!(yard.harness.status("GET", &format!("/v2/a/b/manifests/{digest}")).await, 404);
                let what = if let Undelete::Run(_) = what { Undelete::Run(condemned) } else { what };
                let restored = yard.collector.undelete(what.clone(), &()).await.unwrap();
                assert_eq!((restored.manifests, restored.blobs), (1, 2), "{what:?} {restored:?}");
                assert_eq!((restored.repositories, restored.gone), (vec!["a/b".to_owned()], vec![]));
                yard.pulls("a/b", &digest.text(), &manifest).await;
                // Again is nothing.
                let again = yard.collector.undelete(what, &()).await.unwrap();
                assert_eq!((again.manifests, again.blobs, again.repositories.len()), (0, 0, 0));
            }
            yard.pulls("c", "v1", &other).await;
            assert_eq!(yard.blobs().await, before);
        }
    }
}

#[tokio::test]
async fn what_was_brought_back_is_young_and_stays_for_a_grace() {
    let yard = Yard::in_memory().await.with(untagged()).await;
    let manifest = yard.harness.push_image("a", "v1", "x").await;
    assert_eq!(yard.harness.status("DELETE", "/v2/a/manifests/v1").await, 202);
    yard.hours(25);
    yard.run().await;
    // By the store's clock, which has not gone on.
    yard.ahead.store(0, std::sync::atomic::Ordering::SeqCst);
    yard.collector.undelete(Undelete::Digest(digest_of(&manifest)), &()).await.unwrap();
    assert_eq!(yard.run().await.counts.condemned_manifests, 0);
}

#[tokio::test]
async fn a_removal_comes_back_with_the_layers_that_a_collection_took_since() {
    let yard = Yard::in_memory().await;
    let manifest = yard.harness.push_image("a", "v1", "x").await;
    let (digest, tag) = (digest_of(&manifest), "v1".parse().unwrap());
    let taken = [Taken::tag(tag, digest), Taken::manifest(digest, None)];
    Journal::begin(&yard.storage, "rm-1", &name("a")).take(&taken).await.unwrap();
    assert_eq!(yard.harness.status("DELETE", &format!("/v2/a/manifests/{digest}")).await, 202);
    yard.hours(25);
    assert_eq!(yard.run().await.counts.condemned_blobs, 2);
    yard.hours(24 * 7 + 1);
    assert_eq!(yard.run().await.counts.moved, 3);
    let restored = yard.collector.undelete(Undelete::Run("rm-1".into()), &()).await.unwrap();
    assert_eq!((restored.tags, restored.manifests, restored.blobs), (1, 1, 2));
    yard.pulls("a", "v1", &manifest).await;
    let tags = yard.harness.get("/v2/a/tags/list").await.json();
    assert_eq!(tags["tags"], serde_json::json!(["v1"]));
    yard.run_for_weeks().await;
    yard.pulls("a", "v1", &manifest).await;
    yard.is_tidy().await;
}

#[tokio::test]
async fn a_tag_that_was_set_again_is_left_as_it_is() {
    let yard = Yard::in_memory().await;
    let old = yard.harness.push_image("a", "v1", "old").await;
    let taken = [Taken::tag("v1".parse().unwrap(), digest_of(&old))];
    Journal::begin(&yard.storage, "untag-1", &name("a")).take(&taken).await.unwrap();
    assert_eq!(yard.harness.status("DELETE", "/v2/a/manifests/v1").await, 202);
    let new = yard.harness.push_image("a", "v1", "new").await;
    let restored = yard.collector.undelete(Undelete::Run("untag-1".into()), &()).await.unwrap();
    assert_eq!((restored.tags, restored.moved_tags.len()), (0, 1));
    assert_eq!(restored.moved_tags[0].was, digest_of(&old));
    yard.pulls("a", "v1", &new).await;
}

#[tokio::test]
async fn a_tag_does_not_come_back_to_lead_nowhere() {
    let yard = Yard::in_memory().await;
    let digest = digest_of(&yard.harness.push_image("a", "v1", "x").await);
    yard.harness.push_image("a", "v2", "y").await;
    let tag: Tag = "v1".parse().unwrap();
    Journal::begin(&yard.storage, "untag-1", &name("a")).take(&[Taken::tag(tag.clone(), digest)]).await.unwrap();
    assert_eq!(yard.harness.status("DELETE", "/v2/a/manifests/v1").await, 202);
    // A client's deletion is in no journal.
    assert_eq!(yard.harness.status("DELETE", &format!("/v2/a/manifests/{digest}")).await, 202);
    let restored = yard.collector.undelete(Undelete::Run("untag-1".into()), &()).await.unwrap();
    assert_eq!((restored.tags, restored.gone), (0, vec![digest]));
    assert!(!yard.storage.link_exists(&Link::Tag(name("a"), tag)).await.unwrap());
}

#[tokio::test]
async fn what_is_gone_for_good_is_told() {
    let yard = Yard::in_memory().await;
    let blob = yard.harness.push_blob("a", b"x").await;
    yard.hours(25);
    let run = yard.try_run(Order { now: true, ..order() }).await.unwrap();
    assert_eq!(run.counts.deleted, 1);
    let restored = yard.collector.undelete(Undelete::Run(run.run), &()).await.unwrap();
    assert_eq!((restored.gone, restored.blobs), (vec![blob], 0));
    assert!(!yard.layer("a", &blob).await);
    let nothing: Digest = digest_of(&serde_json::json!({}));
    for what in [Undelete::Run("gc-0".into()), Undelete::Repository(name("b")), Undelete::Digest(nothing)] {
        assert!(matches!(yard.collector.undelete(what, &()).await, Err(GcError::Unknown(_))));
    }
}

#[tokio::test]
async fn an_image_whose_layers_are_gone_for_good_does_not_come_back_by_half() {
    for yard in Yard::each().await {
        let manifest = yard.harness.push_image("a", "v1", "x").await;
        yard.harness.push_image("a", "v2", "y").await;
        let (digest, tag) = (digest_of(&manifest), "v1".parse::<Tag>().unwrap());
        let bytes = bytes::Bytes::from(manifest.to_string());
        let taken = [
            Taken::tag(tag.clone(), digest),
            Taken::tag_index(tag.clone(), digest),
            Taken::manifest(digest, Some(bytes)),
        ];
        Journal::begin(&yard.storage, "rm-1", &name("a")).take(&taken).await.unwrap();
        assert_eq!(yard.harness.status("DELETE", &format!("/v2/a/manifests/{digest}")).await, 202);
        yard.hours(25);
        assert!(yard.try_run(Order { now: true, ..order() }).await.unwrap().counts.deleted >= 2);
        for what in [Undelete::Run("rm-1".into()), Undelete::Repository(name("a")), Undelete::Digest(digest)] {
            let restored = yard.collector.undelete(what, &()).await.unwrap();
            assert_eq!((restored.tags, restored.manifests, restored.blobs), (0, 0, 0), "{restored:?}");
            assert!(restored.gone.contains(&digest) && restored.repositories.is_empty(), "{restored:?}");
        }
        let history = Link::TagIndex(name("a"), tag.clone(), digest);
        for link in [Link::Tag(name("a"), tag), Link::Revision(name("a"), digest), history] {
            assert!(!yard.storage.link_exists(&link).await.unwrap(), "{link:?}");
        }
        assert_eq!(yard.run().await.counts.lost, 0);
    }
}

#[tokio::test]
async fn an_index_of_which_an_image_is_gone_stays_away_and_the_other_image_comes() {
    let yard = Yard::in_memory().await.with(untagged()).await;
    let images = [yard.harness.push_image("a", "1", "x").await, yard.harness.push_image("a", "2", "y").await];
    let entry = |image: &serde_json::Value| serde_json::json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest_of(image).text(), "size": 1});
    let index = crate::registry::tests::harness::index(&images.each_ref().map(entry));
    assert_eq!(yard.harness.push_manifest("a", "all", &index).await.status, 201);
    for tag in ["1", "2", "all"] {
        assert_eq!(yard.harness.status("DELETE", &format!("/v2/a/manifests/{tag}")).await, 202);
    }
    yard.hours(25);
    let run = yard.run().await;
    assert_eq!(run.counts.condemned_manifests, 3);
    let layer: Digest = images[0]["layers"][0]["digest"].as_str().unwrap().parse().unwrap();
    assert!(yard.storage.blob_remove(&layer).await.unwrap());
    let restored = yard.collector.undelete(Undelete::Run(run.run), &()).await.unwrap();
    assert_eq!(restored.manifests, 1, "{restored:?}");
    let gone: BTreeSet<Digest> = restored.gone.into_iter().collect();
    assert_eq!(gone, BTreeSet::from([layer, digest_of(&images[0]), digest_of(&index)]));
    yard.pulls("a", &digest_of(&images[1]).text(), &images[1]).await;
    for digest in [digest_of(&images[0]), digest_of(&index)] {
        assert!(!yard.revision("a", &digest).await);
    }
    let config: Digest = images[0]["config"]["digest"].as_str().unwrap().parse().unwrap();
    let shared = images[1]["config"]["digest"] == images[0]["config"]["digest"];
    assert_eq!(yard.layer("a", &config).await, shared, "what only a lost image needs is not linked either");
}

#[tokio::test]
async fn a_manifest_comes_back_from_its_journal_when_its_bytes_are_gone() {
    let yard = Yard::in_memory().await.with(untagged()).await;
    let manifest = yard.harness.push_image("a", "v1", "x").await;
    let digest = digest_of(&manifest);
    assert_eq!(yard.harness.status("DELETE", "/v2/a/manifests/v1").await, 202);
    yard.hours(25);
    yard.run().await;
    assert!(yard.storage.blob_remove(&digest).await.unwrap());
    let restored = yard.collector.undelete(Undelete::Digest(digest), &()).await.unwrap();
    assert_eq!((restored.manifests, restored.blobs), (1, 2));
    yard.pulls("a", &digest.text(), &manifest).await;
    let history = Link::TagIndex(name("a"), "v1".parse().unwrap(), digest);
    assert!(!yard.storage.link_exists(&history).await.unwrap(), "its tag was deleted before, with its history");
}

/// An index brought it back, then a client deleted it: it is no collection's to bring it back again. An undelete may.
#[tokio::test]
async fn what_a_client_deleted_since_comes_back_by_an_undelete_only() {
    for yard in Yard::each().await {
        let yard = yard.with(untagged()).await;
        let manifest = yard.harness.push_image("a", "v1", "x").await;
        let child = digest_of(&manifest);
        assert_eq!(yard.harness.status("DELETE", "/v2/a/manifests/v1").await, 202);
        yard.hours(25);
        assert_eq!(yard.run().await.counts.condemned_manifests, 1);
        let listed = json!({"mediaType": media_type::OCI_MANIFEST, "digest": child.text(), "size": 1});
        assert_eq!(yard.harness.push_manifest("a", "all", &index(&[listed])).await.status, 201);
        assert!(yard.revision("a", &child).await, "the index brings it back");
        // The time of what is written now is that of the store, which no test puts ahead.
        yard.ahead.store(0, std::sync::atomic::Ordering::Relaxed);
        // Journals tell whole seconds.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        assert_eq!(yard.harness.status("DELETE", &format!("/v2/a/manifests/{child}")).await, 202);
        yard.run().await;
        assert!(!yard.revision("a", &child).await);
        assert_eq!(yard.storage.deleted_of(&name("a")).await.unwrap().len(), 1);
        let restored = yard.collector.undelete(Undelete::Digest(child), &()).await.unwrap();
        assert_eq!(restored.manifests, 1);
        assert!(yard.revision("a", &child).await);
        yard.run_for_weeks().await;
        assert!(yard.revision("a", &child).await, "the index names it");
        assert_eq!(yard.files("entrepot/v1/gc/deleted").await, Vec::<String>::new());
    }
}
