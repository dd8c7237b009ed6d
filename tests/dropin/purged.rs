//! Uploads that distribution began and nobody ends are swept with our own; those of today stay.

use crate::ground::{Ground, until_purged};
use crate::harness::repository::{Repository, location, with_digest};
use crate::harness::{Serving, digest, random_bytes};

#[test]
fn interrupted_uploads_of_distribution_on_a_volume_are_purged() {
    let ground = Ground::volume();
    purged(&ground, &[ground.debian(), ground.v3()]);
}

#[test]
fn interrupted_uploads_of_distribution_in_a_bucket_are_purged() {
    let ground = Ground::bucket();
    purged(&ground, &[ground.v3()]);
}

/// POST and PATCH: 12 MB, so that an object store has parts of it already.
fn interrupt(repository: &Repository) -> (String, Vec<u8>) {
    let bytes = random_bytes(9, 12 << 20);
    let patch = repository.request("PATCH", repository.start_upload()).body(bytes.clone());
    let patched = patch.header("Content-Type", "application/octet-stream").send(repository.address);
    assert_eq!(patched.status, 202, "{}", patched.text());
    (location(&patched), bytes)
}

fn purged(ground: &Ground, peers: &[Serving]) {
    let mut entrepot = ground.setup().set("registry.upload_expiry", "\"1h\"").start();
    let ours = entrepot.address;
    let begin = || -> Vec<_> {
        let addresses = peers.iter().map(|peer| peer.address).chain([ours]);
        let begun = addresses.map(|address| {
            let repository = Repository::at(address, "team/app/below");
            let (upload, bytes) = interrupt(&repository);
            (repository, upload, bytes)
        });
        begun.collect()
    };
    let old = begin();
    assert!(ground.uploads().len() >= old.len());
    entrepot.kill();
    ground.age_uploads();
    let aged = ground.uploads();
    entrepot.restart();
    let young = begin();
    until_purged("old uploads", || ground.uploads().iter().all(|key| !aged.contains(key)));
    for (repository, upload, _) in &old {
        assert_eq!(repository.request("GET", upload.clone()).send(repository.address).status, 404);
    }
    // Those of today go on to their end.
    for (repository, upload, bytes) in &young {
        let digest = digest(bytes);
        repository.request("PUT", with_digest(upload, &digest)).send(repository.address).expect(201);
        assert_eq!(Repository::at(ours, "team/app/below").get_blob(&digest).expect(200), *bytes);
    }
    assert_eq!(ground.uploads(), Vec::<String>::new());
}
