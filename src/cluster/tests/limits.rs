use std::time::Duration;

use super::super::PickError;
use super::*;

fn limited(count: u16, limit: u32) -> Vec<PeerConfig> {
    let mut peers = imaginary(count);
    peers.iter_mut().for_each(|peer| peer.max_connections = limit);
    peers
}

#[tokio::test]
async fn a_request_waits_for_a_place_and_gets_it() {
    let cluster = start(&config(&limited(2, 1), "")).await;
    let first = cluster.pick(None, &[]).await.unwrap();
    let _second = cluster.pick(None, &[]).await.unwrap();
    let waiting = tokio::spawn({
        let cluster = cluster.clone();
        async move { cluster.pick(None, &[]).await.map(|in_flight| number(&in_flight)) }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!waiting.is_finished());
    let freed = number(&first);
    let start = Instant::now();
    drop(first);
    assert_eq!(waiting.await.unwrap(), Ok(freed));
    assert!(start.elapsed() < Duration::from_millis(80), "woken, not polled");
}

#[tokio::test]
async fn a_wait_that_is_too_long_is_busy() {
    let cluster = start(&config(&limited(1, 1), "queue_timeout = \"50ms\"")).await;
    let held = cluster.pick(None, &[]).await.unwrap();
    assert_eq!(cluster.pick(None, &[]).await.err(), Some(PickError::Busy));
    assert_eq!(cluster.begin_on(held.peer().id()).await.err(), Some(PickError::Busy));
    assert_eq!(cluster.pick(None, &[held.peer().id()]).await.err(), Some(PickError::NoPeer));
}

#[tokio::test]
async fn an_upload_waits_for_its_own_peer_without_holding_up_others() {
    let cluster = start(&config(&limited(2, 1), "queue_timeout = \"2s\"")).await;
    let one = cluster.pick(None, &[]).await.unwrap();
    let other = cluster.pick(None, &[]).await.unwrap();
    let id = one.peer().id();
    let upload = tokio::spawn({
        let cluster = cluster.clone();
        async move { cluster.begin_on(id).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(other);
    let any = cluster.pick(None, &[]).await.unwrap();
    assert_ne!(any.peer().id(), id);
    drop(one);
    assert_eq!(upload.await.unwrap().unwrap().peer().id(), id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_limit_holds_under_a_crowd_and_everybody_is_served() {
    let cluster = start(&config(&limited(3, 4), "queue_timeout = \"30s\"")).await;
    let most = Arc::new(AtomicUsize::new(0));
    let mut crowd = JoinSet::new();
    for _ in 0..600 {
        let (cluster, most) = (cluster.clone(), most.clone());
        crowd.spawn(async move {
            let in_flight = cluster.pick(None, &[]).await.unwrap();
            let seen = in_flight.peer().state.in_flight();
            most.fetch_max(seen as usize, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(1)).await;
        });
    }
    while let Some(done) = crowd.join_next().await {
        done.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 4);
    assert!(cluster.snapshot().iter().all(|peer| peer.in_flight == 0));
}

#[tokio::test]
async fn a_place_freed_by_another_cluster_is_found() {
    let (table, metrics) = (PeerTable::default(), metrics());
    let config = config(&limited(1, 1), "");
    let one = Cluster::start("one", &config, &table, metrics.clone()).await.unwrap();
    let other = Cluster::start("other", &config, &table, metrics).await.unwrap();
    let held = one.pick(None, &[]).await.unwrap();
    let waiting = tokio::spawn(async move { other.pick(None, &[]).await.is_ok() });
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(held);
    assert!(waiting.await.unwrap());
}

#[tokio::test]
async fn a_full_primary_is_waited_for_and_not_replaced_by_a_backup() {
    let mut peers = limited(2, 1);
    peers[1].backup = true;
    let cluster = start(&config(&peers, "queue_timeout = \"30ms\"")).await;
    let _held = cluster.pick(None, &[]).await.unwrap();
    assert_eq!(cluster.pick(None, &[]).await.err(), Some(PickError::Busy));
}
