//! Blobs: who may have them, from where they come, and where they stay.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::HeaderValue;

use super::world::{image, repository, request};
use super::{Fake, Mode, World};
use crate::cache::Source;
use crate::mirror::{Blob, Body, Mirror, Reply, blobs};
use crate::oci::{Algorithm, Digest, media_type};
use crate::remote::Asker;

const APP: &str = "fake.test/app";

/// What a client would get.
#[derive(Debug, PartialEq)]
struct Got {
    status: u16,
    bytes: Vec<u8>,
    source: Option<Source>,
}

async fn got(reply: Reply) -> Got {
    let (status, source) = (reply.status.as_u16(), reply.source);
    let mut bytes = Vec::new();
    match reply.body {
        Body::Bytes(body) | Body::Content { blob: Blob::Whole(body), .. } => bytes.extend_from_slice(&body),
        Body::Content { blob: Blob::Cached(content), .. } => {
            let mut reader = content.read(0, None);
            while let Some(piece) = reader.next().await {
                bytes.extend_from_slice(&piece.unwrap());
            }
        }
        Body::Content { blob: Blob::Absent(size), .. } => bytes = size.to_string().into(),
        Body::Content { blob: Blob::Stored(size), .. } => bytes = format!("stored {size}").into(),
        Body::Content { blob: Blob::Local(_), .. } => panic!("storage is in memory"),
        Body::Piece { mut stream, start, end, .. } => {
            while let Some(piece) = stream.next().await {
                bytes.extend_from_slice(&piece.unwrap());
            }
            assert_eq!(bytes.len() as u64, end - start);
        }
    }
    Got { status, bytes, source }
}

fn target(digest: &Digest) -> String {
    format!("/v2/{APP}/blobs/{digest}")
}

async fn ask(mirror: &Arc<Mirror>, method: &str, digest: &Digest) -> Got {
    got(mirror.answer(request(method, &target(digest), Asker::Mirror, false)).await).await
}

async fn ask_range(mirror: &Arc<Mirror>, digest: &Digest, range: &str) -> Got {
    let mut asked = request("GET", &target(digest), Asker::Mirror, false);
    asked.range = Some(HeaderValue::from_str(range).unwrap());
    got(mirror.answer(asked).await).await
}

/// Until the repository holds it; a blob that came is kept beside its answer.
async fn kept(world: &World, digest: &Digest) {
    let held = async || world.registry.held_blob_size(&repository(APP), digest).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), async {
        while held().await.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it is not kept");
}

fn large(len: usize) -> Bytes {
    (0..len).map(|n| (n * 31 / 7) as u8).collect::<Vec<_>>().into()
}

fn has_large(fake: &Fake, len: usize) -> (Digest, Bytes) {
    let bytes = large(len);
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    fake.has_bytes("app", &digest, &bytes);
    (digest, bytes)
}

fn blob_lines(digest: &Digest, methods: &[&str]) -> Vec<String> {
    methods.iter().map(|method| format!("{method} /v2/app/blobs/{digest}")).collect()
}

#[tokio::test]
async fn a_blob_that_a_pulled_manifest_names_is_fetched_once_by_all_who_ask_and_kept() {
    let world = World::new("prefetch = \"0\"").await;
    let (config, layer) = (world.fake.has_blob("app", b"config"), world.fake.has_blob("app", b"layer"));
    world.fake.has("app", "v1", media_type::OCI_MANIFEST, &image(&[config, layer]));
    world.get(&format!("/v2/{APP}/manifests/v1")).await;
    world.fake.asked();
    let clients = (0..20).map(|_| {
        let mirror = world.mirror.clone();
        tokio::spawn(async move { ask(&mirror, "GET", &layer).await })
    });
    for client in clients.collect::<Vec<_>>() {
        let got = client.await.unwrap();
        assert_eq!((got.status, got.bytes.as_slice()), (200, b"layer".as_slice()));
    }
    assert_eq!(world.fake.asked(), blob_lines(&layer, &["GET"]));
    kept(&world, &layer).await;
    // It stays, and the remote is not needed for it any more.
    let world = world.restarted().await;
    world.fake.behaves(Mode::Says(500));
    assert_eq!(ask(&world.mirror, "GET", &layer).await.bytes, b"layer");
    assert_eq!(
        ask(&world.mirror, "HEAD", &layer).await,
        Got { status: 200, bytes: b"5".into(), source: Some(Source::Disk) }
    );
    assert!(world.fake.asked().is_empty());
}

#[tokio::test]
async fn a_head_of_what_is_not_here_tells_the_remotes_size_and_fetches_nothing() {
    let world = World::new("").await;
    let layer = world.fake.has_blob("app", b"layer");
    assert_eq!(
        ask(&world.mirror, "HEAD", &layer).await,
        Got { status: 200, bytes: b"5".into(), source: Some(Source::Miss) }
    );
    assert_eq!(world.fake.asked(), blob_lines(&layer, &["HEAD"]));
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_is_asked_for_each_time() {
    let world = World::new("").await;
    let absent = Digest::of(Algorithm::Sha256, b"absent");
    for method in ["HEAD", "GET"] {
        assert_eq!(ask(&world.mirror, method, &absent).await.status, 404);
    }
    assert_eq!(world.fake.asked(), blob_lines(&absent, &["HEAD", "HEAD"]));
}

#[tokio::test]
async fn what_another_repository_holds_is_taken_over_by_the_remotes_word_alone() {
    let world = World::new("").await;
    let digest = world.keeps("fake.test/other", b"shared").await;
    assert_eq!(ask(&world.mirror, "GET", &digest).await.status, 404, "it is not in this one, says the remote");
    world.fake.has_blob("app", b"shared");
    world.fake.asked();
    assert_eq!(ask(&world.mirror, "GET", &digest).await.bytes, b"shared");
    assert_eq!(world.fake.asked(), blob_lines(&digest, &["HEAD"]));
    assert_eq!(ask(&world.mirror, "GET", &digest).await.bytes, b"shared");
    assert!(world.fake.asked().is_empty());
}

#[tokio::test]
async fn a_manifest_that_names_it_is_no_word_for_what_another_repository_holds() {
    let world = World::new("prefetch = \"0\"").await;
    let digest = world.keeps("fake.test/other", b"shared").await;
    world.fake.has("app", "v1", media_type::OCI_MANIFEST, &image(&[digest]));
    world.get(&format!("/v2/{APP}/manifests/v1")).await;
    world.fake.behaves(Mode::Says(500));
    for method in ["HEAD", "GET"] {
        assert_eq!(ask(&world.mirror, method, &digest).await.status, 503);
    }
    // The remote has the manifest, and not the blob.
    world.fake.behaves(Mode::Well);
    for method in ["HEAD", "GET"] {
        assert_eq!(ask(&world.mirror, method, &digest).await.status, 404);
    }
}

#[tokio::test]
async fn whose_manifest_only_names_a_blob_gets_nothing_of_what_comes_for_another_repository() {
    let world = World::new("prefetch = \"0\"").await;
    let digest = world.fake.has_blob("secret", b"secret");
    for name in ["secret", "evil"] {
        world.fake.has(name, "v1", media_type::OCI_MANIFEST, &image(&[digest]));
        assert_eq!(world.get(&format!("/v2/fake.test/{name}/manifests/v1")).await.status, 200);
    }
    world.fake.asked();
    // A remote that takes its time to say no.
    let gate = world.fake.holds_back_at(&format!("/v2/evil/blobs/{digest}"));
    let from = |name: &str| request("GET", &format!("/v2/fake.test/{name}/blobs/{digest}"), Asker::Mirror, false);
    let (mirror, evil) = (world.mirror.clone(), from("evil"));
    let evil = tokio::spawn(async move { got(mirror.answer(evil).await).await });
    while world.fake.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    let secret = got(world.mirror.answer(from("secret")).await).await;
    assert_eq!((secret.status, secret.bytes), (200, b"secret".to_vec()), "nobody waits for another's answer");
    gate.add_permits(10);
    assert_eq!(evil.await.unwrap().status, 404);
}

#[tokio::test]
async fn a_remote_that_gives_nothing_is_told_of_in_time() {
    let world = World::new("timeouts = { first_byte = \"100ms\" }").await;
    let layer = world.fake.has_blob("app", b"layer");
    world.fake.behaves(Mode::Silent);
    let reply = world.mirror.answer(request("GET", &target(&layer), Asker::Mirror, false)).await;
    assert_eq!(reply.status, 503);
    assert!(reply.headers.contains_key("retry-after"));
    world.fake.behaves(Mode::Well);
    // The question that had no answer may be joined for another moment.
    let again = async { while ask(&world.mirror, "GET", &layer).await.bytes != b"layer" {} };
    tokio::time::timeout(Duration::from_secs(30), again).await.expect("it gives the blob now");
}

#[tokio::test]
async fn bytes_that_are_not_what_was_asked_for_are_given_to_nobody_and_not_kept() {
    let world = World::new("").await;
    let digest = Digest::of(Algorithm::Sha256, b"right");
    world.fake.has_bytes("app", &digest, &Bytes::from_static(b"wrong"));
    assert_eq!(ask(&world.mirror, "GET", &digest).await.status, 502);
    world.fake.has_bytes("app", &digest, &Bytes::from_static(b"right"));
    assert_eq!(ask(&world.mirror, "GET", &digest).await.bytes, b"right");
}

#[tokio::test]
async fn a_caller_gets_what_is_kept_only_if_the_remote_gives_it_to_them() {
    let world = World::new("identity = \"caller\"").await;
    let layer = world.fake.has_blob("app", b"layer");
    world.fake.asks_for(&["Basic YW5uOmE="]);
    let ask = async |shown: Option<&'static str>| {
        let asker = Asker::Caller(shown.map(HeaderValue::from_static));
        got(world.mirror.answer(request("GET", &target(&layer), asker, false)).await).await.status
    };
    assert_eq!(ask(Some("Basic YW5uOmE=")).await, 200);
    kept(&world, &layer).await;
    for stranger in [Some("Basic Ym9iOmI="), None] {
        assert_eq!(ask(stranger).await, 401);
    }
    assert_eq!(ask(Some("Basic YW5uOmE=")).await, 200);
}

#[tokio::test]
async fn a_range_far_off_comes_straight_from_the_remote_and_the_whole_behind_it() {
    let world = World::new("").await;
    let (digest, bytes) = has_large(&world.fake, 12 << 20);
    let far = ask_range(&world.mirror, &digest, "bytes=10000000-10000099").await;
    assert_eq!((far.status, far.bytes.as_slice()), (206, &bytes[10_000_000..10_000_100]));
    assert_eq!(far.source, Some(Source::Miss));
    let footer = ask_range(&world.mirror, &digest, "bytes=-100").await;
    // Of the whole, if that has come by now.
    let stored = format!("stored {}", bytes.len());
    assert!(footer.bytes.ends_with(&bytes[bytes.len() - 100..]) || footer.bytes == stored.as_bytes());
    kept(&world, &digest).await;
    world.fake.behaves(Mode::Says(500));
    assert_eq!(ask(&world.mirror, "GET", &digest).await.bytes, stored.as_bytes());
}

#[tokio::test]
async fn a_range_of_what_is_larger_than_may_be_fetched_ahead_is_all_that_comes() {
    let world = World::new("prefetch = \"1MiB\"").await;
    let (digest, bytes) = has_large(&world.fake, 12 << 20);
    let far = ask_range(&world.mirror, &digest, "bytes=9000000-9000009").await;
    assert_eq!(far.bytes, bytes[9_000_000..9_000_010]);
    assert_eq!(world.mirror.parts.cache.progress(&digest), None);
    assert_eq!(world.fake.asked(), blob_lines(&digest, &["HEAD", "GET"]));
    // One that begins near the beginning is read of the whole.
    let near = ask_range(&world.mirror, &digest, "bytes=5-9").await;
    assert_eq!(near.status, 200, "the range is cut by whoever answers");
}

#[tokio::test]
async fn what_a_client_took_the_manifest_of_is_made_whole_afterwards() {
    let world = World::new("").await;
    let blobs = [b"config".as_slice(), b"one", b"two", b"three"].map(|bytes| world.fake.has_blob("app", bytes));
    world.fake.has("app", "v1", media_type::OCI_MANIFEST, &image(&blobs));
    world.get(&format!("/v2/{APP}/manifests/v1")).await;
    for blob in &blobs {
        kept(&world, blob).await;
    }
    let asked = world.fake.asked();
    let gets = asked.iter().filter(|line| line.starts_with("GET /v2/app/blobs/")).count();
    assert_eq!(gets, blobs.len(), "{asked:?}");
}

#[tokio::test]
async fn what_is_brought_is_kept_and_what_is_kept_is_not_fetched() {
    let world = World::new("").await;
    let layer = world.fake.has_blob("app", b"layer");
    let name = repository(APP);
    let brought = blobs::fetch(&world.mirror, &name, &layer).await.unwrap();
    assert_eq!(brought, blobs::Brought { size: 5, fetched: true });
    kept(&world, &layer).await;
    world.fake.behaves(Mode::Says(500));
    let brought = blobs::fetch(&world.mirror, &name, &layer).await.unwrap();
    assert_eq!(brought, blobs::Brought { size: 5, fetched: false });
    assert!(blobs::fetch(&world.mirror, &name, &Digest::of(Algorithm::Sha256, b"x")).await.is_err());
}
