//! Redis dies, forgets and stands still under pulls and pushes: none of them fails.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::instances::Fleet;
use crate::harness::{Image, Repository, digest};

const CLIENTS: usize = 8;
const STALL: Duration = Duration::from_millis(500);

/// So many pulls, and one push for every ten of them.
pub fn redis_fails_under(pulls: usize) {
    let mut fleet = Fleet::with_redis();
    let repositories = fleet.repositories("team/app");
    let images: Vec<Image> =
        (0..50).map(|number| repositories[0].push_random(&format!("v{number}"), number, 20_000)).collect();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let mut redis = fleet.redis.take().expect("a Redis");
    let faults = std::thread::scope(|scope| {
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= pulls {
                    return;
                }
                let client = &repositories[number % repositories.len()];
                let failed = pull(client, &images, number)
                    .or_else(|| if number % 10 == 0 { push(client, number) } else { None });
                failures.lock().expect("nobody panicked").extend(failed);
            }
        };
        let workers: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(work)).collect();
        let mut faults = 0;
        while workers.iter().any(|worker| !worker.is_finished()) {
            match faults % 3 {
                0 => redis.stall(STALL),
                1 => redis.flush(),
                _ => {
                    redis.kill();
                    std::thread::sleep(STALL);
                    redis.restart();
                }
            }
            faults += 1;
            std::thread::sleep(STALL / 2);
        }
        faults
    });
    let failures = failures.into_inner().expect("nobody panicked");
    println!("{pulls} pulls, {} pushes, {faults} faults of Redis: {} failed", pulls / 10, failures.len());
    assert!(faults >= 3, "Redis failed in the middle");
    assert!(failures.is_empty(), "{}: {failures:?}", failures.len());
}

fn pull(client: &Repository, images: &[Image], number: usize) -> Option<String> {
    let at = number * 7 % images.len();
    let manifest = client.get_manifest(&format!("v{at}"));
    let layer = client.get_blob(&images[at].layers[0]);
    let right = manifest.body == images[at].manifest && layer.complete && digest(&layer.body) == images[at].layers[0];
    (!right).then(|| format!("pull {number}: {} and {}, {}", manifest.status, layer.status, layer.text().len()))
}

/// As docker does: HEAD, upload, manifest. Every status is a number that the report can show.
fn push(client: &Repository, number: usize) -> Option<String> {
    std::panic::catch_unwind(|| client.push_random(&format!("p{number}"), 1_000_000 + number as u64, 20_000))
        .err()
        .map(|_| format!("push {number}"))
}
