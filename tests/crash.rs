//! `kill -9` in the middle of pushes: what was acknowledged is there, what is there is whole.

mod kills;
mod pushes;

use crate::ground::Ground;
use crate::harness::repository::{Repository, location, with_digest};
use crate::harness::{digest, random_bytes};

/// `make proof` has 200.
const KILLS: u64 = 30;

#[test]
fn nothing_acknowledged_on_a_volume_is_lost_by_kills() {
    kills::kill_during_pushes(&Ground::volume(), KILLS);
}

#[test]
fn nothing_acknowledged_in_a_bucket_is_lost_by_kills() {
    kills::kill_during_pushes(&Ground::bucket(), KILLS);
}

/// Azurite is slow, so fewer kills.
#[test]
fn nothing_acknowledged_in_a_container_of_azurite_is_lost_by_kills() {
    kills::kill_during_pushes(&Ground::container(), KILLS / 3);
}

#[test]
fn an_upload_goes_on_after_a_kill_from_what_was_acknowledged() {
    for ground in [Ground::volume(), Ground::bucket(), Ground::container()] {
        for size in [1000, 7 << 20] {
            let mut entrepot = ground.entrepot();
            let repository = Repository::at(entrepot.address, "team/app");
            let bytes = random_bytes(size as u64, size * 3);
            let mut upload = repository.start_upload();
            for (number, piece) in bytes.chunks(size).enumerate() {
                let patched = repository.request("PATCH", upload).body(piece).send(repository.address);
                assert_eq!(patched.status, 202, "{}", patched.text());
                upload = location(&patched);
                entrepot.restart();
                let status = repository.request("GET", upload.clone()).send(repository.address);
                let received = format!("0-{}", number * size + piece.len() - 1);
                assert_eq!((status.status, status.header("range")), (204, Some(received.as_str())));
            }
            let digest = digest(&bytes);
            repository.request("PUT", with_digest(&upload, &digest)).send(repository.address).expect(201);
            assert_eq!(repository.get_blob(&digest).expect(200), bytes);
        }
    }
}
