//! Clients that are too slow.

use super::*;
use std::time::Instant;

const QUICK: &str = "[timeouts]\nhandshake = \"600ms\"\nfirst_byte = \"600ms\"\nheader = \"800ms\"\nkeepalive = \"600ms\"\nbody = \"1s\"\n";

/// Between these a deadline of `least` must have struck: two sweeps, and a slow machine.
fn assert_took(begun: Instant, least: Duration) {
    let took = begun.elapsed();
    assert!(took >= least && took < least + Duration::from_secs(3), "took {took:?}, not {least:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_is_closed() {
    let server = Server::start(QUICK).await;
    let begun = Instant::now();
    assert_eq!(read_to_end(&mut server.connect().await).await, "");
    assert_took(begun, Duration::from_millis(600));
    assert_eq!(server.metric("entrepot_connections_expired_total", "first_byte"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed() {
    let server = Server::start(QUICK).await;
    let mut stream = server.connect().await;
    stream.write_all(get("/").as_bytes()).await.unwrap();
    read_response(&mut stream).await;
    let begun = Instant::now();
    assert_eq!(read_to_end(&mut stream).await, "");
    assert_took(begun, Duration::from_millis(600));
    assert_eq!(server.metric("entrepot_connections_expired_total", "keepalive"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dripping_head_is_answered_with_408() {
    let server = Server::start(QUICK).await;
    for before in ["", &get("/first")] {
        let (mut reader, mut writer) = server.connect().await.into_split();
        writer.write_all(before.as_bytes()).await.unwrap();
        let begun = Instant::now();
        let drip = tokio::spawn(async move {
            for byte in "GET / HTTP/1.1\r\nHost: a\r\nX: ".bytes().chain(std::iter::repeat(b'y')) {
                if writer.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let mut answer = [0; 4096];
        let mut seen = String::new();
        while let Ok(count @ 1..) = reader.read(&mut answer).await {
            seen.push_str(&String::from_utf8_lossy(&answer[..count]));
            if seen.contains(" 408 ") {
                break;
            }
        }
        assert!(seen.contains("HTTP/1.1 408 Request Timeout"), "{seen}");
        assert_took(begun, Duration::from_millis(800));
        drip.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_body_below_the_least_rate_ends_the_connection() {
    let server = Server::start(&format!("min_body_rate = 1000\n{QUICK}")).await;
    let (mut reader, mut writer) = server.connect().await.into_split();
    writer.write_all(b"PUT /count HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n").await.unwrap();
    let begun = Instant::now();
    let drip = tokio::spawn(async move {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert_eq!(read_to_end(&mut reader).await, "");
    assert_took(begun, Duration::from_millis(900));
    drip.await.unwrap();
    assert_eq!(server.handler.failed.load(Relaxed), 1);
    assert_eq!(server.metric("entrepot_connections_expired_total", "request_body"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_chunked_body_ends_the_connection() {
    let server = Server::start(QUICK).await;
    let begun = Instant::now();
    let answer = server.exchange("PUT /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel").await;
    assert_eq!(answer, "");
    assert_took(begun, Duration::from_millis(900));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_take_the_response_is_closed() {
    let server = Server::start(&format!("send_buffer = 65536\n{QUICK}")).await;
    let mut stream = server.connect().await;
    stream.write_all(get("/size/60000000").as_bytes()).await.unwrap();
    let begun = Instant::now();
    while server.handler.failed.load(Relaxed) == 0 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_took(begun, Duration::from_millis(900));
    assert_eq!(server.metric("entrepot_connections_expired_total", "response_body"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_above_the_least_rate_is_borne() {
    let server = Server::start(&format!("min_body_rate = 100000\nsend_buffer = 4194304\n{QUICK}")).await;
    let mut stream = server.connect().await;
    stream.write_all(get("/size/8000000").as_bytes()).await.unwrap();
    // 1 MB a second, from a send buffer that hides most of it from the server.
    let mut received = 0;
    let mut piece = vec![0; 100_000];
    while received < 4_000_000 {
        received += stream.read(&mut piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(server.handler.failed.load(Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_is_not_blamed_on_the_client() {
    let server = Server::start(QUICK).await;
    let mut stream = server.connect().await;
    stream.write_all(b"PUT /wait/2500 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd").await.unwrap();
    assert_eq!(read_response(&mut stream).await, (200, "waited".into()));
    let answers = protocols::h2_request(server.connect().await, &[("/wait/2500", Bytes::from_static(b"abcd"))]).await;
    assert_eq!(answers, [(200, Bytes::from_static(b"waited"))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_h2_body_fails_its_stream_only() {
    let server = Server::start(QUICK).await;
    let (mut client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = |path: &str| http::Request::put(format!("http://localhost{path}")).body(()).unwrap();
    let (stalled, mut send) = client.send_request(request("/count"), false).unwrap();
    send.send_data(Bytes::from_static(b"some"), false).unwrap();
    let (waiting, _) = client.send_request(request("/wait/2500"), true).unwrap();
    let begun = Instant::now();
    assert!(stalled.await.is_err());
    assert_took(begun, Duration::from_millis(900));
    assert_eq!(waiting.await.unwrap().status(), 200);
    connection.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_h2_connection_is_told_to_go() {
    let server = Server::start(QUICK).await;
    let (client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    let begun = Instant::now();
    tokio::time::timeout(PATIENCE, connection).await.unwrap().unwrap();
    assert_took(begun, Duration::from_millis(600));
    drop(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_h2_connection_that_is_given_what_is_at_hand_is_in_use() {
    let server = Server::start(QUICK).await;
    let (client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..8 {
        let request = http::Request::get("http://localhost/hand/100").body(()).unwrap();
        let (answer, _) = client.clone().ready().await.unwrap().send_request(request, true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(server.metric("entrepot_connections_expired_total", ""), 0.0);
}
