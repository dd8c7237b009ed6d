//! Clients that are slow, silent or too many cost nobody else anything.

use std::time::{Duration, Instant};

use crate::harness::{Connection, Entrepot, Registry, Repository, Request, Setup, random_bytes};

fn front(change: impl FnOnce(Setup) -> Setup) -> (crate::harness::Serving, Entrepot) {
    let registry = Registry::debian().start();
    let entrepot = change(Setup::before(&[registry.address])).start();
    (registry, entrepot)
}

/// How long the server bears a connection on which `act` is done again and again.
fn borne(entrepot: &Entrepot, mut act: impl FnMut(&mut Connection) -> std::io::Result<()>) -> Duration {
    let mut connection = Connection::open(entrepot.address).expect("a connection");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(15) && act(&mut connection).is_ok() {
        std::thread::sleep(Duration::from_millis(100));
    }
    let before_the_end = begun.elapsed();
    connection.rest();
    begun.elapsed().max(before_the_end)
}

#[test]
fn a_silent_connection_is_closed() {
    let (_registry, entrepot) = front(|setup| setup.set("listener.0.timeouts", "{ first_byte = \"1s\" }"));
    let begun = Instant::now();
    let rest = Connection::open(entrepot.address).expect("a connection").rest();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}: {rest:?}", begun.elapsed());
}

#[test]
fn a_header_that_drips_is_not_borne_beyond_its_deadline() {
    let (_registry, entrepot) = front(|setup| setup.set("listener.0.timeouts", "{ header = \"1s\" }"));
    let mut bytes = b"GET /v2/ HTTP/1.1\r\nHost: registry\r\nX-A: ".iter().chain(std::iter::repeat(&b'a'));
    let borne = borne(&entrepot, |connection| connection.send_raw(&[*bytes.next().expect("endless")]));
    assert!(borne < Duration::from_secs(8), "{borne:?}");
}

#[test]
fn a_connection_that_is_kept_is_closed_when_nothing_follows() {
    let (_registry, entrepot) = front(|setup| setup.set("listener.0.timeouts", "{ keepalive = \"1s\" }"));
    let connection = Connection::open(entrepot.address).expect("a connection");
    let (_, connection) = connection.ask(Request::get("/v2/")).expect("an answer");
    let begun = Instant::now();
    connection.rest();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn an_upload_that_drips_below_the_minimum_rate_is_ended() {
    let (_registry, entrepot) = front(|setup| {
        setup.set("listener.0.timeouts", "{ body = \"1s\" }").set("listener.0.min_body_rate", "\"1KiB\"")
    });
    let upload = Repository::at(entrepot.address, "team/app").start_upload();
    let mut begun = false;
    let borne = borne(&entrepot, |connection| {
        if !begun {
            begun = true;
            let head = format!("PATCH {upload} HTTP/1.1\r\nHost: registry\r\nContent-Length: 100000\r\n\r\n");
            connection.send_raw(head.as_bytes())?;
        }
        connection.send_raw(b"x")
    });
    assert!(borne < Duration::from_secs(12), "{borne:?}");
}

#[test]
fn one_that_does_not_read_holds_nobody_else_up_and_is_not_the_peer_s_fault() {
    let (registry, entrepot) = front(|setup| setup.set("listener.0.timeouts", "{ body = \"2s\" }"));
    let blob = Repository::at(registry.address, "team/app").push_blob(&random_bytes(1, 40 << 20));
    let client = Repository::at(entrepot.address, "team/app");
    let silent: Vec<_> = (0..5).map(|_| client.request("GET", client.blob(&blob)).open(client.address)).collect();
    let begun = Instant::now();
    client.get_blob(&blob).expect(200);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(entrepot.metric("entrepot_peer_up", &[]), 1.0);
    let cut =
        silent.into_iter().filter(|_| true).map(|download| download.finish()).filter(|answer| !answer.complete).count();
    assert_eq!(cut, 5, "who reads nothing is not waited for");
}

#[test]
fn above_the_limit_of_connections_the_next_waits_for_a_place() {
    let (_registry, entrepot) = front(|setup| setup.set("listener.0.max_connections", "3"));
    let mut held: Vec<_> = (0..3)
        .map(|_| {
            let connection = Connection::open(entrepot.address).expect("a connection");
            connection.ask(Request::get("/v2/")).expect("an answer").1
        })
        .collect();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Request::get("/v2/").send(entrepot.address).status);
        std::thread::sleep(Duration::from_millis(500));
        assert!(!waiting.is_finished());
        held.pop();
        assert_eq!(waiting.join().expect("an answer"), 200);
    });
}
