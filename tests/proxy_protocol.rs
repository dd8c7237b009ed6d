//! The PROXY protocol tells who the client is: required where it is on, and believed from those who may say so.

use crate::harness::{Connection, Entrepot, FaultProxy, Request, Setup};

fn front(trusted: &str) -> (FaultProxy, Entrepot) {
    let peer = FaultProxy::recording();
    let setup = Setup::before(&[peer.address]).without_health_checks();
    let setup = setup.set("listener.0.proxy_protocol", "true");
    let entrepot = setup.set("listener.0.trusted_proxies", trusted).start();
    (peer, entrepot)
}

/// Sends a preamble and a request; what the peer was told of the client, or nothing if the connection was closed.
fn told(peer: &FaultProxy, entrepot: &Entrepot, preamble: &[u8]) -> Option<String> {
    peer.forget_seen();
    let mut connection = Connection::open(entrepot.address).expect("a connection");
    connection.send_raw(preamble).expect("the preamble is sent");
    let _ = connection.write(Request::get("/v2/team/app/tags/list"));
    let answer = connection.answer("GET").ok()?;
    assert_eq!(answer.status, 200);
    peer.seen().first().and_then(|seen| seen.header("x-forwarded-for").map(str::to_owned))
}

/// Version 2, PROXY, TCP over IPv4.
fn version2(command: u8) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([0x20 | command, 0x11, 0, 12, 203, 0, 113, 7, 127, 0, 0, 1, 0xc0, 0x00, 0x13, 0x88]);
    bytes
}

#[test]
fn both_versions_tell_the_client_s_address() {
    let (peer, entrepot) = front("[\"127.0.0.0/8\"]");
    let four = b"PROXY TCP4 203.0.113.7 127.0.0.1 49152 5000\r\n";
    assert_eq!(told(&peer, &entrepot, four).as_deref(), Some("203.0.113.7"));
    let six = b"PROXY TCP6 2001:db8::7 ::1 49152 5000\r\n";
    assert_eq!(told(&peer, &entrepot, six).as_deref(), Some("2001:db8::7"));
    assert_eq!(told(&peer, &entrepot, &version2(1)).as_deref(), Some("203.0.113.7"));
}

#[test]
fn a_balancer_s_own_check_is_the_balancer_s() {
    let (peer, entrepot) = front("[\"127.0.0.0/8\"]");
    assert_eq!(told(&peer, &entrepot, &version2(0)).as_deref(), Some("127.0.0.1"));
    assert_eq!(told(&peer, &entrepot, b"PROXY UNKNOWN\r\n").as_deref(), Some("127.0.0.1"));
}

#[test]
fn connections_without_it_or_with_nonsense_are_closed() {
    let (peer, entrepot) = front("[\"127.0.0.0/8\"]");
    let mut truncated = version2(1);
    truncated[15] = 200;
    for preamble in
        [&b""[..], b"PROXY TCP4 nonsense\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 70000 5000\r\n", &[b'P'; 200], &truncated]
    {
        assert_eq!(told(&peer, &entrepot, preamble), None, "{:?}", String::from_utf8_lossy(preamble));
        assert_eq!(peer.seen().len(), 0);
    }
}

#[test]
fn a_stranger_is_not_believed() {
    let (peer, entrepot) = front("[\"10.0.0.0/8\"]");
    assert_eq!(told(&peer, &entrepot, b"PROXY TCP4 203.0.113.7 127.0.0.1 49152 5000\r\n"), None);
    assert_eq!(told(&peer, &entrepot, b""), None);
    assert_eq!(peer.seen().len(), 0);
}
