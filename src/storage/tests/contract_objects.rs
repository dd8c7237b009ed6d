//! The part of the contract that uploads build on.

use bytes::Bytes;

use super::content;
use super::{part_of, whole_of};
use crate::storage::{Precondition, Storage};

pub(super) async fn objects_are_copied(storage: &Storage) {
    let driver = storage.store();
    let bytes = content(3 << 20);
    driver.put("entrepot/v1/from", bytes.clone(), Precondition::None).await.expect("put");
    if !driver.abilities().copies {
        assert!(driver.copy("entrepot/v1/from", "entrepot/v1/to").await.is_err());
        return;
    }
    driver.copy("entrepot/v1/from", "entrepot/v1/deep/er/to").await.expect("copied");
    driver.copy("entrepot/v1/from", "entrepot/v1/deep/er/to").await.expect("copied again");
    let (copy, _) = driver.get("entrepot/v1/deep/er/to", 4 << 20).await.expect("an answer").expect("the copy");
    assert!(copy == bytes);
    assert!(driver.copy("entrepot/v1/nothing", "entrepot/v1/to").await.is_err());
}

pub(super) async fn a_folder_is_deleted_with_everything_in_it(storage: &Storage) {
    let driver = storage.store();
    for key in ["f/one", "f/two/three", "f/two/four/five", "g/one", "fg"] {
        driver.put(key, Bytes::from_static(b"x"), Precondition::None).await.expect("put");
    }
    driver.delete_all("f").await.expect("deleted");
    driver.delete_all("f").await.expect("nothing to delete is no error");
    assert_eq!(driver.list("f").await.expect("a list").names(), (vec![], vec![]));
    assert_eq!(driver.size("f/two/three").await.expect("an answer"), None);
    assert_eq!(driver.size("fg").await.expect("an answer"), Some(1));
    assert_eq!(driver.list("g").await.expect("a list").names(), (vec![], vec!["one".to_owned()]));
}

pub(super) async fn a_multipart_upload_becomes_one_object(storage: &Storage) {
    let driver = storage.store();
    if storage.is_local() {
        assert!(driver.multipart_begin("x").await.is_err());
        return;
    }
    let bytes = content((5 << 20) + 100);
    let size = bytes.len() as u64;
    let id = driver.multipart_begin("x").await.expect("begun");
    let tail = driver.multipart_put(part_of("x", &id, 1), bytes.slice(5 << 20..)).await.expect("a part");
    let head = driver.multipart_put(part_of("x", &id, 0), bytes.slice(..5 << 20)).await.expect("a part");
    assert_eq!(driver.size("x").await.expect("an answer"), None);
    driver.multipart_complete(whole_of("x", &id, vec![head, tail], size)).await.expect("complete");
    let (read, _) = driver.get("x", 6 << 20).await.expect("an answer").expect("the object");
    assert!(read == bytes);

    let id = driver.multipart_begin("y").await.expect("begun");
    driver.multipart_put(part_of("y", &id, 0), content(100)).await.expect("a part");
    driver.multipart_abort("y", &id).await.expect("aborted");
    driver.multipart_abort("y", &id).await.expect("aborted again");
    assert_eq!(driver.size("y").await.expect("an answer"), None);
}
