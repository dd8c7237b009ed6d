//! What every store does, run against each kind.

use bytes::Bytes;

use super::contract_collect::{
    a_damaged_epoch_is_moving_until_it_is_written_again, all_links_are_told_a_repository_after_the_other,
    blobs_are_told_by_the_first_byte_of_their_digest, bytes_go_to_the_trash_and_come_back,
    many_who_rescue_at_once_all_have_it, the_epoch_changes_where_conditions_are_not_minded,
    the_epoch_tells_whether_bytes_are_moved, the_links_of_one_repository_are_told_without_those_below_it,
    the_store_tells_its_time_and_nothing_is_left_of_the_question,
    what_a_crash_left_in_both_places_is_moved_all_the_same, what_no_store_copies_passes_through_in_pieces,
};
use super::contract_lists::{
    everything_below_a_folder_is_told_in_order, lists_tell_sizes_and_times, more_files_than_a_page_are_below_a_folder,
    nothing_is_below_a_folder_that_is_empty_or_missing, odd_names_are_listed_as_they_are,
    what_is_being_written_is_in_no_list,
};
use super::contract_objects::{
    a_folder_is_deleted_with_everything_in_it, a_multipart_upload_becomes_one_object, objects_are_copied,
};
use super::contract_own::{
    a_conditional_write_happens_once, a_link_is_created_once, a_stamp_tells_whether_somebody_else_has_changed_the_list,
    an_own_file_has_a_limit, asking_for_the_lists_of_what_is_not_there_leaves_nothing, stamps_change_with_their_lists,
};
use super::{content, digest, name, tag, whole};
use crate::oci::{Algorithm, Digest};
use crate::storage::{Error, Link, OwnKey, Precondition, Storage};

/// Each behaviour becomes one test for each kind of store.
macro_rules! contract {
    ($($behaviour:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $behaviour() {
                super::$behaviour(&*crate::storage::tests::in_memory().await).await;
            })+
        }
        mod filesystem {
            $(#[tokio::test]
            async fn $behaviour() {
                let (storage, _folder) = crate::storage::tests::on_disk().await;
                super::$behaviour(&storage).await;
            })+
        }
        mod azure {
            $(#[tokio::test]
            async fn $behaviour() {
                super::$behaviour(&*crate::storage::tests::azurite::storage().await).await;
            })+
        }
        mod s3 {
            $(#[tokio::test]
            async fn $behaviour() {
                super::$behaviour(&*crate::storage::tests::minio::storage().await).await;
            })+
        }
    };
}

contract!(
    an_empty_store_answers,
    a_blob_is_read_as_it_was_put,
    a_blob_is_read_from_an_offset,
    a_damaged_blob_is_healed_by_putting_it_again,
    links_hold_digests,
    a_damaged_link_is_said_to_be_damaged,
    a_tag_is_deleted_with_its_folder,
    tags_are_listed_in_order,
    more_names_than_a_page_are_listed,
    revisions_are_listed_for_both_algorithms,
    repositories_are_found_at_every_depth,
    a_conditional_write_happens_once,
    a_link_is_created_once,
    an_own_file_has_a_limit,
    stamps_change_with_their_lists,
    asking_for_the_lists_of_what_is_not_there_leaves_nothing,
    a_stamp_tells_whether_somebody_else_has_changed_the_list,
    objects_are_copied,
    a_folder_is_deleted_with_everything_in_it,
    a_multipart_upload_becomes_one_object,
    lists_tell_sizes_and_times,
    everything_below_a_folder_is_told_in_order,
    more_files_than_a_page_are_below_a_folder,
    what_is_being_written_is_in_no_list,
    odd_names_are_listed_as_they_are,
    nothing_is_below_a_folder_that_is_empty_or_missing,
    all_links_are_told_a_repository_after_the_other,
    the_links_of_one_repository_are_told_without_those_below_it,
    blobs_are_told_by_the_first_byte_of_their_digest,
    bytes_go_to_the_trash_and_come_back,
    what_a_crash_left_in_both_places_is_moved_all_the_same,
    many_who_rescue_at_once_all_have_it,
    what_no_store_copies_passes_through_in_pieces,
    the_epoch_tells_whether_bytes_are_moved,
    the_epoch_changes_where_conditions_are_not_minded,
    a_damaged_epoch_is_moving_until_it_is_written_again,
    the_store_tells_its_time_and_nothing_is_left_of_the_question,
);

async fn an_empty_store_answers(storage: &Storage) {
    storage.check().await.expect("it answers");
    assert_eq!(super::repositories(storage).await, []);
    assert_eq!(storage.tags(&name("a")).await.expect("an answer"), None);
    assert_eq!(storage.revisions(&name("a")).await.expect("an answer"), []);
    assert!(!storage.repository_exists(&name("a")).await.expect("an answer"));
    assert_eq!(storage.blob_size(&digest("x")).await.expect("an answer"), None);
    assert_eq!(storage.blob_bytes(&digest("x"), 10).await.expect("an answer"), None);
    assert!(storage.blob_open(&digest("x"), 5).await.expect("an answer").is_none());
    assert!(storage.blob_file(&digest("x")).await.expect("an answer").is_none());
    assert_eq!(storage.own(&OwnKey::Lease("purge"), 10).await.expect("an answer"), None);
}

async fn a_blob_is_read_as_it_was_put(storage: &Storage) {
    for bytes in [content(0), content(1), content((1 << 20) - 1), content(1 << 20), content(3 << 20)] {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let digest = Digest::of(algorithm, &bytes);
            let size = bytes.len() as u64;
            storage.blob_put(&digest, bytes.clone()).await.expect("put");
            storage.blob_put(&digest, bytes.clone()).await.expect("put again");
            assert_eq!(storage.blob_size(&digest).await.expect("a size"), Some(size));
            assert_eq!(storage.blob_bytes(&digest, size).await.expect("bytes"), Some(bytes.clone()));
            let local = storage.blob_file(&digest).await.expect("an answer");
            assert_eq!(local.map(|blob| blob.size), storage.is_local().then_some(size));
            if size > 0 {
                let limited = storage.blob_bytes(&digest, size - 1).await;
                assert!(matches!(limited, Err(Error::TooLarge(_))), "{limited:?}");
            }
            storage.blob_delete(&digest).await.expect("deleted");
            assert_eq!(storage.blob_size(&digest).await.expect("no size"), None);
        }
    }
}

async fn a_blob_is_read_from_an_offset(storage: &Storage) {
    let bytes = content(600_000);
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    storage.blob_put(&digest, bytes.clone()).await.expect("put");
    for offset in [0_usize, 1, 262_144, 599_999, 600_000, 700_000] {
        let blob = storage.blob_open(&digest, offset as u64).await.expect("an answer").expect("the blob");
        assert_eq!(blob.total, 600_000);
        assert_eq!(whole(blob.body).await, bytes.get(offset..).unwrap_or_default(), "from {offset}");
    }
    let key = crate::storage::layout::blob(&digest);
    for (from, to) in [(0, 1), (10, 10), (5, 300_000), (599_000, 900_000), (600_000, 700_000)] {
        let (total, body) = storage.store().open(&key, from, Some(to)).await.expect("an answer").expect("the blob");
        assert_eq!(total, 600_000);
        let expected = &bytes[(from as usize).min(600_000)..(to as usize).min(600_000)];
        assert_eq!(whole(body).await, expected, "{from}..{to}");
    }
}

async fn a_damaged_blob_is_healed_by_putting_it_again(storage: &Storage) {
    let digest = digest("healthy");
    let key = crate::storage::layout::blob(&digest);
    storage.store().put(&key, Bytes::from_static(b"he"), Precondition::None).await.expect("put");
    storage.blob_put(&digest, Bytes::from_static(b"healthy")).await.expect("put");
    assert_eq!(storage.blob_bytes(&digest, 100).await.expect("bytes").as_deref(), Some(&b"healthy"[..]));
}

async fn links_hold_digests(storage: &Storage) {
    let name = name("team/app");
    let (one, other) = (digest("one"), Digest::of(Algorithm::Sha512, b"other"));
    for link in [
        Link::Layer(name.clone(), one),
        Link::Revision(name.clone(), one),
        Link::Tag(name.clone(), tag("v1")),
        Link::TagIndex(name.clone(), tag("v1"), one),
    ] {
        assert_eq!(storage.link(&link).await.expect("an answer"), None);
        assert!(!storage.link_exists(&link).await.expect("an answer"));
        for target in [one, other] {
            storage.link_put(&link, &target).await.expect("put");
            assert_eq!(storage.link(&link).await.expect("an answer"), Some(target));
        }
        assert!(storage.link_exists(&link).await.expect("an answer"));
        assert!(storage.link_delete(&link).await.expect("deleted"));
        assert_eq!(storage.link(&link).await.expect("an answer"), None);
        storage.link_delete(&link).await.expect("nothing to delete is no error");
    }
}

async fn a_damaged_link_is_said_to_be_damaged(storage: &Storage) {
    let link = Link::Layer(name("a"), digest("x"));
    for (text, good) in [
        ("".to_owned(), false),
        ("sha256:12".to_owned(), false),
        ("\0".repeat(71), false),
        ("x".repeat(1000), false),
        (format!("{}\n", digest("x")), true),
    ] {
        let key = link.key();
        storage.store().put(&key, text.clone().into(), Precondition::None).await.expect("put");
        let read = storage.link(&link).await;
        let as_expected = if good {
            read.as_ref().is_ok_and(|d| *d == Some(digest("x")))
        } else {
            matches!(read, Err(Error::Damaged(_)))
        };
        assert!(as_expected, "{text:?}: {read:?}");
    }
}

async fn a_tag_is_deleted_with_its_folder(storage: &Storage) {
    let name = name("app");
    for version in ["one", "two"] {
        for link in [Link::TagIndex(name.clone(), tag("v1"), digest(version)), Link::Tag(name.clone(), tag("v1"))] {
            storage.link_put(&link, &digest(version)).await.expect("put");
        }
    }
    storage.link_put(&Link::Tag(name.clone(), tag("v1.1")), &digest("one")).await.expect("put");
    assert!(storage.tag_delete(&name, &tag("v1")).await.expect("deleted"));
    assert!(!storage.tag_delete(&name, &tag("v1")).await.expect("an answer"));
    assert_eq!(storage.tags(&name).await.expect("a list"), Some(vec![tag("v1.1")]));
    let left = storage.link(&Link::TagIndex(name.clone(), tag("v1"), digest("one"))).await.expect("an answer");
    assert_eq!(left, None);
    assert!(storage.tag_delete(&name, &tag("v1.1")).await.expect("deleted"));
    // distribution's catalog keeps a repository without tags; on an object store a folder is there while something is in it.
    let expected = storage.is_local().then(Vec::new);
    assert_eq!(storage.tags(&name).await.expect("an answer"), expected);
}

async fn tags_are_listed_in_order(storage: &Storage) {
    let name = name("team/app");
    for text in ["b", "a", "B", "v1.10", "v1.2", "_x"] {
        storage.link_put(&Link::Tag(name.clone(), tag(text)), &digest("x")).await.expect("put");
    }
    // Neither names that cannot be tags nor what is no folder counts.
    let folder = crate::storage::layout::tags_folder(&name);
    for stray in ["-x/current/link", "stray", "stray.tmp"] {
        let key = format!("{folder}/{stray}");
        storage.store().put(&key, Bytes::new(), Precondition::None).await.expect("put");
    }
    let expected = ["B", "_x", "a", "b", "v1.10", "v1.2"].map(tag).to_vec();
    assert_eq!(storage.tags(&name).await.expect("a list"), Some(expected));
    assert!(storage.repository_exists(&name).await.expect("an answer"));
    assert!(!storage.repository_exists(&super::name("team")).await.expect("an answer"));
}

async fn more_names_than_a_page_are_listed(storage: &Storage) {
    use futures::StreamExt as _;
    let name = name("many");
    let puts = (0..1100).map(|number| {
        let link = Link::Tag(name.clone(), tag(&format!("v{number:04}")));
        async move { storage.link_put(&link, &digest("x")).await.expect("put") }
    });
    futures::stream::iter(puts).buffer_unordered(16).collect::<()>().await;
    let tags = storage.tags(&name).await.expect("a list").expect("the repository");
    assert_eq!(tags.len(), 1100);
    assert!(tags.is_sorted());
}

async fn revisions_are_listed_for_both_algorithms(storage: &Storage) {
    let name = name("app");
    let mut digests = vec![digest("one"), digest("two"), Digest::of(Algorithm::Sha512, b"three")];
    for digest in &digests {
        storage.link_put(&Link::Revision(name.clone(), *digest), digest).await.expect("put");
    }
    let mut found = storage.revisions(&name).await.expect("a list");
    found.sort_unstable();
    digests.sort_unstable();
    assert_eq!(found, digests);
    assert!(storage.link_delete(&Link::Revision(name.clone(), digest("one"))).await.expect("deleted"));
    assert_eq!(storage.revisions(&name).await.expect("a list").len(), 2);
}

async fn repositories_are_found_at_every_depth(storage: &Storage) {
    for text in ["a-b", "a/b", "a", "a/b/c/d/e", "z/_uploads"] {
        let Ok(name) = text.parse() else { continue };
        storage.link_put(&Link::Revision(name, digest("x")), &digest("x")).await.expect("put");
    }
    // Pushed into, but without a manifest.
    storage.link_put(&Link::Layer(name("half"), digest("x")), &digest("x")).await.expect("put");
    let stray = format!("{}/Not A Name/_manifests/x", crate::storage::layout::REPOSITORIES);
    storage.store().put(&stray, Bytes::new(), Precondition::None).await.expect("put");
    let expected = ["a", "a/b", "a/b/c/d/e", "a-b"].map(name);
    assert_eq!(super::repositories(storage).await, expected);
}
