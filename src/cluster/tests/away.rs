//! Where redirects may lead: the client for absolute URLs, with a resolver of the test's own.

use std::io;
use std::net::SocketAddr;

use futures::FutureExt as _;
use http::HeaderMap;

use super::super::SendError;
use super::*;
use crate::outbound::Lookup;

/// Answers with one list after the other, then with the last again; counts how often it was asked.
fn answers(lists: Vec<Vec<&'static str>>) -> (Lookup, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let lookup: Lookup = Arc::new(move |_, port| {
        let turn = count.fetch_add(1, Ordering::SeqCst).min(lists.len() - 1);
        let found: io::Result<Vec<SocketAddr>> =
            Ok(lists[turn].iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect());
        async move { found }.boxed()
    });
    (lookup, asked)
}

async fn cluster(peers: &[&str], own: &[SocketAddr], lookup: Lookup) -> Arc<Cluster> {
    let table = PeerTable::default();
    table.own().replace(own.to_vec());
    let peers: Vec<_> = peers.iter().map(|address| peer(format!("{address}:5000"))).collect();
    Cluster::start_with("main", &config(&peers, ""), &table, metrics(), lookup).await.unwrap()
}

async fn get(cluster: &Cluster, url: &str) -> Result<u16, SendError> {
    cluster.direct().send_url(url, HeaderMap::new()).await.map(|answer| answer.status().as_u16())
}

/// Two servers on the same port of two addresses of this machine.
async fn twins() -> (Fixture, Fixture) {
    for _ in 0..20 {
        let one = Fixture::new(Answer::Status(200, "store")).await;
        let other = SocketAddr::new("127.0.0.2".parse().unwrap(), one.address.port());
        if tokio::net::TcpListener::bind(other).await.is_ok() {
            return (one, Fixture::on(other, Answer::Status(200, "ours"), None).await);
        }
    }
    panic!("no port that is free on both");
}

#[tokio::test]
async fn a_name_that_turns_to_an_address_of_ours_is_asked_no_more() {
    let (store, ours) = twins().await;
    let (lookup, asked) = answers(vec![vec!["127.0.0.1"], vec!["127.0.0.2"]]);
    let cluster = cluster(&["127.0.0.1"], &[ours.address], lookup).await;
    let url = format!("http://store.example:{}/blob", store.address.port());
    assert_eq!(get(&cluster, &url).await, Ok(200));
    assert_eq!(asked.load(Ordering::SeqCst), 1, "what was judged is what was connected to");
    let refused = get(&cluster, &url).await.unwrap_err();
    assert!(refused.to_string().contains("127.0.0.2 is an address of ours"), "{refused}");
    assert_eq!((store.connections(), ours.connections()), (1, 0));
}

#[tokio::test]
async fn a_name_of_this_machine_is_no_way_for_peers_on_the_internet() {
    let here = Fixture::new(Answer::Status(200, "secret")).await;
    let url = format!("http://store.example:{}/", here.address.port());
    for list in [vec!["127.0.0.1"], vec!["::ffff:127.0.0.1"], vec!["10.0.0.1", "127.0.0.1", "169.254.169.254"], vec![]]
    {
        let cluster = cluster(&["9.9.9.9"], &[], answers(vec![list.clone()]).0).await;
        assert!(get(&cluster, &url).await.is_err(), "{list:?}");
    }
    assert_eq!(here.connections(), 0);
    let cluster = cluster(&["9.9.9.9", "127.0.0.9"], &[], answers(vec![vec!["169.254.169.254", "127.0.0.1"]]).0).await;
    assert_eq!(
        get(&cluster, &url).await,
        Ok(200),
        "a peer is on this machine, and what may not be gone to is left out"
    );
}

#[tokio::test]
async fn an_address_is_judged_however_it_is_written() {
    let here = Fixture::new(Answer::Status(200, "secret")).await;
    let port = here.address.port();
    let (public, local) = (cluster(&["9.9.9.9"], &[], answers(vec![vec![]]).0).await, here.address);
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "127.0.0.1.",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::1]",
        "0.0.0.0",
        "0",
        "[::]",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
    ] {
        let refused = get(&public, &format!("http://{host}:{port}/")).await;
        assert!(matches!(refused, Err(SendError::NoWay(_))), "{host}: {refused:?}");
    }
    assert_eq!(here.connections(), 0);
    let private = cluster(&["127.0.0.1"], &[local], answers(vec![vec![]]).0).await;
    for host in ["127.0.0.1", "2130706433", "0.0.0.0", "[::ffff:127.0.0.1]"] {
        let refused = get(&private, &format!("http://{host}:{port}/")).await;
        assert!(matches!(refused, Err(SendError::NoWay(_))), "{host}: {refused:?}");
    }
    assert_eq!(here.connections(), 0);
}

#[tokio::test]
async fn only_plain_urls_of_the_web_are_asked() {
    let cluster = cluster(&["127.0.0.1"], &[], answers(vec![vec!["127.0.0.1"]]).0).await;
    let long = format!("http://127.0.0.1:1/{}", "x".repeat(20_000));
    for url in [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "gopher://127.0.0.1/",
        "unix:/run/docker.sock",
        "data:,x",
        "/v2/",
        "",
        "http://user@127.0.0.1:1/",
        "http://:pass@127.0.0.1:1/",
        "http://user:pass@store.example:1/",
        "http://",
        &long,
    ] {
        let refused = get(&cluster, url).await;
        assert!(matches!(refused, Err(SendError::Invalid(_))), "{url}: {refused:?}");
        assert!(!refused.unwrap_err().to_string().contains("pass@"));
    }
}
