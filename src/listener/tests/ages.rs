//! Connections that are as old as connections get.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_is_told_that_it_ends_and_loses_no_request() {
    const CLIENTS: u64 = 16;
    let server = Server::start("max_age = \"1s\"").await;
    // Each asks again at once, or a moment later, and so meets the end between two requests or within one.
    let clients = (0..CLIENTS).map(|client| busy(&server, Duration::from_millis(client % 4)));
    let answers: u64 = futures::future::join_all(clients).await.into_iter().sum();
    assert_eq!(server.handler.served.load(Relaxed) as u64, answers);
    assert_eq!(server.metric("entrepot_connections_retired_total", ""), CLIENTS as f64);
}

/// Asks until it is told that the connection ends; how often.
async fn busy(server: &Server, pause: Duration) -> u64 {
    let mut stream = server.connect().await;
    for answers in 1..2_000 {
        stream.write_all(get("/wait/2").as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        let mut body = [0; 6];
        stream.read_exact(&mut body).await.unwrap();
        if head.contains("Connection: close") {
            assert_eq!(read_to_end(&mut stream).await, "");
            return answers;
        }
        tokio::time::sleep(pause).await;
    }
    panic!("it never ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_idle_then_is_closed() {
    let server = Server::start("max_age = \"1s\"").await;
    let mut stream = server.connect().await;
    stream.write_all(get("/").as_bytes()).await.unwrap();
    read_response(&mut stream).await;
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_h2_connection_ends_with_its_last_stream() {
    let server = Server::start("max_age = \"1s\"").await;
    let (mut client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get("http://localhost/wait/2500").body(()).unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap().status(), 200);
    assert!(client.ready().await.is_err(), "GOAWAY");
    tokio::time::timeout(PATIENCE, connection).await.unwrap().unwrap().unwrap();
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(tokio::time::timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    String::from_utf8(bytes).unwrap()
}
