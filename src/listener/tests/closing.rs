//! Limits, lingering close, and draining.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn at_the_connection_limit_a_client_waits_until_another_ends() {
    let server = Server::start("max_connections = 2").await;
    let mut first = server.connect().await;
    first.write_all(get("/first").as_bytes()).await.unwrap();
    read_response(&mut first).await;
    let second = server.connect().await;
    let mut third = server.connect().await;
    third.write_all(get("/third").as_bytes()).await.unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(400), third.readable()).await;
    assert!(waited.is_err(), "the third was answered");
    assert_eq!(server.handle.connections(), 2);
    assert_eq!(server.metric("entrepot_connections", ""), 2.0);
    drop(second);
    assert_eq!(read_response(&mut third).await, (200, "/third".into()));
}

/// Sends `size` bytes of a body that is refused at once; the answer must arrive nonetheless.
async fn refused_upload(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite, size: usize) -> (u16, String) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let send = async {
        let head = format!("PUT /413 HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
        writer.write_all(head.as_bytes()).await.unwrap();
        let piece = vec![b'z'; 64 << 10];
        for _ in 0..size / piece.len() {
            if writer.write_all(&piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        let _ = writer.flush().await;
    };
    // A client that reads only when it has sent everything, as many do.
    send.await;
    let (status, body) = read_response(&mut reader).await;
    (status, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_413_reaches_a_client_that_is_still_sending() {
    let server = Server::start("").await;
    assert_eq!(refused_upload(server.connect().await, 8 << 20).await, (413, "too large".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_413_reaches_a_tls_client_that_is_still_sending() {
    let folder = tempfile::tempdir().unwrap();
    let (pem, config) = super::tls::certificate(folder.path(), "a", &["localhost"]);
    let server = Server::start(&config).await;
    let stream = super::tls::connect(&server, &[pem], "localhost", &[]).await;
    assert_eq!(refused_upload(stream, 8 << 20).await, (413, "too large".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_head_reaches_a_client_that_is_still_sending() {
    let server = Server::start("").await;
    let mut request = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n".to_vec();
    request.resize(4 << 20, b'z');
    assert!(server.exchange(request).await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_idle_connections_now_and_busy_ones_after_their_answers() {
    let server = Server::start("").await;
    let mut idle = server.connect().await;
    idle.write_all(get("/").as_bytes()).await.unwrap();
    read_response(&mut idle).await;
    let mut busy = server.connect().await;
    busy.write_all(get("/wait/1500").as_bytes()).await.unwrap();
    let h2_busy = tokio::spawn({
        let stream = server.connect().await;
        async move { protocols::h2_request(stream, &[("/wait/1500", Bytes::new())]).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.handle.stop_accepting().await;
    assert!(TcpStream::connect(server.address()).await.is_err());
    server.handle.drain();
    assert_eq!(read_to_end(&mut idle).await, "");
    while server.handle.connections() != 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let answer = read_to_end(&mut busy).await;
    assert!(answer.contains("Connection: close") && answer.ends_with("waited"), "{answer}");
    assert_eq!(h2_busy.await.unwrap(), [(200, Bytes::from_static(b"waited"))]);
    tokio::time::timeout(PATIENCE, server.handle.drained()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_ends_everything() {
    let server = Server::start("").await;
    let mut busy = server.connect().await;
    busy.write_all(get("/size/100000000").as_bytes()).await.unwrap();
    let _idle = server.connect().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.handle.kill();
    tokio::time::timeout(PATIENCE, server.handle.drained()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_raises_the_limit_without_a_new_socket() {
    let server = Server::start("max_connections = 1").await;
    let _first = server.connect().await;
    let mut second = server.connect().await;
    second.write_all(get("/second").as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let changed: Config = toml::from_str("address = \"127.0.0.1:0\"\nmax_connections = 5").unwrap();
    server.handle.reload(&changed).unwrap();
    assert_eq!(read_response(&mut second).await, (200, "/second".into()));
    let elsewhere: Config = toml::from_str("address = \"127.0.0.1:1\"").unwrap();
    assert!(server.handle.reload(&elsewhere).is_err());
}
