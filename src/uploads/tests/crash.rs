//! Requests that end in the middle: the client goes away, or the process dies.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use rand::{Rng, SeedableRng};

use super::scenarios::SPOOL;
use super::world::{MIB, Pieces, World, bytes, name, sha256};
use crate::oci::Algorithm;
use crate::storage::Config;
use crate::storage::config::DriverKind;
use crate::uploads::{UploadError, UploadId, Uploads};

/// Polls a future so often at most, then drops it; `None` then.
async fn polled<T>(future: impl Future<Output = T>, times: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = times;
    std::future::poll_fn(|context| {
        if left == 0 {
            return std::task::Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// Goes on until it is accepted: a request that was dropped may hold the session for a moment.
async fn resumed(uploads: &Uploads, id: &UploadId, content: &[u8]) -> u64 {
    for _ in 0..200 {
        let Some(mut upload) = uploads.resume(&name(), id).await.unwrap() else { panic!("the session is lost") };
        let offset = upload.offset() as usize;
        match upload.append(&mut Pieces::new(&content[offset..], 40_000)).await {
            Ok(offset) => return offset,
            Err(UploadError::Busy) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("busy for ever");
}

/// A request that is dropped at any point leaves a session that goes on from its offset.
pub(super) async fn dropped_anywhere(world: &World) {
    let mut random = rand::rngs::StdRng::seed_from_u64(5);
    let content = bytes(5, 3 * MIB);
    let digest = sha256(&content);
    for round in 0..30 {
        let uploads = world.instance([SPOOL, 0, MIB as u64][round % 3]).await;
        let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
        let id = upload.id().clone();
        let times = random.random_range(1..120);
        _ = polled(upload.append(&mut Pieces::new(&content[..2 * MIB], 40_000)), times).await;
        drop(upload);
        assert_eq!(resumed(&uploads, &id, &content).await, content.len() as u64);
        let upload = uploads.resume(&name(), &id).await.unwrap().unwrap();
        let done = polled(upload.commit_all(&digest, &mut Pieces::empty()), random.random_range(1..20)).await;
        if done.is_none() {
            finish(&uploads, &id, world, round).await;
        }
        world.assert_blob(&digest, &content).await;
        world.storage.blob_delete(&digest).await.unwrap();
        let times = random.random_range(1..120);
        let put = polled(uploads.put(&digest, &mut Pieces::new(&content, 40_000)), times).await;
        if let Some(size) = put {
            assert_eq!(size.unwrap(), content.len() as u64);
            world.assert_blob(&digest, &content).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await; // a dropped put may still give the blob its name
        world.storage.blob_delete(&digest).await.unwrap();
    }
    let uploads = world.instance(0).await;
    uploads.purge(super::purge::begun(Duration::ZERO)).await.unwrap();
    assert!(world.leftovers().await.is_empty());
    // A first body that was taken as a whole stays under its true digest, linked by nobody.
    let whole = crate::storage::layout::blob(&sha256(&content[..2 * MIB]));
    assert!(world.blobs().await.iter().all(|key| *key == whole));
}

/// A commit that was dropped is sent again; it may have been done already.
async fn finish(uploads: &Uploads, id: &UploadId, world: &World, round: usize) {
    let content = bytes(5, 3 * MIB);
    let digest = sha256(&content);
    for _ in 0..200 {
        let Some(upload) = uploads.resume(&name(), id).await.unwrap() else { break };
        match upload.commit_all(&digest, &mut Pieces::empty()).await {
            Ok(_) | Err(UploadError::Gone) => break,
            Err(UploadError::Busy) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("round {round}: {error}"),
        }
    }
    for _ in 0..200 {
        if world.storage.blob_size(&digest).await.unwrap().is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("round {round}: the session is over, but the blob is not there");
}

/// The blob has its name, and the session was not removed: the same request again is answered the same.
pub(super) async fn a_commit_that_was_cut_short(world: &World) {
    let content = bytes(6, 9 * MIB);
    let digest = sha256(&content);
    for (first, spool) in [(9 * MIB, SPOOL), (9 * MIB, 0), (4 * MIB, 0), (0, 0)] {
        let uploads = world.instance(spool).await;
        let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
        upload.append(&mut Pieces::new(&content[..first], 50_000)).await.unwrap();
        let path = |key: &str| world.storage.store().local_path(key);
        if let Some(data) = path(&format!("entrepot/v1/uploads/{}/data", upload.id())) {
            let blob = path(&uploads.inner.blob_key(&digest)).unwrap();
            std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
            std::fs::write(&blob, &content).unwrap();
            _ = std::fs::remove_file(data);
        } else {
            uploads.put(&digest, &mut Pieces::announced(&content)).await.unwrap();
        }
        let size = upload.commit_all(&digest, &mut Pieces::new(&content[first..], 50_000)).await.unwrap();
        assert_eq!(size, content.len() as u64);
        world.assert_blob(&digest, &content).await;
        assert!(world.leftovers().await.is_empty());
        world.storage.blob_delete(&digest).await.unwrap();
    }
}

/// The repository's link could not be written: the closing request is sent again, on another instance too.
pub(super) async fn a_commit_without_its_link(world: &World) {
    let content = bytes(16, 6 * MIB);
    for (first, algorithm) in [
        (6 * MIB, Algorithm::Sha256),
        (5 * MIB, Algorithm::Sha256),
        (0, Algorithm::Sha256),
        (6 * MIB, Algorithm::Sha512),
    ] {
        let digest = crate::oci::Digest::of(algorithm, &content);
        let uploads = world.instance(SPOOL).await;
        let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
        upload.append(&mut Pieces::new(&content[..first], 50_000)).await.unwrap();
        let id = upload.id().clone();
        drop(upload.commit(&digest, &mut Pieces::new(&content[first..], 50_000)).await.unwrap());
        for _ in 0..2 {
            let other = world.instance(0).await;
            let upload = other.resume(&name(), &id).await.unwrap().expect("the session stays");
            let committed = upload.commit(&digest, &mut Pieces::new(&content[first..], 50_000)).await.unwrap();
            assert_eq!(committed.size, content.len() as u64);
        }
        world.assert_blob(&digest, &content).await;
        let upload = uploads.resume(&name(), &id).await.unwrap().unwrap();
        upload.commit_all(&digest, &mut Pieces::new(&content[first..], 50_000)).await.unwrap();
        assert!(uploads.resume(&name(), &id).await.unwrap().is_none());
        assert!(world.leftovers().await.is_empty());
        world.storage.blob_delete(&digest).await.unwrap();
    }
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let Ok(entries) = std::fs::read_dir(from) else { return };
    for entry in entries.flatten() {
        let target = to.join(entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => copy_tree(&entry.path(), &target),
            // A file that is renamed meanwhile is not in the copy, as after a crash.
            _ => _ = std::fs::copy(entry.path(), target),
        }
    }
}

/// Copies of the tree, made while a push runs, are what a crash would leave: each goes on from its offset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_made_at_any_moment_goes_on() {
    let world = World::filesystem().await;
    let root = world.folder.path().join("root");
    let uploads = world.instance(0).await;
    let content = bytes(7, 4 * MIB);
    let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    let id = upload.id().clone();
    let pushing = {
        let content = content.clone();
        tokio::spawn(async move {
            for chunk in content.chunks(300_000) {
                upload.append(&mut Pieces::new(chunk, 10_000)).await.unwrap();
            }
        })
    };
    let mut copies = Vec::new();
    while !pushing.is_finished() && copies.len() < 20 {
        let copy = World::open(Config { driver: DriverKind::Filesystem, ..Config::default() }).await;
        let (from, to) = (root.clone(), copy.folder.path().join("root"));
        // The state last: it promises bytes that were synced before it.
        tokio::task::spawn_blocking(move || copy_tree(&from, &to)).await.unwrap();
        copies.push(copy);
    }
    pushing.await.unwrap();
    assert!(!copies.is_empty());
    for copy in copies {
        let uploads = copy.instance(0).await;
        let Some(upload) = uploads.resume(&name(), &id).await.unwrap() else { continue };
        let length = std::fs::metadata(copy.folder.path().join(format!("root/entrepot/v1/uploads/{id}/data")));
        if length.map_or(0, |data| data.len()) < upload.offset() {
            continue; // the copy took the bytes before the state: no crash does
        }
        assert_eq!(resumed(&uploads, &id, &content).await, content.len() as u64);
        let upload = uploads.resume(&name(), &id).await.unwrap().unwrap();
        upload.commit_all(&sha256(&content), &mut Pieces::empty()).await.unwrap();
        copy.assert_blob(&sha256(&content), &content).await;
    }
}
