//! How the integrated registry's answers travel: connections that live on, `100 Continue`, ranges, HTTP/2, the cache.

use std::io::Read;
use std::process::Output;
use std::time::Duration;

use crate::harness::minio::Minio;
use crate::harness::process::command;
use crate::harness::repository::{OCI_MANIFEST, with_digest};
use crate::harness::{Connection, Entrepot, Repository, Request, Setup, digest, random_bytes, scratch};

fn registry() -> (Entrepot, Repository) {
    let entrepot = Setup::registry().start();
    let repository = Repository::at(entrepot.address, "team/app");
    (entrepot, repository)
}

/// Over a bucket of MinIO.
fn remote() -> (Minio, Entrepot, Repository) {
    let minio = Minio::start(&["bucket"]);
    let entrepot = minio.bucket("bucket").set(Setup::registry()).start();
    let repository = Repository::at(entrepot.address, "team/app");
    (minio, entrepot, repository)
}

const ABSENT: &str = "/v2/team/app/blobs/uploads/0b2fd56c-7a3f-4b8e-9d4a-1f2e3d4c5b6a";

#[test]
fn every_answer_says_what_it_is_and_whose() {
    let (_entrepot, client) = registry();
    let blob = client.push_blob(b"content");
    for (method, target, status) in [
        ("GET", "/v2/".to_owned(), 200),
        ("GET", client.blob(&blob), 200),
        ("HEAD", client.blob(&blob), 200),
        ("GET", client.manifest("absent"), 404),
        ("GET", "/v2/_catalog".to_owned(), 200),
        ("POST", client.uploads(), 202),
        ("OPTIONS", client.uploads(), 204),
        ("PUT", "/v2/".to_owned(), 405),
    ] {
        let answer = Request::new(method, &target).header("X-Request-Id", "of-the-client").send(client.address);
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.text());
        assert_eq!(answer.header("docker-distribution-api-version"), Some("registry/2.0"), "{method} {target}");
        assert_eq!(answer.header("x-request-id"), Some("of-the-client"), "{method} {target}");
    }
    let options = Request::new("OPTIONS", client.blob(&blob)).send(client.address);
    assert_eq!(options.header("allow"), Some("GET, HEAD, DELETE, OPTIONS"));
}

#[test]
fn a_refused_upload_of_few_bytes_keeps_its_connection() {
    let (entrepot, client) = registry();
    let mut connection = Connection::open(entrepot.address).expect("a connection");
    for (method, target, status) in [
        ("PATCH", ABSENT.to_owned(), 404),
        ("PUT", with_digest(ABSENT, &digest(b"x")), 404),
        ("PUT", client.manifest("v1"), 400),
    ] {
        let request = Request::new(method, &target).header("Content-Type", OCI_MANIFEST).body(vec![b'{'; 5_000]);
        let (answer, next) = connection.ask(request).expect("an answer");
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.text());
        connection = next;
    }
    connection.ask(Request::get("/v2/")).expect("the same connection").0.expect(200);
}

#[test]
fn a_refused_upload_of_many_bytes_is_told_why_before_its_connection_ends() {
    let (entrepot, client) = registry();
    for (request, status) in [
        (Request::new("PATCH", ABSENT).body(random_bytes(1, 8 << 20)), 404),
        (
            Request::new("PUT", client.manifest("v1")).header("Content-Type", OCI_MANIFEST).body(vec![b' '; 6 << 20]),
            413,
        ),
        (Request::new("PATCH", ABSENT).chunked(std::io::Cursor::new(random_bytes(1, 1 << 20))), 404),
    ] {
        let answer = Connection::open(entrepot.address).expect("a connection").exchange(request).expect("an answer");
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(answer.finish().complete);
    }
}

#[test]
fn the_client_is_told_to_continue_only_when_its_body_is_wanted() {
    let (entrepot, client) = registry();
    let bytes = random_bytes(1, 300_000);
    let head = |target: &str| {
        let length = bytes.len();
        format!("PUT {target} HTTP/1.1\r\nHost: registry\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")
    };
    let blob = digest(&bytes);
    let mut connection = Connection::open(entrepot.address).expect("a connection");
    connection.send_raw(head(&with_digest(&client.start_upload(), &blob)).as_bytes()).expect("sent");
    assert_eq!(connection.read_head().expect("an interim answer").status(), 100);
    connection.send_raw(&bytes).expect("sent");
    let answer = connection.answer("PUT").expect("an answer");
    assert_eq!((answer.status, answer.header("connection")), (201, Some("keep-alive")));
    client.get_blob(&blob).expect(200);

    // Of what the repository has, it would be told so: the answer to its first end may have been lost.
    let unknown = digest(b"never pushed");
    let mut connection = Connection::open(entrepot.address).expect("a connection");
    connection.send_raw(head(&with_digest(ABSENT, &unknown)).as_bytes()).expect("sent");
    let answer = connection.answer("PUT").expect("an answer");
    assert_eq!((answer.status, answer.interim.len()), (404, 0));
    assert_eq!(answer.header("connection"), Some("close"));
}

/// What a GET says for each way to ask for a part.
fn ranges_are_served(client: &Repository) {
    let bytes = random_bytes(7, 3_000_000);
    let blob = client.push_blob(&bytes);
    let ask =
        |name: &str, value: &str| client.request("GET", client.blob(&blob)).header(name, value).send(client.address);
    for (range, part) in [
        ("bytes=0-0", 0..1),
        ("bytes=65535-65536", 65_535..65_537),
        ("bytes=1000000-", 1_000_000..3_000_000),
        ("bytes=-5", 2_999_995..3_000_000),
    ] {
        let answer = ask("Range", range);
        let told = format!("bytes {}-{}/3000000", part.start, part.end - 1);
        assert_eq!(answer.header("content-range"), Some(told.as_str()));
        assert_eq!(answer.expect(206), bytes[part]);
    }
    let whole = ask("Accept", "*/*");
    assert_eq!(whole.header("content-type"), Some("application/octet-stream"));
    assert_eq!(whole.header("docker-content-digest"), Some(blob.as_str()));
    assert_eq!(whole.header("etag"), Some(format!("\"{blob}\"").as_str()));
    assert!(whole.header("cache-control").is_some_and(|value| value.contains("immutable")));
    assert_eq!(digest(&whole.expect(200)), blob);
    let two = ask("Range", "bytes=0-9,100-109");
    assert!(two.header("content-type").is_some_and(|value| value.starts_with("multipart/byteranges")));
    assert!(two.expect(206).windows(10).any(|window| window == &bytes[100..110]));
    assert_eq!(ask("Range", "bytes=3000000-").header("content-range"), Some("bytes */3000000"));
    assert_eq!(ask("If-None-Match", &format!("\"{blob}\"")).status, 304);
    let head = client.head_blob(&blob);
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("3000000"), 0));
}

#[test]
fn any_part_of_a_local_blob_is_served_and_nothing_of_it_is_cached() {
    let (entrepot, client) = registry();
    ranges_are_served(&client);
    assert_eq!(entrepot.metric("entrepot_cache_requests_total", &[]), 0.0);
    assert!(entrepot.cache_files(1 << 20).is_empty());
}

#[test]
fn any_part_of_a_blob_in_a_bucket_is_served() {
    let (_minio, _entrepot, client) = remote();
    ranges_are_served(&client);
}

#[test]
fn a_blob_in_a_bucket_is_fetched_once_and_not_for_a_head() {
    let (_minio, entrepot, client) = remote();
    let blob = client.push_blob(&random_bytes(1, 2 << 20));
    let misses = || entrepot.metric("entrepot_cache_requests_total", &[("result", "miss")]);
    let unchanged = client.request("GET", client.blob(&blob)).header("If-None-Match", format!("\"{blob}\""));
    client.head_blob(&blob).expect(200);
    unchanged.send(client.address).expect(304);
    client.request("GET", client.blob(&blob)).header("Range", "bytes=99999999-").send(client.address).expect(416);
    assert_eq!(misses(), 0.0);
    let first = client.get_blob(&blob);
    assert_eq!(first.header("cache-status"), Some("entrepot; fwd=uri-miss; stored"));
    assert_eq!(digest(&first.expect(200)), blob);
    entrepot.settled();
    let second = client.get_blob(&blob);
    assert!(second.header("cache-status").is_some_and(|value| value.starts_with("entrepot; hit")), "{second:?}");
    assert_eq!(digest(&second.expect(200)), blob);
    assert_eq!(misses(), 1.0);
    // A client that leaves does not end the download that it began.
    let other = client.push_blob(&random_bytes(2, 32 << 20));
    let mut download = client.request("GET", client.blob(&other)).open(client.address);
    download.read_exactly(1000);
    drop(download);
    entrepot.settled();
    assert_eq!(misses(), 2.0);
    assert_eq!(digest(&client.get_blob(&other).expect(200)), other);
    assert_eq!(misses(), 2.0);
}

#[test]
fn a_cached_blob_is_nobodys_who_may_not_have_it() {
    let (_minio, _entrepot, client) = remote();
    let blob = client.push_blob(&random_bytes(1, 1 << 20));
    client.get_blob(&blob).expect(200);
    let other = Repository::at(client.address, "other/app");
    assert_eq!(other.get_blob(&blob).error_code(), "BLOB_UNKNOWN");
    client.request("DELETE", client.blob(&blob)).send(client.address).expect(202);
    assert_eq!(client.get_blob(&blob).status, 404);
    assert_eq!(client.head_blob(&blob).status, 404);
}

fn curl(arguments: &[&str]) -> Output {
    let mut command = command("curl");
    command.args(["-sS", "--http2-prior-knowledge"]).args(arguments);
    command.output().expect("curl runs")
}

#[test]
fn uploads_and_pulls_go_over_http2() {
    let (_entrepot, client) = registry();
    let (folder, bytes) = (scratch(), random_bytes(3, 20 << 20));
    let file = folder.path().join("blob");
    std::fs::write(&file, &bytes).expect("written");
    let (file, blob) = (file.display().to_string(), digest(&bytes));
    let url = |target: &str| format!("http://{}{target}", client.address);
    let upload = client.start_upload();
    let told = curl(&["-X", "PATCH", "-T", &file, "-D", "-", &url(&upload)]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.starts_with("HTTP/2 202"), "{told}");
    let next = told.lines().find_map(|line| line.strip_prefix("location: ")).expect("a Location").trim();
    let next = next.find("/v2/").map_or(next, |at| &next[at..]);
    let put = curl(&["-X", "PUT", "-w", "%{http_code} %{http_version}", &url(&with_digest(next, &blob))]);
    assert_eq!(String::from_utf8_lossy(&put.stdout), "201 2");
    assert_eq!(digest(&curl(&[&url(&client.blob(&blob))]).stdout), blob);
    // A refusal reaches a client that still sends.
    std::fs::write(&file, &bytes[..40_000]).expect("written");
    let refused = curl(&["-X", "PATCH", "-T", &file, "-w", "%{http_code}", "-o", "/dev/null", &url(ABSENT)]);
    assert_eq!(String::from_utf8_lossy(&refused.stdout), "404");
}

#[test]
fn a_file_that_was_cut_never_ends_an_answer_cleanly() {
    let folder = scratch();
    let entrepot = Setup::registry().storage_at(folder.path()).start();
    let client = Repository::at(entrepot.address, "team/app");
    let blob = client.push_blob(&random_bytes(1, 2 << 20));
    let hex = blob.strip_prefix("sha256:").expect("sha256");
    let data = folder.path().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
    let mut download = client.request("GET", client.blob(&blob)).open(client.address);
    download.read_exactly(1);
    std::fs::OpenOptions::new().write(true).open(&data).expect("the file").set_len(1 << 19).expect("cut");
    let mut rest = Vec::new();
    // What was read before the cut may have been all of it.
    assert!(download.read_to_end(&mut rest).is_err() || rest.len() == (2 << 20) - 1);
    assert!(!client.get_blob(&blob).complete || client.head_blob(&blob).header("content-length") == Some("524288"));
}

#[test]
fn an_upload_that_drips_is_ended_and_its_registry_lives_on() {
    let entrepot = Setup::registry()
        .set("listener.0.timeouts", "{ body = \"1s\" }")
        .set("listener.0.min_body_rate", "\"1KiB\"")
        .start();
    let client = Repository::at(entrepot.address, "team/app");
    let mut connection = Connection::open(entrepot.address).expect("a connection");
    let head = format!("PATCH {} HTTP/1.1\r\nHost: registry\r\nContent-Length: 100000\r\n\r\n", client.start_upload());
    connection.send_raw(head.as_bytes()).expect("sent");
    let begun = std::time::Instant::now();
    while connection.send_raw(b"x").is_ok() && begun.elapsed() < Duration::from_secs(15) {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(begun.elapsed() < Duration::from_secs(15));
    client.push_blob(b"another");
}

#[test]
fn a_line_of_the_access_log_tells_of_repository_reference_and_cache() {
    let (_minio, entrepot, client) = remote();
    let image = client.push_random("v1", 1, 1 << 20);
    let layer = &image.layers[0];
    for (target, id, reference, cache) in
        [(client.blob(layer), "first", layer.as_str(), Some("miss")), (client.manifest("v1"), "tagged", "v1", None)]
    {
        Request::get(target).header("X-Request-Id", id).send(client.address).expect(200);
        let line = entrepot.logged(id);
        assert_eq!((&line["repository"], &line["status"]), (&"team/app".into(), &200.into()), "{line}");
        assert_eq!(line["reference"], reference, "{line}");
        assert!(line.get("peer").is_none_or(serde_json::Value::is_null), "{line}");
        if let Some(cache) = cache {
            assert_eq!((&line["cache"], &line["bytes_out"]), (&cache.into(), &(1 << 20).into()), "{line}");
        }
    }
}
