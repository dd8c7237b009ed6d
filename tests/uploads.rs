//! Pushes: every way that clients have to send a blob, and what they are told when they may not.

use std::io::Read;

use crate::harness::content::Random;
use crate::harness::repository::{OCI_MANIFEST, location, with_digest};
use crate::harness::{
    Answer, Connection, Entrepot, Fault, FaultProxy, Registry, Reply, Repository, Request, Rule, Serving, Setup,
    digest, random_bytes,
};

fn front() -> (Serving, Serving, tempfile::TempDir, Entrepot, Repository) {
    let (one, other, volume) = Registry::pair();
    let entrepot = Entrepot::before(&[one.address, other.address]);
    let client = Repository::at(entrepot.address, "team/app");
    (one, other, volume, entrepot, client)
}

fn assert_pushed(client: &Repository, answer: &Answer, bytes: &[u8]) {
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.header("docker-content-digest"), Some(digest(bytes).as_str()));
    // The Location of a finished push is where the content is.
    let found = Request::get(location(answer)).send(client.address);
    assert!(found.expect(200) == bytes);
}

#[test]
fn a_location_is_relative_or_ours_and_can_be_used() {
    let (_one, _other, _volume, entrepot, client) = front();
    for _ in 0..4 {
        let opened =
            client.request("POST", client.uploads()).header("Host", "registry.example.com").send(client.address);
        let place = opened.header("location").expect("a Location").to_owned();
        assert!(place.starts_with("/v2/") || place.starts_with("http://registry.example.com/v2/"), "{place}");
        assert!(opened.header("docker-upload-uuid").is_some());
        let target = with_digest(&location(&opened), &digest(b"x"));
        let closed =
            client.request("PUT", target).header("Host", "registry.example.com").body("x").send(entrepot.address);
        let place = closed.header("location").expect("a Location").to_owned();
        assert!(place.starts_with("/v2/") || place.starts_with("http://registry.example.com/v2/"), "{place}");
        assert_pushed(&client, &closed, b"x");
    }
}

#[test]
fn a_blob_is_pushed_in_one_put() {
    let (_one, _other, _volume, _entrepot, client) = front();
    let bytes = random_bytes(1, 1_000_000);
    let target = with_digest(&client.start_upload(), &digest(&bytes));
    assert_pushed(&client, &client.request("PUT", target).body(bytes.clone()).send(client.address), &bytes);
}

#[test]
fn a_blob_is_pushed_as_docker_does_it_in_one_chunked_patch() {
    let (_one, _other, _volume, _entrepot, client) = front();
    let bytes = random_bytes(2, 5_000_000);
    let upload = client.start_upload();
    let patched = client.request("PATCH", upload).chunked(std::io::Cursor::new(bytes.clone())).send(client.address);
    assert_eq!((patched.status, patched.header("range")), (202, Some("0-4999999")));
    let target = with_digest(&location(&patched), &digest(&bytes));
    assert_pushed(&client, &client.request("PUT", target).send(client.address), &bytes);
}

#[test]
fn a_blob_is_pushed_in_many_chunks_and_a_chunk_out_of_order_is_416() {
    // Distribution 2.8 does not look at Content-Range; its third version does.
    let volume = crate::harness::scratch();
    let start = || Registry::v3().volume(volume.path()).start();
    let (one, other) = (start(), start());
    let entrepot = Entrepot::before(&[one.address, other.address]);
    let client = Repository::at(entrepot.address, "team/app");
    let bytes = random_bytes(3, 300_000);
    let mut upload = client.start_upload();
    for (number, chunk) in bytes.chunks(100_000).enumerate() {
        let range = format!("{}-{}", number * 100_000, number * 100_000 + chunk.len() - 1);
        let patch = |upload: &str| client.request("PATCH", upload).header("Content-Range", &range).body(chunk);
        let answer = patch(&upload).send(client.address);
        assert_eq!(answer.status, 202, "{}", answer.text());
        upload = location(&answer);
        assert_eq!(patch(&upload).send(client.address).status, 416);
    }
    let target = with_digest(&upload, &digest(&bytes));
    assert_pushed(&client, &client.request("PUT", target).send(client.address), &bytes);
}

#[test]
fn a_blob_of_another_repository_is_mounted() {
    let (_one, _other, _volume, entrepot, client) = front();
    let blob = client.push_blob(b"shared");
    let second = Repository::at(entrepot.address, "team/second");
    let mount = format!("{}?mount={blob}&from=team/app", second.uploads());
    let answer = second.request("POST", mount).send(second.address);
    assert_pushed(&second, &answer, b"shared");
}

#[test]
fn an_upload_is_cancelled() {
    let (_one, _other, _volume, _entrepot, client) = front();
    let upload = client.start_upload();
    assert_eq!(client.request("DELETE", upload.clone()).send(client.address).status, 204);
    let answer = client.request("PATCH", upload).body("x").send(client.address);
    assert_eq!((answer.status, answer.error_code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"));
}

#[test]
fn a_wrong_digest_is_refused_by_the_registry_and_leaves_nothing() {
    let (_one, _other, _volume, _entrepot, client) = front();
    let target = with_digest(&client.start_upload(), &digest(b"other"));
    let answer = client.request("PUT", target).body("content").send(client.address);
    assert_eq!((answer.status, answer.error_code().as_str()), (400, "DIGEST_INVALID"));
    assert_eq!(client.head_blob(&digest(b"other")).status, 404);
}

#[test]
fn a_manifest_of_four_megabytes_is_pushed_and_pulled() {
    let (_one, _other, _volume, _entrepot, client) = front();
    let config = client.push_blob(b"{}");
    let filler = "x".repeat(3_900_000);
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [], "annotations": {"filler": filler},
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
    })
    .to_string();
    let digest = client.push_manifest("large", OCI_MANIFEST, manifest.as_bytes());
    for reference in ["large", &digest] {
        assert!(client.get_manifest(reference).expect(200) == manifest.as_bytes(), "{reference}");
    }
}

#[test]
fn a_hundred_megabytes_stream_through_without_being_held() {
    const SIZE: u64 = 100 << 20;
    let (_one, _other, _volume, mut entrepot, client) = front();
    let upload = client.start_upload();
    let before = entrepot.process().resident();
    let patched = client.request("PATCH", upload).chunked(Random::new(5).take(SIZE)).send(client.address);
    assert_eq!(patched.status, 202);
    let (digest, _) = crate::harness::content::digest_of(Random::new(5).take(SIZE)).expect("a digest");
    client.request("PUT", with_digest(&location(&patched), &digest)).send(client.address).expect(201);
    let mut download = client.request("GET", client.blob(&digest)).open(client.address);
    let (pulled, length) = crate::harness::content::digest_of(&mut download).expect("the whole body");
    assert_eq!((pulled, length), (digest, SIZE));
    let grown = entrepot.process().peak_resident().saturating_sub(before);
    assert!(grown < 120 << 20, "{} MiB more than before", grown >> 20);
}

/// Sends most of a large body; then reads the answer, which must arrive although the client still sends.
fn refused_while_sending(client: &Repository, target: &str, expectation: &str) -> Answer {
    let mut connection = Connection::open(client.address).expect("a connection");
    let head = format!("PATCH {target} HTTP/1.1\r\nHost: registry\r\nContent-Length: 50000000\r\n{expectation}\r\n");
    connection.send_raw(head.as_bytes()).expect("the head is sent");
    if expectation.is_empty() {
        let piece = random_bytes(1, 1 << 16);
        for _ in 0..400 {
            if connection.send_raw(&piece).is_err() {
                break;
            }
        }
    }
    connection.answer("PATCH").expect("the answer arrives, not a reset").finish()
}

#[test]
fn a_client_that_still_sends_is_told_401_by_a_registry_and_not_cut_off() {
    let registry = Registry::debian().account("ann", "secret").start();
    let entrepot = Entrepot::before(&[registry.address]);
    let client = Repository::at(entrepot.address, "team/app");
    let upload = client.clone().basic("ann", "secret").start_upload();
    let answer = refused_while_sending(&client, &upload, "");
    assert_eq!((answer.status, answer.complete), (401, true));
    assert!(answer.header("www-authenticate").is_some());
}

#[test]
fn a_client_that_still_sends_is_told_401_and_413_at_once_and_not_cut_off() {
    for status in [401, 413] {
        let peer = FaultProxy::recording();
        let refusal =
            Reply::new(status).header("WWW-Authenticate", "Basic realm=\"peer\"").header("Connection", "close");
        peer.on(Rule::new("PATCH", "", Fault::Refuse(refusal.body("{\"errors\":[]}"))));
        let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
        let client = Repository::at(entrepot.address, "team/app");
        let answer = refused_while_sending(&client, "/v2/team/app/blobs/uploads/abc", "");
        assert_eq!((answer.status, answer.complete), (status, true));
    }
}

#[test]
fn a_refused_expectation_costs_no_body_and_a_granted_one_keeps_the_connection() {
    let registry = Registry::debian().account("ann", "secret").start();
    let entrepot = Entrepot::before(&[registry.address]);
    let stranger = Repository::at(entrepot.address, "team/app");
    let owner = stranger.clone().basic("ann", "secret");
    let upload = owner.start_upload();
    let answer = refused_while_sending(&stranger, &upload, "Expect: 100-continue\r\n");
    assert_eq!((answer.status, answer.interim.len()), (401, 0));

    let mut connection = Connection::open(entrepot.address).expect("a connection");
    for round in 0..3 {
        let bytes = random_bytes(round, 100_000);
        let target = with_digest(&owner.start_upload(), &digest(&bytes));
        let authorization = crate::harness::http::basic("ann", "secret");
        let head = format!(
            "PUT {target} HTTP/1.1\r\nHost: registry\r\nAuthorization: {authorization}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            bytes.len()
        );
        connection.send_raw(head.as_bytes()).expect("the head is sent");
        assert_eq!(connection.read_head().expect("an interim answer").status(), 100, "round {round}");
        connection.send_raw(&bytes).expect("the body is sent");
        let closed = connection.read_head().expect("an answer on the same connection");
        assert_eq!((closed.status(), closed.content_length()), (201, Some(0)), "round {round}");
    }
}

#[test]
fn an_upload_that_holds_no_bytes_is_opened_again_elsewhere_when_its_registry_is_gone() {
    let (mut one, mut other, _volume, _entrepot, client) = front();
    for round in 0..4_u64 {
        let upload = client.start_upload();
        let stopped = if round % 2 == 0 { &mut one } else { &mut other };
        stopped.kill();
        let bytes = random_bytes(round, 200_000);
        if round < 2 {
            let answer =
                client.request("PUT", with_digest(&upload, &digest(&bytes))).body(bytes.clone()).send(client.address);
            assert_pushed(&client, &answer, &bytes);
        } else {
            let patched =
                client.request("PATCH", upload).chunked(std::io::Cursor::new(bytes.clone())).send(client.address);
            assert_eq!(patched.status, 202, "{}", patched.text());
            let target = with_digest(&location(&patched), &digest(&bytes));
            assert_pushed(&client, &client.request("PUT", target).send(client.address), &bytes);
        }
        stopped.restart();
        std::thread::sleep(std::time::Duration::from_millis(1200));
    }
}

#[test]
fn an_upload_that_holds_bytes_on_a_registry_that_is_gone_is_told_so() {
    let (one, other, _volume) = Registry::pair();
    let (first, second) = (FaultProxy::before(one.address), FaultProxy::before(other.address));
    let entrepot = Entrepot::before(&[first.address, second.address]);
    let client = Repository::at(entrepot.address, "team/app");
    let patched = client.request("PATCH", client.start_upload()).body(random_bytes(1, 1000)).send(client.address);
    assert_eq!(patched.status, 202);
    let holder = if first.count("PATCH", "") == 1 { &first } else { &second };
    let next = if first.count("PATCH", "") == 1 { &second } else { &first };
    holder.die();
    let target = with_digest(&location(&patched), &digest(&random_bytes(1, 1000)));
    let answer = client.request("PUT", target.clone()).send(client.address);
    assert!(matches!(answer.status, 502..=504), "{}", answer.status);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(next.count("PUT", ""), 0);
    holder.revive();
    crate::harness::eventually("it goes on when its registry is back", || {
        client.request("PUT", target.clone()).send(client.address).status == 201
    });
}

#[test]
fn what_was_pushed_through_us_is_pulled_through_us_at_once() {
    let (_one, _other, _volume, _entrepot, client) = front();
    for seed in 0..10 {
        let bytes = random_bytes(seed, 10_000);
        assert_eq!(client.head_blob(&digest(&bytes)).status, 404);
        let blob = client.push_blob(&bytes);
        assert_eq!(client.head_blob(&blob).status, 200);
        assert_eq!(client.get_blob(&blob).expect(200), bytes);
    }
}

#[test]
fn a_client_that_goes_in_the_middle_of_an_upload_holds_nothing_up() {
    let (_one, _other, _volume, entrepot, client) = front();
    for _ in 0..5 {
        let upload = client.start_upload();
        let mut connection = Connection::open(client.address).expect("a connection");
        let head = format!("PATCH {upload} HTTP/1.1\r\nHost: registry\r\nContent-Length: 1000000\r\n\r\n");
        connection.send_raw(head.as_bytes()).and_then(|()| connection.send_raw(&[0; 100_000])).expect("sent");
        drop(connection);
    }
    crate::harness::eventually("no peer is busy", || entrepot.metric("entrepot_peer_in_flight", &[]) == 0.0);
    client.push_blob(b"all is well");
    assert_eq!(entrepot.metric("entrepot_peer_up", &[]), 2.0);
}
