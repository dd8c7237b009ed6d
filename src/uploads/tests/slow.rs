//! Clients that send little and stay: they keep nobody else from the memory, with room on local disk and without.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use tokio::time::Instant;

use super::scenarios::SPOOL;
use super::world::{End, MIB, Pieces, World, bytes, name, sha256};
use crate::oci::Algorithm;
use crate::storage::Error;
use crate::uploads::budget::LEAST;
use crate::uploads::{UploadError, Uploads};

const DRIPS: usize = 64;

/// Bodies that are announced large, and hang after `sent` bytes: every way in which a blob is pushed.
async fn drips(uploads: &Arc<Uploads>, sent: usize) -> Vec<BoxFuture<'static, Result<u64, UploadError>>> {
    let mut drips = Vec::new();
    for index in 0..DRIPS {
        let uploads = uploads.clone();
        let content = bytes(index as u64, sent);
        let mut body = Pieces::new(&content, 40_000).ending(End::Hangs).announcing(100_000_000);
        let digest = sha256(&content);
        let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
        if index % 4 > 1 {
            upload.append(&mut Pieces::announced(&[7; 10])).await.unwrap();
        }
        drips.push(
            async move {
                match index % 4 {
                    0 => uploads.put(&digest, &mut body).await,
                    1 | 2 => upload.commit_all(&digest, &mut body).await,
                    _ => upload.append(&mut body).await,
                }
            }
            .boxed(),
        );
    }
    drips
}

/// What an ordinary client does while others drip; the memory stays within its bound.
async fn ordinary(uploads: &Arc<Uploads>, world: &World) {
    let small = bytes(1000, 1000);
    let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    upload.append(&mut Pieces::announced(&small[..10])).await.unwrap();
    upload.append(&mut Pieces::announced(&small[10..])).await.unwrap();
    upload.commit_all(&sha256(&small), &mut Pieces::empty()).await.unwrap();
    world.assert_blob(&sha256(&small), &small).await;
    for body in [1000, 20 * MIB] {
        let content = bytes(body as u64 + 1, body);
        uploads.put(&sha256(&content), &mut Pieces::announced(&content)).await.unwrap();
        world.assert_blob(&sha256(&content), &content).await;
    }
}

async fn slow_clients(world: &World, spool: u64, sent: &[usize]) {
    for &sent in sent {
        let uploads = world.instance(spool).await;
        let bounds = uploads.inner.bounds();
        let dripping: Vec<_> = drips(&uploads, sent).await.into_iter().map(tokio::spawn).collect();
        ordinary(&uploads, world).await;
        assert!(bounds.budget.used() <= LEAST);
        for drip in &dripping {
            drip.abort();
        }
        for ended in join_all(dripping).await {
            // Without room on local disk, some are told to come again.
            let told = matches!(ended, Ok(Err(UploadError::Storage(Error::Unavailable(_)))));
            assert!(ended.is_err() || (told && spool < SPOOL), "a body that hangs has ended");
        }
        for _ in 0..500 {
            if bounds.budget.used() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await; // threads that hash hold their part until they are through
        }
        assert_eq!(bounds.budget.used(), 0);
        assert!(bounds.spool.fits(Some(spool)) || spool == 0, "the spool is given back");
        uploads.purge(super::purge::begun(Duration::ZERO)).await.unwrap();
        assert!(world.leftovers().await.is_empty());
    }
}

/// The clock runs ahead whenever everybody waits.
#[tokio::test(start_paused = true)]
async fn slow_clients_stop_nobody_in_memory() {
    for spool in [SPOOL, 20 * MIB as u64, 0] {
        slow_clients(&World::memory().await, spool, &[2, 100_000, 9 * MIB]).await;
    }
}

pub(super) async fn slow_clients_with_a_spool(world: &World) {
    slow_clients(world, SPOOL, &[100_000]).await;
}

/// Who comes slowly, but comes, is served whole while others wait for memory all the time.
#[tokio::test(start_paused = true)]
async fn slow_bodies_arrive_whole() {
    for spool in [SPOOL, 0] {
        let world = World::memory().await;
        let uploads = world.instance(spool).await;
        let bounds = uploads.inner.bounds();
        let pressing = {
            let bounds = bounds.clone();
            tokio::spawn(async move {
                loop {
                    let all = bounds.budget.take(LEAST).await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    drop(all);
                }
            })
        };
        let content = bytes(3, 20 * MIB);
        let digest = sha256(&content);
        let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
        upload.append(&mut Pieces::announced(&content[..100])).await.unwrap();
        let slow = || Pieces::new(&content[100..], MIB).pausing(Duration::from_secs(3));
        let began = Instant::now();
        assert_eq!(upload.append(&mut slow()).await.unwrap(), content.len() as u64);
        assert!(began.elapsed() > Duration::from_secs(59));
        assert_eq!(upload.commit_all(&digest, &mut Pieces::empty()).await.unwrap(), content.len() as u64);
        world.assert_blob(&digest, &content).await;
        world.storage.blob_delete(&digest).await.unwrap();
        let mut body = Pieces::new(&content, MIB).pausing(Duration::from_secs(3));
        match uploads.put(&digest, &mut body).await {
            Ok(_) if spool > 0 => world.assert_blob(&digest, &content).await,
            Err(UploadError::Storage(Error::Unavailable(_))) if spool == 0 => {}
            other => panic!("{other:?}"),
        }
        pressing.abort();
        _ = pressing.await;
        assert!(world.leftovers().await.is_empty());
        assert_eq!(bounds.budget.used(), 0);
    }
}
