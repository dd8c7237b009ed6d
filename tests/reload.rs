//! SIGHUP changes what we do without a failed request; SIGTERM ends with the last one.

use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{
    Connection, Entrepot, Fault, FaultProxy, Gate, Registry, Repository, Request, Rule, Setup, Stop, digest,
    eventually, ports, random_bytes,
};

/// A download that stands still in the middle, at a peer before a real registry.
fn held_download() -> (crate::harness::Serving, FaultProxy, std::sync::Arc<Gate>, String) {
    let registry = Registry::debian().start();
    let blob = Repository::at(registry.address, "team/app").push_blob(&random_bytes(1, 2 << 20));
    let peer = FaultProxy::before(registry.address);
    let gate = Gate::new();
    peer.on(Rule::new("GET", &blob, Fault::HoldAt(1 << 20, gate.clone())));
    (registry, peer, gate, blob)
}

#[test]
fn a_reload_changes_the_peers_and_ends_no_request() {
    let (_registry, old, gate, blob) = held_download();
    let new = FaultProxy::recording();
    let mut entrepot = Setup::before(&[old.address]).without_health_checks().start();
    let client = Repository::at(entrepot.address, "team/app");
    let held = client.request("GET", client.blob(&blob)).open(client.address);
    let kept = Connection::open(entrepot.address).expect("a connection");
    let (_, kept) = kept.ask(Request::get("/healthz")).expect("an answer");
    let peers = format!("[\"{}\"]", new.address);
    entrepot.reload(|setup| setup.set("cluster.main.peers", &peers), "ok");
    old.forget_seen();
    let (answer, _) = kept.ask(Request::get("/v2/other/app/tags/list")).expect("the same connection");
    assert_eq!((answer.status, new.count("GET", "/tags/list"), old.count("", "/tags/list")), (200, 1, 0));
    gate.open();
    assert_eq!(digest(&held.finish().expect(200)), blob);
}

#[test]
fn a_reload_adds_and_removes_listeners() {
    let registry = Registry::debian().start();
    let mut entrepot = Entrepot::before(&[registry.address]);
    let (first, second) = (entrepot.address, ports::free());
    entrepot.reload(|setup| setup.set("listener.1.address", &format!("\"{second}\"")), "ok");
    eventually("the second listens", || TcpStream::connect(second).is_ok());
    Request::get("/v2/").send(first).expect(200);
    Request::get("/v2/").send(second).expect(200);
    entrepot.reload(|setup| setup.set("listener", &format!("[{{ address = \"{second}\" }}]")), "ok");
    eventually("the first listens no more", || TcpStream::connect(first).is_err());
    Request::get("/v2/").send(second).expect(200);
}

#[test]
fn a_bad_file_is_refused_with_its_reason_and_the_old_one_goes_on() {
    let registry = Registry::debian().start();
    let mut entrepot = Entrepot::before(&[registry.address]);
    let good = entrepot.setup.text();
    let bad = [
        good.replace("threads", "treads"),
        good.replace("[[route]]", "[[route"),
        good.replace("cluster.main\"", "cluster.absent\""),
        String::new(),
        format!("{good}\n[nonsense]\nkey = 1\n"),
    ];
    for text in bad {
        entrepot.reload_text(&text, "refused");
        Request::get("/v2/").send(entrepot.address).expect(200);
        assert!(entrepot.is_ready());
    }
    assert!(entrepot.log().contains("treads"), "{}", entrepot.log());
    // What only fails when it is tried: nothing of the file counts, also not what came before it.
    let elsewhere = crate::harness::ports::free();
    let moved = good.replace(&entrepot.address.to_string(), &elsewhere.to_string());
    let half_good = moved.replace(&entrepot.access_log_path().display().to_string(), "/nonexistent/folder/access.log");
    assert!(half_good != moved && moved != good);
    entrepot.reload_text(&half_good, "refused");
    Request::get("/v2/").send(entrepot.address).expect(200);
    assert!(std::net::TcpStream::connect(elsewhere).is_err());
    entrepot.reload_text(&good, "ok");
}

#[test]
fn reloads_under_load_fail_no_request() {
    let (one, other, _volume) = Registry::pair();
    let mut entrepot = Entrepot::before(&[one.address, other.address]);
    let image = Repository::at(entrepot.address, "team/app").push_random("v1", 1, 100_000);
    let (address, stop, done) = (entrepot.address, Stop::default(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let guard = stop.guard();
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let client = Repository::at(address, "team/app");
                    while !stop.is_set() {
                        client.get_manifest("v1").expect(200);
                        assert_eq!(digest(&client.get_blob(&image.layers[0]).expect(200)), image.layers[0]);
                        done.fetch_add(2, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for round in 0..10 {
            let ttl = format!("\"{}s\"", 30 + round);
            entrepot.reload(|setup| setup.set("cluster.main.verdict_ttl", &ttl), "ok");
        }
        drop(guard);
        workers.into_iter().for_each(|worker| worker.join().expect("no request failed"));
    });
    assert!(done.load(Ordering::Relaxed) > 50, "{done:?}");
}

#[test]
fn sigterm_lets_a_download_end_and_accepts_no_other() {
    let (_registry, peer, gate, blob) = held_download();
    let mut entrepot = Setup::before(&[peer.address]).start();
    let address = entrepot.address;
    let client = Repository::at(address, "team/app");
    let held = client.request("GET", client.blob(&blob)).open(address);
    entrepot.process().signal(Signal::TERM);
    eventually("nothing is accepted any more", || TcpStream::connect(address).is_err());
    assert!(entrepot.process().is_running());
    gate.open();
    assert_eq!(digest(&held.finish().expect(200)), blob);
    let status = entrepot.process().wait(Duration::from_secs(10)).expect("it ends with the last request");
    assert!(status.success(), "{status}");
}

#[test]
fn sigterm_ends_at_the_timeout_whatever_still_runs() {
    let (_registry, peer, _gate, blob) = held_download();
    let mut entrepot = Setup::before(&[peer.address]).set("drain.timeout", "\"1s\"").start();
    let client = Repository::at(entrepot.address, "team/app");
    let _held = client.request("GET", client.blob(&blob)).open(entrepot.address);
    let begun = Instant::now();
    entrepot.process().signal(Signal::TERM);
    assert!(entrepot.process().wait(Duration::from_secs(10)).is_some(), "it ends at the timeout");
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
}

#[test]
fn sigterm_says_not_ready_before_it_stops_accepting() {
    let registry = Registry::debian().start();
    let mut entrepot = Setup::before(&[registry.address]).set("drain.delay", "\"2s\"").start();
    assert!(entrepot.is_ready());
    let begun = Instant::now();
    entrepot.process().signal(Signal::TERM);
    eventually("it says not ready", || !entrepot.is_ready());
    assert_eq!(Request::get("/readyz").send(entrepot.admin).status, 503);
    Request::get("/v2/").send(entrepot.address).expect(200);
    assert!(entrepot.process().wait(Duration::from_secs(10)).is_some_and(|status| status.success()));
    assert!(begun.elapsed() >= Duration::from_millis(1900), "{:?}", begun.elapsed());
}

#[test]
fn idle_connections_do_not_hold_an_end_up() {
    let registry = Registry::debian().start();
    let mut entrepot = Entrepot::before(&[registry.address]);
    let kept = Connection::open(entrepot.address).expect("a connection");
    let (_, _kept) = kept.ask(Request::get("/v2/")).expect("an answer");
    let _silent = Connection::open(entrepot.address).expect("a connection");
    let begun = Instant::now();
    entrepot.terminate();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
