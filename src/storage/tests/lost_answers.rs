//! Calls that the store carried out, and whose answers were lost: every other request, in every way, on S3 and Azure.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};

use super::azurite::Azurite;
use super::content;
use super::fault_proxy::{Fate, FaultProxy, Loss};
use super::minio::Minio;
use super::{part_of, whole_of};
use crate::storage::config::{DriverKind, Timeouts};
use crate::storage::{Config, Error, Precondition, Storage};
use crate::units::seconds;

const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A storage behind a proxy, and one beside it that goes past it.
struct Behind {
    through: Arc<Storage>,
    direct: Arc<Storage>,
    proxy: FaultProxy,
}

async fn behind(kind: DriverKind, fate: impl Fn(&str, usize) -> Fate + Send + Sync + 'static) -> Behind {
    let place = move || match kind {
        DriverKind::Azure => (Azurite::shared().config(), Azurite::shared().port),
        _ => (Minio::shared().config(), Minio::shared().port),
    };
    let (config, port) = tokio::task::spawn_blocking(place).await.expect("a store");
    let proxy = FaultProxy::start(port, fate).await;
    let endpoint =
        config.endpoint.as_ref().map(|endpoint| endpoint.replace(&port.to_string(), &proxy.port.to_string()));
    let timeouts = Timeouts { connect: seconds(1), request: seconds(10) };
    let through = Config { endpoint, timeouts, retries: 10, ..config.clone() };
    Behind { through: super::storage(&through).await, direct: super::storage(&config).await, proxy }
}

/// Every other request is carried out, and its answer lost.
async fn losing(kind: DriverKind, loss: &Loss) -> Behind {
    let loss = loss.clone();
    behind(kind, move |_, number| if number.is_multiple_of(2) { Fate::Lost(loss.clone()) } else { Fate::Pass }).await
}

type Call = for<'a> fn(&'a Behind) -> BoxFuture<'a, ()>;

const CALLS: &[Call] = &[
    |at| an_object_is_written(at).boxed(),
    |at| an_object_is_created(at).boxed(),
    |at| an_object_is_replaced_again_and_again(at).boxed(),
    |at| an_object_is_deleted(at).boxed(),
    |at| a_folder_is_deleted(at).boxed(),
    |at| objects_are_read(at).boxed(),
    |at| a_folder_is_listed(at).boxed(),
    |at| objects_are_copied(at).boxed(),
    |at| an_object_is_made_of_parts(at).boxed(),
    |at| parts_are_thrown_away(at).boxed(),
];

async fn every_call_succeeds(kind: DriverKind, losses: &[Loss]) {
    for loss in losses {
        let calls = CALLS.iter().map(|call| async {
            let at = losing(kind, loss).await;
            call(&at).await;
        });
        futures::future::join_all(calls).await;
    }
}

/// Without waiting: the connection ends, or something else answers.
fn quick() -> Vec<Loss> {
    let html = "<html>bad gateway</html>";
    let gateway =
        format!("HTTP/1.1 502 Bad Gateway\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{html}", html.len());
    vec![Loss::After(0), Loss::After(20), Loss::Before(1), Loss::Instead(UNAVAILABLE.into()), Loss::Instead(gateway)]
}

#[tokio::test]
async fn whatever_answer_of_s3_is_lost_the_call_was_done() {
    every_call_succeeds(DriverKind::S3, &quick()).await;
}

#[tokio::test]
async fn whatever_answer_of_azure_is_lost_the_call_was_done() {
    every_call_succeeds(DriverKind::Azure, &quick()).await;
}

#[tokio::test]
async fn a_call_whose_answer_never_comes_was_done() {
    tokio::join!(
        every_call_succeeds(DriverKind::S3, &[Loss::Never]),
        every_call_succeeds(DriverKind::Azure, &[Loss::Never])
    );
}

async fn an_object_is_written(at: &Behind) {
    let driver = at.through.store();
    for bytes in [content(10), content(3 << 20)] {
        let version = driver.put("x", bytes.clone(), Precondition::None).await.expect("written");
        let found = at.direct.store().get("x", 4 << 20).await.expect("an answer").expect("the object");
        assert_eq!(found, (bytes, version));
    }
}

async fn an_object_is_created(at: &Behind) {
    let version = at.through.store().put("x", content(10), Precondition::Absent).await.expect("created");
    let found = at.direct.store().get("x", 10).await.expect("an answer").expect("the object");
    assert_eq!(found, (content(10), version));
}

/// As an upload's state is, PATCH after PATCH.
async fn an_object_is_replaced_again_and_again(at: &Behind) {
    let driver = at.through.store();
    let mut version = driver.put("x", content(1), Precondition::None).await.expect("written");
    for size in 2..4 {
        version = driver.put("x", content(size), Precondition::Unchanged(version)).await.expect("replaced");
        let found = at.direct.store().get("x", 10).await.expect("an answer").expect("the object");
        assert_eq!(found, (content(size), version.clone()));
    }
}

async fn an_object_is_deleted(at: &Behind) {
    at.direct.store().put("x", content(10), Precondition::None).await.expect("written");
    assert!(at.through.store().delete("x").await.expect("deleted"));
    assert_eq!(at.direct.store().size("x").await.expect("an answer"), None);
    at.through.store().delete("x").await.expect("nothing is deleted");
}

async fn a_folder_is_deleted(at: &Behind) {
    for key in ["f/one", "f/two/three", "g"] {
        at.direct.store().put(key, content(1), Precondition::None).await.expect("written");
    }
    at.through.store().delete_all("f").await.expect("deleted");
    assert_eq!(at.direct.store().list("f").await.expect("a list").names(), (vec![], vec![]));
    assert_eq!(at.direct.store().size("g").await.expect("an answer"), Some(1));
}

async fn objects_are_read(at: &Behind) {
    let (driver, bytes) = (at.through.store(), content(300_000));
    let version = at.direct.store().put("x", bytes.clone(), Precondition::None).await.expect("written");
    assert_eq!(driver.size("x").await.expect("an answer"), Some(300_000));
    assert_eq!(driver.size("y").await.expect("an answer"), None);
    assert_eq!(driver.version("x").await.expect("an answer"), Some(version.clone()));
    assert_eq!(driver.get("x", 300_000).await.expect("an answer"), Some((bytes.clone(), version)));
    assert_eq!(driver.get("y", 300_000).await.expect("an answer"), None);
    let (_, mut body) = driver.open("x", 100_000, None).await.expect("an answer").expect("the object");
    let mut read = Vec::new();
    while let Some(piece) = body.next().await {
        read.extend_from_slice(&piece.expect("a piece"));
    }
    assert!(read == bytes[100_000..]);
}

async fn a_folder_is_listed(at: &Behind) {
    for key in ["f/one", "f/two/three"] {
        at.direct.store().put(key, content(1), Precondition::None).await.expect("written");
    }
    let found = at.through.store().list("f").await.expect("a list").names();
    assert_eq!(found, (vec!["two".to_owned()], vec!["one".to_owned()]));
    at.through.check().await.expect("it answers");
}

async fn objects_are_copied(at: &Behind) {
    let (driver, bytes) = (at.through.store(), content(300_000));
    at.direct.store().put("from", bytes.clone(), Precondition::None).await.expect("written");
    if driver.abilities().copies {
        driver.copy("from", "to").await.expect("copied");
        let (found, _) = at.direct.store().get("to", 300_000).await.expect("an answer").expect("the copy");
        assert!(found == bytes);
    }
}

async fn an_object_is_made_of_parts(at: &Behind) {
    let (driver, bytes) = (at.through.store(), content((5 << 20) + 100));
    at.direct.store().put("from", bytes.clone(), Precondition::None).await.expect("written");
    let id = driver.multipart_begin("x").await.expect("begun");
    let head = match driver.copies_parts() {
        true => driver.multipart_copy(part_of("x", &id, 0), "from", 0..5 << 20).await.expect("a part"),
        false => driver.multipart_put(part_of("x", &id, 0), bytes.slice(..5 << 20)).await.expect("a part"),
    };
    let tail = driver.multipart_put(part_of("x", &id, 1), bytes.slice(5 << 20..)).await.expect("a part");
    driver.multipart_complete(whole_of("x", &id, vec![head, tail], bytes.len() as u64)).await.expect("complete");
    let (found, _) = at.direct.store().get("x", 6 << 20).await.expect("an answer").expect("the object");
    assert!(found == bytes);
}

async fn parts_are_thrown_away(at: &Behind) {
    let driver = at.through.store();
    let id = driver.multipart_begin("x").await.expect("begun");
    driver.multipart_put(part_of("x", &id, 0), content(100)).await.expect("a part");
    driver.multipart_abort("x", &id).await.expect("aborted");
    assert_eq!(driver.size("x").await.expect("an answer"), None);
}

/// Every other request is refused and not carried out: what is tried again meets what another wrote.
#[tokio::test]
async fn what_another_wrote_is_never_taken_for_ours() {
    for kind in [DriverKind::S3, DriverKind::Azure] {
        let refusing = |_: &str, number: usize| {
            if number.is_multiple_of(2) { Fate::Answer(UNAVAILABLE.into()) } else { Fate::Pass }
        };
        let at = behind(kind, refusing).await;
        let (ours, others) = (Bytes::from_static(b"ours"), Bytes::from_static(b"theirs"));
        let old = at.direct.store().put("x", content(1), Precondition::None).await.expect("written");
        at.direct.store().put("x", others.clone(), Precondition::None).await.expect("written");
        for precondition in [Precondition::Unchanged(old), Precondition::Absent] {
            let put = at.through.store().put("x", ours.clone(), precondition).await;
            assert!(matches!(put, Err(Error::Conflict)), "{put:?}");
        }
        let (found, _) = at.direct.store().get("x", 10).await.expect("an answer").expect("the object");
        assert_eq!(found, others);
        assert!(at.proxy.seen() >= 4);
    }
}

/// Nobody has to read what is there when no answer was lost.
#[tokio::test]
async fn who_comes_second_is_told_so_even_with_the_same_bytes() {
    for kind in [DriverKind::S3, DriverKind::Azure] {
        let at = behind(kind, |_, _| Fate::Pass).await;
        at.direct.store().put("x", content(5), Precondition::None).await.expect("written");
        let put = at.through.store().put("x", content(5), Precondition::Absent).await;
        assert!(matches!(put, Err(Error::Conflict)), "{put:?}");
        assert_eq!(at.proxy.seen(), 1);
    }
}
