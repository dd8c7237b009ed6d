//! One download for any number of clients, whoever of them stays.

use super::*;
use crate::cache::{FillError, Source};

/// Lets the first chunk go: without it, nobody is told that the content comes.
fn gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_readers_share_one_opening() {
    let fixture = Fixture::new(|_| {}).await;
    let data = data(5 * MIB + 12_345, 1);
    let digest = sha256(&data);
    let gate = gate();
    let origin = Arc::new(Script::new(&data, &[Act::Whole]).gated(&gate));
    let mut readers = Vec::new();
    for _ in 0..50 {
        let (cache, origin, data) = (fixture.cache.clone(), origin.clone(), data.clone());
        readers.push(tokio::spawn(async move {
            let (content, source) = cache.get_or_fill(&digest, origin).await.unwrap();
            assert_eq!(content.total(), Some(data.len() as u64));
            assert_eq!(content.media_type(), Some("application/x-test"));
            assert_eq!(collect(content.read(0, None)).await.unwrap(), data);
            source
        }));
    }
    for _ in 0..100 {
        gate.add_permits(1);
        tokio::task::yield_now().await;
    }
    let mut misses = 0;
    for reader in readers {
        misses += usize::from(reader.await.unwrap() == Source::Miss);
    }
    assert_eq!((origin.opens(), misses), (1, 1));
    assert_eq!(fixture.metrics.completed.get(), 1);
    assert_eq!(fixture.metrics.collapsed.get() + fixture.metrics.hit_disk.get(), 49);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_bytes_go_out_while_the_rest_is_awaited() {
    let fixture = Fixture::new(|_| {}).await;
    let data = data(2 * MIB, 2);
    let gate = gate();
    let origin = Arc::new(Script::new(&data, &[Act::Whole]).gated(&gate));
    let (content, _) = fixture.cache.get_or_fill(&sha256(&data), origin).await.unwrap();
    assert!(!content.proven());
    let mut reader = content.clone().read(0, None);
    let first = reader.next().await.unwrap().unwrap();
    assert_eq!(first, data[..64 << 10]);
    // All but the last chunk: the last bytes wait for the proof.
    gate.add_permits(30);
    let mut seen = first.len();
    while seen < 31 * (64 << 10) {
        seen += reader.next().await.unwrap().unwrap().len();
    }
    let more = tokio::time::timeout(Duration::from_millis(50), reader.next()).await;
    assert!(more.is_err() && !content.proven());
    gate.add_permits(1);
    assert_eq!(reader.next().await.unwrap().unwrap().len(), 64 << 10);
    assert!(reader.next().await.is_none() && content.proven());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_does_not_end_the_fill() {
    let fixture = Fixture::new(|_| {}).await;
    let data = data(3 * MIB, 3);
    let digest = sha256(&data);
    let gate = gate();
    let origin = Arc::new(Script::new(&data, &[Act::Whole]).gated(&gate));
    let (leader, source) = fixture.cache.get_or_fill(&digest, origin.clone()).await.unwrap();
    assert_eq!(source, Source::Miss);
    let (follower, source) = fixture.cache.get_or_fill(&digest, origin.clone()).await.unwrap();
    assert_eq!(source, Source::Collapsed);
    gate.add_permits(10);
    let mut leading = leader.read(0, None);
    leading.next().await.unwrap().unwrap();
    drop(leading);
    gate.add_permits(100);
    assert_eq!(collect(follower.read(0, None)).await.unwrap(), data);
    assert_eq!(origin.opens(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fill_without_any_client_left_still_completes() {
    let fixture = Fixture::new(|_| {}).await;
    let data = data(3 * MIB, 4);
    let digest = sha256(&data);
    let gate = gate();
    let origin = Arc::new(Script::new(&data, &[Act::Whole]).gated(&gate));
    drop(fixture.cache.get_or_fill(&digest, origin.clone()).await.unwrap());
    // Also one that is dropped before the head is known.
    drop(tokio::time::timeout(Duration::ZERO, fixture.cache.get_or_fill(&digest, origin)).await);
    gate.add_permits(100);
    let content = loop {
        match fixture.get(&digest).await {
            Some(content) => break content,
            None => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    assert_eq!(collect(content.read(0, None)).await.unwrap(), data);
}

#[tokio::test]
async fn a_refused_leader_is_replaced_by_another_waiter() {
    let fixture = Fixture::new(|_| {}).await;
    let data = data(2 * MIB, 5);
    let digest = sha256(&data);
    let gate = gate();
    // The leader's peer breaks half way, and its credentials have expired by then.
    let leader = Script::new(&data, &[Act::DieAt(MIB), Act::Refuse(401)]).gated(&gate);
    let other = Script::whole(&data);
    let leader = Arc::new(leader);
    let (first, _) = fixture.cache.get_or_fill(&digest, leader.clone()).await.unwrap();
    let (second, _) = fixture.cache.get_or_fill(&digest, other.clone()).await.unwrap();
    gate.add_permits(100);
    assert_eq!(collect(first.read(0, None)).await.unwrap(), data);
    assert_eq!(collect(second.read(0, None)).await.unwrap(), data);
    assert_eq!(*other.opened.lock(), [MIB as u64]);
}

#[tokio::test]
async fn each_waiter_hears_its_own_refusal() {
    let fixture = Fixture::new(|_| {}).await;
    let data = data(1000, 6);
    let digest = sha256(&data);
    let status = |refused: Result<_, FillError>| match refused.map(|_| ()) {
        Err(FillError::Refused(refusal)) => refusal.status().as_u16(),
        other => panic!("{other:?}"),
    };
    let (one, two) = (Script::new(&data, &[Act::Refuse(401)]), Script::new(&data, &[Act::Refuse(404)]));
    let (one, two) = tokio::join!(
        fixture.cache.get_or_fill(&digest, Arc::new(one)),
        fixture.cache.get_or_fill(&digest, Arc::new(two))
    );
    assert_eq!((status(one), status(two)), (401, 404));
    assert_eq!(fixture.metrics.failed.get(), 1);
    // A refusal is not remembered.
    assert_eq!(fixture.fill(&digest, &Script::whole(&data)).await.unwrap(), data);
}

#[tokio::test(start_paused = true)]
async fn fills_beyond_the_limit_wait_and_then_pass_through() {
    let fixture = Fixture::new(|config| config.max_fills = 1).await;
    let gate = gate();
    let (slow, fast) = (data(2 * MIB, 7), data(2 * MIB, 8));
    let origin = Arc::new(Script::new(&slow, &[Act::Whole]).gated(&gate));
    let (content, _) = fixture.cache.get_or_fill(&sha256(&slow), origin).await.unwrap();
    let begun = tokio::time::Instant::now();
    let origin = Script::whole(&fast);
    assert_eq!(fixture.fill(&sha256(&fast), &origin).await.unwrap(), fast);
    assert!(begun.elapsed() >= Duration::from_secs(10));
    assert_eq!(origin.opens(), 1);
    assert_eq!(fixture.metrics.abandoned.get(), 1);
    gate.add_permits(100);
    assert_eq!(collect(content.read(0, None)).await.unwrap(), slow);
    // The place is free again.
    fixture.warm(&data(2 * MIB, 9)).await;
    assert_eq!(fixture.metrics.completed.get(), 2);
}
