//! 10,000 pulls and 500 pushes, while one of two registries is killed and started again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::repository::{location, with_digest};
use crate::harness::{Registry, Repository, Setup, Stop, digest, random_bytes};

const PULLS: usize = 10_000;
const PUSHES: usize = 500;
const CLIENTS: usize = 8;

#[derive(Default)]
struct Failures {
    pulls: Vec<String>,
    pushes: Vec<String>,
    /// Sessions whose bytes were being taken when their registry died: those may fail.
    held_bytes: usize,
}

#[test]
fn a_registry_killed_again_and_again_fails_no_pull_and_no_push_that_held_no_bytes() {
    let (mut one, other, _volume) = Registry::pair();
    let pushed = Repository::at(other.address, "team/app");
    let images: Vec<_> = (0..200).map(|seed| pushed.push_random(&format!("v{seed}"), seed, 50_000)).collect();
    // So small a cache that most pulls need a registry.
    let setup = Setup::before(&[one.address, other.address]).set("cache.memory", "0").set("cache.disk", "\"2MiB\"");
    let entrepot = setup.start();
    let (next_pull, next_push, failures) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Failures::default()));
    let done = Stop::default();
    let kills = std::thread::scope(|scope| {
        let guard = done.guard();
        let workers: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let client = Repository::at(entrepot.address, "team/app");
                    loop {
                        let number = next_pull.fetch_add(1, Ordering::Relaxed);
                        if number >= PULLS {
                            return;
                        }
                        let image = &images[number * 7 % images.len()];
                        let manifest = client.get_manifest(&format!("v{}", number * 7 % images.len()));
                        let layer = client.get_blob(&image.layers[0]);
                        if manifest.status != 200 || digest(&layer.body) != image.layers[0] || !layer.complete {
                            let why =
                                format!("{number}: {} {}, complete: {}", manifest.status, layer.status, layer.complete);
                            failures.lock().expect("nobody panicked").pulls.push(why);
                        }
                        if number % (PULLS / PUSHES) == 0 {
                            push(&client, next_push.fetch_add(1, Ordering::Relaxed) as u64, &failures);
                        }
                    }
                })
            })
            .collect();
        let mut kills = 0;
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_secs(2));
            one.kill();
            std::thread::sleep(Duration::from_secs(1));
            one.restart();
            kills += 1;
        }
        drop(guard);
        kills
    });
    let failures = failures.into_inner().expect("nobody panicked");
    println!(
        "{PULLS} pulls, {} pushes, {kills} kills, {} sessions lost bytes",
        next_push.into_inner(),
        failures.held_bytes
    );
    assert!(kills >= 2, "the registry was killed in the middle");
    assert!(failures.pulls.is_empty(), "{}: {:?}", failures.pulls.len(), failures.pulls);
    assert!(failures.pushes.is_empty(), "{}: {:?}", failures.pushes.len(), failures.pushes);
}

/// POST, PATCH, PUT. Once the PATCH began, the session holds bytes on its registry and may die with it.
fn push(client: &Repository, number: u64, failures: &Mutex<Failures>) {
    let bytes = random_bytes(1 << 40 | number, 20_000);
    let opened = client.request("POST", client.uploads()).send(client.address);
    if opened.status != 202 {
        failures.lock().expect("nobody panicked").pushes.push(format!("POST {}: {}", opened.status, opened.text()));
        return;
    }
    let patched = client.request("PATCH", location(&opened)).body(bytes.clone()).send(client.address);
    let closed = (patched.status == 202)
        .then(|| client.request("PUT", with_digest(&location(&patched), &digest(&bytes))).send(client.address));
    match closed.map_or(patched.status, |closed| closed.status) {
        201 => {}
        502..=504 | 404 => failures.lock().expect("nobody panicked").held_bytes += 1,
        status => failures.lock().expect("nobody panicked").pushes.push(format!("{status}: {}", patched.text())),
    }
}
