//! What HTTP/2 may say, and how much of it.

use super::*;

type Client = h2::client::SendRequest<Bytes>;

async fn client(server: &Server) -> Client {
    let (client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    tokio::spawn(async move { connection.await.ok() });
    client
}

/// The status of the answer, or the reason why there is none.
async fn status(
    client: &Client,
    request: http::request::Builder,
    body: Option<&'static [u8]>,
) -> Result<u16, h2::Reason> {
    let reason = |error: h2::Error| error.reason().unwrap_or(h2::Reason::NO_ERROR);
    let mut client = client.clone().ready().await.map_err(reason)?;
    let (answer, mut send) = client.send_request(request.body(()).unwrap(), body.is_none()).map_err(reason)?;
    if let Some(body) = body {
        let _ = send.send_data(Bytes::from_static(body), true);
    }
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time");
    answer.map(|answer| answer.status().as_u16()).map_err(reason)
}

fn get(path: &str) -> http::request::Builder {
    http::Request::get(format!("http://localhost{path}"))
}

fn put() -> http::request::Builder {
    http::Request::put("http://localhost/count")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_more_than_a_hundred_fields_is_refused_and_its_connection_goes_on() {
    let server = Server::start("").await;
    let client = client(&server).await;
    let with = |count: usize| (0..count).fold(get("/"), |request, n| request.header(format!("x-{n}"), "y"));
    assert_eq!(status(&client, with(90), None).await, Ok(200));
    assert_eq!(status(&client, with(101), None).await, Ok(431));
    // The same name each time: cookies are cut so.
    let crumbs = (0..101).fold(get("/"), |request, n| request.header("cookie", format!("c{n}=1")));
    assert_eq!(status(&client, crumbs, None).await, Ok(431));
    assert_eq!(status(&client, get("/"), None).await, Ok(200));
    assert_eq!(server.metric("entrepot_requests_refused_total", "431"), 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_and_fields_of_another_protocol_are_refused() {
    let server = Server::start("").await;
    for lengths in
        [&["5", "5"] as &[_], &["5", "05"], &["+5"], &["5, 5"], &["-1"], &["0x5"], &["5 "], &["99999999999999999999"]]
    {
        // A connection each: what is malformed may end it.
        let client = client(&server).await;
        let request = lengths.iter().fold(put(), |request, length| request.header("content-length", *length));
        let answer = status(&client, request, Some(b"hello")).await;
        assert!(matches!(answer, Ok(400) | Err(_)), "{lengths:?}: {answer:?}");
    }
    for (name, value) in [("te", "gzip"), ("host", "elsewhere")] {
        let client = client(&server).await;
        let answer = status(&client, get("/").header(name, value), None).await;
        assert!(matches!(answer, Ok(400) | Err(_)), "{name}: {answer:?}");
    }
    assert_eq!(server.handler.served.load(Relaxed), 0);
    let client = client(&server).await;
    assert_eq!(status(&client, put().header("content-length", "5"), Some(b"hello")).await, Ok(200));
    assert_eq!(status(&client, get("/").header("te", "trailers").header("host", "LocalHost"), None).await, Ok(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_malformed_heads_without_end_is_told_to_calm_down() {
    let server = Server::start("").await;
    let client = client(&server).await;
    let mut refused = 0;
    let ended = loop {
        match status(&client, get("/").header("host", "elsewhere"), None).await {
            Ok(400) => refused += 1,
            other => break other,
        }
        assert!(refused < 100);
    };
    assert!(refused >= 32 && ended.is_err(), "{refused} {ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_heads_that_are_held_end_their_connection_and_no_other() {
    let server = Server::start("").await;
    let (good, greedy) = (client(&server).await, client(&server).await);
    let mut waiting = Vec::new();
    let large = "x".repeat(50 << 10);
    let mut ended = false;
    for _ in 0..120 {
        let Ok(mut ready) = greedy.clone().ready().await else {
            ended = true;
            break;
        };
        let request = get("/wait/10000").header("x-large", &large).body(()).unwrap();
        match ready.send_request(request, true) {
            Ok((answer, _)) => waiting.push(answer),
            Err(_) => {
                ended = true;
                break;
            }
        }
        tokio::task::yield_now().await;
    }
    for answer in waiting {
        let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap();
        ended |= answer.is_err();
    }
    assert!(ended);
    assert_eq!(status(&good, get("/"), None).await, Ok(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_at_hand_is_whole_whatever_its_size() {
    let server = Server::start("").await;
    let mut plain = server.connect().await;
    for size in [0, 1, 4_096, 65_536, 65_537, 3_000_000] {
        let answers = protocols::h2_get(server.connect().await, &format!("/hand/{size}")).await;
        assert_eq!((answers.0, answers.1.len()), (200, size));
        plain.write_all(super::get(&format!("/hand/{size}")).as_bytes()).await.unwrap();
        let (status, body) = read_response(&mut plain).await;
        assert_eq!((status, body.len()), (200, size));
    }
    assert_eq!(server.handler.failed.load(Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_as_long_as_its_head_says_is_cut() {
    let server = Server::start("").await;
    for kind in ["short", "long"] {
        let mut client = client(&server).await.ready().await.unwrap();
        let (answer, _) = client.send_request(get(&format!("/{kind}/10")).body(()).unwrap(), true).unwrap();
        let read = async {
            let mut body = answer.await?.into_body();
            while let Some(bytes) = body.data().await {
                bytes?;
            }
            Ok::<_, h2::Error>(())
        };
        let error = tokio::time::timeout(PATIENCE, read).await.expect("an end in time").expect_err(kind);
        // The client of this test would find it out as well: it is the server that says so.
        assert!(error.is_remote() && error.reason() == Some(h2::Reason::INTERNAL_ERROR), "{kind}: {error}");
    }
    let mut client = client(&server).await.ready().await.unwrap();
    let head = http::Request::head("http://localhost/size/10").body(()).unwrap();
    let answer = client.send_request(head, true).unwrap().0.await.unwrap();
    assert!(answer.headers()[CONTENT_LENGTH] == "10" && answer.body().is_end_stream());
    assert_eq!(server.handler.failed.load(Relaxed), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_taken_back_at_once_does_not_count_as_answered() {
    let server = Server::start("").await;
    let mut stream = server.connect().await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]); // SETTINGS
    // GET, http, and by name of the static table: /hand/5 of localhost.
    let head = [&[0x82, 0x86, 0x04, 7][..], b"/hand/5", &[0x01, 9], b"localhost"].concat();
    bytes.extend([0, 0, head.len() as u8, 1, 5, 0, 0, 0, 1]); // HEADERS: it ends the head and the stream
    bytes.extend(head);
    bytes.extend([0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8]); // RST_STREAM: CANCEL
    stream.write_all(&bytes).await.unwrap();
    let counted = async {
        while server.handler.failed.load(Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.expect("it counts as one that failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_so_many_fields_that_it_would_take_long_to_read_ends_its_connection_and_no_other() {
    let server = Server::start("").await;
    let (good, greedy) = (client(&server).await, client(&server).await);
    let many = (0..600).fold(get("/"), |request, _| request.header("a", ""));
    assert_eq!(status(&greedy, many, None).await, Err(h2::Reason::ENHANCE_YOUR_CALM));
    assert_eq!(status(&good, get("/"), None).await, Ok(200));
    assert_eq!(server.metric("entrepot_requests_refused_total", "431"), 1.0);
    assert_eq!(server.handler.served.load(Relaxed), 1);
}
