use std::io;
use std::time::Duration;

use super::super::PickError;
use super::super::error::Error;
use super::*;
use crate::outbound::Lookup;

/// Names that lead where the test says; `None` fails.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Option<Vec<SocketAddr>>>>);

impl Names {
    fn say(&self, addresses: &[&str]) {
        *self.0.lock() = Some(addresses.iter().map(|address| address.parse().unwrap()).collect());
    }

    fn fail(&self) {
        *self.0.lock() = None;
    }

    fn lookup(&self) -> Lookup {
        let names = self.clone();
        Arc::new(move |_, _| {
            let found = names.0.lock().clone().ok_or_else(|| io::Error::other("no such name"));
            Box::pin(async move { found })
        })
    }

    async fn start(&self, peers: &[PeerConfig], table: &PeerTable) -> Arc<Cluster> {
        let config = config(peers, "resolve_interval = \"20ms\"\nslow_start = \"0s\"");
        Cluster::start_with("main", &config, table, metrics(), self.lookup()).await.unwrap()
    }
}

fn addresses(cluster: &Cluster) -> Vec<String> {
    cluster.snapshot().iter().map(|peer| peer.address.to_string()).collect()
}

#[tokio::test]
async fn localhost_is_as_many_peers_as_it_has_addresses() {
    let cluster = start(&config(&[peer("localhost:5000")], "")).await;
    let mut expected: Vec<_> = tokio::net::lookup_host("localhost:5000").await.unwrap().collect();
    expected.sort_unstable();
    expected.dedup();
    let snapshot = cluster.snapshot();
    assert_eq!(snapshot.iter().map(|peer| peer.address).collect::<Vec<_>>(), expected);
    assert!(snapshot.iter().all(|peer| &*peer.authority == "localhost:5000"));
}

#[tokio::test]
async fn a_name_is_really_reached_under_its_own_host() {
    let fixture = Fixture::new(Answer::Status(200, "")).await;
    let names = Names::default();
    names.say(&[&fixture.address.to_string()]);
    let peer = peer(format!("Registry.Internal:{}", fixture.address.port()));
    let cluster = names.start(&[peer], &PeerTable::default()).await;
    let in_flight = cluster.pick(None, &[]).await.unwrap();
    in_flight.peer().send(http::Method::GET, "/v2/", http::HeaderMap::new(), bytes::Bytes::new()).await.unwrap();
    assert!(fixture.requests.lock()[0].contains("host: registry.internal:"));
}

#[tokio::test]
async fn peers_come_and_go_with_the_name_and_requests_end_in_peace() {
    let names = Names::default();
    names.say(&["10.0.0.1:5000", "10.0.0.2:5000"]);
    let cluster = names.start(&[peer("registry:5000"), peer("10.0.0.9:5000")], &PeerTable::default()).await;
    assert_eq!(addresses(&cluster), ["10.0.0.1:5000", "10.0.0.2:5000", "10.0.0.9:5000"]);
    let leaving = cluster.begin_on(cluster.snapshot()[0].id).await.unwrap();
    let staying = cluster.begin_on(cluster.snapshot()[1].id).await.unwrap();
    names.say(&["10.0.0.3:5000", "10.0.0.2:5000", "10.0.0.2:5000"]);
    eventually("the new address", || addresses(&cluster)[1] == "10.0.0.3:5000").await;
    assert_eq!(addresses(&cluster), ["10.0.0.2:5000", "10.0.0.3:5000", "10.0.0.9:5000"]);
    assert_eq!(cluster.begin_on(leaving.peer().id()).await.err(), Some(PickError::NoPeer));
    let again = cluster.begin_on(staying.peer().id()).await.unwrap();
    assert!(Arc::ptr_eq(staying.peer(), again.peer()), "who stays keeps its connections");
    assert_eq!(again.peer().state.in_flight(), 2);
    drop(leaving);
}

#[tokio::test]
async fn a_failing_lookup_keeps_the_old_addresses() {
    let names = Names::default();
    names.say(&["10.0.0.1:5000"]);
    let cluster = names.start(&[peer("registry:5000")], &PeerTable::default()).await;
    for broken in [Names::fail, |names: &Names| names.say(&[])] {
        broken(&names);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(addresses(&cluster), ["10.0.0.1:5000"]);
    }
    names.say(&["10.0.0.2:5000"]);
    eventually("the new address", || addresses(&cluster) == ["10.0.0.2:5000"]).await;
}

#[tokio::test]
async fn a_name_unknown_at_the_start_joins_later() {
    let names = Names::default();
    let cluster = names.start(&[peer("registry:5000")], &PeerTable::default()).await;
    assert!(!cluster.available());
    assert_eq!(cluster.pick(None, &[]).await.err(), Some(PickError::NoPeer));
    names.say(&["10.0.0.1:5000"]);
    eventually("a peer", || cluster.available()).await;
    assert!(cluster.pick(None, &[]).await.is_ok());
}

#[tokio::test]
async fn two_entries_for_one_address_are_one_peer() {
    let names = Names::default();
    names.say(&["10.0.0.1:5000"]);
    let cluster = names.start(&[peer("10.0.0.1:5000"), peer("registry:5000")], &PeerTable::default()).await;
    assert_eq!(addresses(&cluster), ["10.0.0.1:5000"]);
    assert_eq!(&*cluster.snapshot()[0].authority, "10.0.0.1:5000");
}

#[tokio::test]
async fn an_address_without_port_is_an_error() {
    let config = config(&[peer("registry")], "");
    let started = Cluster::start("main", &config, &PeerTable::default(), metrics()).await;
    assert!(matches!(started.err(), Some(Error::Address(address)) if address == "registry"));
}
