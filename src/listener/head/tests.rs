use super::*;

fn scan(head: &[u8]) -> Result<Option<Head>, Refusal> {
    let whole = Scanner::default().advance(head, 64 << 10);
    // However the bytes are cut, the verdict is the same.
    let mut scanner = Scanner::default();
    let mut cut = Ok(None);
    for end in 1..=head.len() {
        cut = scanner.advance(&head[..end], 64 << 10);
        if !matches!(cut, Ok(None)) {
            break;
        }
    }
    assert_eq!(whole, cut, "{:?}", String::from_utf8_lossy(head));
    whole
}

fn status(head: &str) -> u16 {
    match scan(head.as_bytes()) {
        Ok(Some(_)) => 200,
        Ok(None) => 0,
        Err(refusal) => refusal.status,
    }
}

/// A head of one GET with these field lines.
fn with(fields: &str) -> u16 {
    status(&format!("PUT /v2/ HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"))
}

#[test]
fn what_clients_send_is_let_through() {
    for head in [
        "GET / HTTP/1.1\r\nHost: registry.example.com:5000\r\nUser-Agent: x\r\nAccept: */*\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET /v2/a%2Fb?x=[1] HTTP/1.1\r\nHost:[::1]:80\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: a \r\n\r\n",
        "GET HTTP://A:80/x HTTP/1.1\r\nHost: a:80\r\nX-Empty:\r\nX-Text: \u{e9}\t\"\r\n\r\n",
        "PATCH / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nConnection: keep-alive, TE\r\n\r\n",
    ] {
        assert_eq!(status(head), 200, "{head:?}");
    }
}

#[test]
fn the_framing_is_read() {
    let framing = |fields: &str| {
        let head = format!("PUT / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let found = scan(head.as_bytes()).unwrap().unwrap();
        assert_eq!(found.length, head.len());
        found.framing
    };
    assert_eq!(framing(""), Framing::None);
    assert_eq!(framing("Content-Length: 0\r\n"), Framing::None);
    assert_eq!(framing("content-length:\t0042 \r\n"), Framing::Length(42));
    assert_eq!(framing("Content-Length: 9223372036854775807\r\n"), Framing::Length(i64::MAX as u64));
    assert_eq!(framing("Transfer-Encoding: chunked\r\n"), Framing::Chunked);
}

#[test]
fn bytes_after_the_head_are_not_part_of_it() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let found = Scanner::default().advance(&[&head[..], b"GET /second"].concat(), 64 << 10);
    let found = found.map(|found| found.map(|found| (found.length, found.framing)));
    assert_eq!(found, Ok(Some((head.len(), Framing::None))));
}

#[test]
fn request_lines_that_are_refused() {
    for (line, expected) in [
        ("GET /", 400),
        ("GET  / HTTP/1.1", 400),
        ("GET / x HTTP/1.1", 400),
        (" GET / HTTP/1.1", 400),
        ("G\u{0}T / HTTP/1.1", 400),
        ("GE(T / HTTP/1.1", 400),
        ("GET /\u{7f} HTTP/1.1", 400),
        ("GET /caf\u{e9} HTTP/1.1", 400),
        ("GET /a#b HTTP/1.1", 400),
        ("GET /a|b HTTP/1.1", 400),
        ("GET /<a> HTTP/1.1", 400),
        ("GET /a\\b HTTP/1.1", 400),
        ("GET /\u{0} HTTP/1.1", 400),
        ("GET a HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("GET http:// HTTP/1.1", 400),
        ("GET http://u@a/ HTTP/1.1", 400),
        ("GET http://b/ HTTP/1.1", 400),
        ("GET ftp://a/ HTTP/1.1", 400),
        ("GET / HTTP/1.2", 505),
        ("GET / HTTP/2.0", 505),
        ("GET / http/1.1", 400),
        ("GET / HTTP/1.10", 400),
        ("CONNECT a:443 HTTP/1.1", 405),
        ("", 400),
    ] {
        assert_eq!(status(&format!("{line}\r\nHost: a\r\n\r\n")), expected, "{line:?}");
    }
}

#[test]
fn fields_that_are_refused() {
    for (fields, expected) in [
        ("Content-Length: 1\r\nContent-Length: 1", 400),
        ("Content-Length: 1, 1", 400),
        ("Content-Length: +1", 400),
        ("Content-Length: -1", 400),
        ("Content-Length: 0x10", 400),
        ("Content-Length: 1 2", 400),
        ("Content-Length:", 400),
        ("Content-Length: 9223372036854775808", 400),
        ("Content-Length: 99999999999999999999999999", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked, chunked", 400),
        ("Transfer-Encoding: chunked;q=1", 400),
        ("Transfer-Encoding: chunked,", 400),
        ("Transfer-Encoding:", 400),
        ("Transfer-Encoding: \u{b}chunked", 400),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: chunked, identity", 501),
        ("Transfer-Encoding: xchunked", 501),
        ("Host: a", 400),
        ("X: a\r\n folded", 400),
        ("X: a\r\n\tfolded", 400),
        ("X : a", 400),
        (": a", 400),
        ("X", 400),
        ("X\u{e9}: a", 400),
        ("X: a\u{0}b", 400),
        ("X: a\rb", 400),
        ("X: a\nY: b", 400),
        ("X: \u{7f}", 400),
        ("Connection: close, Content-Length", 400),
        ("Connection: authorization", 400),
        ("Connection: HOST", 400),
        ("Connection: transfer-encoding", 400),
        ("Connection: Upgrade\r\nUpgrade: h2c", 400),
    ] {
        assert_eq!(with(fields), expected, "{fields:?}");
    }
}

#[test]
fn hosts_that_are_refused() {
    for host in ["", "a b", "a/b", "u@a", "a,b", "a:x", "a:123456", ":80", "[::1", "[]", "[::1]x", "a#", "a\\b"] {
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")), 400, "{host:?}");
    }
    assert_eq!(status("GET / HTTP/1.1\r\nX: y\r\n\r\n"), 400);
    assert_eq!(status("PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
}

#[test]
fn heads_that_are_too_large_are_refused() {
    let many = "X: y\r\n".repeat(100);
    assert_eq!(with(&many), 431);
    let large = format!("X: {}", "y".repeat(64 << 10));
    assert_eq!(with(&large), 431);
    assert_eq!(status(&format!("GET /{}", "y".repeat(64 << 10))), 414);
    assert_eq!(with(&"X: y\r\n".repeat(98)), 200);
}
