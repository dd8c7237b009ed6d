//! What only S3 does: parts of other objects, signed addresses, TLS.

use std::time::Duration;

use bytes::Bytes;

use super::minio::{self, Minio};
use super::{content, digest, whole};
use super::{part_of, whole_of};
use crate::storage::driver::Driver as _;
use crate::storage::{Config, Precondition};

#[tokio::test]
async fn parts_are_made_of_other_objects() {
    let storage = minio::storage().await;
    let driver = storage.store();
    assert!(driver.copies_parts());
    let bytes = content(11 << 20);
    driver.put("from", bytes.clone(), Precondition::None).await.expect("put");
    let size = (6 << 20) + 8;
    let id = driver.multipart_begin("to").await.expect("begun");
    let first = driver.multipart_copy(part_of("to", &id, 0), "from", 0..6 << 20).await.expect("a part");
    let second = driver.multipart_put(part_of("to", &id, 1), Bytes::from_static(b"and more")).await.expect("a part");
    driver.multipart_complete(whole_of("to", &id, vec![first.clone(), second.clone()], size)).await.expect("complete");
    let (_, body) = driver.open("to", 0, None).await.expect("an answer").expect("the object");
    assert!(whole(body).await == [&bytes[..6 << 20], b"and more"].concat());
    // As after an answer that was lost.
    driver
        .multipart_complete(whole_of("to", &id, vec![first.clone(), second.clone()], size))
        .await
        .expect("complete already");
    // What is there is something else.
    assert!(driver.multipart_complete(whole_of("to", "no such id", vec![first, second], size + 1)).await.is_err());
    let missing = driver.multipart_begin("missing").await.expect("begun");
    assert!(driver.multipart_copy(part_of("missing", &missing, 0), "nothing", 0..10).await.is_err());
    assert!(driver.multipart_complete(whole_of("missing", "no such id", vec![], 0)).await.is_err());
}

#[tokio::test]
async fn a_large_object_is_copied_by_parts() {
    let config = tokio::task::spawn_blocking(|| Minio::shared().config()).await.expect("a MinIO");
    let remote = crate::storage::remote::Remote::open(&config).expect("a store").with_small_parts(5 << 20, 5 << 20);
    let bytes = content((16 << 20) + 7);
    remote.put("from", bytes.clone(), Precondition::None).await.expect("put");
    remote.copy("from", "to").await.expect("copied");
    let (copy, version) = remote.get("to", 32 << 20).await.expect("an answer").expect("the copy");
    assert!(copy == bytes);
    assert!(version.0.contains("-4"), "four parts: {version:?}");
}

#[tokio::test]
async fn blobs_are_stored_with_and_without_signed_bytes() {
    let config = tokio::task::spawn_blocking(|| Minio::shared().config()).await.expect("a MinIO");
    for sign_payload in [false, true] {
        let storage = super::storage(&Config { sign_payload, ..config.clone() }).await;
        let bytes = content(2 << 20);
        let key = format!("signed-{sign_payload}");
        storage.store().put(&key, bytes.clone(), Precondition::Absent).await.expect("put");
        let (read, _) = storage.store().get(&key, 2 << 20).await.expect("an answer").expect("the object");
        assert!(read == bytes);
    }
}

#[tokio::test]
async fn the_bucket_may_be_in_the_host_s_name() {
    let config = tokio::task::spawn_blocking(|| Minio::shared().config()).await.expect("a MinIO");
    let endpoint = config.endpoint.as_ref().map(|endpoint| endpoint.replace("127.0.0.1", "localhost"));
    let storage = super::storage(&Config { endpoint, path_style: Some(false), ..config.clone() }).await;
    let (driver, direct) = (storage.store(), super::storage(&config).await);
    for (key, size) in [("small", 10), ("large", 3 << 20)] {
        driver.put(key, content(size), Precondition::Absent).await.expect("put");
        driver.copy(key, &format!("{key}-copy")).await.expect("copied");
        for key in [key.to_owned(), format!("{key}-copy")] {
            let (found, _) = direct.store().get(&key, 3 << 20).await.expect("an answer").expect("the object");
            assert!(found == content(size) && driver.size(&key).await.expect("an answer") == Some(size as u64));
        }
    }
    let id = driver.multipart_begin("parts").await.expect("begun");
    let part = driver.multipart_put(part_of("parts", &id, 0), content(10)).await.expect("a part");
    driver.multipart_complete(whole_of("parts", &id, vec![part], 10)).await.expect("complete");
    assert_eq!(driver.list("").await.expect("a list").files.len(), 5);
    assert!(driver.delete("parts").await.expect("deleted"));
}

#[tokio::test]
async fn an_address_serves_a_blob_to_anybody() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let storage = minio::storage().await;
    storage.blob_put(&digest("x"), Bytes::from_static(b"x")).await.expect("put");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    for (head, body) in [(false, &b"x"[..]), (true, b"")] {
        let address = storage.blob_address(&digest("x"), head, Duration::from_secs(60)).await;
        let address = address.expect("an answer").expect("an address");
        let request = if head { client.head(address.clone()) } else { client.get(address.clone()) };
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{address}");
        assert_eq!(answer.bytes().await.expect("a body"), body);
    }
}

#[tokio::test]
async fn tls_is_spoken_with_a_private_authority() {
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &certificate).expect("a file");
    let start = move || Minio::start(Some((&certificate, &key)));
    let minio = tokio::task::spawn_blocking(start).await.expect("a MinIO");

    let trusting = super::storage(&Config { ca: Some(ca), ..minio.config() }).await;
    let checked = async {
        while let Err(error) = trusting.check().await {
            assert!(matches!(error, crate::storage::Error::Unavailable(_)), "{error}");
        }
    };
    tokio::time::timeout(Duration::from_secs(60), checked).await.expect("it starts");
    trusting.blob_put(&digest("x"), Bytes::from_static(b"x")).await.expect("put");
    let distrusting = super::storage(&Config { retries: 0, ..minio.config() }).await;
    assert!(distrusting.check().await.is_err());
}

#[tokio::test]
async fn wrong_credentials_and_missing_buckets_are_told_apart_from_missing_objects() {
    let config = tokio::task::spawn_blocking(|| Minio::shared().config()).await.expect("a MinIO");
    let stranger = super::storage(&Config { secret_access_key: Some("wrong".into()), ..config.clone() }).await;
    let elsewhere = super::storage(&Config { bucket: "nowhere".into(), ..config }).await;
    for storage in [stranger, elsewhere] {
        for outcome in [
            storage.check().await,
            storage.blob_bytes(&digest("x"), 10).await.map(drop),
            storage.blob_put(&digest("x"), Bytes::from_static(b"x")).await,
        ] {
            assert!(matches!(outcome, Err(crate::storage::Error::Refused(_))), "{outcome:?}");
        }
    }
}
