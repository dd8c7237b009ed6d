//! Content from the cache speaks HTTP as RFC 9110 has it: ranges, validators, and what to keep for how long.

use crate::harness::repository::{ACCEPT, Image};
use crate::harness::{
    Answer, Connection, Entrepot, Fault, FaultProxy, Registry, Reply, Repository, Rule, Serving, Setup, eventually,
    random_bytes,
};

const SIZE: usize = 3_000_000;

/// A registry behind a counting peer, an image whose layer is `random_bytes(1, SIZE)`, and Entrepot with a disk tier only
/// or with both.
fn front(memory: &str) -> (Serving, FaultProxy, Entrepot, Repository, Image) {
    let registry = Registry::debian().start();
    let image = Repository::at(registry.address, "team/app").push_random("v1", 1, SIZE);
    let peer = FaultProxy::before(registry.address);
    let entrepot = Setup::before(&[peer.address]).without_health_checks().set("cache.memory", memory).start();
    let client = Repository::at(entrepot.address, "team/app");
    (registry, peer, entrepot, client, image)
}

fn ranged(client: &Repository, digest: &str, range: &str) -> Answer {
    client.request("GET", client.blob(digest)).header("Range", range).send(client.address)
}

fn assert_blob_headers(answer: &Answer, digest: &str) {
    let quoted = format!("\"{digest}\"");
    assert_eq!(answer.header("etag"), Some(quoted.as_str()));
    assert_eq!(answer.header("docker-content-digest"), Some(digest));
    assert_eq!(answer.header("accept-ranges"), Some("bytes"));
    assert_eq!(answer.header("cache-control"), Some("max-age=31536000, immutable"));
    assert_eq!(answer.header("docker-distribution-api-version"), Some("registry/2.0"));
    assert!(answer.header("cache-status").is_some(), "{:?}", answer.headers);
}

#[test]
fn a_blob_is_fetched_once_and_served_with_all_its_headers() {
    let (_registry, peer, entrepot, client, image) = front("\"64MiB\"");
    let layer = &image.layers[0];
    let cold = client.get_blob(layer);
    assert_blob_headers(&cold, layer);
    assert!(cold.header("cache-status").is_some_and(|value| value.contains("fwd=")), "{:?}", cold.headers);
    let length = SIZE.to_string();
    assert_eq!(cold.header("content-length"), Some(length.as_str()));
    assert_eq!(cold.expect(200), random_bytes(1, SIZE));
    entrepot.settled();
    for _ in 0..3 {
        let warm = client.get_blob(layer);
        assert_blob_headers(&warm, layer);
        assert!(warm.header("cache-status").is_some_and(|value| value.contains("hit")), "{:?}", warm.headers);
        assert_eq!(warm.header("content-type"), Some("application/octet-stream"));
        assert_eq!(warm.header("content-length"), Some(length.as_str()));
        assert_eq!(warm.expect(200), random_bytes(1, SIZE));
    }
    assert_eq!((peer.count("GET", layer), peer.body_bytes() >= SIZE as u64), (1, true));
}

#[test]
fn head_answers_as_get_does_without_a_body_and_without_a_fill() {
    let (_registry, peer, entrepot, client, image) = front("\"64MiB\"");
    let layer = &image.layers[0];
    let cold = client.head_blob(layer);
    assert_eq!((cold.status, cold.header("content-length")), (200, Some("3000000")));
    assert_eq!((peer.count("GET", layer), cold.body.len()), (0, 0));
    client.get_blob(layer).expect(200);
    entrepot.settled();
    let warm = client.head_blob(layer);
    assert_blob_headers(&warm, layer);
    assert_eq!((warm.status, warm.header("content-length")), (200, Some("3000000")));
    assert_eq!(client.head_manifest(&image.digest).header("docker-content-digest"), Some(image.digest.as_str()));
}

fn assert_ranges(client: &Repository, layer: &str) {
    let bytes = random_bytes(1, SIZE);
    for (range, start, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=100-1099", 100, 1100),
        ("bytes=1048570-1048600", 1_048_570, 1_048_601),
        ("bytes=-500", SIZE - 500, SIZE),
        ("bytes=2999999-", SIZE - 1, SIZE),
        ("bytes=2999000-9999999", 2_999_000, SIZE),
        ("bytes=0-", 0, SIZE),
        ("bytes=-9999999", 0, SIZE),
    ] {
        let answer = ranged(client, layer, range);
        let expected = format!("bytes {start}-{}/{SIZE}", end - 1);
        assert_eq!((answer.status, answer.header("content-range")), (206, Some(expected.as_str())), "{range}");
        assert_eq!(answer.header("docker-content-digest"), Some(layer));
        assert!(answer.expect(206) == bytes[start..end], "{range}");
    }
    for range in ["bytes=3000000-", "bytes=3000000-3000001", "bytes=-0"] {
        let answer = ranged(client, layer, range);
        assert_eq!((answer.status, answer.header("content-range")), (416, Some("bytes */3000000")), "{range}");
    }
}

#[test]
fn ranges_are_served_from_memory_and_from_disk() {
    for memory in ["\"64MiB\"", "0"] {
        let (_registry, peer, entrepot, client, image) = front(memory);
        client.get_blob(&image.layers[0]).expect(200);
        entrepot.settled();
        assert_ranges(&client, &image.layers[0]);
        assert_eq!(peer.count("GET", &image.layers[0]), 1);
    }
}

#[test]
fn ranges_of_a_cold_blob_are_served_and_leave_it_whole_in_the_cache() {
    let (_registry, _peer, entrepot, client, image) = front("\"64MiB\"");
    assert_ranges(&client, &image.layers[0]);
    entrepot.settled();
    let whole = client.get_blob(&image.layers[0]);
    assert_eq!(whole.expect(200), random_bytes(1, SIZE));
}

#[test]
fn several_ranges_come_as_one_multipart_body() {
    let (_registry, _peer, entrepot, client, image) = front("\"64MiB\"");
    client.get_blob(&image.layers[0]).expect(200);
    entrepot.settled();
    let answer = ranged(&client, &image.layers[0], "bytes=0-9, 100-109, -10");
    let content_type = answer.header("content-type").unwrap_or_default().to_owned();
    let boundary =
        content_type.strip_prefix("multipart/byteranges; boundary=").expect("a boundary").trim_matches('"').to_owned();
    let length = answer.header("content-length").and_then(|value| value.parse::<usize>().ok());
    let body = answer.expect(206);
    assert_eq!(length, Some(body.len()));
    let bytes = random_bytes(1, SIZE);
    let mut expected = Vec::new();
    for (start, end) in [(0, 10), (100, 110), (SIZE - 10, SIZE)] {
        let at = find(&body, format!("bytes {start}-{}/{SIZE}", end - 1).as_bytes()).expect("its Content-Range");
        let content = at + find(&body[at..], b"\r\n\r\n").expect("an empty line") + 4;
        assert_eq!(body[content..content + (end - start)], bytes[start..end]);
        expected.push(at);
    }
    assert!(expected.is_sorted());
    assert!(
        body.ends_with(format!("--{boundary}--\r\n").as_bytes())
            || body.ends_with(format!("--{boundary}--").as_bytes())
    );
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[test]
fn a_client_that_has_the_content_is_told_so() {
    let (_registry, _peer, entrepot, client, image) = front("\"64MiB\"");
    let layer = &image.layers[0];
    client.get_blob(layer).expect(200);
    client.get_manifest(&image.digest).expect(200);
    entrepot.settled();
    let conditional = |path: String, value: String| {
        client.request("GET", path).header("Accept", ACCEPT).header("If-None-Match", value).send(client.address)
    };
    for value in [format!("\"{layer}\""), format!("W/\"{layer}\""), format!("\"x\", \"{layer}\""), "*".into()] {
        let answer = conditional(client.blob(layer), value.clone());
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{value}");
        assert_eq!(answer.header("etag"), Some(format!("\"{layer}\"").as_str()));
    }
    conditional(client.blob(layer), "\"something else\"".into()).expect(200);
    for reference in [image.digest.as_str(), "v1"] {
        assert_eq!(conditional(client.manifest(reference), format!("\"{}\"", image.digest)).status, 304, "{reference}");
    }
}

#[test]
fn an_if_range_of_other_content_gets_the_whole() {
    let (_registry, _peer, _entrepot, client, image) = front("\"64MiB\"");
    let layer = &image.layers[0];
    let ask = |value: String| {
        let request = client.request("GET", client.blob(layer)).header("Range", "bytes=0-9");
        request.header("If-Range", value).send(client.address)
    };
    assert_eq!(ask(format!("\"{layer}\"")).expect(206).len(), 10);
    assert_eq!(ask("\"other\"".into()).expect(200).len(), SIZE);
}

#[test]
fn a_manifest_by_digest_is_served_from_the_cache_with_its_type() {
    let (_registry, peer, entrepot, client, image) = front("\"64MiB\"");
    client.get_manifest(&image.digest).expect(200);
    entrepot.settled();
    peer.forget_seen();
    let answer = client.get_manifest(&image.digest);
    assert_eq!(answer.header("content-type"), Some(crate::harness::repository::OCI_MANIFEST));
    assert_eq!(answer.header("etag"), Some(format!("\"{}\"", image.digest).as_str()));
    assert_eq!(answer.expect(200), image.manifest);
    assert_eq!(peer.count("GET", "/manifests/"), 0);
}

#[test]
fn what_cannot_be_verified_is_passed_and_never_kept() {
    // A schema 1 manifest by tag: the digest is of a part of the body, as its signatures have it.
    let registry = Registry::debian().start();
    let peer = FaultProxy::before(registry.address);
    let kind = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let body = r#"{"schemaVersion": 1, "signatures": [{}]}"#;
    let named = crate::harness::digest(b"the payload alone");
    let answer = Reply::new(200).header("Content-Type", kind).header("Docker-Content-Digest", named.clone()).body(body);
    peer.on(Rule::new("", "/manifests/old", Fault::Answer(answer)));
    let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
    let client = Repository::at(entrepot.address, "team/app");
    for round in 1..=2 {
        let request = client.request("GET", client.manifest("old"));
        let answer = request.send(client.address);
        assert_eq!(
            (answer.header("content-type"), answer.header("docker-content-digest")),
            (Some(kind), Some(named.as_str()))
        );
        assert_eq!(answer.expect(200), body.as_bytes());
        assert!(peer.count("GET", "/manifests/old") >= round);
    }
    assert_eq!(client.get_manifest(&named).status, 404);
}

#[test]
fn a_peer_that_denies_by_head_what_it_gives_by_get_is_asked_by_get() {
    // Harbor's proxy projects know nothing of what they have not fetched yet.
    let (_registry, peer, _entrepot, client, image) = front("\"64MiB\"");
    peer.on(Rule::new("HEAD", "", Fault::Answer(Reply::new(404))));
    assert_eq!(client.get_blob(&image.layers[0]).expect(200), random_bytes(1, SIZE));
    assert_eq!(client.get_manifest(&image.digest).expect(200), image.manifest);
    assert_eq!(client.get_manifest("v1").expect(200), image.manifest);
}

#[test]
fn a_tag_that_moved_is_seen_at_once() {
    let (registry, _peer, _entrepot, client, image) = front("\"64MiB\"");
    assert_eq!(client.get_manifest("v1").expect(200), image.manifest);
    let moved = Repository::at(registry.address, "team/app").push_random("v1", 2, 10);
    assert_eq!(client.get_manifest("v1").expect(200), moved.manifest);
    assert_eq!(client.get_manifest(&image.digest).expect(200), image.manifest);
}

#[test]
fn a_blob_deleted_through_us_is_gone_at_once() {
    for memory in ["\"64MiB\"", "0"] {
        let (_registry, _peer, entrepot, client, image) = front(memory);
        client.get_blob(&image.layers[0]).expect(200);
        entrepot.settled();
        client.request("DELETE", client.blob(&image.layers[0])).send(client.address).expect(202);
        assert_eq!(client.get_blob(&image.layers[0]).status, 404);
        assert_eq!(client.head_blob(&image.layers[0]).status, 404);
        assert_eq!(ranged(&client, &image.layers[0], "bytes=0-9").status, 404);
    }
}

#[test]
fn a_manifest_deleted_through_us_is_gone_at_once_with_its_tags() {
    let (_registry, _peer, entrepot, client, image) = front("\"64MiB\"");
    client.get_manifest("v1").expect(200);
    client.get_manifest(&image.digest).expect(200);
    entrepot.settled();
    client.request("DELETE", client.manifest(&image.digest)).send(client.address).expect(202);
    assert_eq!(client.get_manifest(&image.digest).status, 404);
    assert_eq!(client.head_manifest(&image.digest).status, 404);
    assert_eq!(client.get_manifest("v1").status, 404);
}

#[test]
fn a_purge_by_hand_makes_the_next_pull_ask_the_peer() {
    let (_registry, peer, entrepot, client, image) = front("\"64MiB\"");
    let layer = &image.layers[0];
    client.get_blob(layer).expect(200);
    entrepot.settled();
    let output = Entrepot::cli(&["cache", "purge", layer, "--admin", &entrepot.admin.to_string()]);
    assert!(output.status.success(), "{output:?}");
    client.get_blob(layer).expect(200);
    assert_eq!(peer.count("GET", layer), 2);
    let output = Entrepot::cli(&["cache", "purge", layer, "--config", &entrepot.config_path().display().to_string()]);
    assert!(output.status.success(), "{output:?}");
    assert!(!Entrepot::cli(&["cache", "purge", "sha256:abc", "--admin", &entrepot.admin.to_string()]).status.success());
}

#[test]
fn what_the_disk_holds_is_served_after_a_restart() {
    let (_registry, peer, mut entrepot, client, image) = front("\"64MiB\"");
    client.get_blob(&image.layers[0]).expect(200);
    entrepot.settled();
    entrepot.terminate();
    entrepot.restart();
    assert_eq!(client.get_blob(&image.layers[0]).expect(200), random_bytes(1, SIZE));
    entrepot.kill();
    entrepot.restart();
    assert_eq!(client.get_blob(&image.layers[0]).expect(200), random_bytes(1, SIZE));
    assert_eq!(peer.count("GET", &image.layers[0]), 1);
}

#[test]
fn the_disk_tier_stays_below_its_cap() {
    let registry = Registry::debian().start();
    let pushed = Repository::at(registry.address, "team/app");
    let blobs: Vec<String> = (0..20).map(|seed| pushed.push_blob(&random_bytes(seed, 1 << 20))).collect();
    let setup = Setup::before(&[registry.address]).set("cache.memory", "0").set("cache.disk", "\"8MiB\"");
    let entrepot = setup.start();
    let client = Repository::at(entrepot.address, "team/app");
    for blob in blobs.iter().chain(&blobs) {
        client.get_blob(blob).expect(200);
    }
    entrepot.settled();
    let on_disk = || -> u64 {
        entrepot.cache_files(1 << 16).iter().filter_map(|file| file.metadata().ok()).map(|m| m.len()).sum()
    };
    eventually("the disk tier is below its cap", || on_disk() <= (8 << 20) + (64 << 10));
    assert!(entrepot.metric("entrepot_cache_evictions_total", &[("tier", "disk")]) >= 12.0);
    assert!(entrepot.metric("entrepot_cache_bytes", &[("tier", "disk")]) <= (8 << 20) as f64);
}

#[test]
fn one_blob_pushed_to_two_repositories_is_kept_once() {
    let (registry, peer, entrepot, client, image) = front("\"64MiB\"");
    Repository::at(registry.address, "team/second").push_random("v1", 1, SIZE);
    client.get_blob(&image.layers[0]).expect(200);
    entrepot.settled();
    let second = Repository::at(entrepot.address, "team/second");
    second.get_blob(&image.layers[0]).expect(200);
    assert_eq!(peer.count("GET", &image.layers[0]), 1);
}

#[test]
fn an_empty_blob_is_a_blob() {
    let (registry, _peer, _entrepot, client, _image) = front("\"64MiB\"");
    let empty = Repository::at(registry.address, "team/app").push_blob(b"");
    for _ in 0..2 {
        let answer = client.get_blob(&empty);
        assert_eq!((answer.header("content-length"), answer.status), (Some("0"), 200));
        assert!(answer.expect(200).is_empty());
    }
}

#[test]
fn many_answers_follow_each_other_on_one_connection() {
    let (_registry, _peer, _entrepot, client, image) = front("\"64MiB\"");
    let mut connection = Connection::open(client.address).expect("a connection");
    for round in 0..5 {
        for (path, status) in [
            (client.blob(&image.layers[0]), 200),
            (client.manifest("v1"), 200),
            (client.manifest("absent"), 404),
            (client.blob("sha256:abc"), 404),
            (client.blob(&image.config), 200),
        ] {
            let request = client.request("GET", path.clone()).header("Accept", ACCEPT);
            let (answer, kept) =
                connection.ask(request).unwrap_or_else(|error| panic!("round {round}, {path}: {error}"));
            assert_eq!((answer.status, answer.complete), (status, true), "{path}");
            connection = kept;
        }
    }
}
