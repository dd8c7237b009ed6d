//! What a garbage collection takes while somebody writes, and what it took too soon.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::harness::{Harness, Seen, Whole, digest_of, image, index, on_disk, sha256};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::registry::Config;
use crate::registry::settling::BETWEEN;
use crate::storage::{Link, OwnKey, Precondition, Storage};

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

fn layer(repository: &str, digest: &Digest) -> Link {
    Link::Layer(name(repository), *digest)
}

/// What is done while `write` is between its look and its links.
async fn during<T>(happens: impl Future<Output = ()> + Send + 'static, write: impl Future<Output = T>) -> T {
    let happens: BoxFuture<'static, ()> = happens.boxed();
    let between = RefCell::new(Some(happens));
    BETWEEN
        .scope(between, async {
            let outcome = write.await;
            assert!(BETWEEN.with(|between| between.borrow().is_none()), "it never came there");
            outcome
        })
        .await
}

/// A collection moves these bytes.
async fn moved(storage: Arc<Storage>, digests: Vec<Digest>) {
    storage.epoch_moving().await.unwrap();
    for digest in &digests {
        assert!(storage.blob_trash(digest).await.unwrap());
    }
    storage.epoch_still().await.unwrap();
}

/// And deletes them, without the time that it would have to wait.
async fn deleted(storage: Arc<Storage>, digests: Vec<Digest>) {
    moved(storage.clone(), digests.clone()).await;
    for digest in &digests {
        storage.trash_delete(digest).await.unwrap();
    }
}

/// A collection has run; in a repository it took links to these away.
async fn condemned(storage: &Storage, repository: &str, digests: &[Digest]) {
    let lines = digests.iter().map(|digest| json!({"kind": "layer", "digest": digest.text()}));
    journaled(storage, repository, "gc-20261130", lines).await;
}

/// A collection has run, and left these lines.
pub(super) async fn journaled(storage: &Storage, repository: &str, run: &str, lines: impl IntoIterator<Item = Value>) {
    let put = async |key: OwnKey, text: String| {
        storage.own_put(&key, text.into(), Precondition::None).await.unwrap();
    };
    put(OwnKey::GcRun, "{}".into()).await;
    storage.epoch_moving().await.unwrap();
    let lines = lines.into_iter().map(|line| line.to_string() + "\n");
    let head = json!({"version": 1}).to_string() + "\n";
    put(OwnKey::Journal(run.into(), name(repository)), head + &lines.collect::<String>()).await;
    storage.epoch_still().await.unwrap();
}

fn rescued(harness: &Harness, kind: &str) -> u64 {
    harness.registry.metrics.rescued.with_label_values(&[kind]).get()
}

fn second_looks(harness: &Harness) -> [u64; 3] {
    ["well", "missing", "failed"].map(|result| harness.registry.metrics.second_looks.with_label_values(&[result]).get())
}

/// Config and layer of an image whose manifest is still to be pushed.
async fn pushed_blobs(harness: &Harness) -> (Digest, Digest, Value) {
    let config = harness.push_blob("a", b"{}").await;
    let layer = harness.push_blob("a", &[7; 100_000]).await;
    (config, layer, image(&config, &layer))
}

fn is_later(seen: &Seen) {
    assert_eq!(seen.error(), (503, "UNAVAILABLE".into()));
    assert!(!seen.header("retry-after").is_empty());
}

#[tokio::test]
async fn what_is_moved_to_the_trash_while_a_manifest_is_pushed_is_brought_back() {
    let folder = tempfile::tempdir().unwrap();
    for harness in [Harness::new().await, Harness::over(Config::default(), on_disk(folder.path()).await).await] {
        let (config, layer_digest, manifest) = pushed_blobs(&harness).await;
        let collection = moved(harness.storage.clone(), vec![config, layer_digest]);
        let seen = during(collection, harness.push_manifest("a", "latest", &manifest)).await;
        assert_eq!(seen.status, 201, "{seen:?}");
        for digest in [config, layer_digest] {
            assert!(harness.storage.blob_size(&digest).await.unwrap().is_some());
            assert_eq!(harness.status("GET", &format!("/v2/a/blobs/{digest}")).await, 200);
        }
        assert_eq!((rescued(&harness, "bytes"), second_looks(&harness)), (2, [1, 0, 0]));
    }
}

#[tokio::test]
async fn a_link_that_is_taken_away_while_a_manifest_is_pushed_is_written_again() {
    let harness = Harness::new().await;
    let (config, digest, manifest) = pushed_blobs(&harness).await;
    let storage = harness.storage.clone();
    let collection = async move {
        assert!(storage.link_delete(&layer("a", &digest)).await.unwrap());
        moved(storage, vec![digest]).await;
    };
    assert_eq!(during(collection, harness.push_manifest("a", "latest", &manifest)).await.status, 201);
    for digest in [config, digest] {
        assert_eq!(harness.status("HEAD", &format!("/v2/a/blobs/{digest}")).await, 200);
    }
}

#[tokio::test]
async fn what_is_gone_for_good_while_a_manifest_is_pushed_refuses_it_until_it_is_pushed_again() {
    let harness = Harness::new().await;
    let (_, digest, manifest) = pushed_blobs(&harness).await;
    let collection = deleted(harness.storage.clone(), vec![digest]);
    let seen = during(collection, harness.push_manifest("a", "latest", &manifest)).await;
    is_later(&seen);
    assert!(String::from_utf8_lossy(&seen.body).contains("push it again"));
    assert_eq!(second_looks(&harness), [0, 1, 0]);
    assert_eq!(harness.status("GET", "/v2/a/manifests/latest").await, 404, "no tag leads to it");
    // As the client is told once it asks.
    assert_eq!(harness.push_manifest("a", "latest", &manifest).await.error(), (400, "MANIFEST_BLOB_UNKNOWN".into()));
    harness.push_blob("a", &[7; 100_000]).await;
    assert_eq!(harness.push_manifest("a", "latest", &manifest).await.status, 201);
    assert_eq!(harness.status("GET", "/v2/a/manifests/latest").await, 200);
}

#[tokio::test]
async fn a_manifest_that_was_there_already_is_written_again_if_it_is_taken_meanwhile() {
    let harness = Harness::new().await;
    let manifest = harness.push_image("a", "v1", "x").await;
    let digest = digest_of(&manifest);
    let storage = harness.storage.clone();
    let collection = deleted(storage, vec![digest]);
    assert_eq!(during(collection, harness.push_manifest("a", "v2", &manifest)).await.status, 201);
    let fresh = Harness::over(Config::default(), harness.storage.clone()).await;
    for reference in ["v1", "v2", &digest.text()] {
        assert_eq!(fresh.status("GET", &format!("/v2/a/manifests/{reference}")).await, 200, "{reference}");
    }
}

#[tokio::test]
async fn children_of_an_index_and_a_subject_are_brought_back_as_layers_are() {
    let harness = Harness::new().await;
    let child = digest_of(&harness.push_image("a", "v1", "child").await);
    let subject = digest_of(&harness.push_image("a", "v2", "subject").await);
    // What BuildKit keeps as its cache: an index of blobs.
    let blob = harness.push_blob("a", b"cached").await;
    let descriptor = |digest: &Digest| json!({"mediaType": "application/x", "digest": digest.text(), "size": 1});
    let mut pushed = index(&[descriptor(&child), descriptor(&blob), descriptor(&sha256(b"never there"))]);
    pushed["subject"] = descriptor(&subject);
    let taken = vec![child, subject, blob];
    let seen = during(moved(harness.storage.clone(), taken.clone()), harness.push_manifest("a", "all", &pushed)).await;
    assert_eq!(seen.status, 201, "{seen:?}");
    for digest in &taken {
        assert!(harness.storage.blob_size(digest).await.unwrap().is_some(), "{digest}");
    }
    pushed["annotations"] = json!({"again": "1"});
    let seen = during(deleted(harness.storage.clone(), vec![child]), harness.push_manifest("a", "all", &pushed)).await;
    is_later(&seen);
}

#[tokio::test]
async fn what_a_child_of_an_index_needs_is_brought_back_with_it_or_the_index_is_refused() {
    for for_good in [false, true] {
        let harness = Harness::new().await;
        let child_manifest = harness.push_image("a", "child", "layer").await;
        let (child, layers) = (digest_of(&child_manifest), [sha256(b"layer"), sha256(b"{\"config\":\"layer\"}")]);
        let listed = json!({"mediaType": crate::oci::media_type::OCI_MANIFEST, "digest": child.text(), "size": 1});
        let storage = harness.storage.clone();
        // The tag has gone, and a collection takes all of it, as one does that lets nothing rest.
        let collection = async move {
            storage.tag_delete(&name("a"), &"child".parse::<Tag>().unwrap()).await.unwrap();
            condemned(&storage, "a", &[child, layers[0], layers[1]]).await;
            for link in [Link::Revision(name("a"), child), layer("a", &layers[0]), layer("a", &layers[1])] {
                assert!(storage.link_delete(&link).await.unwrap());
            }
            match for_good {
                true => deleted(storage, layers.into()).await,
                false => moved(storage, vec![child, layers[0], layers[1]]).await,
            }
        };
        let seen = during(collection, harness.push_manifest("a", "all", &index(&[listed]))).await;
        if for_good {
            is_later(&seen);
            let link = Link::Revision(name("a"), child);
            assert!(!harness.storage.link_exists(&link).await.unwrap(), "it would promise what is gone");
            continue;
        }
        assert_eq!(seen.status, 201, "{seen:?}");
        let fresh = Harness::over(Config::default(), harness.storage.clone()).await;
        assert_eq!(fresh.status("GET", &format!("/v2/a/manifests/{child}")).await, 200);
        for digest in layers {
            assert_eq!(fresh.status("GET", &format!("/v2/a/blobs/{digest}")).await, 200);
        }
        assert_eq!((rescued(&harness, "revision"), rescued(&harness, "layer"), rescued(&fresh, "layer")), (1, 2, 0));
    }
}

#[tokio::test]
async fn an_epoch_that_a_dead_collection_left_costs_a_second_look_and_nothing_else() {
    let harness = Harness::new().await;
    harness.storage.epoch_moving().await.unwrap();
    harness.push_image("a", "v1", "x").await;
    assert_eq!(harness.push_manifest("a", "v2", &index(&[])).await.status, 201);
    assert_eq!(second_looks(&harness), [2, 0, 0]);
    harness.storage.epoch_still().await.unwrap();
    harness.push_image("a", "v3", "y").await;
    assert_eq!(second_looks(&harness), [2, 0, 0]);
    // One that cannot be read is as good as one that moves.
    harness.storage.own_put(&OwnKey::Epoch, Bytes::from_static(b"\0"), Precondition::None).await.unwrap();
    harness.push_image("a", "v4", "z").await;
    assert_eq!(second_looks(&harness), [3, 0, 0]);
    assert_eq!(rescued(&harness, "bytes"), 0);
}

#[tokio::test]
async fn a_blob_that_is_moved_while_it_is_linked_is_brought_back_and_one_that_is_gone_is_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    for harness in [Harness::new().await, Harness::over(Config::default(), on_disk(folder.path()).await).await] {
        let bytes = [5; 70_000];
        let digest = sha256(&bytes);
        let target = format!("/v2/a/blobs/uploads/?digest={digest}");
        let push = || harness.send("POST", &target, &[], &bytes);
        assert_eq!(during(moved(harness.storage.clone(), vec![digest]), push()).await.status, 201);
        assert_eq!(harness.storage.blob_size(&digest).await.unwrap(), Some(70_000));
        is_later(&during(deleted(harness.storage.clone(), vec![digest]), push()).await);
        assert_eq!(push().await.status, 201);

        let mount = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
        let mounting = || harness.send("POST", &mount, &[], b"");
        assert_eq!(during(moved(harness.storage.clone(), vec![digest]), mounting()).await.status, 201);
        assert_eq!(harness.status("GET", &format!("/v2/b/blobs/{digest}")).await, 200);
        assert_eq!(during(deleted(harness.storage.clone(), vec![digest]), mounting()).await.status, 202);
    }
}

#[tokio::test]
async fn what_is_kept_of_other_registries_is_brought_back_too() {
    let harness = Harness::new().await;
    let (one, other) = (name("a"), name("b"));
    let bytes = vec![5; 70_000];
    let digest = sha256(&bytes);
    harness.registry.keep_blob(&one, &digest, &mut Whole::new(&bytes, true)).await.unwrap();
    let adopting = harness.registry.adopt_blob(&other, &digest);
    assert_eq!(during(moved(harness.storage.clone(), vec![digest]), adopting).await.unwrap(), Some(70_000));
    // It is in the trash, and nobody links it.
    for name in [&one, &other] {
        harness.storage.link_delete(&Link::Layer(name.clone(), digest)).await.unwrap();
    }
    moved(harness.storage.clone(), vec![digest]).await;
    harness.registry.rescue.forget();
    assert!(harness.registry.has_bytes(&digest).await.unwrap());
    assert_eq!(harness.registry.adopt_blob(&name("c"), &digest).await.unwrap(), Some(70_000));
    let other = name("d");
    let adopting = harness.registry.adopt_blob(&other, &digest);
    assert_eq!(during(deleted(harness.storage.clone(), vec![digest]), adopting).await.unwrap(), None);
    let keeping = async { harness.registry.keep_blob(&one, &digest, &mut Whole::new(&bytes, true)).await };
    assert!(during(deleted(harness.storage.clone(), vec![digest]), keeping).await.is_err());
}

#[tokio::test]
async fn whoever_reads_what_is_linked_gets_it_from_the_trash() {
    let folder = tempfile::tempdir().unwrap();
    for storage in [Harness::new().await.storage, on_disk(folder.path()).await] {
        let before = Harness::over(Config::default(), storage.clone()).await;
        let manifest = before.push_image("a", "latest", "x").await;
        let large = before.push_blob("a", &[7; 100_000]).await;
        let small = sha256(b"x");
        let digest = digest_of(&manifest);
        let targets = [
            format!("/v2/a/blobs/{large}"),
            format!("/v2/a/blobs/{small}"),
            format!("/v2/a/manifests/{digest}"),
            "/v2/a/manifests/latest".into(),
        ];
        for method in ["GET", "HEAD"] {
            for target in &targets {
                let trashed = [large, small, digest];
                for digest in &trashed {
                    storage.blob_trash(digest).await.unwrap();
                }
                // Without what the other one remembers.
                let fresh = Harness::over(Config::default(), storage.clone()).await;
                let seen = fresh.send(method, target, &[], b"").await;
                assert_eq!(seen.status, 200, "{method} {target}");
                assert_eq!(rescued(&fresh, "bytes"), 1, "{method} {target}");
            }
        }
        // Nobody may touch anything: it is as if it were gone.
        storage.blob_trash(&large).await.unwrap();
        let read_only = Config { read_only: true, ..Config::default() };
        let fresh = Harness::over(read_only, storage.clone()).await;
        assert_eq!(fresh.status("GET", &targets[0]).await, 404);
        storage.trash_delete(&large).await.unwrap();
        let fresh = Harness::over(Config::default(), storage.clone()).await;
        assert_eq!(fresh.status("GET", &targets[0]).await, 404);
    }
}

#[tokio::test]
async fn a_blob_whose_link_a_collection_took_is_served_where_a_manifest_names_it_and_linked_again() {
    let folder = tempfile::tempdir().unwrap();
    for storage in [Harness::new().await.storage, on_disk(folder.path()).await] {
        let harness = Harness::over(Config::default(), storage.clone()).await;
        let manifest = harness.push_image("a", "latest", "x").await;
        let (named, unnamed) = (sha256(b"x"), harness.push_blob("a", b"nobody names it").await);
        let left = harness.push_blob("a", b"deleted by a client").await;
        assert_eq!(harness.push_manifest("a", "other", &image(&named, &left)).await.status, 201);
        harness.push_blob("elsewhere", b"x").await;
        let take = async |digest: &Digest| assert!(storage.link_delete(&layer("a", digest)).await.unwrap());
        let target = |digest: &Digest| format!("/v2/a/blobs/{digest}");
        for digest in [&named, &unnamed] {
            take(digest).await;
        }
        assert_eq!(harness.status("DELETE", &target(&left)).await, 202);
        let fresh = Harness::over(Config::default(), storage.clone()).await;
        assert_eq!(fresh.status("HEAD", &target(&named)).await, 404, "no collection has run");
        condemned(&storage, "a", &[named, unnamed]).await;
        for (digest, status) in [(&named, 200), (&unnamed, 404), (&left, 404)] {
            for method in ["HEAD", "GET"] {
                let fresh = Harness::over(Config::default(), storage.clone()).await;
                assert_eq!(fresh.status(method, &target(digest)).await, status, "{method} {digest}");
                assert_eq!(rescued(&fresh, "layer"), u64::from(status == 200 && method == "HEAD"));
            }
        }
        assert!(storage.link_exists(&layer("a", &named)).await.unwrap(), "it is healed for other programs too");
        // Its bytes may have gone by then, too, and the file of references may tell of it.
        take(&named).await;
        assert!(storage.blob_trash(&named).await.unwrap());
        let line = json!({"digest": digest_of(&manifest).text(), "names": [named.text()]}).to_string();
        storage.own_put(&OwnKey::References(name("a")), line.into(), Precondition::None).await.unwrap();
        let fresh = Harness::over(Config::default(), storage.clone()).await;
        assert_eq!(fresh.status("GET", &target(&named)).await, 200);
        assert_eq!((rescued(&fresh, "layer"), rescued(&fresh, "bytes")), (1, 1));
        // Of a repository that never had it, it is not served.
        condemned(&storage, "b", &[]).await;
        assert_eq!(fresh.status("GET", &format!("/v2/b/blobs/{named}")).await, 404);
    }
}

#[tokio::test]
async fn a_manifest_whose_link_a_collection_took_is_served_where_a_tag_or_an_index_names_it() {
    let harness = Harness::new().await;
    let storage = &harness.storage;
    let tagged = digest_of(&harness.push_image("a", "latest", "x").await);
    let child = digest_of(&harness.push_image("a", "child", "y").await);
    let alone = digest_of(&harness.push_image("a", "alone", "z").await);
    let listed = json!({"mediaType": "application/x", "digest": child.text(), "size": 1});
    assert_eq!(harness.push_manifest("a", "all", &index(&[listed])).await.status, 201);
    condemned(storage, "a", &[tagged, child, alone]).await;
    for digest in [tagged, child, alone] {
        storage.link_delete(&Link::Revision(name("a"), digest)).await.unwrap();
    }
    for tag in ["child", "alone"] {
        storage.tag_delete(&name("a"), &tag.parse::<Tag>().unwrap()).await.unwrap();
    }
    let fresh = Harness::over(Config::default(), storage.clone()).await;
    for (reference, status) in [
        // By its digest alone, nothing says that it is kept.
        (tagged.text(), 404),
        ("latest".into(), 200),
        (tagged.text(), 200),
        (child.text(), 200),
        (alone.text(), 404),
    ] {
        fresh.registry.rescue.forget();
        assert_eq!(fresh.status("GET", &format!("/v2/a/manifests/{reference}")).await, status, "{reference}");
    }
    assert_eq!(rescued(&fresh, "revision"), 2);
}

#[tokio::test]
async fn a_manifest_is_linked_again_with_what_it_names_or_served_without_a_link() {
    for whole in [true, false] {
        let harness = Harness::new().await;
        let storage = &harness.storage;
        let digest = digest_of(&harness.push_image("a", "latest", "x").await);
        let config = sha256(b"{\"config\":\"x\"}");
        let blobs = [sha256(b"x"), config];
        condemned(storage, "a", &[digest, blobs[0], blobs[1]]).await;
        storage.link_delete(&Link::Revision(name("a"), digest)).await.unwrap();
        for blob in &blobs {
            storage.link_delete(&layer("a", blob)).await.unwrap();
        }
        match whole {
            true => moved(storage.clone(), blobs.into()).await,
            false => deleted(storage.clone(), vec![config]).await,
        }
        let fresh = Harness::over(Config::default(), storage.clone()).await;
        assert_eq!(fresh.status("GET", "/v2/a/manifests/latest").await, 200);
        assert_eq!(storage.link_exists(&Link::Revision(name("a"), digest)).await.unwrap(), whole);
        if whole {
            for blob in &blobs {
                assert!(storage.link_exists(&layer("a", blob)).await.unwrap());
                assert!(storage.blob_size(blob).await.unwrap().is_some());
            }
        }
    }
}

/// The client was told that a blob is there, and then its link was taken: the repository had it, so it has it again.
#[tokio::test]
async fn a_manifest_may_name_what_was_taken_since_the_client_was_told_that_it_is_there() {
    let harness = Harness::new().await;
    let (_, digest, manifest) = pushed_blobs(&harness).await;
    let foreign = harness.push_blob("b", b"never in a").await;
    condemned(&harness.storage, "a", &[digest]).await;
    assert!(harness.storage.link_delete(&layer("a", &digest)).await.unwrap());
    assert_eq!(harness.status("HEAD", &format!("/v2/a/blobs/{digest}")).await, 404, "nothing names it");
    harness.registry.rescue.forget();
    moved(harness.storage.clone(), vec![digest]).await;
    assert_eq!(harness.push_manifest("a", "latest", &manifest).await.status, 201);
    assert_eq!(harness.status("GET", &format!("/v2/a/blobs/{digest}")).await, 200);
    let other = image(&digest, &foreign);
    assert_eq!(harness.push_manifest("a", "other", &other).await.error(), (400, "MANIFEST_BLOB_UNKNOWN".into()));
}

/// Another program took a manifest by what it saw before; whoever asked here a moment ago remembers nothing that is over.
#[tokio::test]
async fn what_was_taken_and_named_since_somebody_asked_is_there_at_once() {
    let harness = Harness::new().await;
    let (config, digest, manifest) = pushed_blobs(&harness).await;
    let elsewhere = harness.push_blob("b", b"never in a").await;
    condemned(&harness.storage, "a", &[]).await;
    let fresh = Harness::over(Config::default(), harness.storage.clone()).await;
    assert_eq!(fresh.status("HEAD", &format!("/v2/a/blobs/{elsewhere}")).await, 404, "the journals have been read");
    condemned(&harness.storage, "a", &[config, digest]).await;
    for taken in [config, digest] {
        assert!(harness.storage.link_delete(&layer("a", &taken)).await.unwrap());
        assert_eq!(fresh.status("HEAD", &format!("/v2/a/blobs/{taken}")).await, 404, "nothing names it");
    }
    let manifest = Bytes::from(manifest.to_string());
    let revision = sha256(&manifest);
    harness.storage.blob_put(&revision, manifest).await.unwrap();
    harness.storage.link_put(&Link::Revision(name("a"), revision), &revision).await.unwrap();
    for taken in [config, digest] {
        assert_eq!(fresh.status("GET", &format!("/v2/a/blobs/{taken}")).await, 200);
    }
}

#[tokio::test]
async fn what_an_index_lists_and_a_collection_took_is_linked_before_the_index_is_acknowledged() {
    let harness = Harness::new().await;
    let child = digest_of(&harness.push_image("a", "child", "layer").await);
    let blob = harness.push_blob("a", b"cached").await;
    harness.storage.tag_delete(&name("a"), &"child".parse::<Tag>().unwrap()).await.unwrap();
    condemned(&harness.storage, "a", &[child, blob]).await;
    let links = [Link::Revision(name("a"), child), layer("a", &blob)];
    for link in &links {
        assert!(harness.storage.link_delete(link).await.unwrap());
    }
    let descriptor = |digest: &Digest, kind: &str| json!({"mediaType": kind, "digest": digest.text(), "size": 1});
    let image = descriptor(&child, crate::oci::media_type::OCI_MANIFEST);
    let listed = [image, descriptor(&blob, "application/x"), descriptor(&sha256(b"never there"), "application/x")];
    assert_eq!(harness.push_manifest("a", "all", &index(&listed)).await.status, 201);
    for link in &links {
        assert!(harness.storage.link_exists(link).await.unwrap(), "{link:?}");
    }
}

/// Its tag would bring it back.
#[tokio::test]
async fn a_manifest_whose_link_a_collection_took_is_deleted_with_the_tags_that_lead_to_it() {
    let harness = Harness::new().await;
    let digest = digest_of(&harness.push_image("a", "v1", "x").await);
    let other = digest_of(&harness.push_image("a", "v2", "y").await);
    condemned(&harness.storage, "a", &[digest, other]).await;
    for (taken, tag) in [(digest, None), (other, Some("v2"))] {
        assert!(harness.storage.link_delete(&Link::Revision(name("a"), taken)).await.unwrap());
        if let Some(tag) = tag {
            harness.storage.tag_delete(&name("a"), &tag.parse::<Tag>().unwrap()).await.unwrap();
        }
    }
    let fresh = Harness::over(Config::default(), harness.storage.clone()).await;
    for (target, status) in [
        (format!("/v2/a/manifests/{digest}"), 202),
        (format!("/v2/a/manifests/{digest}"), 404),
        (format!("/v2/a/manifests/{other}"), 404),
        (format!("/v2/a/manifests/{}", sha256(b"never there")), 404),
    ] {
        assert_eq!(fresh.status("DELETE", &target).await, status, "{target}");
    }
    assert_eq!(fresh.status("GET", "/v2/a/manifests/v1").await, 404);
}

#[tokio::test]
async fn where_no_collection_ever_ran_nothing_more_is_asked() {
    let (harness, calls) = Harness::counted().await;
    let absent = format!("/v2/a/blobs/{}", sha256(b"absent"));
    harness.push_blob("elsewhere", b"absent").await;
    let asked = async |method: &str, target: &str| {
        let before = calls();
        harness.status(method, target).await;
        calls() - before
    };
    // The link, and whether one has run: in two places, once a minute.
    assert_eq!(asked("HEAD", &absent).await, 3);
    for method in ["HEAD", "GET"] {
        assert_eq!(asked(method, &absent).await, 1, "{method}");
    }
    condemned(&harness.storage, "a", &[]).await;
    harness.registry.rescue.forget();
    // The link, that one has run, the bytes, the epoch twice, and the journals of the repository, of one run.
    assert_eq!(asked("HEAD", &absent).await, 7);
    // Nothing was taken since: the link, the bytes, the epoch.
    assert_eq!(asked("HEAD", &absent).await, 3);
    let nowhere = format!("/v2/a/blobs/{}", sha256(b"nowhere"));
    assert_eq!(asked("HEAD", &nowhere).await, 3);
}
