use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};

use super::super::SendError;
use super::super::config::Timeouts;
use super::*;
use crate::units::Span;

async fn in_flight(fixture: &Fixture, keys: &str) -> InFlight {
    start(&config(&[peer(fixture.address)], keys)).await.pick(None, &[]).await.unwrap()
}

async fn get(in_flight: &InFlight, path: &str) -> Result<reqwest::Response, SendError> {
    in_flight.peer().send(Method::GET, path, HeaderMap::new(), Bytes::new()).await
}

#[tokio::test]
async fn a_request_reaches_the_peer_as_it_is_over_a_kept_connection() {
    let fixture = Fixture::new(Answer::Status(200, "hello")).await;
    let in_flight = in_flight(&fixture, "").await;
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "registry.example.com"),
        ("accept", "application/x"),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("content-length", "7"),
        ("expect", "100-continue"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for _ in 0..3 {
        let path = "/v2/a/manifests/latest?ns=x%2fy";
        let answer =
            in_flight.peer().send(Method::PUT, path, headers.clone(), Bytes::from_static(b"{}")).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.content_length(), Some(5));
        assert_eq!(answer.bytes().await.unwrap(), "hello");
    }
    assert_eq!(fixture.connections(), 1);
    let requests = fixture.requests.lock();
    assert!(requests[0].starts_with("PUT /v2/a/manifests/latest?ns=x%2fy HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[0].contains("host: registry.example.com\r\n") && requests[0].ends_with("\r\n\r\n{}"));
    assert!(requests[0].contains("content-length: 2\r\n"));
    for absent in ["connection", "transfer-encoding", "expect", "user-agent", "accept-encoding", "referer"] {
        assert!(!requests[0].contains(absent), "{absent} in {}", requests[0]);
    }
}

#[tokio::test]
async fn an_empty_post_says_that_it_is_empty_and_a_get_does_not() {
    let fixture = Fixture::new(Answer::Status(202, "")).await;
    let in_flight = in_flight(&fixture, "").await;
    in_flight.peer().send(Method::POST, "/v2/a/blobs/uploads/", HeaderMap::new(), Bytes::new()).await.unwrap();
    get(&in_flight, "/v2/").await.unwrap();
    let requests = fixture.requests.lock();
    assert_eq!(requests[0].matches("content-length: 0\r\n").count(), 1, "{}", requests[0]);
    assert!(!requests[1].contains("content-length"), "{}", requests[1]);
    assert!(requests[1].contains(&format!("host: {}\r\n", fixture.address)), "{}", requests[1]);
}

#[tokio::test]
async fn a_head_keeps_the_length_in_its_headers() {
    let fixture = Fixture::new(Answer::Status(200, "")).await;
    fixture.answers(Answer::Headers(200, "docker-content-digest: x\r\nx: y"));
    let in_flight = in_flight(&fixture, "").await;
    let answer = in_flight.peer().send(Method::HEAD, "/v2/", HeaderMap::new(), Bytes::new()).await.unwrap();
    assert_eq!(answer.headers()["docker-content-digest"], "x");
    assert_eq!(answer.headers()["content-length"], "0");
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let fixture = Fixture::new(Answer::Headers(307, "location: http://127.0.0.1:1/")).await;
    let answer = get(&in_flight(&fixture, "").await, "/v2/").await.unwrap();
    assert_eq!(answer.status(), 307);
    assert_eq!(fixture.hits(), 1);
}

#[tokio::test]
async fn a_peer_that_does_not_listen_is_a_failed_connection() {
    let fixture = Fixture::new(Answer::Hang).await;
    let in_flight = in_flight(&fixture, "").await;
    drop(fixture);
    tokio::task::yield_now().await;
    let error = get(&in_flight, "/v2/").await.unwrap_err();
    assert!(matches!(error, SendError::Connect(_)) && error.unsent(), "{error:?}");
}

#[tokio::test]
async fn a_silent_peer_is_a_timeout_after_first_byte() {
    let fixture = Fixture::new(Answer::Hang).await;
    let in_flight = in_flight(&fixture, "timeouts = { first_byte = \"100ms\" }").await;
    let start = Instant::now();
    let error = get(&in_flight, "/v2/").await.unwrap_err();
    assert!(error == SendError::Timeout && !error.unsent());
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_stalled_body_is_an_error_after_read_though_a_slow_head_is_not() {
    let fixture = Fixture::new(Answer::Stall).await;
    let in_flight = in_flight(&fixture, "timeouts = { read = \"100ms\", first_byte = \"10s\" }").await;
    let mut answer = get(&in_flight, "/v2/").await.unwrap();
    assert_eq!(answer.content_length(), Some(10));
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "abc");
    tokio::time::sleep(Duration::from_millis(200)).await; // our own slowness is not the peer's
    let start = Instant::now();
    let error = answer.chunk().await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert!(start.elapsed() >= Duration::from_millis(90) && start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_does_not_surface() {
    let fixture = Fixture::new(Answer::Status(200, "")).await;
    // The second request on a connection meets its end after it was read: the race that a keep-alive pool cannot avoid.
    fixture.follows(|number| if number == 0 { Answer::Status(200, "") } else { Answer::Close });
    let in_flight = in_flight(&fixture, "").await;
    for method in [Method::GET, Method::GET, Method::HEAD, Method::GET] {
        let answer = in_flight.peer().send(method, "/v2/", HeaderMap::new(), Bytes::new()).await.unwrap();
        assert_eq!(answer.bytes().await.unwrap(), "");
    }
    get(&in_flight, "/v2/").await.unwrap().bytes().await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await; // the connection is back in the pool
    let post = in_flight.peer().send(Method::POST, "/v2/", HeaderMap::new(), Bytes::new()).await;
    match post {
        Err(SendError::Broken(_)) => {} // not ours to repeat
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_restarted_peer_does_not_surface() {
    let mut fixture = Fixture::new(Answer::Status(200, "")).await;
    let address = fixture.address;
    let in_flight = in_flight(&fixture, "").await;
    for _ in 0..20 {
        get(&in_flight, "/v2/").await.unwrap().bytes().await.unwrap();
        drop(fixture);
        tokio::task::yield_now().await;
        fixture = Fixture::on(address, Answer::Status(200, ""), None).await;
    }
    get(&in_flight, "/v2/").await.unwrap();
}

#[tokio::test]
async fn a_peer_that_answers_nothing_is_asked_twice_at_most() {
    let fixture = Fixture::new(Answer::Close).await;
    let error = get(&in_flight(&fixture, "").await, "/v2/").await.unwrap_err();
    assert!(matches!(error, SendError::Broken(_)) && error.is_peers_fault(), "{error:?}");
    assert_eq!(fixture.hits(), 2);
}

#[tokio::test]
async fn idle_connections_are_bounded() {
    let fixture = Fixture::new(Answer::Status(200, "")).await;
    let in_flight = in_flight(&fixture, "keepalive = 2").await;
    for round in [6, 10] {
        let answers = (0..6).map(|_| async { get(&in_flight, "/v2/").await.unwrap().bytes().await.unwrap() });
        futures::future::join_all(answers).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(fixture.connections() <= round, "{} of {round}", fixture.connections());
    }
}

#[tokio::test]
async fn an_object_store_is_asked_at_its_own_host_and_not_followed() {
    let fixture = Fixture::new(Answer::Headers(302, "location: /other")).await;
    let cluster = start(&config(&imaginary(1), "")).await;
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("registry.example.com"));
    headers.insert("range", HeaderValue::from_static("bytes=5-"));
    let url = format!("http://{}/bucket/blob?X-Amz-Signature=a%2Fb", fixture.address);
    let answer = cluster.direct().send_url(&url, headers).await.unwrap();
    assert_eq!((answer.status().as_u16(), fixture.hits()), (302, 1));
    let request = fixture.requests.lock()[0].clone();
    assert!(request.starts_with("GET /bucket/blob?X-Amz-Signature=a%2Fb HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: {}\r\n", fixture.address)) && request.contains("range: bytes=5-\r\n"));
    for bad in ["/relative", "ftp://h/x", "file:///etc/passwd", "http://", &format!("http://h/{}", "x".repeat(20_000))]
    {
        let error = cluster.direct().send_url(bad, HeaderMap::new()).await.unwrap_err();
        assert!(matches!(error, SendError::Invalid(_)) && !error.is_peers_fault(), "{bad}");
    }
}

#[tokio::test]
async fn errors_do_not_tell_the_signed_url() {
    let fixture = Fixture::new(Answer::Close).await;
    let cluster = start(&config(&imaginary(1), "")).await;
    let url = format!("http://{}/x?X-Amz-Signature=secret", fixture.address);
    let broken = cluster.direct().send_url(&url, HeaderMap::new()).await.unwrap_err();
    drop(fixture);
    tokio::task::yield_now().await;
    let refused = cluster.direct().send_url(&url, HeaderMap::new()).await.unwrap_err();
    assert!(matches!((&broken, &refused), (SendError::Broken(_), SendError::Connect(_))), "{broken} {refused}");
    assert!(!format!("{broken:?} {refused:?}").contains("secret"));
}

#[tokio::test]
async fn times_beyond_every_clock_are_for_ever_and_no_panic() {
    let fixture = Fixture::new(Answer::Status(200, "hello")).await;
    let mut config = config(&[peer(fixture.address)], "max_fails = 1");
    let ages = Span(Duration::MAX);
    config.timeouts = Timeouts { connect: ages, first_byte: ages, read: ages, write: ages };
    for span in [
        &mut config.fail_timeout,
        &mut config.slow_start,
        &mut config.queue_timeout,
        &mut config.keepalive_timeout,
        &mut config.resolve_interval,
    ] {
        *span = ages;
    }
    config.peers[0].max_connections = 1;
    let cluster = start(&config).await;
    for _ in 0..3 {
        let in_flight = cluster.pick(None, &[]).await.unwrap();
        assert_eq!(get(&in_flight, "/v2/").await.unwrap().bytes().await.unwrap(), "hello");
        in_flight.failed();
    }
    let held = cluster.pick(None, &[]).await.unwrap();
    let waiting = tokio::spawn(async move { cluster.pick(None, &[]).await.is_ok() });
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(held);
    assert!(waiting.await.unwrap());
}

/// What `front` does with a GET: the next peer until one answers, three at most.
async fn get_anywhere(cluster: &Cluster) -> bool {
    let mut tried = Vec::new();
    while tried.len() < 3 {
        let Ok(in_flight) = cluster.pick(None, &tried).await else { return false };
        if let Ok(answer) = get(&in_flight, "/v2/").await
            && answer.bytes().await.is_ok()
        {
            in_flight.succeeded();
            return true;
        }
        in_flight.failed();
        tried.push(in_flight.peer().id());
    }
    false
}

/// Until each of the crowd has had so many more answers; not for ever, since one of them may have given up.
async fn requests_of_all(answered: &[AtomicUsize], more: usize) {
    let before: Vec<usize> = answered.iter().map(|count| count.load(Ordering::SeqCst)).collect();
    let still = || answered.iter().zip(&before).any(|(count, before)| count.load(Ordering::SeqCst) < before + more);
    let mut looks = 0;
    while still() && looks < 20_000 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        looks += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_restart_in_turn_fail_nobody() {
    let mut peers = [Fixture::new(Answer::Status(200, "x")).await, Fixture::new(Answer::Status(200, "x")).await];
    let cluster = start(&config(&[peer(peers[0].address), peer(peers[1].address)], "")).await;
    let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new([const { AtomicUsize::new(0) }; 8]));
    let mut crowd = JoinSet::new();
    for who in 0..8 {
        let (cluster, over, answered) = (cluster.clone(), over.clone(), answered.clone());
        crowd.spawn(async move {
            while !over.load(Ordering::SeqCst) {
                assert!(get_anywhere(&cluster).await, "request {:?}", answered[who]);
                answered[who].fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    for round in 0..20 {
        let fixture = &mut peers[round % 2];
        let address = fixture.address;
        fixture.stop().await;
        requests_of_all(&*answered, 3).await;
        *fixture = Fixture::on(address, Answer::Status(200, "x"), None).await;
        // Nobody who met the one restart meets the next with the same request, however slow this machine is.
        requests_of_all(&*answered, 3).await;
    }
    over.store(true, Ordering::SeqCst);
    while let Some(done) = crowd.join_next().await {
        done.unwrap();
    }
}
