//! Sockets that another process goes on with, and sockets in the file system.

use tokio::net::UnixStream;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_while_nobody_accepts_waits() {
    let server = Server::start("").await;
    server.handle.pause().await;
    let mut waiting = server.connect().await;
    waiting.write_all(get("/waits").as_bytes()).await.unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(300), waiting.readable()).await;
    assert!(waited.is_err() && server.handle.works(), "it was answered");
    server.handle.resume();
    assert_eq!(read_response(&mut waiting).await, (200, "/waits".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_goes_to_another_who_has_the_socket() {
    let server = Server::start("").await;
    let heir = rustix::io::dup(&*server.handle.socket().unwrap()).unwrap();
    server.handle.pause().await;
    let mut waiting = server.connect().await;
    waiting.write_all(get("/waits").as_bytes()).await.unwrap();
    let config: Config = toml::from_str("address = \"127.0.0.1:0\"").unwrap();
    let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
    let socket = crate::sockets::Socket::inherit(heir).unwrap();
    let heir = Listener::at(socket, &config, metrics, None).unwrap();
    assert_eq!(heir.local().tcp(), Some(server.address()));
    let handler = Arc::new(Registrar::default());
    let heir = heir.spawn(handler.clone());
    server.handle.leave();
    server.handle.drain();
    assert_eq!(read_response(&mut waiting).await, (200, "/waits".into()));
    // It is counted when its end was written, which its reader may have read before.
    while handler.served.load(Relaxed) + server.handler.served.load(Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((handler.served.load(Relaxed), server.handler.served.load(Relaxed)), (1, 0));
    server.handle.stop_accepting().await;
    let mut later = TcpStream::connect(heir.local_addr()).await.unwrap();
    later.write_all(get("/later").as_bytes()).await.unwrap();
    assert_eq!(read_response(&mut later).await, (200, "/later".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_left_end_with_their_next_answer_and_not_before() {
    let server = Server::start("").await;
    let mut idle = server.connect().await;
    idle.write_all(get("/first").as_bytes()).await.unwrap();
    read_response(&mut idle).await;
    let mut silent = server.connect().await;
    while server.handle.connections() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.handle.pause().await;
    server.handle.leave();
    // Longer than it takes until the sweeper has looked at them.
    tokio::time::sleep(Duration::from_millis(700)).await;
    for stream in [&mut idle, &mut silent] {
        stream.write_all(get("/last").as_bytes()).await.unwrap();
        let answer = read_to_end(stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("Connection: close"), "{answer}");
    }
    tokio::time::timeout(PATIENCE, server.handle.drained()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_in_the_file_system_serves_both_protocols() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("entrepot.sock");
    let text = format!("address = \"unix:{}\"\ntrusted_proxies = [\"127.0.0.1/32\"]", path.display());
    let config: Config = toml::from_str(&text).unwrap();
    let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
    let handle = Listener::bind(&config, metrics, None).await.unwrap().spawn(Arc::new(Registrar::default()));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(get("/who").as_bytes()).await.unwrap();
    assert_eq!(read_response(&mut stream).await, (200, "127.0.0.1:0 true plain".into()));
    stream.write_all(get("/size/3000000").as_bytes()).await.unwrap();
    assert_eq!(read_response(&mut stream).await.1.len(), 3_000_000);
    let stream = UnixStream::connect(&path).await.unwrap();
    let answers = protocols::h2_request(stream, &[("/count", Bytes::from(vec![0; 100_000]))]).await;
    assert_eq!(answers, [(200, Bytes::from_static(b"100000"))]);
    handle.stop_accepting().await;
    drop(handle);
    assert!(!path.exists());
}
