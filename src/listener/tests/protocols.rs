//! Keep-alive, pipelining, h2 by prior knowledge, the PROXY protocol.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_serves_one_request_after_another() {
    let server = Server::start("").await;
    let mut stream = server.connect().await;
    for size in [0, 1, 5_000, 16 << 10, 20_000, 3 << 20] {
        stream.write_all(get(&format!("/size/{size}")).as_bytes()).await.unwrap();
        let (status, body) = read_response(&mut stream).await;
        assert_eq!((status, body.len()), (200, size));
    }
    for body in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"]
    {
        stream.write_all(format!("PUT /count HTTP/1.1\r\nHost: a\r\n{body}").as_bytes()).await.unwrap();
        assert_eq!(read_response(&mut stream).await, (200, "5".into()));
    }
    assert_eq!(server.handle.connections(), 1);
    assert_eq!(server.metric("entrepot_connections_total", ""), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start("").await;
    let mut stream = server.connect().await;
    let chunked = "PUT /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n";
    let sized = "PUT /count HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let requests = [&get("/first"), chunked, &get("/wait/50"), sized, "\r\n", &get("/last")].concat();
    stream.write_all(requests.as_bytes()).await.unwrap();
    for expected in ["/first", "4", "waited", "3", "/last"] {
        assert_eq!(read_response(&mut stream).await, (200, expected.into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_drips_byte_by_byte_is_served() {
    let server = Server::start("").await;
    let mut stream = server.connect().await;
    stream.set_nodelay(true).unwrap();
    let request =
        "PUT /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhi\r\n0\r\nT: v\r\n\r\n";
    for byte in [request, &get("/next")].concat().bytes() {
        stream.write_all(&[byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(read_response(&mut stream).await, (200, "2".into()));
    assert_eq!(read_response(&mut stream).await, (200, "/next".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_0_request_shorter_than_the_h2_preface_is_answered() {
    let server = Server::start("").await;
    let answer = server.exchange("GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("Connection: close"), "{answer}");
    let begins_like_the_preface = server.exchange("PRI * HTTP/1.1\r\n\r\n").await;
    assert!(begins_like_the_preface.starts_with("HTTP/1.1 400"), "{begins_like_the_preface}");
}

/// One GET over h2; the response's status and body.
pub(super) async fn h2_get(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    path: &str,
) -> (u16, Bytes) {
    let (mut client, connection) = h2::client::handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get(format!("http://localhost{path}")).body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let answer = answer_of(response).await;
    connection.abort();
    answer
}

async fn answer_of(response: h2::client::ResponseFuture) -> (u16, Bytes) {
    let response = tokio::time::timeout(PATIENCE, response).await.unwrap().unwrap();
    let status = response.status().as_u16();
    let mut received = Vec::new();
    let mut stream = response.into_body();
    while let Some(bytes) = stream.data().await {
        let bytes = bytes.unwrap();
        stream.flow_control().release_capacity(bytes.len()).unwrap();
        received.extend_from_slice(&bytes);
    }
    (status, received.into())
}

/// Sends one h2 request with a body; the response's status and body.
pub(super) async fn h2_request(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    requests: &[(&str, Bytes)],
) -> Vec<(u16, Bytes)> {
    let (mut client, connection) = h2::client::Builder::new()
        .initial_window_size(4 << 20)
        .initial_connection_window_size(8 << 20)
        .handshake::<_, Bytes>(io)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let mut answers = Vec::new();
    for (path, body) in requests {
        client = client.ready().await.unwrap();
        let request = http::Request::put(format!("http://localhost{path}")).body(()).unwrap();
        let (response, mut send) = client.send_request(request, body.is_empty()).unwrap();
        if !body.is_empty() {
            send.send_data(body.clone(), true).unwrap();
        }
        answers.push(answer_of(response).await);
    }
    connection.abort();
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_a_peer_s_connection_reach_no_client() {
    let server = Server::start("").await;
    let answer = server.exchange("GET /hops HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.ends_with("\r\n\r\n/hops") && !answer.contains("of-a-peer"), "{answer}");
    let (mut client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://localhost/hops").body(()).unwrap();
    let answer = client.send_request(request, true).unwrap().0.await.unwrap();
    assert!(answer.status() == 200 && answer.headers().values().all(|value| value != "of-a-peer"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_with_prior_knowledge_is_served() {
    let server = Server::start("").await;
    let body = Bytes::from(vec![b'y'; 5 << 20]);
    let answers = h2_request(
        server.connect().await,
        &[("/who", Bytes::new()), ("/count", body), ("/size/3000000", Bytes::new())],
    )
    .await;
    assert_eq!(answers[1], (200, Bytes::from((5 << 20).to_string())));
    assert_eq!((answers[2].0, answers[2].1.len()), (200, 3_000_000));
    assert_eq!(server.handler.served.load(Relaxed), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_protocol_names_the_client() {
    let server = Server::start("proxy_protocol = true\ntrusted_proxies = [\"127.0.0.0/8\"]").await;
    let close = "GET /who HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let first = server.exchange(format!("PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n{close}")).await;
    assert!(first.ends_with("192.0.2.7:4711 false plain"), "{first}");
    let mut second = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24".to_vec();
    second.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9].repeat(2));
    second.extend([0, 80, 1, 187]);
    let second = server.exchange([&second[..], close.as_bytes()].concat()).await;
    assert!(second.ends_with("[2001:db8::9]:80 false plain"), "{second}");
    let local = server.exchange([b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00", close.as_bytes()].concat()).await;
    assert!(local.contains("\r\n\r\n127.0.0.1:") && local.ends_with(" true plain"), "{local}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_untrusted_proxy_header_closes_the_connection() {
    let trusting = Server::start("proxy_protocol = true\ntrusted_proxies = [\"127.0.0.1/32\"]").await;
    assert_eq!(trusting.exchange(get("/")).await, "");
    let strict = Server::start("proxy_protocol = true\ntrusted_proxies = [\"10.0.0.0/8\"]").await;
    assert_eq!(strict.exchange(format!("PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n{}", get("/"))).await, "");
    assert_eq!(strict.handler.served.load(Relaxed), 0);
}
