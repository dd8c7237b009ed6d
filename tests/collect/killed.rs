//! Collections that are killed, wherever they are, do no harm and are gone on with.

use std::time::Duration;

use super::world::{begin, blobs, end_lease, short, trash, until_quiet, was_killed};
use crate::ground::Ground;
use crate::ground::pieces::assert_whole;
use crate::harness::{Image, Repository, random_bytes};

const KILLS: u64 = 12;
const IMAGES: u64 = 12;

#[test]
fn a_collection_killed_at_any_moment_is_gone_on_with() {
    for ground in [Ground::volume(), Ground::bucket()] {
        killed(&ground);
    }
}

fn killed(ground: &Ground) {
    // Slow enough that a kill comes while there is something to do.
    let server = short(ground.setup(), "2s", "2s").set("gc.rate", "\"200/s\"").start();
    let repositories: Vec<Repository> =
        (0..4).map(|number| Repository::at(server.address, &format!("team/app{number}"))).collect();
    let push = |number: u64| {
        repositories[number as usize % repositories.len()].push_random(&format!("v{number}"), number, 5000)
    };
    let images: Vec<Image> = (0..IMAGES).map(push).collect();
    let orphans: Vec<String> = (0..40)
        .map(|number| repositories[number % repositories.len()].push_blob(&random_bytes(1000 + number as u64, 3000)))
        .collect();
    let mut killed = 0;
    for kill in 0..KILLS {
        let mut run = begin(&server, &["run"]);
        std::thread::sleep(Duration::from_millis(100 + kill * 137 % 1500));
        _ = run.kill();
        killed += u64::from(was_killed(&run.wait().expect("it has ended")));
        end_lease(ground);
        for (number, image) in images.iter().enumerate().skip(kill as usize % 4).step_by(4) {
            assert_whole(&repositories[number % repositories.len()], &format!("v{number}"), image);
        }
    }
    assert!(killed > 0, "all of them had ended before");
    until_quiet(&server, &[]);
    for (number, image) in images.iter().enumerate() {
        assert_whole(&repositories[number % repositories.len()], &format!("v{number}"), image);
    }
    let left = blobs(ground);
    assert!(orphans.iter().all(|orphan| !left.contains(orphan)) && trash(ground).is_empty());
    assert_eq!(left.len(), images.len() * 3, "manifests, configurations, layers");
}
