//! Several instances over one storage.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::{assert_full, instances, of_bytes, quotas, random, rested, told, used};
use crate::registry::tests::harness::{Harness, Whole, on_disk, sha256};
use crate::storage::Storage;

async fn storages(folder: &std::path::Path) -> [Arc<Storage>; 2] {
    [Harness::new().await.storage, on_disk(folder).await]
}

/// Flushes now and then, as it does behind requests.
fn behind(harnesses: &[Harness]) -> Vec<tokio::task::JoinHandle<()>> {
    let behind = |harness: &Harness| {
        let registry = harness.registry.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                quotas(&registry).flush().await;
            }
        })
    };
    harnesses.iter().map(behind).collect()
}

async fn push(harness: &Harness, name: &str, bytes: &[u8]) -> u16 {
    let upload = harness.send("POST", &format!("/v2/{name}/blobs/uploads/"), &[], b"").await;
    if upload.status != 202 {
        assert_full(&upload);
        return 403;
    }
    let upload = upload.header("location").to_owned();
    let patched = harness.send_body("PATCH", &upload, &[], &mut Whole::new(bytes, true)).await;
    if patched.status != 202 {
        assert_full(&patched);
        return 403;
    }
    harness.status("PUT", &format!("{upload}?digest={}", sha256(bytes))).await
}

#[tokio::test]
async fn fifty_pushes_at_the_edge_never_end_above_it_and_those_that_fit_do() {
    const LIMIT: u64 = 100_000;
    let folder = tempfile::tempdir().unwrap();
    for storage in storages(folder.path()).await {
        let quota = of_bytes("team/**", LIMIT);
        let all = instances(&storage, 3, std::slice::from_ref(&quota)).await;
        let behind = behind(&all);
        let pushes = (0..50_usize).map(|number| {
            let (harness, name) = (&all[number % 3], format!("team/{}", number % 7));
            async move { push(harness, &name, &random(number as u8, 5000)).await }
        });
        let statuses = join_all(pushes).await;
        let taken = statuses.iter().filter(|status| **status == 201).count();
        assert!(statuses.iter().all(|status| [201, 403].contains(status)), "{statuses:?}");
        // Those who came while others had all of it may have been refused; nobody is when there is room again.
        assert!(taken <= 20, "{taken}");
        behind.iter().for_each(tokio::task::JoinHandle::abort);
        for harness in &all {
            rested(harness).await;
        }
        let mut taken = taken;
        for number in 100..140 {
            taken += usize::from(push(&all[number % 3], "team/late", &random(number as u8, 5000)).await == 201);
            quotas(&all[number % 3].registry).flush().await;
        }
        assert_eq!(taken, 20);
        for harness in &all {
            rested(harness).await;
        }
        let usage = told(&all[0], &quota).await;
        assert_eq!((usage.used.bytes, usage.reserved.bytes), (LIMIT, 0));
    }
}

#[tokio::test]
async fn what_is_pushed_here_is_known_there_and_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for storage in storages(folder.path()).await {
        let quota = of_bytes("**", 10_000);
        let all = instances(&storage, 2, std::slice::from_ref(&quota)).await;
        let layer = random(1, 8000);
        all[0].push_blob("a", &layer).await;
        quotas(&all[0].registry).flush().await;
        all[1].push_blob("b", &layer).await;
        assert_eq!(used(&all[1], &quota).await, (8000, 0));
        // At the same time, by instances that do not know of each other: it is found when they tell.
        let other = random(2, 900);
        all[0].push_blob("a", &other).await;
        all[1].push_blob("b", &other).await;
        assert_eq!((used(&all[0], &quota).await, used(&all[1], &quota).await), ((8900, 0), (8900, 0)));
        for harness in &all {
            rested(harness).await;
        }
        assert_eq!(told(&all[0], &quota).await.reserved.bytes, 0);
    }
}

#[tokio::test]
async fn an_upload_that_goes_on_at_another_instance_finds_its_room() {
    let quota = of_bytes("**", 10_000);
    let all = instances(&Harness::new().await.storage, 2, std::slice::from_ref(&quota)).await;
    let behind = behind(&all);
    let layer = random(1, 8000);
    let upload = all[0].send("POST", "/v2/a/blobs/uploads/", &[], b"").await.header("location").to_owned();
    assert_eq!(all[0].send("PATCH", &upload, &[], &layer).await.status, 202);
    // The first one still keeps it for a moment.
    assert_eq!(all[1].status("PUT", &format!("{upload}?digest={}", sha256(&layer))).await, 201);
    behind.iter().for_each(tokio::task::JoinHandle::abort);
    for harness in &all {
        rested(harness).await;
    }
    let usage = told(&all[0], &quota).await;
    assert_eq!((usage.used.bytes, usage.reserved.bytes), (8000, 0));
}

#[tokio::test]
async fn who_ends_leaves_no_grant_behind() {
    let quota = of_bytes("**", 10_000);
    let all = instances(&Harness::new().await.storage, 2, std::slice::from_ref(&quota)).await;
    all[0].push_blob("a", &random(1, 100)).await;
    assert!(told(&all[0], &quota).await.reserved.bytes > 0);
    all[0].registry.close().await;
    let usage = told(&all[1], &quota).await;
    assert_eq!((usage.used.bytes, usage.reserved.bytes), (100, 0));
    assert_eq!(push(&all[1], "b", &random(2, 9900)).await, 201);
}

#[tokio::test]
async fn more_changes_than_a_state_holds_are_known_to_all() {
    let quota = of_bytes("**", 1 << 30);
    let all = instances(&Harness::new().await.storage, 2, std::slice::from_ref(&quota)).await;
    let (blobs, name) = (3000_u32, "a".parse().unwrap());
    for number in 0..blobs {
        let bytes = number.to_be_bytes();
        all[0].registry.keep_blob(&name, &sha256(&bytes), &mut Whole::new(&bytes, false)).await.unwrap();
        if number % 700 == 0 {
            quotas(&all[0].registry).flush().await;
        }
    }
    assert_eq!(used(&all[0], &quota).await, (u64::from(blobs) * 4, 0));
    // One that knew some of it, and one that is new.
    all[1].push_blob("b", b"x").await;
    quotas(&all[1].registry).flush().await;
    let late = instances(&all[0].storage, 1, std::slice::from_ref(&quota)).await;
    for harness in all.iter().chain(&late) {
        for number in [0, 1, 1500, blobs - 1] {
            harness.push_blob("c", &number.to_be_bytes()).await;
        }
        assert_eq!(used(harness, &quota).await, (u64::from(blobs) * 4 + 1, 0));
    }
}
