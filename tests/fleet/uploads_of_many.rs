//! One push through several instances, and many pushes of the same.

use crate::fleet::instances::Fleet;
use crate::ground::until_purged;
use crate::harness::repository::{Repository, location, with_digest};
use crate::harness::{digest, eventually, random_bytes};

const CLIENTS: usize = 50;
const PURGED: &str = "entrepot_registry_uploads_purged_total";

#[test]
fn an_upload_goes_on_at_any_instance() {
    for fleet in Fleet::each() {
        // Small pieces and such that fill parts of an object store's multipart upload.
        for size in [1, 3000, 6 << 20, 20 << 20] {
            upload_around(&fleet, size);
        }
        assert_eq!(fleet.ground.open_multiparts(), 0);
    }
}

/// POST at the first, three PATCHes at the others, status everywhere, PUT at the third.
fn upload_around(fleet: &Fleet, size: usize) {
    let at = fleet.repositories("team/around");
    let bytes = random_bytes(size as u64, size * 3);
    let mut upload = at[0].start_upload();
    for (number, piece) in bytes.chunks(size).enumerate() {
        let repository = &at[(number + 1) % at.len()];
        let range = format!("{}-{}", number * size, number * size + piece.len() - 1);
        let patch = repository.request("PATCH", upload).header("Content-Range", range).body(piece);
        let patched = patch.header("Content-Type", "application/octet-stream").send(repository.address);
        assert_eq!(patched.status, 202, "{}", patched.text());
        upload = location(&patched);
        for asked in &at {
            let status = asked.request("GET", upload.clone()).send(asked.address);
            let sent = format!("0-{}", number * size + piece.len() - 1);
            assert_eq!((status.status, status.header("range")), (204, Some(sent.as_str())));
        }
    }
    let digest = digest(&bytes);
    at[2].request("PUT", with_digest(&upload, &digest)).send(at[2].address).expect(201);
    for repository in &at {
        assert_eq!(crate::harness::digest(&repository.get_blob(&digest).expect(200)), digest);
        assert_eq!(repository.request("GET", upload.clone()).send(repository.address).status, 404);
    }
}

#[test]
fn a_push_through_the_balancer_lands_wherever_its_requests_do() {
    let fleet = Fleet::with_redis();
    let balancer = fleet.balancer();
    std::thread::scope(|scope| {
        for number in 0..20 {
            let address = balancer.address;
            scope.spawn(move || {
                let repository = Repository::at(address, &format!("team/through-{}", number % 3));
                let bytes = random_bytes(number, 1_000_000);
                let mut upload = repository.start_upload();
                for piece in bytes.chunks(250_000) {
                    let patched = repository.request("PATCH", upload).body(piece).send(repository.address);
                    assert_eq!(patched.status, 202, "{}", patched.text());
                    upload = location(&patched);
                }
                let digest = digest(&bytes);
                repository.request("PUT", with_digest(&upload, &digest)).send(repository.address).expect(201);
                assert_eq!(repository.get_blob(&digest).expect(200), bytes);
            });
        }
    });
    // The balancer did spread them.
    for instance in &fleet.instances {
        assert!(instance.metric("registry_http_requests_total", &[]) > 10.0);
    }
}

#[test]
fn fifty_clients_push_the_same_blob_at_once() {
    for fleet in Fleet::each() {
        let balancer = fleet.balancer();
        let bytes = random_bytes(50, 6 << 20);
        let digest = digest(&bytes);
        let mut addresses = fleet.addresses();
        addresses.push(balancer.address);
        std::thread::scope(|scope| {
            for number in 0..fleet.at_once(CLIENTS) {
                let (address, bytes, digest) = (addresses[number % addresses.len()], &bytes, &digest);
                scope.spawn(move || {
                    let repository = Repository::at(address, &format!("team/same-{}", number % 5));
                    // Half of them as docker does, half in one PUT.
                    let upload = repository.start_upload();
                    let put = if number % 2 == 0 {
                        let patched = repository.request("PATCH", upload).body(bytes.as_slice()).send(address);
                        assert_eq!(patched.status, 202, "{}", patched.text());
                        repository.request("PUT", with_digest(&location(&patched), digest))
                    } else {
                        repository.request("PUT", with_digest(&upload, digest)).body(bytes.as_slice())
                    };
                    put.send(address).expect(201);
                    assert_eq!(crate::harness::digest(&repository.get_blob(digest).expect(200)), *digest);
                });
            }
        });
        let hex = digest.trim_start_matches("sha256:");
        let held = fleet.ground.keys().into_iter().filter(|key| key.contains(hex) && key.ends_with("/data"));
        assert_eq!(held.count(), 1);
        eventually("nothing is left of the uploads", || {
            fleet.ground.open_multiparts() == 0 && fleet.ground.uploads().is_empty()
        });
    }
}

#[test]
fn uploads_that_nobody_ends_are_purged_once_per_fleet() {
    const UPLOADS: usize = 20;
    for mut fleet in [Fleet::with_redis(), Fleet::without_redis()] {
        for repository in fleet.repositories("team/left").iter().cycle().take(UPLOADS) {
            let upload = repository.start_upload();
            repository.request("PATCH", upload).body(random_bytes(1, 1000)).send(repository.address).expect(202);
        }
        fleet.instances.clear();
        fleet.ground.age_uploads();
        fleet.change(|setup| setup.set("registry.upload_expiry", "\"1h\""));
        until_purged("uploads of the fleet", || fleet.ground.uploads().is_empty());
        until_purged("they are counted", || fleet.metric(PURGED, &[]) == UPLOADS as f64);
    }
}
