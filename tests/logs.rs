//! What clients do alone is nobody's alarm: the log has no line above debug from it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use http::Method;

use crate::harness::h2_client::{End, H2Client, Streamed};
use crate::harness::{Authority, Entrepot, Registry, Repository, Request, Setup, eventually, random_bytes};

/// How often each is done: what depends on who is quicker comes out both ways.
const TIMES: usize = 12;
/// More than the kernel takes for a client that reads nothing.
const LARGE: usize = 16 << 20;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket");
    stream
}

/// Ends with RST instead of FIN.
fn reset(stream: TcpStream) {
    let socket = socket2::Socket::from(stream);
    socket.set_linger(Some(Duration::ZERO)).expect("a socket");
}

/// Sends these bytes, reads a little of what comes, and resets.
fn send_and_reset(address: SocketAddr, bytes: &[u8], read: usize) {
    let mut stream = connect(address);
    let _ = stream.write_all(bytes);
    let mut buffer = vec![0; read];
    let _ = stream.read(&mut buffer);
    reset(stream);
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Frames that no client should send, behind a proper beginning.
fn malformed_frames() -> Vec<Vec<u8>> {
    let junk = [0xff; 40];
    vec![
        frame(0, 0, 0, b"data on no stream"),
        frame(0, 0, 1, b"data on an idle stream"),
        frame(1, 5, 1, &junk),
        frame(1, 5, 2, b""),
        frame(3, 0, 1, &[0, 0, 0, 8]),
        frame(4, 0, 0, b"odd"),
        frame(4, 1, 0, b""),
        frame(6, 1, 0, b"12345678"),
        frame(6, 0, 0, b"short"),
        frame(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0]),
        frame(7, 0, 0, b"x"),
        frame(8, 0, 0, &[0, 0, 0, 0]),
        frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        frame(9, 4, 1, &junk),
        b"\xff\xff\xff\0\0\0\0\0\x01".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ]
}

/// Everything by which a client of a plain listener can leave or lie, where `blob` and `upload` are.
fn leave_in_every_way(address: SocketAddr, blob: &str, upload: impl Fn() -> String) {
    for _ in 0..TIMES {
        reset(connect(address));
        drop(connect(address));
        for part in [
            "G",
            "GET /v2/ HT",
            "GET /v2/ HTTP/1.1\r\nHost: a\r\nX: ",
            "\0\x01\x02",
            "GET /v2/ HTTP/1.1\r\nBad Name: x\r\n\r\n",
        ] {
            send_and_reset(address, part.as_bytes(), 1);
        }
        // In the answer.
        send_and_reset(address, format!("GET {blob} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(), 1000);
        send_and_reset(address, format!("GET {blob} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(3).as_bytes(), 0);
        send_and_reset(address, b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n", 0);
        // In the body.
        for (framing, body) in [
            ("Content-Length: 100000", "half"),
            ("Transfer-Encoding: chunked", "5\r\nhello\r\n"),
            ("Transfer-Encoding: chunked", "5\r\nhelloX\r\n"),
            ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\nno colon\r\n\r\n"),
            ("Expect: 100-continue\r\nContent-Length: 5", ""),
        ] {
            let text = format!("PATCH {} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{body}", upload());
            send_and_reset(address, text.as_bytes(), 0);
            let mut stream = connect(address);
            let _ = stream.write_all(text.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read(&mut [0; 1000]);
        }
        for frame in malformed_frames() {
            send_and_reset(address, &[PREFACE, SETTINGS, &frame].concat(), 1000);
        }
        send_and_reset(address, PREFACE, 0);
        send_and_reset(address, &PREFACE[..10], 0);
        // RST_STREAM in the body, and connections that end below their streams.
        let h2 = H2Client::open(address);
        let one = |method: Method, target: String, pieces, end| Streamed { method, target, length: None, pieces, end };
        let half = vec![Bytes::from(random_bytes(1, 100_000))];
        let _ = h2.send(one(Method::PATCH, upload(), half.clone(), End::Reset));
        let _ = h2.send(Streamed { length: Some(5), ..one(Method::PATCH, upload(), half, End::OnData) });
        h2.leave(one(Method::GET, blob.to_owned(), Vec::new(), End::OnHeaders));
        H2Client::open(address).abandon(one(Method::GET, blob.to_owned(), Vec::new(), End::OnHeaders));
    }
}

/// Does it, and says what the log has above debug from it.
#[track_caller]
fn says_nothing(entrepot: &Entrepot, act: impl FnOnce()) {
    let loud = |text: &str| -> Vec<String> {
        let word = |line: &str| line.split(' ').nth(1).map(str::to_owned);
        let loud = |line: &&str| word(line).is_some_and(|level| matches!(level.as_str(), "INFO" | "WARN" | "ERROR"));
        // What it does by itself from time to time, whoever comes: that pulls are recorded, after a minute.
        let by_itself =
            |line: &&str| line.split(' ').nth(2).is_some_and(|room| room.starts_with("entrepot::maintenance"));
        text.lines().filter(loud).filter(|line| !by_itself(line)).map(str::to_owned).collect()
    };
    // It answers a moment before it says so.
    eventually("it says that it is ready", || entrepot.log().contains(" ready version="));
    let before = loud(&entrepot.log());
    act();
    eventually("every connection has ended", || entrepot.metric("entrepot_connections", &[]) == 0.0);
    let after = loud(&entrepot.log());
    assert_eq!(after[before.len()..], Vec::<String>::new());
}

fn upload_of(repository: &Repository, address: SocketAddr) -> String {
    let opened = repository.request("POST", "/v2/team/app/blobs/uploads/").send(address);
    assert_eq!(opened.status, 202);
    opened.header("location").expect("an address").to_owned()
}

#[test]
fn clients_that_leave_or_lie_before_a_cluster_are_no_news() {
    let registry = Registry::debian().start();
    let entrepot = Setup::before(&[registry.address]).start();
    let client = Repository::at(entrepot.address, "team/app");
    let blob = client.push_blob(&random_bytes(1, LARGE));
    says_nothing(&entrepot, || {
        leave_in_every_way(entrepot.address, &client.blob(&blob), || upload_of(&client, entrepot.address));
    });
    assert_eq!(client.get_blob(&blob).status, 200);
}

#[test]
fn clients_that_leave_or_lie_before_the_registry_are_no_news() {
    let entrepot = Setup::registry().start();
    let client = Repository::at(entrepot.address, "team/app");
    let blob = client.push_blob(&random_bytes(1, LARGE));
    says_nothing(&entrepot, || {
        leave_in_every_way(entrepot.address, &client.blob(&blob), || upload_of(&client, entrepot.address));
    });
    assert_eq!(client.get_blob(&blob).status, 200);
}

#[test]
fn handshakes_that_fail_are_no_news() {
    let authority = Authority::new();
    let issued = authority.issue("a", &["localhost"]);
    let tls = format!("[{{ certificate = {:?}, key = {:?} }}]", issued.certificate, issued.key);
    let entrepot = Setup::registry().set("listener.0.tls", &tls).start();
    let alert = |level, description| vec![21, 3, 1, 0, 2, level, description];
    let mut hellos: Vec<Vec<u8>> = (0..=120).step_by(10).flat_map(|kind| [alert(1, kind), alert(2, kind)]).collect();
    hellos.push(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec());
    hellos.push([&[22, 3, 1, 0, 40, 1, 0, 0, 36, 3, 3][..], &[0; 34]].concat());
    hellos.push(vec![22, 3, 1, 0xff, 0xff, 1]);
    hellos.push(vec![0xff; 300]);
    hellos.push(vec![22, 3, 1]);
    says_nothing(&entrepot, || {
        for hello in &hellos {
            send_and_reset(entrepot.address, hello, 1000);
            let mut stream = connect(entrepot.address);
            let _ = stream.write_all(hello);
            let _ = stream.read(&mut [0; 1000]);
        }
        // A client that trusts nobody says so by an alert.
        let mistrusting = Authority::new();
        for _ in 0..TIMES {
            let name = "localhost".try_into().expect("a name");
            let mut tls = rustls::ClientConnection::new(mistrusting.client(&[]), name).expect("a client");
            assert!(tls.complete_io(&mut connect(entrepot.address)).is_err());
        }
    });
}

#[test]
fn lines_of_the_log_are_counted() {
    let entrepot = Setup::registry().start();
    assert!(entrepot.metric("entrepot_log_lines_total", &[("level", "INFO"), ("outcome", "written")]) > 0.0);
    let _ = Request::get("/v2/").send(entrepot.address);
}
