//! Every way of every driver leads to the configured endpoint: what a server there hears, and answers.
//!
//! The server is no store: it answers just enough that the library goes on. For GCS it is all there is, since no emulator of
//! it takes the XML requests that `object_store` sends (see conf/entrepot.toml).

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::content;
use super::{part_of, whole_of};
use crate::storage::config::{DriverKind, Encryption};
use crate::storage::{Config, Precondition, Storage};

/// A request as it came: its first line, its Host, and how many bytes followed.
#[derive(Clone, Debug)]
struct Heard {
    line: String,
    host: String,
    bytes: usize,
    head: String,
}

type Ear = Arc<Mutex<Vec<Heard>>>;

const XML: &str = "<?xml version=\"1.0\"?><InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key>\
    <UploadId>upload</UploadId></InitiateMultipartUploadResult>";

async fn server() -> (u16, Ear) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let ear = Ear::default();
    let heard = Arc::clone(&ear);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(hear(client, Arc::clone(&heard)));
        }
    });
    (port, ear)
}

/// One request for each connection.
async fn hear(mut client: TcpStream, ear: Ear) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let field = |name: &str| {
        let fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).next()
    };
    let length = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    client.read_exact(&mut body).await.ok()?;
    // GCS has it so in paths, the others in queries only.
    let line = head.lines().next().unwrap_or_default().replace("%2F", "/");
    let begins = line.starts_with("POST") && line.contains("uploads");
    let answer = if begins {
        XML
    } else if line.starts_with("GET") {
        "stored"
    } else {
        ""
    };
    ear.lock().push(Heard {
        line,
        host: field("host").unwrap_or_default(),
        bytes: length,
        head: head.to_ascii_lowercase(),
    });
    let fields = "ETag: \"tag\"\r\nx-goog-generation: 7\r\nLast-Modified: Sat, 01 Jan 2022 00:00:00 GMT";
    let length = answer.len();
    let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}");
    client.write_all(text.as_bytes()).await.ok()
}

/// Against a server on this port. Keys and accounts are made up.
fn config(kind: DriverKind, port: u16, folder: &std::path::Path) -> Config {
    let account = folder.join("account.json");
    std::fs::write(
        &account,
        format!(
            r#"{{"gcs_base_url":"http://127.0.0.1:{port}","disable_oauth":true,
        "client_email":"","private_key":"","private_key_id":""}}"#
        ),
    )
    .expect("a file");
    Config {
        driver: kind,
        bucket: "wired".into(),
        prefix: "below".into(),
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        access_key_id: (kind == DriverKind::S3).then(|| "id".into()),
        secret_access_key: (kind == DriverKind::S3).then(|| "secret".into()),
        service_account: (kind == DriverKind::Gcs).then_some(account),
        account: (kind == DriverKind::Azure).then(|| "account".into()),
        account_key: (kind == DriverKind::Azure).then(|| "a2V5".into()),
        retries: 0,
        ..Config::default()
    }
}

/// What the server hears of one call; none of them may end elsewhere.
async fn heard_of<T>(ear: &Ear, call: impl Future<Output = T>) -> (T, Vec<Heard>) {
    ear.lock().clear();
    let outcome = call.await;
    (outcome, ear.lock().clone())
}

#[tokio::test]
async fn every_way_of_every_driver_leads_to_the_endpoint() {
    for kind in [DriverKind::S3, DriverKind::Gcs, DriverKind::Azure] {
        let folder = tempfile::tempdir().expect("a folder");
        let (port, ear) = server().await;
        let storage: Arc<Storage> = super::storage(&config(kind, port, folder.path())).await;
        let driver = storage.store();
        for size in [0, 10, (1 << 20) - 1, 1 << 20, 3 << 20] {
            let (put, heard) = heard_of(&ear, driver.put("whole", content(size), Precondition::None)).await;
            put.expect("put");
            let puts = heard.iter().filter(|one| one.line.starts_with("PUT /wired/below/whole") && one.bytes == size);
            assert_eq!(puts.count(), 1, "{kind:?}, {size} bytes: {heard:?}");
        }
        let (id, heard) = heard_of(&ear, driver.multipart_begin("parts")).await;
        let id = id.expect("begun");
        assert!(kind == DriverKind::Azure || heard.len() == 1, "{kind:?}: {heard:?}");
        let (part, heard) = heard_of(&ear, driver.multipart_put(part_of("parts", &id, 0), content(5 << 20))).await;
        part.expect("a part");
        assert!(heard.iter().any(|one| one.line.starts_with("PUT /wired/below/parts?") && one.bytes == 5 << 20));
        let (found, heard) = heard_of(&ear, driver.get("whole", 100)).await;
        assert_eq!(found.expect("an answer").map(|(bytes, _)| bytes), Some(Bytes::from_static(b"stored")), "{kind:?}");
        assert!(heard.iter().all(|one| one.line.starts_with("GET /wired/below/whole")), "{kind:?}: {heard:?}");
        let (size, heard) = heard_of(&ear, driver.size("whole")).await;
        assert!(size.is_ok() && heard.len() == 1 && heard[0].line.starts_with("HEAD /wired/below/whole"), "{heard:?}");
        let (_, heard) = heard_of(&ear, driver.delete("whole")).await;
        assert!(!heard.is_empty(), "{kind:?}: a removal");
        let (_, heard) = heard_of(&ear, driver.list("folder")).await;
        assert!(heard.iter().any(|one| one.line.contains("below/folder")), "{kind:?}: {heard:?}");
        let (_, heard) = heard_of(&ear, driver.multipart_complete(whole_of("parts", &id, Vec::new(), 0))).await;
        assert!(!heard.is_empty(), "{kind:?}: a completion");
    }
}

/// `path_style = false`: the bucket is in the host's name, and nowhere in the path, for every kind of request.
#[tokio::test]
async fn the_bucket_is_in_the_host_or_in_the_path() {
    let folder = tempfile::tempdir().expect("a folder");
    for in_path in [true, false] {
        let (port, ear) = server().await;
        let config = Config {
            endpoint: Some(format!("http://localhost:{port}")),
            path_style: Some(in_path),
            ..config(DriverKind::S3, port, folder.path())
        };
        let storage = super::storage(&config).await;
        let driver = storage.store();
        driver.put("small", content(10), Precondition::None).await.expect("put");
        driver.put("large", content(2 << 20), Precondition::None).await.expect("put");
        driver.get("small", 100).await.expect("read");
        driver.size("small").await.expect("asked");
        let id = driver.multipart_begin("parts").await.expect("begun");
        driver.multipart_put(part_of("parts", &id, 0), content(10)).await.expect("a part");
        let _ = driver.multipart_copy(part_of("parts", &id, 0), "small", 0..5).await;
        let _ = driver.copy("small", "copy").await;
        let address = storage.blob_address(&super::digest("x"), false, std::time::Duration::from_secs(60)).await;
        let address = address.expect("an answer").expect("an address");
        let host = if in_path { "localhost" } else { "wired.localhost" };
        assert_eq!(address.host_str(), Some(host));
        let heard = ear.lock().clone();
        assert!(heard.len() >= 8, "{heard:?}");
        for one in heard {
            assert_eq!(one.host, format!("{host}:{port}"), "{one:?}");
            let path = one.line.split(' ').nth(1).unwrap_or_default();
            assert!(path.starts_with(if in_path { "/wired/below/" } else { "/below/" }), "{one:?}");
        }
    }
}

/// How S3 is to keep what is written is said with whatever makes an object, and signed.
#[tokio::test]
async fn encryption_and_class_are_asked_for_with_every_object_that_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let (port, ear) = server().await;
    let config = Config {
        encryption: Some(Encryption::Kms),
        kms_key: Some("the-key".into()),
        storage_class: Some("STANDARD_IA".into()),
        ..config(DriverKind::S3, port, folder.path())
    };
    let storage: Arc<Storage> = super::storage(&config).await;
    let driver = storage.store();
    let encrypted = ["x-amz-server-side-encryption: aws:kms", "x-amz-server-side-encryption-aws-kms-key-id: the-key"];
    let class = "x-amz-storage-class: standard_ia";
    let says = |one: &Heard, field: &str| one.head.contains(field);
    for (size, blob) in [(10, false), (1 << 20, true)] {
        let (put, heard) = heard_of(&ear, driver.put("whole", content(size), Precondition::None)).await;
        put.expect("put");
        let one = heard.iter().find(|one| one.line.starts_with("PUT")).expect("a PUT");
        assert!(encrypted.iter().all(|field| says(one, field)), "{one:?}");
        assert_eq!(says(one, class), blob, "{size}: {one:?}");
    }
    let (id, heard) = heard_of(&ear, driver.multipart_begin("parts")).await;
    assert!(encrypted.iter().chain([&class]).all(|field| says(&heard[0], field)), "{heard:?}");
    let id = id.expect("begun");
    let (_, heard) = heard_of(&ear, driver.multipart_put(part_of("parts", &id, 0), content(5 << 20))).await;
    assert!(!heard[0].head.contains("x-amz-server-side-encryption"), "S3 takes it with the beginning only: {heard:?}");
}
