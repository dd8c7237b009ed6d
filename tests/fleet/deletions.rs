//! What one instance deleted is gone at once from all, whatever Redis remembers or has forgotten.

use crate::fleet::instances::Fleet;
use crate::harness::{Repository, Stop, random_bytes};

const ROUNDS: u64 = 10;

/// The blob is known to every instance, by its answers and by its cache.
fn known_everywhere(repositories: &[Repository], seed: u64) -> String {
    let bytes = random_bytes(seed, 20_000);
    let digest = repositories[seed as usize % repositories.len()].push_blob(&bytes);
    for repository in repositories {
        assert_eq!(repository.head_blob(&digest).status, 200);
        assert_eq!(repository.get_blob(&digest).expect(200), bytes);
    }
    digest
}

fn delete(repository: &Repository, digest: &str) -> u16 {
    repository.request("DELETE", repository.blob(digest)).send(repository.address).status
}

#[track_caller]
fn gone_everywhere(repositories: &[Repository], digest: &str) {
    for repository in repositories {
        assert_eq!(repository.head_blob(digest).status, 404);
        assert_eq!(repository.get_blob(digest).status, 404);
    }
}

#[test]
fn a_blob_deleted_by_one_instance_is_gone_from_all() {
    for fleet in Fleet::each() {
        let repositories = fleet.repositories("team/deleted");
        for round in 0..ROUNDS {
            let digest = known_everywhere(&repositories, round);
            assert_eq!(delete(&repositories[round as usize % 3], &digest), 202);
            gone_everywhere(&repositories, &digest);
        }
    }
}

#[test]
fn readers_at_work_see_no_blob_after_its_deletion_was_acknowledged() {
    for fleet in Fleet::each() {
        let repositories = fleet.repositories("team/deleted");
        for round in 0..ROUNDS {
            let digest = known_everywhere(&repositories, 1000 + round);
            let (deleted, stop) = (Stop::default(), Stop::default());
            std::thread::scope(|scope| {
                let guard = stop.guard();
                for repository in repositories.iter().chain(&repositories) {
                    scope.spawn(|| {
                        while !stop.is_set() {
                            let gone = deleted.is_set();
                            let status = repository.head_blob(&digest).status;
                            assert!(status == 404 || (status == 200 && !gone), "{status}, deleted: {gone}");
                        }
                    });
                }
                assert_eq!(delete(&repositories[round as usize % 3], &digest), 202);
                drop(deleted.guard());
                gone_everywhere(&repositories, &digest);
                drop(guard);
            });
            gone_everywhere(&repositories, &digest);
        }
    }
}

#[test]
fn a_deleted_blob_stays_gone_when_another_repository_uses_it_and_when_redis_forgets() {
    let mut fleet = Fleet::with_redis();
    let (here, there) = (fleet.repositories("team/here"), fleet.repositories("team/there"));
    for round in 0..ROUNDS {
        let digest = known_everywhere(&here, 2000 + round);
        known_everywhere(&there, 2000 + round);
        let redis = fleet.redis.as_mut().expect("a Redis");
        match round % 3 {
            0 => redis.flush(),
            1 => redis.restart(),
            _ => {}
        }
        assert_eq!(delete(&here[0], &digest), 202);
        let redis = fleet.redis.as_mut().expect("a Redis");
        if round % 2 == 0 {
            redis.flush();
        }
        for repository in &there {
            repository.get_blob(&digest).expect(200);
        }
        gone_everywhere(&here, &digest);
    }
}

#[test]
fn with_redis_gone_a_deletion_is_refused_or_seen_by_all() {
    let mut fleet = Fleet::with_redis();
    let repositories = fleet.repositories("team/deleted");
    for round in 0..3 {
        let digest = known_everywhere(&repositories, 3000 + round);
        fleet.redis.as_mut().expect("a Redis").kill();
        match delete(&repositories[0], &digest) {
            202 => gone_everywhere(&repositories, &digest),
            503 => repositories.iter().for_each(|repository| assert_eq!(repository.head_blob(&digest).status, 200)),
            status => panic!("{status}"),
        }
        fleet.redis.as_mut().expect("a Redis").restart();
        crate::harness::eventually("it is deleted with Redis back", || {
            matches!(delete(&repositories[1], &digest), 202 | 404)
        });
        gone_everywhere(&repositories, &digest);
    }
}

#[test]
fn a_manifest_deleted_by_one_instance_is_gone_from_all_with_its_tags() {
    for fleet in Fleet::each() {
        let repositories = fleet.repositories("team/deleted");
        for round in 0..ROUNDS {
            let image = repositories[0].push_random(&format!("v{round}"), round, 1000);
            for repository in &repositories {
                assert_eq!(repository.get_manifest(&image.digest).expect(200), image.manifest);
                assert_eq!(repository.get_manifest(&format!("v{round}")).expect(200), image.manifest);
            }
            let deleter = &repositories[round as usize % 3];
            deleter.request("DELETE", deleter.manifest(&image.digest)).send(deleter.address).expect(202);
            for repository in &repositories {
                assert_eq!(repository.get_manifest(&image.digest).status, 404);
                assert_eq!(repository.get_manifest(&format!("v{round}")).status, 404);
                // Its layers are still there for other manifests.
                assert_eq!(repository.head_blob(&image.layers[0]).status, 200);
            }
        }
    }
}
