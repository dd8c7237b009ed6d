//! The part of the contract that is about what is ours: conditional writes, and the stamps of lists.

use bytes::Bytes;

use super::{content, digest, name, tag};
use crate::storage::{Error, Link, OwnKey, Precondition, Storage};

pub(super) async fn a_conditional_write_happens_once(storage: &Storage) {
    let key = OwnKey::Revisions(name("a/b"));
    let put = |text: &'static str, condition| storage.own_put(&key, Bytes::from_static(text.as_bytes()), condition);
    let races = (0..8).map(|_| put("first", Precondition::Absent));
    let won = futures::future::join_all(races).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(won, 1);

    let (bytes, version) = storage.own(&key, 100).await.expect("an answer").expect("the file");
    assert_eq!(bytes, "first");
    let next = put("second", Precondition::Unchanged(version.clone())).await.expect("put");
    assert_ne!(next, version);
    let late = put("late", Precondition::Unchanged(version)).await;
    assert!(matches!(late, Err(Error::Conflict)), "{late:?}");
    let (bytes, read) = storage.own(&key, 100).await.expect("an answer").expect("the file");
    assert_eq!((bytes, read), (Bytes::from_static(b"second"), next.clone()));

    assert!(storage.own_delete(&key).await.expect("deleted"));
    let gone = put("again", Precondition::Unchanged(next)).await;
    assert!(matches!(gone, Err(Error::Conflict)), "{gone:?}");
    put("anew", Precondition::None).await.expect("put");
    // A repository whose name begins with another's has a file beside it.
    storage.own_put(&OwnKey::Revisions(name("a")), Bytes::new(), Precondition::Absent).await.expect("put");
}

pub(super) async fn a_link_is_created_once(storage: &Storage) {
    let link = Link::Tag(name("created"), tag("v1"));
    let targets: Vec<_> = (0..8).map(|number| digest(&number.to_string())).collect();
    let races = targets.iter().map(|target| storage.link_create(&link, target));
    let created = futures::future::try_join_all(races).await.expect("answers");
    let mut winners = targets.iter().zip(created).filter(|(_, created)| *created).map(|(target, _)| *target);
    assert_eq!(storage.link(&link).await.expect("an answer"), winners.next());
    assert_eq!(winners.next(), None);
}

pub(super) async fn an_own_file_has_a_limit(storage: &Storage) {
    let key = OwnKey::MediaType(name("a"), digest("x"));
    storage.own_put(&key, content(100), Precondition::None).await.expect("put");
    assert!(matches!(storage.own(&key, 99).await, Err(Error::TooLarge(99))));
    assert!(storage.own(&key, 100).await.expect("an answer").is_some());
}

pub(super) async fn stamps_change_with_their_lists(storage: &Storage) {
    let name = name("app");
    for name in [Some(&name), None] {
        if let Some(name) = name {
            storage.link_put(&Link::Tag(name.clone(), tag("v1")), &digest("x")).await.expect("put");
        }
        let mut stamps = Vec::new();
        for _ in 0..4 {
            stamps.push(storage.stamp(name).await.expect("a stamp"));
            storage.stamp_changed(name).await.expect("changed");
        }
        stamps.push(storage.stamp(name).await.expect("a stamp"));
        stamps.dedup();
        assert_eq!(stamps.len(), 5, "{stamps:?}");
        // What has rested for a while is equal to itself.
        let rested = async {
            loop {
                let (one, other) = (storage.stamp(name).await, storage.stamp(name).await);
                if one.expect("a stamp") == other.expect("a stamp") {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), rested).await.expect("stamps come to rest");
    }
}

pub(super) async fn asking_for_the_lists_of_what_is_not_there_leaves_nothing(storage: &Storage) {
    let before = storage.store().list("entrepot/v1").await.expect("a list");
    for _ in 0..2 {
        storage.stamp(Some(&name("made/up"))).await.expect("a stamp");
        storage.stamp_changed(Some(&name("made/up"))).await.ok(); // a disk says that there is no such folder
    }
    assert_eq!(storage.store().list("entrepot/v1").await.expect("a list"), before);
}

pub(super) async fn a_stamp_tells_whether_somebody_else_has_changed_the_list(storage: &Storage) {
    let name = name("grown");
    storage.link_put(&Link::Tag(name.clone(), tag("v1")), &digest("x")).await.expect("put");
    for name in [Some(&name), None] {
        let mut expected = storage.stamp(name).await.expect("a stamp");
        for _ in 0..3 {
            let followed = storage.stamp_follows(name, &expected).await.expect("changed");
            if storage.is_local() {
                assert_eq!(followed, None, "times of folders tell nothing of who changed them");
                break;
            }
            let now = storage.stamp(name).await.expect("a stamp");
            assert_ne!(now, expected);
            assert_eq!(followed.as_ref(), Some(&now));
            expected = now;
        }
        storage.stamp_changed(name).await.expect("changed");
        let before = storage.stamp(name).await.expect("a stamp");
        assert_eq!(storage.stamp_follows(name, &expected).await.expect("changed"), None);
        assert_ne!(storage.stamp(name).await.expect("a stamp"), before);
    }
}
