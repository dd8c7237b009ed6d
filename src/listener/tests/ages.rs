//! Connections that are as old as connections get.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_is_told_that_it_ends_and_loses_no_request() {
    let server = Server::start("max_age = \"1s\"").await;
    let mut stream = server.connect().await;
    let mut answers = 0;
    loop {
        stream.write_all(get("/wait/20").as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        let mut body = [0; 6];
        stream.read_exact(&mut body).await.unwrap();
        answers += 1;
        if head.contains("Connection: close") {
            break;
        }
        assert!(answers < 1_000);
    }
    assert_eq!(read_to_end(&mut stream).await, "");
    assert_eq!(server.handler.served.load(Relaxed), answers);
    assert_eq!(server.metric("entrepot_connections_retired_total", ""), 1.0);
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
