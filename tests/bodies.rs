//! Where a body ends is told exactly once, whoever sends it and however it ends.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::process::Command;

use bytes::Bytes;
use http::Method;

use crate::harness::h2_client::{End, H2Client, Reply as H2Reply, Streamed};
use crate::harness::registry::tools_folder;
use crate::harness::strict_peer::{Manner, StrictPeer, Taken};
use crate::harness::{
    Authority, Connection, Entrepot, Registry, Repository, Request, Setup, digest, eventually, ports, random_bytes,
    scratch, tools,
};

/// Streams of one connection at a time.
const STREAMS: usize = 8;

fn front_of(peer: &StrictPeer) -> Entrepot {
    Setup::before(&[peer.address]).without_health_checks().start()
}

fn target(name: &str, number: usize) -> String {
    format!("/v2/team/app/blobs/uploads/{name}-{number}")
}

/// A body of `pieces` pieces, which ends so.
fn streamed(name: &str, number: usize, pieces: usize, end: End) -> Streamed {
    let pieces = (0..pieces).map(|piece| Bytes::from(random_bytes((number * 7 + piece) as u64, 700 + piece))).collect();
    Streamed { method: Method::PATCH, target: target(name, number), length: None, pieces, end }
}

fn with_length(mut request: Streamed) -> Streamed {
    request.length = Some(request.pieces.iter().map(Bytes::len).sum());
    request
}

/// Every way in which a client of HTTP/2 may end a body that is whole.
fn whole_bodies(round: usize) -> Vec<Streamed> {
    let name = |way: &str| format!("{way}-{round}");
    (0..STREAMS)
        .flat_map(|number| {
            [
                streamed(&name("on-headers"), number, 0, End::OnHeaders),
                with_length(streamed(&name("on-headers-zero"), number, 0, End::OnHeaders)),
                streamed(&name("on-data"), number, 3, End::OnData),
                streamed(&name("empty-data"), number, 3, End::EmptyData),
                streamed(&name("only-empty-data"), number, 0, End::EmptyData),
                with_length(streamed(&name("zero-then-empty-data"), number, 0, End::EmptyData)),
                with_length(streamed(&name("length-on-data"), number, 2, End::OnData)),
                with_length(streamed(&name("length-then-empty-data"), number, 2, End::EmptyData)),
                streamed(&name("trailers"), number, 2, End::Trailers),
                streamed(&name("only-trailers"), number, 0, End::Trailers),
                with_length(streamed(&name("length-then-trailers"), number, 2, End::Trailers)),
            ]
        })
        .collect()
}

#[track_caller]
fn is_answer_to(reply: Result<H2Reply, h2::Error>, target: &str) {
    let reply = reply.unwrap_or_else(|error| panic!("{target}: {error}"));
    let answers = reply.headers.get("x-answers").and_then(|value| value.to_str().ok());
    assert_eq!((reply.status.as_u16(), answers), (202, Some(target)));
}

/// All of them at once, and again on the connections that they left.
fn every_end_is_told_once(manner: Manner) {
    let peer = StrictPeer::start(manner);
    let entrepot = front_of(&peer);
    let client = H2Client::open(entrepot.address);
    for round in 0..3 {
        let requests = whole_bodies(round);
        let replies = client.send_all(requests.clone());
        for (request, reply) in requests.iter().zip(replies) {
            is_answer_to(reply, &request.target);
        }
        eventually("the peer has read every request to its end", || peer.taken().len() == requests.len() * (round + 1));
        for request in &requests {
            let taken = peer.taken_at(&request.target);
            assert_eq!(taken.len(), 1, "{request:?}");
            assert!(taken[0].complete, "{request:?}");
            assert_eq!(taken[0].body, request.pieces.concat(), "{request:?}");
        }
    }
    assert_eq!(peer.strays(), Vec::<String>::new());
    assert!(peer.connections() < peer.taken().len(), "connections are used again");
}

#[test]
fn the_end_of_a_body_over_h2_is_told_once_however_it_ends() {
    every_end_is_told_once(Manner::Patient);
}

#[test]
fn a_peer_that_answers_before_the_body_ends_hears_its_end_once() {
    every_end_is_told_once(Manner::Early);
}

#[test]
fn the_end_of_a_body_over_http_1_is_told_once_however_it_ends() {
    let peer = StrictPeer::start(Manner::Patient);
    let entrepot = front_of(&peer);
    let bodies: [(&str, &str, &[u8]); 6] = [
        ("Content-Length: 0", "", b""),
        ("Content-Length: 5", "hello", b"hello"),
        ("Transfer-Encoding: chunked", "0\r\n\r\n", b""),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n", b"hello"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\nX-Checksum: 1\r\n\r\n", b"hello"),
        ("Transfer-Encoding: chunked", "1;a=b\r\nh\r\n4\r\nello\r\n00\r\n\r\n", b"hello"),
    ];
    // In one write, and with the body's last bytes on their own.
    for split in [0, 5] {
        let mut connection = Connection::open(entrepot.address).expect("a connection");
        for (number, (framing, body, content)) in bodies.iter().enumerate() {
            let target = target("h1", number + split * 100);
            let head = format!("PATCH {target} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n");
            let cut = body.len() - split.min(body.len());
            connection.send_raw(format!("{head}{}", &body[..cut]).as_bytes()).expect("a connection");
            if cut < body.len() {
                std::thread::sleep(std::time::Duration::from_millis(30));
                connection.send_raw(&body.as_bytes()[cut..]).expect("a connection");
            }
            let answer = connection.read_head().expect("an answer");
            assert_eq!((answer.status(), answer.headers.get("x-answers")), (202, Some(target.as_str())));
            let taken = peer.taken_at(&target);
            assert_eq!(
                taken.iter().map(|taken| (taken.complete, taken.body.as_slice())).collect::<Vec<_>>(),
                [(true, *content)]
            );
        }
    }
    assert_eq!(peer.strays(), Vec::<String>::new());
}

/// None of these requests came to its end at the peer, and the next one is answered as itself.
fn nothing_is_left_behind(peer: &StrictPeer, entrepot: &Entrepot, parts: &[String]) {
    eventually("the peer has seen the bodies break off", || {
        parts.iter().all(|target| peer.taken_at(target).iter().any(|taken| !taken.complete))
    });
    let whole: Vec<Taken> =
        peer.taken().into_iter().filter(|taken| taken.complete && parts.contains(&taken.target)).collect();
    assert!(whole.is_empty(), "{whole:?}");
    let client = H2Client::open(entrepot.address);
    for number in 0..STREAMS {
        is_answer_to(client.send(streamed("after", number, 1, End::EmptyData)), &target("after", number));
    }
    assert_eq!(peer.strays(), Vec::<String>::new());
}

#[test]
fn a_body_that_breaks_off_over_h2_never_looks_whole() {
    let peer = StrictPeer::start(Manner::Patient);
    let entrepot = front_of(&peer);
    let client = H2Client::open(entrepot.address);
    let large = |name: &str, number| {
        let mut request = streamed(name, number, 0, End::Reset);
        // More than one window, so that the front has sent some of it before the reset comes.
        request.pieces = vec![Bytes::from(random_bytes(number as u64, 200_000))];
        request
    };
    let mut requests: Vec<Streamed> = (0..STREAMS).map(|number| large("reset", number)).collect();
    let short = |number| Streamed { length: Some(200_001), end: End::EmptyData, ..large("short", number) };
    requests.extend((0..STREAMS).map(short));
    for reply in client.send_all(requests.clone()) {
        let refused = reply.is_err_and(|error| error.is_reset());
        assert!(refused, "a body that broke off was answered");
    }
    let sent: Vec<String> =
        requests.iter().map(|one| one.target.clone()).filter(|one| !peer.taken_at(one).is_empty()).collect();
    nothing_is_left_behind(&peer, &entrepot, &sent);
}

#[test]
fn a_body_that_breaks_off_over_http_1_never_looks_whole() {
    let peer = StrictPeer::start(Manner::Patient);
    let entrepot = front_of(&peer);
    let mut targets = Vec::new();
    for (number, (framing, body)) in [
        ("Content-Length: 10", "hello"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n"),
        ("Transfer-Encoding: chunked", "a\r\nhello"),
    ]
    .into_iter()
    .enumerate()
    {
        for (way, how) in [Shutdown::Write, Shutdown::Both].into_iter().enumerate() {
            let target = target("cut", number * 10 + way);
            let mut stream = TcpStream::connect(entrepot.address).expect("a connection");
            let head = format!("PATCH {target} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n{body}");
            stream.write_all(head.as_bytes()).expect("a connection");
            std::thread::sleep(std::time::Duration::from_millis(100));
            stream.shutdown(how).expect("a connection");
            targets.push(target);
        }
    }
    nothing_is_left_behind(&peer, &entrepot, &targets);
}

#[test]
fn a_refusal_before_the_bodys_end_reaches_its_own_client() {
    let peer = StrictPeer::start(Manner::Refusing);
    let entrepot = front_of(&peer);
    let client = H2Client::open(entrepot.address);
    for round in 0..3 {
        let requests: Vec<Streamed> =
            (0..STREAMS).map(|number| streamed("refused", number + round * 100, 40, End::EmptyData)).collect();
        for (request, reply) in requests.iter().zip(client.send_all(requests.clone())) {
            // A peer that closes in the middle may take its answer with it; another's answer nobody gets.
            let Ok(reply) = reply else { continue };
            match reply.status.as_u16() {
                401 => assert_eq!(
                    reply.headers.get("x-answers").map(|value| value.as_bytes()),
                    Some(request.target.as_bytes())
                ),
                status => assert!(matches!(status, 502 | 503), "{status}"),
            }
        }
    }
    assert_eq!(peer.strays(), Vec::<String>::new());
}

#[test]
fn the_end_of_a_chunked_answer_is_told_once() {
    let bodies: [(&str, &[u8], &[u8]); 4] = [
        ("plain", b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        ("nothing", b"0\r\n\r\n", b""),
        ("trailers", b"5\r\nhello\r\n0\r\nX-Checksum: 1\r\n\r\n", b"hello"),
        ("pieces", b"1\r\nh\r\n4\r\nello\r\n0\r\n\r\n", b"hello"),
    ];
    let peer = StrictPeer::answering(move |target| {
        let (_, wire, _) = bodies.iter().find(|(name, ..)| target.contains(name)).expect("one of them");
        [&b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"[..], wire].concat()
    });
    let entrepot = front_of(&peer);
    let h2 = H2Client::open(entrepot.address);
    let mut h1 = Connection::open(entrepot.address).expect("a connection");
    for (name, _, content) in bodies {
        let target = format!("/v2/team/{name}/tags/list");
        let (answer, connection) = h1.ask(Request::get(&target)).expect("an answer on the same connection");
        assert_eq!((answer.status, answer.complete, answer.body.as_slice()), (200, true, content), "{name}");
        h1 = connection;
        let request = Streamed { method: Method::GET, target, length: None, pieces: Vec::new(), end: End::OnHeaders };
        let reply = h2.send(request).expect("an answer");
        assert_eq!((reply.status.as_u16(), reply.body.as_slice()), (200, content), "{name}");
    }
}

/// The real thing: pushes as clients of HTTP/2 that do not know their lengths make them. Small ones, so that a connection to
/// the registry has hardly been given back when the next request takes it.
fn streamed_pushes_all_succeed(registry: Registry) {
    let registry = registry.start();
    let entrepot = Setup::before(&[registry.address]).start();
    std::thread::scope(|scope| {
        for client in 0..16u64 {
            let address = entrepot.address;
            scope.spawn(move || {
                let h2 = H2Client::open(address);
                for push in 0..15 {
                    push_streamed(&h2, &random_bytes(client * 1000 + push, 2_000));
                }
            });
        }
    });
    let client = Repository::at(entrepot.address, "team/app");
    assert_eq!(client.get_blob(&digest(&random_bytes(15_014, 2_000))).status, 200);
}

fn push_streamed(h2: &H2Client, blob: &[u8]) {
    let empty =
        |method: Method, target| Streamed { method, target, length: None, pieces: Vec::new(), end: End::EmptyData };
    let step = |request: Streamed, status: u16| {
        let reply = h2.send(request).expect("an answer");
        assert_eq!(reply.status.as_u16(), status, "{reply:?}");
        reply.headers["location"].to_str().expect("text").to_owned()
    };
    let opened = step(empty(Method::POST, "/v2/team/app/blobs/uploads/".into()), 202);
    let pieces = blob.chunks(700).map(Bytes::copy_from_slice).collect();
    let patched = step(Streamed { pieces, ..empty(Method::PATCH, opened) }, 202);
    let mark = if patched.contains('?') { '&' } else { '?' };
    step(empty(Method::PUT, format!("{patched}{mark}digest={}", digest(blob))), 201);
}

#[test]
fn pushes_of_unannounced_length_over_h2_succeed_at_docker_registry() {
    streamed_pushes_all_succeed(Registry::debian());
}

#[test]
fn pushes_of_unannounced_length_over_h2_succeed_at_distribution_v3() {
    streamed_pushes_all_succeed(Registry::v3());
}

/// crane speaks HTTP/1.1 without TLS to addresses that it takes for local ones: 127.0.0.2 it does not.
#[test]
fn crane_pushes_layers_from_its_standard_input() {
    let registry = Registry::v3().start();
    let authority = Authority::new();
    let issued = authority.issue("a", &["127.0.0.2"]);
    let listener = format!("127.0.0.2:{}", ports::free().port());
    let entrepot = Setup::before(&[registry.address])
        .set("listener.1.address", &format!("\"{listener}\""))
        .set("listener.1.tls", &format!("[{{ certificate = {:?}, key = {:?} }}]", issued.certificate, issued.key))
        .start();
    let folder = scratch();
    let append = |number: u64| {
        let layer = folder.path().join(format!("{number}.tar"));
        let file = folder.path().join(format!("{number}.bin"));
        std::fs::write(&file, random_bytes(number, 300_000)).expect("a file");
        tools::run(
            Command::new("tar").arg("-cf").arg(&layer).arg("-C").arg(folder.path()).arg(format!("{number}.bin")),
        );
        let mut crane = Command::new(tools_folder().join("bin/crane"));
        crane.args(["append", "-f", "-", "-t", &format!("{listener}/team/app:v{number}")]);
        crane.env("SSL_CERT_FILE", authority.path()).env("DOCKER_CONFIG", folder.path());
        tools::run(crane.stdin(std::fs::File::open(&layer).expect("the layer")));
    };
    std::thread::scope(|scope| {
        let pushes: Vec<_> = (0..16)
            .map(|number| {
                let append = &append;
                scope.spawn(move || append(number))
            })
            .collect();
        pushes.into_iter().for_each(|push| push.join().expect("crane pushes"));
    });
    let client = Repository::at(entrepot.address, "team/app");
    for number in 0..16 {
        assert_eq!(client.get_manifest(&format!("v{number}")).status, 200);
    }
    let over_h2 = |line: &serde_json::Value| line["protocol"].as_str().is_some_and(|protocol| protocol.contains('2'));
    assert!(entrepot.access_log().iter().any(over_h2), "crane spoke HTTP/2");
}
