//! The part of the contract that collections build on: walks over everything, the trash, the epoch, the store's time.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::stream::TryStreamExt as _;

use super::{content, digest, name, tag};
use crate::oci::{Algorithm, Digest};
use crate::storage::{Epoch, Error, Found, FoundAt, Link, OwnKey, Precondition, Storage, layout};

/// Stores tell times in seconds, and their clocks may differ a little.
const CLOCKS: Duration = Duration::from_secs(5);

async fn link(storage: &Storage, link: Link) {
    storage.link_put(&link, &digest("x")).await.expect("put");
}

async fn stray(storage: &Storage, below: &str) {
    let key = format!("{}/{below}", layout::REPOSITORIES);
    storage.store().put(&key, Bytes::from_static(b"x"), Precondition::None).await.expect("put");
}

fn found(told: Vec<FoundAt>) -> Vec<Found> {
    told.into_iter().map(|(found, _)| found).collect()
}

async fn after(storage: &Storage, name: Option<&str>) -> Vec<Found> {
    let name = name.map(super::name);
    found(storage.links(name.as_ref()).try_collect().await.expect("a walk"))
}

/// One of each kind in `a`, and in those around it among the keys.
async fn some_links(storage: &Storage) -> Vec<Found> {
    let (x, long) = (digest("x"), Digest::of(Algorithm::Sha512, b"x"));
    let mut expected = Vec::new();
    // In the order of their keys: '-' and '.' stand before '/', which stands before digits, '_' and letters.
    for text in ["a-b", "a.b", "a/0", "a", "a/b", "a/b/c", "a0"] {
        for each in [
            Link::Layer(name(text), x),
            Link::Layer(name(text), long),
            Link::Revision(name(text), x),
            Link::Tag(name(text), tag("v1")),
            Link::TagIndex(name(text), tag("v1"), x),
        ] {
            link(storage, each).await;
        }
        stray(storage, &format!("{text}/_uploads/id/data")).await;
        stray(storage, &format!("{text}/_layers/sha256/none/link")).await;
        stray(storage, &format!("{text}/_layersx/link")).await;
        expected.extend([
            Found::Layer(name(text), x),
            Found::Layer(name(text), long),
            Found::Revision(name(text), x),
            Found::Tag(name(text), tag("v1")),
            Found::TagIndex(name(text), tag("v1"), x),
            Found::Upload(name(text)),
        ]);
    }
    expected
}

pub(super) async fn all_links_are_told_a_repository_after_the_other(storage: &Storage) {
    assert_eq!(after(storage, None).await, []);
    let begun = SystemTime::now();
    let expected = some_links(storage).await;
    let told: Vec<FoundAt> = storage.links(None).try_collect().await.expect("a walk");
    assert!(told.iter().all(|(_, changed)| *changed + CLOCKS >= begun && *changed <= SystemTime::now() + CLOCKS));
    assert_eq!(found(told), expected);
    let mut names: Vec<_> = expected.iter().map(|found| found.repository().clone()).collect();
    names.dedup();
    for (place, name) in names.iter().enumerate() {
        let rest: Vec<_> = expected.iter().filter(|found| names[place + 1..].contains(found.repository())).collect();
        assert_eq!(after(storage, Some(name.as_str())).await.iter().collect::<Vec<_>>(), rest, "after {name}");
    }
    // It may be gone meanwhile.
    let behind = after(storage, Some("a/bb")).await;
    assert!(behind.iter().all(|found| *found.repository() == name("a0")) && !behind.is_empty());
    assert_eq!(after(storage, Some("z")).await, []);
}

pub(super) async fn the_links_of_one_repository_are_told_without_those_below_it(storage: &Storage) {
    let expected = some_links(storage).await;
    for text in ["a", "a/b", "a-b", "none"] {
        let told: Vec<FoundAt> = storage.links_of(&name(text)).await.try_collect().await.expect("a walk");
        let own: Vec<_> = expected.iter().filter(|found| *found.repository() == name(text)).cloned().collect();
        for (found, changed) in told.iter().filter(|(found, _)| matches!(found, Found::Layer(..))) {
            let Found::Layer(name, digest) = found else { continue };
            let link = Link::Layer(name.clone(), *digest);
            assert_eq!(storage.link_changed(&link).await.expect("an answer"), Some(*changed));
        }
        assert_eq!(found(told), own, "{text}");
    }
    let none = Link::Revision(name("a"), digest("none"));
    assert_eq!(storage.link_changed(&none).await.expect("an answer"), None);
}

pub(super) async fn blobs_are_told_by_the_first_byte_of_their_digest(storage: &Storage) {
    let mut all = Vec::new();
    for number in 0..40 {
        let bytes = content(100 + number);
        let algorithm = if number % 4 == 0 { Algorithm::Sha512 } else { Algorithm::Sha256 };
        let digest = Digest::of(algorithm, &bytes);
        storage.blob_put(&digest, bytes).await.expect("put");
        all.push((digest, 100 + number as u64));
    }
    // What nobody finds is not told of: another byte's folder, no digest, no data.
    let lost = digest("lost");
    let other = layout::blobs_shard(Algorithm::Sha256, lost.hash()[0].wrapping_add(1));
    for key in [format!("{other}/{}/data", lost.hex()), format!("{other}/x/data"), format!("{other}/file")] {
        storage.store().put(&key, content(1), Precondition::None).await.expect("put");
    }
    let (mut told, mut trashed) = (Vec::new(), Vec::new());
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        for shard in 0..=u8::MAX {
            if !all.iter().any(|(digest, _)| digest.hash()[0] == shard) && shard != lost.hash()[0].wrapping_add(1) {
                continue;
            }
            let found: Vec<_> = storage.blobs(algorithm, shard).try_collect().await.expect("a walk");
            assert!(found.is_sorted_by_key(|blob| blob.digest));
            for blob in &found {
                assert!(storage.blob_trash(&blob.digest).await.expect("moved"));
            }
            told.extend(found.iter().map(|blob| (blob.digest, blob.size)));
            assert_eq!(storage.blobs(algorithm, shard).try_collect::<Vec<_>>().await.expect("a walk"), []);
            let found: Vec<_> = storage.trash(algorithm, shard).try_collect().await.expect("a walk");
            trashed.extend(found.into_iter().map(|blob| (blob.digest, blob.size)));
        }
    }
    all.sort_unstable();
    told.sort_unstable();
    trashed.sort_unstable();
    assert_eq!(told, all);
    assert_eq!(trashed, all);
}

async fn read(storage: &Storage, digest: &Digest) -> Option<Bytes> {
    storage.blob_bytes(digest, 1 << 20).await.expect("an answer")
}

pub(super) async fn bytes_go_to_the_trash_and_come_back(storage: &Storage) {
    let digest = digest("bytes");
    assert!(!storage.blob_trash(&digest).await.expect("nothing to move"));
    assert_eq!(storage.blob_rescue(&digest).await.expect("nothing to rescue"), None);
    assert_eq!(storage.trashed(&digest).await.expect("an answer"), None);
    assert!(!storage.trash_delete_one(&digest, "none").await.expect("nothing to delete"));

    storage.blob_put(&digest, Bytes::from_static(b"bytes")).await.expect("put");
    assert_eq!(storage.blob_rescue(&digest).await.expect("in place"), Some(5));
    // Moved, brought back, and moved once more beside what the rescue left in the trash.
    for count in 1..4 {
        assert!(storage.blob_trash(&digest).await.expect("moved"));
        assert!(!storage.blob_trash(&digest).await.expect("moved already"));
        assert_eq!(read(storage, &digest).await, None);
        assert_eq!(storage.trashed(&digest).await.expect("an answer"), Some(5));
        for _ in 0..2 {
            assert_eq!(storage.blob_rescue(&digest).await.expect("rescued"), Some(5));
            assert_eq!(read(storage, &digest).await.as_deref(), Some(&b"bytes"[..]));
            assert_eq!(storage.trashed(&digest).await.expect("an answer"), Some(5), "another may rescue it too");
        }
        assert_eq!(storage.trash_of(&digest).await.expect("a list").len(), count, "each move has its own name");
    }
    for moved in storage.trash_of(&digest).await.expect("a list") {
        assert!(storage.trash_delete_one(&digest, &moved.name).await.expect("deleted"));
        assert!(!storage.trash_delete_one(&digest, &moved.name).await.expect("deleted already"));
        assert_eq!(read(storage, &digest).await.as_deref(), Some(&b"bytes"[..]));
    }
    assert_eq!(storage.trashed(&digest).await.expect("an answer"), None);
    assert_eq!(storage.blob_rescue(&digest).await.expect("in place"), Some(5));
    assert!(storage.blob_remove(&digest).await.expect("removed"));
    assert!(!storage.blob_remove(&digest).await.expect("removed already"));
    assert_eq!(storage.blob_rescue(&digest).await.expect("gone for good"), None);
}

pub(super) async fn what_a_crash_left_in_both_places_is_moved_all_the_same(storage: &Storage) {
    let digest = digest("both");
    let trash = OwnKey::Trash(digest, "first".into());
    // On an object store the copy was made, and the removal was not.
    storage.own_put(&trash, Bytes::from_static(b"both"), Precondition::None).await.expect("put");
    storage.blob_put(&digest, Bytes::from_static(b"both")).await.expect("put");
    assert!(storage.blob_trash(&digest).await.expect("moved"));
    assert_eq!(read(storage, &digest).await, None);
    // It was pushed again meanwhile: what is in place is not touched.
    storage.blob_put(&digest, Bytes::from_static(b"both")).await.expect("put");
    storage.own_put(&trash, Bytes::from_static(b"damaged"), Precondition::None).await.expect("put");
    assert_eq!(storage.blob_rescue(&digest).await.expect("in place"), Some(4));
    assert_eq!(read(storage, &digest).await.as_deref(), Some(&b"both"[..]));
}

pub(super) async fn many_who_rescue_at_once_all_have_it(storage: &Storage) {
    let bytes = content(300_000);
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    storage.blob_put(&digest, bytes.clone()).await.expect("put");
    for _ in 0..5 {
        assert!(storage.blob_trash(&digest).await.expect("moved"));
        let rescues = (0..8).map(|_| storage.blob_rescue(&digest));
        let rescued = futures::future::try_join_all(rescues).await.expect("answers");
        assert_eq!(rescued, [Some(300_000); 8]);
        assert!(read(storage, &digest).await == Some(bytes.clone()));
    }
}

pub(super) async fn what_no_store_copies_passes_through_in_pieces(storage: &Storage) {
    if storage.is_local() {
        return;
    }
    for (size, piece) in [(0, 100), (100, 100), ((5 << 20) + 100, 5 << 20)] {
        let bytes = content(size);
        storage.store().put("from", bytes.clone(), Precondition::None).await.expect("put");
        storage.hand_over("from", "to", size as u64, piece).await.expect("copied");
        let (found, _) = storage.store().get("to", 6 << 20).await.expect("an answer").expect("the copy");
        assert!(found == bytes);
    }
    assert!(storage.hand_over("from", "to", 6 << 20, 5 << 20).await.is_err(), "it is shorter than it was");
    assert!(storage.hand_over("none", "to", 10, 100).await.is_err());
}

pub(super) async fn the_epoch_tells_whether_bytes_are_moved(storage: &Storage) {
    assert_eq!(storage.epoch().await.expect("an epoch"), Epoch::ZERO);
    assert!(!Epoch::ZERO.is_moving());
    let mut seen = vec![Epoch::ZERO];
    for moving in [true, false, true, true, false, false] {
        let told = if moving { storage.epoch_moving().await } else { storage.epoch_still().await };
        let told = told.expect("an epoch");
        assert_eq!(told.is_moving(), moving);
        assert_eq!(storage.epoch().await.expect("an epoch"), told);
        assert!(!seen.contains(&told), "{told:?} was there before");
        seen.push(told);
    }
    // Two at once: each ends with an epoch that was not there before.
    let both = futures::future::join(storage.epoch_moving(), storage.epoch_moving()).await;
    for told in [both.0.expect("an epoch"), both.1.expect("an epoch")] {
        assert!(told.is_moving() && !seen.contains(&told));
    }
}

/// As far as anybody can tell that many who write it at once all change it.
pub(super) async fn the_epoch_changes_where_conditions_are_not_minded(storage: &Storage) {
    storage.conditions().set(false).expect("nobody has asked yet");
    let mut seen = vec![storage.epoch().await.expect("an epoch")];
    for moving in [true, false, true, true] {
        let told = if moving { storage.epoch_moving().await } else { storage.epoch_still().await }.expect("an epoch");
        assert_eq!((told.is_moving(), storage.epoch().await.expect("an epoch")), (moving, told.clone()));
        assert!(!seen.contains(&told));
        seen.push(told);
    }
    let (one, other) = tokio::join!(storage.epoch_still(), storage.epoch_still());
    let (one, other) = (one.expect("an epoch"), other.expect("an epoch"));
    let now = storage.epoch().await.expect("an epoch");
    assert!(one != other && (now == one || now == other) && !seen.contains(&now));
}

pub(super) async fn a_damaged_epoch_is_moving_until_it_is_written_again(storage: &Storage) {
    for damage in [Bytes::new(), Bytes::from_static(b"{"), Bytes::from_static(br#"{"version":1}"#), content(10_000)] {
        storage.own_put(&OwnKey::Epoch, damage.clone(), Precondition::None).await.expect("put");
        assert!(storage.epoch().await.expect("an epoch").is_moving(), "{} bytes", damage.len());
        let still = storage.epoch_still().await.expect("written");
        assert_eq!(storage.epoch().await.expect("an epoch"), still);
        assert!(!still.is_moving());
    }
    let newer = Bytes::from_static(br#"{"version":2,"words":["unknown"]}"#);
    storage.own_put(&OwnKey::Epoch, newer.clone(), Precondition::None).await.expect("put");
    assert!(storage.epoch().await.expect("an epoch").is_moving());
    assert!(matches!(storage.epoch_moving().await, Err(Error::Newer { .. })));
    let (kept, _) = storage.own(&OwnKey::Epoch, 100).await.expect("an answer").expect("the file");
    assert_eq!(kept, newer, "what a newer version wrote is not written over");
}

pub(super) async fn the_store_tells_its_time_and_nothing_is_left_of_the_question(storage: &Storage) {
    let begun = SystemTime::now();
    for _ in 0..2 {
        let now = storage.now().await.expect("a time");
        assert!(now + CLOCKS >= begun && now <= SystemTime::now() + CLOCKS, "{now:?}");
    }
    let left = storage.store().list(layout::CLOCK).await.expect("a list").names();
    assert_eq!(left, (vec![], vec![]));
}
