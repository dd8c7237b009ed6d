use std::collections::HashMap;
use std::time::Duration;

use super::super::{PeerId, PickError};
use super::*;

fn weighted() -> Vec<PeerConfig> {
    let mut peers = imaginary(3);
    peers.iter_mut().zip(1..).for_each(|(peer, weight)| peer.weight = weight);
    peers
}

async fn split(keys: &str, requests: usize) -> HashMap<u16, usize> {
    let cluster = start(&config(&weighted(), keys)).await;
    let mut hits = HashMap::new();
    for _ in 0..requests {
        *hits.entry(number(&cluster.pick(None, &[]).await.unwrap())).or_default() += 1;
    }
    hits
}

#[tokio::test]
async fn sequential_requests_split_by_weight_to_the_last_one() {
    for keys in ["", "balance = \"round_robin\""] {
        let hits = split(keys, 10_000).await;
        for (peer, ideal) in [(1, 10_000.0 / 6.0), (2, 10_000.0 / 3.0), (3, 5_000.0)] {
            assert!((hits[&peer] as f64 - ideal).abs() <= 1.0, "{keys} {hits:?}");
        }
    }
}

#[tokio::test]
async fn random_splits_by_weight_too() {
    let hits = split("balance = \"random\"", 60_000).await;
    for peer in 1..=3 {
        assert!(hits[&peer].abs_diff(usize::from(peer) * 10_000) < 1_000, "{hits:?}");
    }
}

#[tokio::test]
async fn long_downloads_on_one_peer_send_new_requests_to_the_others() {
    let cluster = start(&config(&imaginary(3), "")).await;
    let slow = cluster.snapshot()[0].id;
    let mut downloads = Vec::new();
    for _ in 0..10 {
        downloads.push(cluster.begin_on(slow).await.unwrap());
    }
    for _ in 0..100 {
        assert_ne!(cluster.pick(None, &[]).await.unwrap().peer().id(), slow);
    }
    drop(downloads);
    let mut hits = 0;
    for _ in 0..99 {
        hits += usize::from(cluster.pick(None, &[]).await.unwrap().peer().id() == slow);
    }
    assert_eq!(hits, 33);
}

#[tokio::test]
async fn requests_under_way_are_in_proportion_to_the_weights() {
    let cluster = start(&config(&weighted(), "")).await;
    let mut in_flights = Vec::new();
    for _ in 0..60 {
        in_flights.push(cluster.pick(None, &[]).await.unwrap());
    }
    let in_flight: Vec<_> = cluster.snapshot().iter().map(|peer| peer.in_flight).collect();
    assert_eq!(in_flight, [10, 20, 30]);
    drop(in_flights);
    assert!(cluster.snapshot().iter().all(|peer| peer.in_flight == 0));
}

#[tokio::test]
async fn a_backup_serves_only_when_no_primary_can() {
    let mut peers = imaginary(3);
    peers[2].backup = true;
    let cluster = start(&config(&peers, "max_fails = 1")).await;
    let ids: Vec<_> = cluster.snapshot().iter().map(|peer| peer.id).collect();
    for _ in 0..20 {
        assert!(number(&cluster.pick(None, &[]).await.unwrap()) < 3);
    }
    assert_eq!(number(&cluster.pick(None, &ids[..2]).await.unwrap()), 3, "the primaries were tried");
    assert_eq!(cluster.pick(None, &ids).await.err(), Some(PickError::NoPeer));
    for id in &ids[..2] {
        cluster.begin_on(*id).await.unwrap().failed();
    }
    assert_eq!(number(&cluster.pick(None, &[]).await.unwrap()), 3, "the primaries are set aside");
}

#[tokio::test]
async fn a_failing_peer_is_set_aside_and_comes_back() {
    let cluster = start(&config(&imaginary(2), "max_fails = 3\nfail_timeout = \"200ms\"")).await;
    let bad = cluster.snapshot()[0].id;
    for _ in 0..3 {
        assert!(cluster.snapshot()[0].healthy);
        cluster.begin_on(bad).await.unwrap().failed();
    }
    assert!(!cluster.snapshot()[0].healthy);
    for _ in 0..10 {
        assert_ne!(cluster.pick(None, &[]).await.unwrap().peer().id(), bad);
    }
    assert_eq!(cluster.begin_on(bad).await.unwrap().peer().id(), bad, "its uploads live only there");
    tokio::time::sleep(Duration::from_millis(250)).await;
    let mut trials = Vec::new();
    for _ in 0..10 {
        let in_flight = cluster.pick(None, &[]).await.unwrap();
        if in_flight.peer().id() == bad {
            trials.push(in_flight);
        }
    }
    assert_eq!(trials.len(), 1, "one request goes first");
    trials[0].succeeded();
    drop(trials);
    let mut hits = 0;
    for _ in 0..10 {
        hits += usize::from(cluster.pick(None, &[]).await.unwrap().peer().id() == bad);
    }
    assert_eq!(hits, 5);
}

#[tokio::test]
async fn when_all_are_set_aside_each_is_tried_once_more() {
    let cluster = start(&config(&imaginary(2), "max_fails = 1")).await;
    let ids: Vec<_> = cluster.snapshot().iter().map(|peer| peer.id).collect();
    for id in &ids {
        cluster.begin_on(*id).await.unwrap().failed();
    }
    assert!(cluster.available());
    let mut tried: Vec<PeerId> = Vec::new();
    for _ in 0..2 {
        let in_flight = cluster.pick(None, &tried).await.unwrap();
        assert!(!tried.contains(&in_flight.peer().id()));
        tried.push(in_flight.peer().id());
    }
    assert_eq!(cluster.pick(None, &tried).await.err(), Some(PickError::NoPeer));
}

#[tokio::test]
async fn a_peer_that_comes_back_gets_its_share_little_by_little() {
    let keys = "max_fails = 1\nfail_timeout = \"1ms\"\nslow_start = \"60s\"";
    let cluster = start(&config(&imaginary(2), keys)).await;
    let weak = cluster.snapshot()[0].id;
    cluster.begin_on(weak).await.unwrap().failed();
    cluster.begin_on(weak).await.unwrap().succeeded();
    let mut hits = 0;
    for _ in 0..1_000 {
        hits += usize::from(cluster.pick(None, &[]).await.unwrap().peer().id() == weak);
    }
    assert!(hits < 50, "{hits} of 1000 in the first moments of a minute");
}

#[tokio::test]
async fn the_share_grows_to_the_whole() {
    let cluster = start(&config(&imaginary(1), "slow_start = \"60s\"")).await;
    let in_flight = cluster.pick(None, &[]).await.unwrap();
    let peer = in_flight.peer();
    assert_eq!(peer.effective_weight(1), 1024, "who was there from the start has it all");
    peer.probe.set(true, 1_000);
    assert_eq!(peer.effective_weight(1_000), 1);
    assert_eq!(peer.effective_weight(31_000), 512);
    assert_eq!(peer.effective_weight(61_000), 1024);
}

#[tokio::test]
async fn a_key_stays_with_its_peer_and_falls_to_the_next_one() {
    let cluster = start(&config(&imaginary(4), "balance = \"consistent_hash\"\nmax_fails = 1")).await;
    let other = start(&config(&imaginary(4), "balance = \"consistent_hash\"")).await;
    for key in 0..200_u32 {
        let key = key.to_le_bytes();
        let first = cluster.pick(Some(&key), &[]).await.unwrap();
        let again = other.pick(Some(&key), &[]).await.unwrap();
        assert_eq!(number(&first), number(&again), "in every process");
        let next = cluster.pick(Some(&key), &[first.peer().id()]).await.unwrap();
        assert_ne!(number(&first), number(&next));
    }
    let before: Vec<_> = choices(&cluster).await;
    let gone = cluster.snapshot()[1].id;
    cluster.begin_on(gone).await.unwrap().failed();
    for (before, after) in before.iter().zip(choices(&cluster).await) {
        assert!(after != 2 && (*before == 2 || *before == after), "{before} to {after}");
    }
}

async fn choices(cluster: &Cluster) -> Vec<u16> {
    let mut choices = Vec::new();
    for key in 0..400_u32 {
        choices.push(number(&cluster.pick(Some(&key.to_le_bytes()), &[]).await.unwrap()));
    }
    choices
}

#[tokio::test]
async fn an_unknown_peer_has_no_lease() {
    let cluster = start(&config(&imaginary(1), "")).await;
    let stranger = PeerId::of("127.0.0.9:9".parse().unwrap());
    assert_eq!(cluster.begin_on(stranger).await.err(), Some(PickError::NoPeer));
    let known = cluster.snapshot()[0].id;
    assert_eq!(cluster.address(known), Some("127.0.0.1:1".parse().unwrap()));
}

#[tokio::test]
async fn requests_under_way_survive_a_reload_and_are_seen_by_other_clusters() {
    let (table, metrics) = (PeerTable::default(), metrics());
    let config = config(&imaginary(2), "max_fails = 1");
    let old = Cluster::start("main", &config, &table, metrics.clone()).await.unwrap();
    let busy = old.snapshot()[0].id;
    let in_flight = old.begin_on(busy).await.unwrap();
    old.begin_on(old.snapshot()[1].id).await.unwrap().failed();
    let new = Cluster::start("main", &config, &table, metrics.clone()).await.unwrap();
    let other = Cluster::start("other", &config, &table, metrics).await.unwrap();
    drop(old);
    for cluster in [&new, &other] {
        assert_eq!(cluster.snapshot()[0].in_flight, 1);
        assert!(!cluster.snapshot()[1].healthy);
    }
    drop(in_flight);
    assert_eq!(new.snapshot()[0].in_flight, 0);
}

#[tokio::test]
async fn metrics_tell_of_peers_requests_and_retries() {
    let registry = Registry::new();
    let metrics = Arc::new(Metrics::new(&registry).unwrap());
    let config = config(&imaginary(2), "max_fails = 1");
    let cluster = Cluster::start("main", &config, &PeerTable::default(), metrics).await.unwrap();
    let ids: Vec<_> = cluster.snapshot().iter().map(|peer| peer.id).collect();
    let held = cluster.begin_on(ids[0]).await.unwrap();
    cluster.begin_on(ids[0]).await.unwrap().succeeded();
    cluster.begin_on(ids[1]).await.unwrap().failed();
    cluster.retried();
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    for line in [
        "entrepot_peer_in_flight{cluster=\"main\",peer=\"127.0.0.1:1\"} 1",
        "entrepot_peer_up{cluster=\"main\",peer=\"127.0.0.1:1\"} 1",
        "entrepot_peer_up{cluster=\"main\",peer=\"127.0.0.1:2\"} 0",
        "entrepot_peer_requests_total{cluster=\"main\",outcome=\"succeeded\",peer=\"127.0.0.1:1\"} 1",
        "entrepot_peer_requests_total{cluster=\"main\",outcome=\"failed\",peer=\"127.0.0.1:2\"} 1",
        "entrepot_peer_waiting{cluster=\"main\"} 0",
        "entrepot_retries_total{cluster=\"main\"} 1",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    drop((held, cluster));
    eventually("the cluster's gauges are gone", || {
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        !text.contains("entrepot_peer_up{")
    })
    .await;
}
