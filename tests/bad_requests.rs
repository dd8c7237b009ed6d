//! Bad requests get exact answers, and no peer hears of them.

use crate::harness::http::Download;
use crate::harness::{Connection, Entrepot, FaultProxy, Setup};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn front() -> (FaultProxy, Entrepot) {
    let peer = FaultProxy::recording();
    let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
    (peer, entrepot)
}

/// Sends bytes as they are and reads the answer.
fn send(entrepot: &Entrepot, bytes: &[u8]) -> Download {
    let mut connection = Connection::open(entrepot.address).expect("a connection");
    // It may be refused before everything is sent.
    let _ = connection.send_raw(bytes);
    connection
        .answer("GET")
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&bytes[..bytes.len().min(200)])))
}

#[test]
fn bad_paths_are_answered_with_the_code_that_says_why_and_reach_no_peer() {
    let (peer, entrepot) = front();
    let long = "a".repeat(256);
    let parts = vec!["a"; 130].join("/");
    let upper = DIGEST.to_uppercase();
    let digest_cases = [
        "sha256:abc",
        "sha256:",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        &upper[..],
        "sha256",
        "sha256:zz",
        "sha512:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ];
    let mut cases: Vec<(String, String, u16, &str)> = vec![
        ("GET".into(), format!("/v2/{long}/manifests/v1"), 404, "NAME_UNKNOWN"),
        ("GET".into(), format!("/v2/{parts}/manifests/v1"), 404, "NAME_UNKNOWN"),
        ("GET".into(), "/v2/Upper/Case/manifests/v1".into(), 404, "NAME_UNKNOWN"),
        ("GET".into(), "/v2/a/../b/manifests/v1".into(), 404, "NAME_UNKNOWN"),
        ("GET".into(), "/v2/../v2/a/manifests/v1".into(), 404, "NAME_UNKNOWN"),
        ("GET".into(), "/v2/a/%2e%2e/b/manifests/v1".into(), 404, "NAME_UNKNOWN"),
        ("GET".into(), "/v2/a%2fb/manifests/v1".into(), 404, "NAME_UNKNOWN"),
        ("GET".into(), "/v2/a%2Fb/tags/list".into(), 404, "NAME_UNKNOWN"),
        ("GET".into(), "/v2/a//b/manifests/v1".into(), 404, "NAME_UNKNOWN"),
        ("GET".into(), "/v2/a/./b/manifests/v1".into(), 404, "NAME_UNKNOWN"),
        ("GET".into(), "/v2/a%00b/manifests/v1".into(), 404, "NAME_UNKNOWN"),
        ("GET".into(), "/v2/a\\b/manifests/v1".into(), 400, "UNSUPPORTED"),
        ("GET".into(), "/v2/-a/manifests/v1".into(), 404, "NAME_UNKNOWN"),
        ("GET".into(), "/v2/a_/manifests/v1".into(), 404, "NAME_UNKNOWN"),
        ("GET".into(), "//v2/a/manifests/v1".into(), 400, "NAME_INVALID"),
        ("GET".into(), "/%762/a/manifests/v1".into(), 400, "NAME_INVALID"),
        ("GET".into(), format!("/v2/a/manifests/{}", "t".repeat(129)), 404, "MANIFEST_UNKNOWN"),
        ("GET".into(), "/v2/a/manifests/.hidden".into(), 404, "MANIFEST_UNKNOWN"),
        ("GET".into(), "/v2/a/manifests/a%20b".into(), 404, "MANIFEST_UNKNOWN"),
        ("GET".into(), "/v2/x/manifests/.INVALID".into(), 404, "MANIFEST_UNKNOWN"),
        ("GET".into(), "/v2/x/manifests/-x".into(), 404, "MANIFEST_UNKNOWN"),
        ("GET".into(), "/v2/x/blobs/nodigest".into(), 404, "BLOB_UNKNOWN"),
        ("GET".into(), "/v2/RC/bb/tags/list".into(), 404, "NAME_UNKNOWN"),
        ("GET".into(), "/v2/a/../../etc/passwd".into(), 404, "NAME_UNKNOWN"),
        ("GET".into(), "/v2/a%00b".into(), 404, "NAME_UNKNOWN"),
        ("DELETE".into(), "/v2/a/../b/manifests/v1".into(), 404, "NAME_UNKNOWN"),
        ("DELETE".into(), "/v2/a/manifests/.hidden".into(), 404, "MANIFEST_UNKNOWN"),
        ("DELETE".into(), "/v2/a/blobs/sha256:abc".into(), 404, "BLOB_UNKNOWN"),
        ("PUT".into(), "/v2/a/../b/manifests/v1".into(), 400, "NAME_INVALID"),
        ("PUT".into(), "/v2/a%2fb/manifests/v1".into(), 400, "NAME_INVALID"),
        ("PUT".into(), "/v2/a/manifests/.hidden".into(), 400, "TAG_INVALID"),
        ("PUT".into(), "/v2/a/manifests/sha256:abc".into(), 400, "DIGEST_INVALID"),
        ("POST".into(), "/v2/Upper/Case/blobs/uploads/".into(), 400, "NAME_INVALID"),
        ("PUT".into(), "/v2/a/blobs/uploads/abc".into(), 400, "DIGEST_INVALID"),
        ("PUT".into(), "/v2/a/blobs/uploads/abc?digest=sha256:abc".into(), 400, "DIGEST_INVALID"),
        ("POST".into(), "/v2/a/blobs/uploads/?digest=sha256:abc".into(), 400, "DIGEST_INVALID"),
        ("PATCH".into(), "/v2/a/blobs/uploads/..".into(), 400, "BLOB_UPLOAD_INVALID"),
        ("GET".into(), "/v2/a".into(), 404, "NAME_UNKNOWN"),
        ("GET".into(), "/v2/a/nothing/here".into(), 404, "NAME_UNKNOWN"),
        ("POST".into(), format!("/v2/a/blobs/{DIGEST}"), 405, "UNSUPPORTED"),
        ("PUT".into(), "/v2/".into(), 405, "UNSUPPORTED"),
        ("DELETE".into(), "/v2/a/tags/list".into(), 405, "UNSUPPORTED"),
        ("PATCH".into(), "/v2/a/manifests/v1".into(), 405, "UNSUPPORTED"),
    ];
    for digest in digest_cases {
        cases.push(("GET".into(), format!("/v2/a/blobs/{digest}"), 404, "BLOB_UNKNOWN"));
    }
    cases.push(("GET".into(), "/v2/a/referrers/sha256:abc".into(), 400, "DIGEST_INVALID"));
    cases.push(("GET".into(), "/v2/a/manifests/sha256:abc".into(), 404, "MANIFEST_UNKNOWN"));
    let mut wrong = Vec::new();
    for (method, path, status, code) in cases {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: registry\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let answer = send(&entrepot, request.as_bytes()).finish();
        if (answer.status, answer.error_code().as_str()) != (status, code) {
            wrong.push(format!("{method} {path}: {} {} instead of {status} {code}", answer.status, answer.text()));
        }
        assert_eq!(answer.status == 405, answer.header("allow").is_some(), "{method} {path}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(peer.seen().len(), 0);
}

/// RFC 9110, 9.3.2: the same fields, no body, and the connection goes on.
#[test]
fn a_head_of_what_cannot_exist_is_a_404_without_a_body() {
    let (peer, entrepot) = front();
    let mut connection = Some(Connection::open(entrepot.address).expect("a connection"));
    for path in ["/v2/x/manifests/.INVALID", "/v2/x/blobs/nodigest", "/v2/RC/bb/tags/list", "/v2/a/../b/manifests/v1"] {
        for method in ["HEAD", "GET"] {
            let request = crate::harness::Request::new(method, path);
            let (answer, kept) = connection.take().expect("open").ask(request).expect("an answer");
            assert_eq!((answer.status, answer.body.is_empty()), (404, method == "HEAD"), "{method} {path}");
            connection = Some(kept);
        }
    }
    assert_eq!(peer.seen().len(), 0);
}

#[test]
fn bad_framing_is_refused_and_the_connection_closed() {
    let (peer, entrepot) = front();
    let post = "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: registry\r\n";
    let get = "GET /v2/ HTTP/1.1\r\nHost: registry\r\n";
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("two different lengths", format!("{post}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd").into(), 400),
        ("a list of lengths", format!("{post}Content-Length: 3, 4\r\n\r\nabcd").into(), 400),
        ("a length with a sign", format!("{post}Content-Length: +3\r\n\r\nabc").into(), 400),
        ("a length that is no number", format!("{post}Content-Length: 0x3\r\n\r\nabc").into(), 400),
        ("a length beyond any", format!("{post}Content-Length: 99999999999999999999999\r\n\r\n").into(), 400),
        (
            "length and chunked",
            format!("{post}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").into(),
            400,
        ),
        (
            "chunked and length",
            format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n").into(),
            400,
        ),
        ("an unknown coding", format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n").into(), 501),
        ("an unknown coding alone", format!("{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n").into(), 501),
        (
            "chunked twice",
            format!("{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").into(),
            400,
        ),
        (
            "chunked in HTTP/1.0",
            "POST /v2/a/blobs/uploads/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            400,
        ),
        ("no host", "GET /v2/ HTTP/1.1\r\n\r\n".into(), 400),
        ("two hosts", format!("{get}Host: other\r\n\r\n").into(), 400),
        ("a space before the colon", format!("{get}X-A : b\r\n\r\n").into(), 400),
        ("a folded field", format!("{get}X-A: b\r\n c\r\n\r\n").into(), 400),
        ("a NUL in a field", format!("{get}X-A: b\0c\r\n\r\n").into(), 400),
        ("a NUL in the path", b"GET /v2/a\0b/manifests/v1 HTTP/1.1\r\nHost: registry\r\n\r\n".to_vec(), 400),
        ("a space in the path", "GET /v2/a b/manifests/v1 HTTP/1.1\r\nHost: registry\r\n\r\n".into(), 400),
        ("no HTTP", "HELLO\r\n\r\n".into(), 400),
        ("a header of 300 kB", format!("{get}X-A: {}\r\n\r\n", "a".repeat(300_000)).into(), 431),
        ("300 kB of fields", format!("{get}{}\r\n", "X-Some-Field: some value\r\n".repeat(12_000)).into(), 431),
        (
            "a target of 300 kB",
            format!("GET /v2/{} HTTP/1.1\r\nHost: registry\r\n\r\n", "a".repeat(300_000)).into(),
            414,
        ),
        ("an upgrade", format!("{get}Connection: upgrade\r\nUpgrade: websocket\r\n\r\n").into(), 400),
        (
            "an upgrade to h2c",
            format!(
                "{get}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAA\r\n\r\n"
            )
            .into(),
            400,
        ),
        ("a tunnel", "CONNECT registry:443 HTTP/1.1\r\nHost: registry:443\r\n\r\n".into(), 405),
    ];
    let mut wrong = Vec::new();
    for (what, bytes, status) in cases {
        let mut connection = Connection::open(entrepot.address).expect("a connection");
        let _ = connection.send_raw(&bytes);
        let _ = connection.send_raw(b"GET /v2/smuggled/tags/list HTTP/1.1\r\nHost: registry\r\n\r\n");
        let text = String::from_utf8_lossy(&connection.rest()).into_owned();
        let answered = text.matches("HTTP/1.1 ").count();
        let first = text.split(' ').nth(1).unwrap_or_default();
        if first != status.to_string() || answered != 1 {
            wrong.push(format!("{what}: {answered} answers, {first} instead of {status}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(peer.seen().len(), 0, "{:?}", peer.seen());
}

#[test]
fn ranges_that_no_content_has_are_refused_before_a_peer_is_asked_for_it() {
    let registry = crate::harness::Registry::debian().start();
    let blob = crate::harness::Repository::at(registry.address, "a").push_blob(b"0123456789");
    let entrepot = Entrepot::before(&[registry.address]);
    let client = crate::harness::Repository::at(entrepot.address, "a");
    let ask = |range: &str| client.request("GET", client.blob(&blob)).header("Range", range).send(client.address);
    for range in ["bytes=10-20", "bytes=5-4", "bytes=-0", "bytes=99999999999999999999-"] {
        let answer = ask(range);
        assert_eq!((answer.status, answer.header("content-range")), (416, Some("bytes */10")), "{range}");
    }
    for ignored in ["lines=1-2", "bytes=a-b", "bytes", "bytes=", "bytes=1-2-3"] {
        assert_eq!(ask(ignored).expect(200), b"0123456789", "{ignored}");
    }
}

#[test]
fn a_body_that_follows_a_refusal_is_not_taken_for_a_request() {
    let (peer, entrepot) = front();
    let smuggled = "GET /v2/smuggled/tags/list HTTP/1.1\r\nHost: registry\r\n\r\n";
    let request =
        format!("GET /v2/Bad/manifests/v1 HTTP/1.1\r\nHost: registry\r\nContent-Length: {}\r\n\r\n", smuggled.len());
    let mut connection = Connection::open(entrepot.address).expect("a connection");
    connection
        .send_raw(
            format!("{request}{smuggled}GET /v2/Bad/tags/list HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )
        .expect("sent");
    let text = String::from_utf8_lossy(&connection.rest()).into_owned();
    assert!(text.starts_with("HTTP/1.1 404 "), "{text}");
    assert_eq!(peer.seen().len(), 0, "{:?}", peer.seen());
}

#[test]
fn a_body_whose_framing_breaks_is_refused_and_nothing_behind_it_is_a_request() {
    let (_peer, front) = front();
    let registry = Setup::registry().start();
    let bodies = [
        "10000000000000000\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5;a\0\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        "5\r\nhello\r\n0\r\n: no name\r\n\r\n",
        "5\r\nhello\r\n0\r\nA : b\r\n\r\n",
        "5\r\nhello\r\n0\r\nA: b\r\n folded\r\n\r\n",
        "5\r\nhello\r\n0\r\nA: \0\r\n\r\n",
        "5\r\nhello\r\n0\r\nA\x7f: b\r\n\r\n",
        "5\r\nhello\r\n0\r\nA: b\n\r\n\r\n",
    ];
    let mut wrong = Vec::new();
    for address in [front.address, registry.address] {
        for body in bodies {
            let mut connection = Connection::open(address).expect("a connection");
            let head = "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: registry\r\nTransfer-Encoding: chunked\r\n\r\n";
            let next = "GET /v2/smuggled/tags/list HTTP/1.1\r\nHost: registry\r\n\r\n";
            let _ = connection.send_raw(format!("{head}{body}{next}").as_bytes());
            let text = String::from_utf8_lossy(&connection.rest()).into_owned();
            let answered = text.matches("HTTP/1.1 ").count();
            if !text.starts_with("HTTP/1.1 400 ") || answered != 1 {
                wrong.push(format!("{body:?}: {answered} answers, {}", text.lines().next().unwrap_or_default()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
