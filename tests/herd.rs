//! Many clients want one cold blob: the peer is asked once, and everybody streams from the first byte.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::harness::http::Download;
use crate::harness::{
    Entrepot, Fault, FaultProxy, Gate, Registry, Repository, Request, Rule, Serving, Setup, digest, eventually,
    random_bytes,
};

const CLIENTS: usize = 50;
const SIZE: u64 = 32 << 20;

/// A registry with one large blob, and its digest.
fn registry_with_blob(name: &str) -> (Serving, Serving, tempfile::TempDir, String) {
    let (one, other, volume) = Registry::pair();
    let digest = Repository::at(one.address, name).push_blob(&random_bytes(50, SIZE as usize));
    (one, other, volume, digest)
}

fn ask(entrepot: &Entrepot, digest: &str) -> Download {
    let download = Request::get(format!("/v2/team/app/blobs/{digest}")).open(entrepot.address);
    assert_eq!(download.status, 200);
    download
}

/// Reads the rest and says what the whole was.
fn finish(mut download: Download, mut begun: Vec<u8>) -> String {
    download.read_to_end(&mut begun).expect("the body is complete");
    digest(&begun)
}

#[test]
fn fifty_clients_of_a_cold_blob_stream_from_one_request() {
    let (one, _other, _volume, digest) = registry_with_blob("team/app");
    let peer = FaultProxy::before(one.address);
    let gate = Gate::new();
    peer.on(Rule::new("GET", &digest, Fault::HoldAt(4 << 20, gate.clone())));
    peer.throttle(20 << 20);
    let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    // The peer stands still at 4 MiB: whoever has bytes now has them from the growing file.
                    let mut download = ask(&entrepot, &digest);
                    let begun = download.read_exactly(1 << 20);
                    (download, begun)
                })
            })
            .collect();
        let begun: Vec<_> = readers.into_iter().map(|reader| reader.join().expect("first bytes")).collect();
        gate.open();
        let ends: Vec<_> = begun.into_iter().map(|(download, begun)| scope.spawn(|| finish(download, begun))).collect();
        for end in ends {
            assert_eq!(end.join().expect("all bytes"), digest);
        }
    });
    assert_eq!(peer.count("GET", &digest), 1);
    assert_eq!(peer.body_bytes(), SIZE);
    let waited = entrepot.metric("entrepot_cache_requests_total", &[("result", "collapsed")]);
    assert_eq!(waited, (CLIENTS - 1) as f64);
}

#[test]
fn the_first_client_killed_at_a_third_takes_nobody_with_it() {
    let (one, _other, _volume, digest) = registry_with_blob("team/app");
    let peer = FaultProxy::before(one.address);
    let gate = Gate::new();
    let third = SIZE * 3 / 10;
    peer.on(Rule::new("GET", &digest, Fault::HoldAt(third, gate.clone())));
    let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
    let mut first = ask(&entrepot, &digest);
    let begun = first.read_exactly(third as usize - (1 << 20));
    std::thread::scope(|scope| {
        let others: Vec<_> =
            (1..CLIENTS).map(|_| scope.spawn(|| finish(ask(&entrepot, &digest), Vec::new()))).collect();
        eventually("all others wait", || {
            entrepot.metric("entrepot_cache_requests_total", &[("result", "collapsed")]) >= (CLIENTS - 1) as f64
        });
        drop((first, begun));
        gate.open();
        for other in others {
            assert_eq!(other.join().expect("all bytes"), digest);
        }
    });
    assert_eq!((peer.count("GET", &digest), peer.body_bytes()), (1, SIZE));
}

#[test]
fn a_fill_goes_on_when_its_only_client_has_gone() {
    let (one, _other, _volume, digest) = registry_with_blob("team/app");
    let peer = FaultProxy::before(one.address);
    peer.throttle(20 << 20);
    let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
    let mut only = ask(&entrepot, &digest);
    only.read_exactly(SIZE as usize / 3);
    drop(only);
    entrepot.settled();
    assert_eq!(finish(ask(&entrepot, &digest), Vec::new()), digest);
    assert_eq!((peer.count("GET", &digest), peer.body_bytes()), (1, SIZE));
}

#[test]
fn a_peer_killed_at_half_is_taken_over_by_the_other_from_where_it_stopped() {
    let (one, other, _volume, digest) = registry_with_blob("team/app");
    let (first, second) = (FaultProxy::before(one.address), FaultProxy::before(other.address));
    first.on(Rule::new("GET", &digest, Fault::DieAt(SIZE / 2)));
    let backup = format!("[\"{}\", {{ address = \"{}\", backup = true }}]", first.address, second.address);
    let setup = Setup::before(&[first.address]).without_health_checks();
    let entrepot = setup.set("cluster.main.peers", &backup).start();
    let whole = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                assert_eq!(finish(ask(&entrepot, &digest), Vec::new()), digest);
                whole.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(whole.load(Ordering::Relaxed), CLIENTS as u64);
    assert_eq!((first.count("GET", &digest), second.count("GET", &digest)), (1, 1));
    let resumed = second.seen_of("GET", &digest).remove(0);
    let range = resumed.header("range").map(str::to_owned).unwrap_or_default();
    let from: u64 = range.strip_prefix("bytes=").and_then(|rest| rest.split('-').next()?.parse().ok()).unwrap_or(0);
    assert!(from > SIZE / 4 && from <= SIZE / 2, "went on by Range: {range:?}");
    assert_eq!((resumed.status, second.body_bytes()), (206, SIZE - from));
}

#[test]
fn a_fill_that_no_peer_can_end_ends_no_answer_cleanly() {
    let (one, _other, _volume, digest) = registry_with_blob("team/app");
    let peer = FaultProxy::before(one.address);
    peer.on(Rule::new("GET", &digest, Fault::DieAt(SIZE / 2)));
    let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
    let answer = Request::get(format!("/v2/team/app/blobs/{digest}")).send(entrepot.address);
    assert!(!answer.complete || answer.status != 200);
    assert!(answer.body.len() <= SIZE as usize / 2);
    peer.forget_rules();
    peer.revive();
    eventually("the next pull is whole", || {
        let answer = Request::get(format!("/v2/team/app/blobs/{digest}")).send(entrepot.address);
        answer.complete && answer.status == 200 && crate::harness::digest(&answer.body) == digest
    });
}

#[test]
fn a_hundred_clients_of_one_cold_tag_ask_the_peer_a_few_times_at_most() {
    let registry = Registry::debian().start();
    let image = Repository::at(registry.address, "team/app").push_random("v1", 1, 1000);
    let peer = FaultProxy::before(registry.address);
    let gate = Gate::new();
    peer.on(Rule::new("", "/manifests/", Fault::Hold(gate.clone())));
    let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
    std::thread::scope(|scope| {
        let askers: Vec<_> = (0..100)
            .map(|_| scope.spawn(|| Repository::at(entrepot.address, "team/app").get_manifest("v1").expect(200)))
            .collect();
        eventually("the peer is asked", || peer.count("", "/manifests/") > 0);
        std::thread::sleep(std::time::Duration::from_millis(500));
        gate.open();
        for asker in askers {
            assert_eq!(asker.join().expect("an answer"), image.manifest);
        }
    });
    // One for those who came together; a second when it is asked by HEAD first and fetched by digest then.
    assert!(peer.count("", "/manifests/") <= 2, "{}", peer.count("", "/manifests/"));
}
