use std::time::Duration;

use super::super::PickError;
use super::*;

const CHECKS: &str = "health = { path = \"/v2/\", interval = \"20ms\", timeout = \"100ms\", rise = 2, fall = 2 }";

/// A configuration with quick checks; `config` would set `health` twice.
fn checked(peers: &[PeerConfig], keys: &str) -> Config {
    let mut config: Config = toml::from_str(&format!("peers = []\n{CHECKS}\n{keys}")).unwrap();
    config.peers = peers.to_vec();
    config
}

fn healthy(cluster: &Cluster, index: usize) -> bool {
    cluster.snapshot()[index].healthy
}

#[tokio::test]
async fn a_peer_starts_healthy_goes_down_and_comes_up() {
    let fixture = Fixture::new(Answer::Status(401, "")).await;
    let cluster = start(&checked(&[peer(fixture.address)], "")).await;
    assert!(healthy(&cluster, 0));
    eventually("three checks", || fixture.hits() >= 3).await;
    assert!(healthy(&cluster, 0), "401 is a good answer");
    for bad in
        [Answer::Status(500, ""), Answer::Status(404, ""), Answer::Hang, Answer::Close, Answer::Headers(301, "a: b")]
    {
        fixture.answers(bad);
        eventually("down", || !healthy(&cluster, 0)).await;
        assert!(!cluster.available());
        assert_eq!(cluster.pick(None, &[]).await.err(), Some(PickError::NoPeer));
        assert!(cluster.begin_on(cluster.snapshot()[0].id).await.is_ok(), "its uploads live only there");
        fixture.answers(Answer::Status(200, ""));
        eventually("up", || healthy(&cluster, 0)).await;
        assert!(cluster.pick(None, &[]).await.is_ok());
    }
}

#[tokio::test]
async fn checks_see_the_listener_and_not_an_old_connection() {
    let fixture = Fixture::new(Answer::Status(200, "")).await;
    let cluster = start(&checked(&[peer(fixture.address)], "")).await;
    eventually("checks", || fixture.hits() >= 4).await;
    assert_eq!(fixture.connections(), fixture.requests.lock().len());
    let request = fixture.requests.lock()[0].clone();
    assert!(request.starts_with("GET /v2/ HTTP/1.1\r\n") && request.contains("connection: close\r\n"), "{request}");
    let address = fixture.address;
    drop(fixture);
    eventually("down", || !healthy(&cluster, 0)).await;
    let _fixture = Fixture::on(address, Answer::Status(200, ""), None).await;
    eventually("up", || healthy(&cluster, 0)).await;
}

#[tokio::test]
async fn requests_go_round_a_peer_that_is_down() {
    let (good, bad) = (Fixture::new(Answer::Status(200, "")).await, Fixture::new(Answer::Status(503, "")).await);
    let cluster = start(&checked(&[peer(good.address), peer(bad.address)], "")).await;
    eventually("down", || !healthy(&cluster, 1)).await;
    for _ in 0..20 {
        assert_eq!(cluster.pick(None, &[]).await.unwrap().peer().address(), good.address);
    }
    drop(good);
    eventually("both down", || !cluster.available()).await;
}

#[tokio::test]
async fn the_verdict_survives_a_reload_and_checks_end_with_the_cluster() {
    let fixture = Fixture::new(Answer::Status(500, "")).await;
    let (table, metrics) = (PeerTable::default(), metrics());
    let config = checked(&[peer(fixture.address)], "");
    let old = Cluster::start("main", &config, &table, metrics.clone()).await.unwrap();
    let in_flight = old.pick(None, &[]).await.unwrap();
    eventually("down", || !healthy(&old, 0)).await;
    let mut slower = config.clone();
    slower.health.interval = crate::units::seconds(3600);
    let new = Cluster::start("main", &slower, &table, metrics.clone()).await.unwrap();
    drop(old);
    tokio::time::sleep(Duration::from_millis(150)).await;
    let hits = fixture.hits();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(fixture.hits() <= hits + 1, "only the new cluster asks, once in the first second");
    assert!(!healthy(&new, 0));
    let mut off = config.clone();
    off.health.interval = crate::units::seconds(0);
    let off = Cluster::start("main", &off, &table, metrics).await.unwrap();
    assert!(healthy(&off, 0), "without checks there is no verdict");
    drop(in_flight);
}
