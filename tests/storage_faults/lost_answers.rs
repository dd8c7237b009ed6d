//! The connection to the store breaks after the request was carried out, and the store refuses now and then: no push fails.

use std::net::SocketAddr;

use crate::harness::repository::{Repository, location, with_digest};
use crate::harness::{Azurite, Entrepot, Fault, FaultProxy, Minio, Reply, Rule, Setup, digest, random_bytes};

const THREADS: u64 = 4;

fn unavailable() -> Reply {
    Reply::new(503).header("Content-Type", "application/xml").body("<Error><Code>SlowDown</Code></Error>")
}

/// Of all requests, a tenth is refused, and more than 3 of 100 are carried out and not answered, each way as often.
fn spoil(proxy: &FaultProxy) {
    proxy.on(Rule::new("", "", Fault::Answer(unavailable())).share(0.1));
    for loss in [Fault::Lose(0), Fault::Lose(30), Fault::Lose(usize::MAX), Fault::LoseFor(unavailable())] {
        proxy.on(Rule::new("", "", loss).share(0.01));
    }
}

fn registry(setup: Setup) -> Entrepot {
    // Its cache is too small for anything: every read needs the store. More tries than by default, so that no chance is left.
    setup.set("cache.memory", "0").set("cache.disk", "0").set("storage.retries", "10").start()
}

/// In two PATCHes and a PUT: each replaces the upload's state on condition that nobody else did.
fn push_in_pieces(repository: &Repository, bytes: &[u8]) -> String {
    let mut upload = repository.start_upload();
    for piece in bytes.chunks(bytes.len().div_ceil(2)) {
        let patched = repository.request("PATCH", upload).body(piece).send(repository.address);
        assert_eq!(patched.status, 202, "{}", patched.text());
        upload = location(&patched);
    }
    let digest = digest(bytes);
    repository.request("PUT", with_digest(&upload, &digest)).send(repository.address).expect(201);
    digest
}

/// Pushes of several sizes, in pieces and whole, and reads of what was pushed; every answer of Entrepot is a good one.
fn push_and_pull(address: SocketAddr, rounds: u64) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let repository = Repository::at(address, &format!("team/app-{thread}"));
                for round in 0..rounds {
                    let seed = thread * 1000 + round;
                    let size = [1000, 200_000, 1_500_000, 9 << 20][(round % 4) as usize];
                    let layer = push_in_pieces(&repository, &random_bytes(seed, size));
                    // The layer is there already, and is sent once more.
                    let image = repository.push_random(&format!("v{round}"), seed, size);
                    assert_eq!(image.layers, [layer]);
                    assert_eq!(repository.get_manifest(&format!("v{round}")).expect(200), image.manifest);
                    assert_eq!(digest(&repository.get_blob(&image.layers[0]).expect(200)), image.layers[0]);
                    let blob = repository.push_blob(&random_bytes(seed + 500, 1000));
                    repository.request("DELETE", repository.blob(&blob)).send(address).expect(202);
                    assert_eq!(repository.head_blob(&blob).status, 404);
                }
                let tags = repository.request("GET", "/v2/".to_owned() + &repository.name + "/tags/list").send(address);
                assert_eq!(tags.json()["tags"].as_array().map(Vec::len), Some(rounds as usize));
            });
        }
    });
}

#[test]
fn with_answers_of_minio_lost_and_refused_no_push_and_no_pull_fails() {
    let minio = Minio::start(&["lost"]);
    let proxy = FaultProxy::before(minio.address);
    let entrepot = registry(minio.bucket("lost").through(proxy.address).set(Setup::registry()));
    spoil(&proxy);
    push_and_pull(entrepot.address, 12);
    assert!(proxy.seen().len() > 500);
}

#[test]
fn with_answers_of_azurite_lost_and_refused_no_push_and_no_pull_fails() {
    let azurite = Azurite::start(&["lost"]);
    let proxy = FaultProxy::before(azurite.address);
    let entrepot = registry(azurite.container("lost").through(proxy.address).set(Setup::registry()));
    spoil(&proxy);
    push_and_pull(entrepot.address, 4);
    assert!(proxy.seen().len() > 150);
}
