//! Stores that are slow, broken or lie.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;

use super::fault_proxy::{Fate, FaultProxy};
use super::minio::Minio;
use super::{content, digest};
use super::{part_of, whole_of};
use crate::oci::{Algorithm, Digest};
use crate::storage::config::Timeouts;
use crate::storage::{Config, Error, Precondition, Storage};
use crate::units::seconds;

const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A storage whose requests go through a proxy; and one beside it, whose do not.
async fn behind(
    fate: impl Fn(&str, usize) -> Fate + Send + Sync + 'static,
) -> (Arc<Storage>, Arc<Storage>, FaultProxy) {
    let config = tokio::task::spawn_blocking(|| Minio::shared().config()).await.expect("a MinIO");
    let proxy = FaultProxy::start(Minio::shared().port, fate).await;
    let through = Config {
        endpoint: Some(format!("http://127.0.0.1:{}", proxy.port)),
        timeouts: Timeouts { connect: seconds(1), request: seconds(2) },
        retries: 20,
        ..config.clone()
    };
    (super::storage(&through).await, super::storage(&config).await, proxy)
}

/// In the time of `[storage.timeouts]` with much to spare, on a busy machine.
async fn soon<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), call).await.expect("an answer in time")
}

fn is_unavailable<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Unavailable(_)))
}

#[tokio::test]
async fn a_store_that_asks_to_slow_down_is_asked_again() {
    let every_third =
        |_: &str, number: usize| if number % 3 == 2 { Fate::Pass } else { Fate::Answer(UNAVAILABLE.into()) };
    let (storage, _, proxy) = behind(every_third).await;
    assert!(!storage.blob_present(&digest("x"), 1).await.expect("an answer"));
    storage.blob_put(&digest("x"), Bytes::from_static(b"x")).await.expect("put");
    assert_eq!(storage.blob_bytes(&digest("x"), 10).await.expect("an answer").as_deref(), Some(&b"x"[..]));
    assert_eq!(proxy.seen(), 9, "three tries each for HEAD, PUT, GET");
}

#[tokio::test]
async fn a_store_that_stays_away_is_an_error_in_time() {
    for fate in [Fate::Answer(UNAVAILABLE.into()), Fate::Silence, Fate::Cut(0)] {
        let (storage, _, _proxy) = behind(move |_, _| fate.clone()).await;
        let (blob, driver) = (digest("x"), storage.store());
        let outcomes = tokio::join!(
            soon(storage.blob_bytes(&blob, 10)),
            soon(storage.blob_size(&blob)),
            soon(storage.check()),
            soon(storage.blob_put(&blob, Bytes::from_static(b"x"))),
            soon(driver.put("x", content(300_000), Precondition::Absent)),
            soon(driver.multipart_begin("x")),
            soon(driver.multipart_put(part_of("x", "id", 0), content(9 << 20))),
            soon(driver.multipart_copy(part_of("x", "id", 0), "y", 0..10)),
        );
        assert!(is_unavailable(&outcomes.0), "{:?}", outcomes.0);
        assert!(is_unavailable(&outcomes.1), "{:?}", outcomes.1);
        assert!(is_unavailable(&outcomes.2), "{:?}", outcomes.2);
        assert!(is_unavailable(&outcomes.3), "{:?}", outcomes.3);
        assert!(is_unavailable(&outcomes.4), "{:?}", outcomes.4);
        assert!(is_unavailable(&outcomes.5), "{:?}", outcomes.5);
        assert!(is_unavailable(&outcomes.6), "{:?}", outcomes.6);
        assert!(is_unavailable(&outcomes.7), "{:?}", outcomes.7);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_or_stands_still_never_ends_cleanly() {
    let bytes = content(2 << 20);
    let blob = Digest::of(Algorithm::Sha256, &bytes);
    for fate in [Fate::Cut(1 << 20), Fate::Stall(1 << 20)] {
        let (storage, direct, _proxy) =
            behind(move |line, _| if line.starts_with("GET") { fate.clone() } else { Fate::Pass }).await;
        direct.blob_put(&blob, bytes.clone()).await.expect("put");
        let mut body = storage.blob_open(&blob, 0).await.expect("an answer").expect("the blob").body;
        let mut read = Vec::new();
        let error = loop {
            match soon(body.next()).await {
                Some(Ok(piece)) => read.extend_from_slice(&piece),
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        // The library asks for the rest again, which breaks off too; all that it gave was right.
        assert!(bytes.starts_with(&read));
        assert_eq!(error.is_some(), read.len() < bytes.len(), "{error:?}");
    }
}

#[tokio::test]
async fn success_with_an_error_in_it_is_an_error() {
    let lie = |code: &str| {
        let body = format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>no</Message></Error>");
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    };
    for code in ["InternalError", "NoSuchKey"] {
        let answer = lie(code);
        let fate = move |line: &str, _| {
            let completes = line.starts_with("POST") && line.contains("uploadId");
            let copies = line.starts_with("PUT") && line.contains("/copy");
            if completes || copies { Fate::Answer(answer.clone()) } else { Fate::Pass }
        };
        let (storage, direct, _proxy) = behind(fate).await;
        let driver = storage.store();
        driver.put("from", content(10), Precondition::None).await.expect("put");
        assert!(soon(driver.copy("from", "copy")).await.is_err());
        assert_eq!(direct.store().size("copy").await.expect("an answer"), None);
        let id = driver.multipart_begin("parts").await.expect("begun");
        let part = driver.multipart_put(part_of("parts", &id, 0), content(10)).await.expect("a part");
        assert!(soon(driver.multipart_complete(whole_of("parts", &id, vec![part], 10))).await.is_err());
        assert!(soon(driver.multipart_copy(part_of("copy", "id", 0), "from", 0..5)).await.is_err());
    }
}

#[tokio::test]
async fn a_full_store_is_said_to_be_full() {
    let body = "<Error><Code>XMinioStorageFull</Code><Message>Storage backend has reached its limit</Message></Error>";
    let length = body.len();
    let answer =
        format!("HTTP/1.1 507 Insufficient Storage\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    let (storage, _, _proxy) = behind(move |_, _| Fate::Answer(answer.clone())).await;
    let put = soon(storage.store().put("x", content(10), Precondition::None)).await;
    assert!(matches!(put, Err(Error::Full(_))), "{put:?}");
}
