//! Requests whose framing or syntax is refused, as a client sees it.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn bad_heads_are_answered_with_oci_json_and_closed() {
    let server = Server::start("max_header = \"8KiB\"").await;
    let long = "x".repeat(300_000);
    let many = "X: y\r\n".repeat(101);
    let cases: [(String, u16); 16] = [
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\nHost: a\n\n".into(), 400),
        ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc".into(), 400),
        ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), 400),
        ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc".into(), 400),
        ("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n".into(), 501),
        ("PUT / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".into(), 400),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n".into(), 405),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n".into(), 505),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), 431),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
    ];
    for (request, status) in &cases {
        let answer = server.exchange(request).await;
        let shown = &request[..request.len().min(80)];
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}: {answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{shown:?}: {answer}");
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let json: serde_json::Value = serde_json::from_str(body).unwrap();
        assert!(json["errors"][0]["code"].is_string() && json["errors"][0]["message"].is_string(), "{body}");
    }
    assert_eq!(server.handler.served.load(Relaxed), 0);
    let refused = server.handler.refused.lock().clone();
    assert_eq!(refused.len(), cases.len());
    assert_eq!(refused[11], (405, "CONNECT a:443 HTTP/1.1".into()));
    assert_eq!(server.metric("entrepot_requests_refused_total", "431"), 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_head_after_a_good_request_is_refused_too() {
    let server = Server::start("").await;
    let requests = format!("{}GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", get("/good"));
    let answer = server.exchange(requests).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("/goodHTTP/1.1 400 Bad Request"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_broken_chunked_body_is_never_taken_for_a_request() {
    let server = Server::start("").await;
    for body in ["5\r\nhelloX0\r\n\r\n", "zz\r\n\r\n", "5\nhello\n0\n\n", "-1\r\n\r\n"] {
        let head = "PUT /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut stream = server.connect().await;
        stream.write_all(format!("{head}{body}{}", get("/smuggled")).as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(!answer.contains("smuggled"), "{body:?}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_head_request_is_answered_without_a_body() {
    let server = Server::start("").await;
    let answer = server.exchange("HEAD / HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("\r\n\r\n"), "{answer}");
}
