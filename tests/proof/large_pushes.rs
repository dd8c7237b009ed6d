//! Many large pushes at once in little memory, and a layer beyond what S3 takes or copies at once.

use std::io::Read;
use std::time::Instant;

use crate::ground::Ground;
use crate::harness::content::{Random, digest_of};
use crate::harness::repository::{Repository, location, with_digest};
use crate::harness::{Entrepot, Setup};

const PUSHES: u64 = 32;
const SIZE: u64 = 100 << 20;
/// Distribution v3 had 997 MiB here.
const BOUND: u64 = 450 << 20;
/// S3 takes 5 GiB in one PUT and in one copy.
const LARGE: u64 = 6 << 30;

#[test]
fn thirty_two_pushes_of_a_hundred_mebibytes_at_once_stay_below_450_mebibytes() {
    let ground = Ground::bucket();
    let mut entrepot = quiet(ground.setup()).start();
    let digests: Vec<String> =
        (0..PUSHES).map(|seed| digest_of(Random::new(seed).take(SIZE)).expect("a digest").0).collect();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for (seed, digest) in (0..PUSHES).zip(&digests) {
            let repository = Repository::at(entrepot.address, &format!("team/app-{seed}"));
            scope.spawn(move || push(&repository, digest, &[(seed, SIZE)]));
        }
    });
    let peak = entrepot.process().peak_resident();
    println!("{PUSHES} pushes of {} MiB: {:?}, at most {} MiB resident", SIZE >> 20, begun.elapsed(), peak >> 20);
    assert!(peak < BOUND, "{} MiB", peak >> 20);
    for (seed, digest) in (0..PUSHES).zip(&digests) {
        pull(&Repository::at(entrepot.address, &format!("team/app-{seed}")), digest, SIZE);
    }
    assert_eq!(ground.open_multiparts(), 0);
}

#[test]
fn a_layer_of_six_gibibytes_is_pushed_to_a_volume_and_pulled() {
    let ground = Ground::volume();
    large(quiet(ground.setup()).start(), &[(61, LARGE)]);
}

#[test]
fn a_layer_of_six_gibibytes_is_pushed_to_minio_in_one_stream_and_pulled() {
    let ground = Ground::bucket();
    large(quiet(ground.setup()).start(), &[(62, LARGE)]);
    assert_eq!(ground.open_multiparts(), 0);
}

/// The parts are joined where they lie: a copy of more than 5 GiB.
#[test]
fn a_layer_of_six_gibibytes_is_pushed_to_minio_in_pieces_and_pulled() {
    let ground = Ground::bucket();
    // One is no multiple of anything.
    large(quiet(ground.setup()).start(), &[(63, LARGE - (1 << 30) + 8), (64, (1 << 30) - 8)]);
    assert_eq!(ground.open_multiparts(), 0);
}

fn quiet(setup: Setup) -> Setup {
    setup.set("log.level", "\"info\"").set("cache.disk", "\"1GiB\"")
}

fn content(pieces: &[(u64, u64)]) -> impl Read + Send + 'static {
    let empty: Box<dyn Read + Send> = Box::new(std::io::empty());
    pieces.iter().fold(empty, |before, &(seed, size)| Box::new(before.chain(Random::new(seed).take(size))))
}

/// A PATCH for each piece, as docker sends one: chunked. The PUT is empty.
fn push(repository: &Repository, digest: &str, pieces: &[(u64, u64)]) {
    let mut upload = repository.start_upload();
    for &(seed, size) in pieces {
        let source = Random::new(seed).take(size);
        let patched = repository.request("PATCH", upload).chunked(source).send(repository.address);
        assert_eq!(patched.status, 202, "{}", patched.text());
        upload = location(&patched);
    }
    repository.request("PUT", with_digest(&upload, digest)).send(repository.address).expect(201);
}

fn pull(repository: &Repository, digest: &str, size: u64) {
    let mut download = repository.request("GET", repository.blob(digest)).open(repository.address);
    assert_eq!(digest_of(&mut download).expect("the whole body"), (digest.to_owned(), size));
}

fn large(mut entrepot: Entrepot, pieces: &[(u64, u64)]) {
    let room = free_space();
    assert!(room > 20 << 30, "this needs 20 GiB of disk, there are {} GiB", room >> 30);
    let repository = Repository::at(entrepot.address, "team/large");
    let (digest, size) = digest_of(content(pieces)).expect("a digest");
    let begun = Instant::now();
    push(&repository, &digest, pieces);
    let pushed = begun.elapsed();
    pull(&repository, &digest, size);
    let peak = entrepot.process().peak_resident() >> 20;
    println!("6 GiB: up {pushed:?}, down {:?}, at most {peak} MiB resident", begun.elapsed() - pushed);
    assert!(peak << 20 < BOUND);
    // The last bytes alone, from far behind what 32 bits count.
    let range = format!("bytes={}-", size - 5);
    let tail = repository.request("GET", repository.blob(&digest)).header("Range", range).send(repository.address);
    assert_eq!(tail.expect(206).len(), 5);
}

fn free_space() -> u64 {
    let usage = rustix::fs::statvfs(env!("CARGO_TARGET_TMPDIR")).expect("the disk's figures");
    usage.f_bavail * usage.f_frsize
}
