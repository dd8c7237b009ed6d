//! MinIO is killed or stands still.

use std::time::{Duration, Instant};

use crate::ground::Ground;
use crate::harness::repository::{OCI_MANIFEST, Repository};
use crate::harness::{Answer, Entrepot, Image, Redis, Request, eventually, random_bytes};

/// Generous: an answer is meant to come within ten to fifteen seconds.
const SOON: Duration = Duration::from_secs(30);

/// Every kind of request that cannot be answered without storage, at once; all their answers come soon and are clear.
fn all_refused(repository: &Repository, image: &Image) {
    let requests = || {
        vec![
            repository.request("GET", repository.manifest("v1")),
            repository.request("HEAD", repository.manifest("v1")),
            repository.request("HEAD", repository.blob(&image.layers[0])),
            repository.request("GET", "/v2/team/app/tags/list"),
            repository.request("POST", repository.uploads()),
            repository
                .request("POST", format!("{}?digest={}", repository.uploads(), crate::harness::digest(b"x")))
                .body("x"),
            repository
                .request("PUT", repository.manifest("v2"))
                .header("Content-Type", OCI_MANIFEST)
                .body(image.manifest.clone()),
            repository.request("DELETE", repository.manifest("v1")),
        ]
    };
    std::thread::scope(|scope| {
        let asked = requests().into_iter().map(|request| {
            scope.spawn(|| {
                let (what, begin) = (format!("{} {}", request.method, request.target), Instant::now());
                let answer = request.send(repository.address);
                assert!(begin.elapsed() < SOON, "{what}: {:?}", begin.elapsed());
                assert_unavailable(&what, &answer);
            })
        });
        let asked: Vec<_> = asked.collect();
        asked.into_iter().for_each(|asked| asked.join().expect("a clear answer"));
    });
}

fn assert_unavailable(what: &str, answer: &Answer) {
    assert!(matches!(answer.status, 500..=504), "{what}: {}: {}", answer.status, answer.text());
    if !what.starts_with("HEAD") {
        assert_eq!(answer.error_code(), "UNAVAILABLE", "{what}: {}", answer.text());
    }
}

fn well(repository: &Repository, image: &Image, entrepot: &Entrepot) {
    eventually("it is ready again", || entrepot.is_ready());
    eventually("the tag is read again", || repository.get_manifest("v1").status == 200);
    assert_eq!(repository.get_manifest("v1").expect(200), image.manifest);
    assert_eq!(crate::harness::digest(&repository.get_blob(&image.layers[0]).expect(200)), image.layers[0]);
    repository.push_random("after", 77, 6 << 20);
}

#[test]
fn with_minio_gone_errors_are_clear_and_all_is_well_when_it_is_back() {
    let mut ground = Ground::bucket();
    let entrepot = ground.entrepot();
    let repository = Repository::at(entrepot.address, "team/app");
    let image = repository.push_random("v1", 1, 200_000);
    assert!(entrepot.is_ready());
    for _ in 0..2 {
        ground.minio().kill();
        all_refused(&repository, &image);
        eventually("it says that it is not ready", || !entrepot.is_ready());
        assert_eq!(Request::get("/healthz").send(entrepot.admin).status, 200);
        ground.minio().restart();
        well(&repository, &image, &entrepot);
    }
}

#[test]
fn with_minio_frozen_errors_come_soon_and_all_is_well_when_it_is_thawed() {
    let mut ground = Ground::bucket();
    let entrepot = ground.entrepot();
    let repository = Repository::at(entrepot.address, "team/app");
    let image = repository.push_random("v1", 1, 200_000);
    ground.minio().freeze();
    all_refused(&repository, &image);
    eventually("it says that it is not ready", || !entrepot.is_ready());
    ground.minio().thaw();
    well(&repository, &image, &entrepot);
}

#[test]
fn a_push_under_way_when_minio_freezes_fails_soon_and_can_be_done_again() {
    let mut ground = Ground::bucket();
    let entrepot = ground.entrepot();
    let repository = Repository::at(entrepot.address, "team/app");
    let image = repository.push_random("v1", 1, 200_000);
    let bytes = random_bytes(5, 30 << 20);
    let upload = repository.start_upload();
    ground.minio().freeze();
    let begin = Instant::now();
    let patched = repository.request("PATCH", upload.clone()).body(bytes.clone()).send(repository.address);
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    assert_unavailable("PATCH", &patched);
    ground.minio().thaw();
    well(&repository, &image, &entrepot);
    let digest = repository.push_blob(&bytes);
    assert_eq!(crate::harness::digest(&repository.get_blob(&digest).expect(200)), digest);
}

#[test]
fn what_is_cached_and_known_to_redis_is_served_without_minio() {
    let mut ground = Ground::bucket();
    let redis = Redis::new().start();
    let entrepot = redis.set(ground.setup()).start();
    let repository = Repository::at(entrepot.address, "team/app");
    let images: Vec<Image> = (0..10).map(|n| repository.push_random(&format!("v{n}"), n, 100_000)).collect();
    for image in &images {
        repository.get_blob(&image.layers[0]).expect(200);
    }
    entrepot.settled();
    ground.minio().kill();
    for image in &images {
        let answer = repository.get_blob(&image.layers[0]);
        assert_eq!(crate::harness::digest(&answer.expect(200)), image.layers[0]);
        // A client that asks so goes on to leave the layer out of its push: only storage can say.
        assert_eq!(repository.head_blob(&image.layers[0]).status, 503);
    }
}
