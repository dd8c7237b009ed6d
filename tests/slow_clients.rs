//! Clients that are slow, silent or too many cost nobody else anything.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;

use crate::harness::h2_client::{End, H2Client, Streamed};
use crate::harness::{Connection, Entrepot, PATIENCE, Registry, Repository, Request, Setup, random_bytes};

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

/// A socket says nothing of one stream among many: each has its own clock, on the way to a peer and to the registry.
#[test]
fn uploads_over_h2_that_are_silent_empty_or_drip_are_ended_and_others_go_on() {
    let slow = |setup: Setup| {
        setup.set("listener.0.timeouts", "{ body = \"2s\" }").set("listener.0.min_body_rate", "\"1KiB\"")
    };
    let (_registry, passing) = front(slow);
    let storing = slow(Setup::registry()).start();
    for entrepot in [&passing, &storing] {
        let client = Repository::at(entrepot.address, "team/app");
        let h2 = H2Client::open(entrepot.address);
        for piece in [None, Some(Bytes::new()), Some(Bytes::from_static(b"x"))] {
            let (borne, status) =
                h2.drip(Method::PATCH, &client.start_upload(), piece.clone(), Duration::from_secs(20));
            assert!(borne < Duration::from_secs(10), "{piece:?}: {borne:?}");
            assert!(status.is_none_or(|status| status == 408), "{piece:?}: {status:?}");
        }
        let get =
            Streamed { method: Method::GET, target: "/v2/".into(), length: None, pieces: vec![], end: End::OnHeaders };
        assert_eq!(h2.send(get).expect("an answer").status, 200);
        // A GET whose body never ends is answered, and its stream ends with the answer.
        assert_eq!(h2.drip(Method::GET, "/v2/", None, Duration::from_secs(20)).1, Some(200));
    }
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
    // The kernel has the connection and the request; the server does not take it.
    let mut waiting = TcpStream::connect(entrepot.address).expect("a connection");
    waiting.write_all(b"GET /v2/ HTTP/1.1\r\nHost: registry\r\n\r\n").expect("a request");
    waiting.set_read_timeout(Some(Duration::from_millis(500))).expect("a limit");
    let mut status = [0; 12];
    let refused = waiting.read(&mut status).expect_err("no answer yet");
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    held.pop();
    waiting.set_read_timeout(Some(PATIENCE)).expect("a limit");
    waiting.read_exact(&mut status).expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 200");
}
