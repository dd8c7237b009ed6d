//! The part of the contract that is about lists: what is in a folder, and what is anywhere below one.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::stream::{StreamExt as _, TryStreamExt as _};

use super::{content, part_of};
use crate::storage::driver::Entry;
use crate::storage::{Precondition, Storage};

/// Stores tell times in seconds, and their clocks may differ a little.
const CLOCKS: Duration = Duration::from_secs(5);

async fn put(storage: &Storage, key: &str, size: usize) {
    storage.store().put(key, content(size), Precondition::None).await.expect("put");
}

async fn entries(storage: &Storage, folder: &str, after: Option<&str>) -> Vec<Entry> {
    storage.below(folder, after).try_collect().await.expect("a walk")
}

async fn below(storage: &Storage, folder: &str, after: Option<&str>) -> Vec<String> {
    entries(storage, folder, after).await.into_iter().map(|entry| entry.name).collect()
}

pub(super) async fn lists_tell_sizes_and_times(storage: &Storage) {
    let begun = SystemTime::now();
    for (key, size) in [("l/one", 3), ("l/none", 0), ("l/sub/large", 70_000)] {
        put(storage, key, size).await;
    }
    let right = |entry: &Entry| entry.changed + CLOCKS >= begun && entry.changed <= SystemTime::now() + CLOCKS;
    let mut listed = storage.store().list("l").await.expect("a list");
    listed.files.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(listed.folders, ["sub"]);
    let found = entries(storage, "l", None).await;
    assert!(listed.files.iter().chain(&found).all(right), "{listed:?} {found:?}");
    let sizes = |entries: &[Entry]| entries.iter().map(|file| (file.name.clone(), file.size)).collect::<Vec<_>>();
    assert_eq!(sizes(&listed.files), [("none".to_owned(), 0), ("one".to_owned(), 3)]);
    let all = [("none".to_owned(), 0), ("one".to_owned(), 3), ("sub/large".to_owned(), 70_000)];
    assert_eq!(sizes(&found), all);
}

pub(super) async fn everything_below_a_folder_is_told_in_order(storage: &Storage) {
    let names = ["a-b", "a.b", "a/b", "a/c/d", "a/c-d", "a0", "b", "b-/x"];
    for name in names {
        put(storage, &format!("w/{name}"), 1).await;
    }
    for beside in ["wx/a", "w-/a", "v"] {
        put(storage, beside, 1).await;
    }
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    assert_eq!(below(storage, "w", None).await, sorted);
    for (place, name) in sorted.iter().enumerate() {
        assert_eq!(below(storage, "w", Some(name)).await, sorted[place + 1..], "after {name}");
    }
    // What it broke off at may be gone meanwhile.
    assert_eq!(below(storage, "w", Some("a/bb")).await, sorted[sorted.iter().position(|n| *n == "a/b").unwrap() + 1..]);
    assert_eq!(below(storage, "w/a", None).await, ["b", "c-d", "c/d"]);
    // Who asks once more at the end is told so once more.
    let mut walk = storage.below("w/b-", None);
    assert!(walk.next().await.is_some());
    assert!(walk.next().await.is_none() && walk.next().await.is_none());
    assert_eq!(below(storage, "w", Some("zz")).await, Vec::<String>::new());
}

pub(super) async fn more_files_than_a_page_are_below_a_folder(storage: &Storage) {
    let puts = (0..1100).map(|number| async move {
        let key = format!("many/{}/{number:04}", if number < 1050 { "a" } else { "b" });
        storage.store().put(&key, Bytes::from_static(b"x"), Precondition::None).await.expect("put")
    });
    futures::stream::iter(puts).buffer_unordered(16).collect::<Vec<_>>().await;
    let found = below(storage, "many", None).await;
    assert!(found.len() == 1100 && found.is_sorted());
    assert!(below(storage, "many", Some(&found[1020])).await == found[1021..], "it goes on where it was");
    let listed = storage.store().list("many/a").await.expect("a list");
    assert_eq!((listed.folders.len(), listed.files.len()), (0, 1050));
}

pub(super) async fn what_is_being_written_is_in_no_list(storage: &Storage) {
    put(storage, "half/whole", 1).await;
    let store = storage.store();
    let begun = match store.local_path(&format!("half/x.{}.tmp", uuid::Uuid::nil())) {
        Some(path) => std::fs::write(path, "part").map(|()| None).expect("a file"),
        None => {
            let id = store.multipart_begin("half/parts").await.expect("begun");
            store.multipart_put(part_of("half/parts", &id, 0), content(100)).await.expect("a part");
            Some(id)
        }
    };
    let listed = store.list("half").await.expect("a list").names();
    assert_eq!(listed, (vec![], vec!["whole".to_owned()]));
    assert_eq!(below(storage, "half", None).await, ["whole"]);
    if let Some(id) = begun {
        store.multipart_abort("half/parts", &id).await.expect("aborted");
    }
}

pub(super) async fn odd_names_are_listed_as_they_are(storage: &Storage) {
    let odd = ["a b", "100%25", "a+b", "a&b<c>", "x=y;z,", "it's", "q?x#y", "~t", "\u{fc}", "\u{65e5}\u{672c}", "..a"];
    for name in odd {
        put(storage, &format!("odd/{name}"), 1).await;
        put(storage, &format!("odd/in {name}/{name}"), 1).await;
    }
    let (mut folders, mut files) = storage.store().list("odd").await.expect("a list").names();
    folders.sort_unstable();
    files.sort_unstable();
    let mut expected = odd.map(str::to_owned).to_vec();
    expected.sort_unstable();
    assert_eq!(files, expected);
    assert_eq!(folders, expected.iter().map(|name| format!("in {name}")).collect::<Vec<_>>());
    let mut all: Vec<_> = odd.iter().flat_map(|name| [(*name).to_owned(), format!("in {name}/{name}")]).collect();
    all.sort_unstable();
    assert_eq!(below(storage, "odd", None).await, all);
}

pub(super) async fn nothing_is_below_a_folder_that_is_empty_or_missing(storage: &Storage) {
    put(storage, "e/file", 1).await;
    put(storage, "e/sub/gone", 1).await;
    storage.store().delete("e/sub/gone").await.expect("deleted");
    // A file is no folder, and neither is the beginning of a name.
    for folder in ["missing", "missing/deep", "e/sub", "e/file", "e/f", "e/su"] {
        assert_eq!(below(storage, folder, None).await, Vec::<String>::new(), "{folder}");
        let listed = storage.store().list(folder).await.expect("a list").names();
        assert_eq!(listed, (vec![], vec![]), "{folder}");
    }
    assert_eq!(below(storage, "", None).await, ["e/file"]);
}
