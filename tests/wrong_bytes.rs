//! Wrong, missing and surplus bytes: none of them reaches a client as if they were right, and none is kept.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

use crate::harness::{
    Answer, Entrepot, Fault, FaultProxy, Registry, Repository, Rule, Serving, Setup, digest, eventually, random_bytes,
    scratch,
};

const SIZE: u64 = 3_000_000;

fn spoilt(fault: Fault) -> (Serving, FaultProxy, Entrepot, Repository, String) {
    let registry = Registry::debian().start();
    let blob = Repository::at(registry.address, "team/app").push_blob(&random_bytes(1, SIZE as usize));
    let peer = FaultProxy::before(registry.address);
    peer.on(Rule::new("GET", &blob, fault));
    let entrepot = Entrepot::before(&[peer.address]);
    let client = Repository::at(entrepot.address, "team/app");
    (registry, peer, entrepot, client, blob)
}

/// A clean 200 has the content that was asked for.
#[track_caller]
fn assert_never_wrong(answer: &Answer, wanted: &str) {
    let clean = answer.complete && answer.status == 200;
    assert!(!clean || digest(&answer.body) == wanted, "{} wrong bytes ended cleanly", answer.body.len());
}

#[test]
fn a_body_that_is_not_its_digest_ends_no_answer_cleanly_and_is_not_kept() {
    let faults = [
        ("first byte", Fault::FlipAt(0)),
        ("middle byte", Fault::FlipAt(SIZE / 2)),
        ("last byte", Fault::FlipAt(SIZE - 1)),
        ("one byte less", Fault::Shorten(1)),
        ("half", Fault::Shorten(SIZE / 2)),
        ("nothing", Fault::Shorten(SIZE)),
        ("one byte more", Fault::Lengthen(1)),
        ("many bytes more", Fault::Lengthen(100_000)),
        ("no byte at all", Fault::CutAt(0)),
    ];
    for (what, fault) in faults {
        let (_registry, peer, entrepot, client, blob) = spoilt(fault);
        for _ in 0..2 {
            // No answer at all is no clean end either.
            if let Ok(answer) = client.request("GET", client.blob(&blob)).try_send(client.address) {
                let clean = answer.complete && answer.status == 200;
                assert!(!clean, "{what}: {} bytes ended cleanly", answer.body.len());
            }
        }
        entrepot.settled();
        assert_eq!(entrepot.cache_files(SIZE / 2), Vec::<std::path::PathBuf>::new(), "{what}");
        assert_eq!(entrepot.metric("entrepot_cache_fills_total", &[("result", "completed")]), 0.0, "{what}");
        peer.forget_rules();
        assert_eq!(digest(&client.get_blob(&blob).expect(200)), blob, "{what}");
    }
}

/// Nothing of it was shown yet, so the answer can still be another one.
#[test]
fn a_small_body_that_is_wrong_is_answered_with_an_error() {
    let registry = Registry::debian().start();
    let peer = FaultProxy::before(registry.address);
    let entrepot = Entrepot::before(&[peer.address]);
    let client = Repository::at(entrepot.address, "team/app");
    let faults = [Fault::FlipAt(500), Fault::Shorten(1), Fault::Lengthen(1), Fault::Shorten(999)];
    for (number, fault) in (0u64..).zip(faults) {
        for size in [1_000, 60_000] {
            let bytes = random_bytes(10 + number * 2 + u64::from(size > 1_000), size);
            let blob = Repository::at(registry.address, "team/app").push_blob(&bytes);
            peer.on(Rule::new("GET", &blob, fault.clone()));
            for range in [None, Some("bytes=0-99")] {
                let request = client.request("GET", client.blob(&blob));
                let request = range.into_iter().fold(request, |request, range| request.header("Range", range));
                let answer = request.send(client.address);
                assert!(answer.complete, "fault {number} of {size}, {range:?}");
                // Found out before anybody waited for the content, or while they did.
                let told = (answer.status, answer.error_code());
                let known = [(502, "UNKNOWN".to_owned()), (503, "UNAVAILABLE".to_owned())];
                assert!(known.contains(&told), "fault {number} of {size}, {range:?}: {told:?}");
            }
            peer.forget_rules();
            assert_eq!(client.get_blob(&blob).expect(200), bytes);
        }
    }
}

/// More came than clients wait for, and less than may be shown before all is proven.
#[test]
fn a_small_body_whose_peer_dies_is_answered_with_an_error() {
    let registry = Registry::debian().start();
    let blob = Repository::at(registry.address, "team/app").push_blob(&random_bytes(1, 60_000));
    let peer = FaultProxy::before(registry.address);
    peer.on(Rule::new("GET", &blob, Fault::DieAt(10_000)));
    let entrepot = Entrepot::before(&[peer.address]);
    let answer = Repository::at(entrepot.address, "team/app").get_blob(&blob);
    let told = (answer.status, answer.complete, answer.error_code());
    assert_eq!(told, (503, true, "UNAVAILABLE".into()), "{:?}", answer.headers);
}

#[test]
fn a_body_that_ends_early_is_asked_for_again_from_there() {
    for cut in [SIZE / 2, SIZE - 1] {
        let (_registry, peer, _entrepot, client, blob) = spoilt(Fault::CutAt(cut));
        assert_eq!(digest(&client.get_blob(&blob).expect(200)), blob);
        let resumed = peer.seen_of("GET", &blob).pop().expect("a second request");
        assert_eq!((resumed.header("range"), resumed.status), (Some(format!("bytes={cut}-").as_str()), 206));
    }
}

#[test]
fn a_body_without_a_length_is_verified_all_the_same() {
    let (_registry, peer, entrepot, client, blob) = spoilt(Fault::Chunked);
    assert_eq!(digest(&client.get_blob(&blob).expect(200)), blob);
    entrepot.settled();
    client.get_blob(&blob).expect(200);
    assert_eq!(peer.count("GET", &blob), 1);
}

#[test]
fn a_wrong_manifest_by_digest_is_refused() {
    let registry = Registry::debian().start();
    let image = Repository::at(registry.address, "team/app").push_random("v1", 1, 10);
    let peer = FaultProxy::before(registry.address);
    peer.on(Rule::new("GET", "/manifests/sha256", Fault::FlipAt(20)));
    let entrepot = Entrepot::before(&[peer.address]);
    let client = Repository::at(entrepot.address, "team/app");
    let answer = client.get_manifest(&image.digest);
    assert!(!(answer.complete && answer.status == 200));
    peer.forget_rules();
    assert_eq!(client.get_manifest(&image.digest).expect(200), image.manifest);
}

#[test]
fn many_clients_of_a_wrong_body_are_all_told_by_a_broken_end() {
    let (_registry, _peer, _entrepot, client, blob) = spoilt(Fault::FlipAt(SIZE / 2));
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let answer = client.get_blob(&blob);
                assert!(!(answer.complete && answer.status == 200));
            });
        }
    });
}

#[test]
fn a_hundred_spoilt_cache_files_deliver_no_wrong_byte_and_heal() {
    const FILES: u64 = 100;
    const LENGTH: usize = 200_000;
    let registry = Registry::debian().start();
    let pushed = Repository::at(registry.address, "team/app");
    let blobs: Vec<String> = (0..FILES).map(|seed| pushed.push_blob(&random_bytes(seed, LENGTH))).collect();
    let entrepot = Setup::before(&[registry.address]).set("cache.memory", "0").start();
    let client = Repository::at(entrepot.address, "team/app");
    for blob in &blobs {
        client.get_blob(blob).expect(200);
    }
    entrepot.settled();
    let files = entrepot.cache_files(LENGTH as u64);
    assert_eq!(files.len(), FILES as usize, "one file for each blob");
    for (number, file) in files.iter().enumerate() {
        spoil(file, number);
    }
    for blob in &blobs {
        let partial = client.request("GET", client.blob(blob)).header("Range", "bytes=1000-1999").send(client.address);
        let seed = blobs.iter().position(|other| other == blob).expect("one of them") as u64;
        let right = partial.body == random_bytes(seed, LENGTH)[1000..2000];
        assert!(!partial.complete || partial.status != 206 || right, "wrong bytes in a range");
        assert_never_wrong(&client.get_blob(blob), blob);
    }
    entrepot.settled();
    for blob in &blobs {
        assert_eq!(digest(&client.get_blob(blob).expect(200)), *blob);
    }
    assert!(entrepot.metric("entrepot_cache_corruptions_total", &[]) > 0.0);
}

/// Flips a bit, cuts, empties, or puts zeros: what disks do.
fn spoil(path: &Path, number: usize) {
    let length = path.metadata().expect("a cache file").len();
    let mut file = std::fs::File::options().read(true).write(true).open(path).expect("a cache file");
    match number % 4 {
        0 | 1 => {
            let at = length * (number as u64 % 50 + 1) / 52;
            let mut byte = [0];
            file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut byte)).expect("read");
            byte[0] ^= 4;
            file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(&byte)).expect("written");
        }
        2 => file.set_len(length * (number as u64 % 10) / 10).expect("cut"),
        _ => {
            file.seek(SeekFrom::Start(length / 3)).and_then(|_| file.write_all(&[0; 4096])).expect("written");
        }
    }
}

#[test]
fn cache_files_that_were_removed_or_swapped_are_found_out() {
    let registry = Registry::debian().start();
    let pushed = Repository::at(registry.address, "team/app");
    let blobs: Vec<String> = (0..4).map(|seed| pushed.push_blob(&random_bytes(seed, 200_000))).collect();
    let entrepot = Setup::before(&[registry.address]).set("cache.memory", "0").start();
    let client = Repository::at(entrepot.address, "team/app");
    for blob in &blobs {
        client.get_blob(blob).expect(200);
    }
    entrepot.settled();
    let files = entrepot.cache_files(200_000);
    std::fs::remove_file(&files[0]).expect("removed");
    let (a, b) = (std::fs::read(&files[1]).expect("read"), std::fs::read(&files[2]).expect("read"));
    std::fs::write(&files[1], b).and_then(|()| std::fs::write(&files[2], a)).expect("swapped");
    for blob in blobs.iter().chain(&blobs) {
        assert_never_wrong(&client.get_blob(blob), blob);
    }
    eventually("everything has healed", || blobs.iter().all(|blob| digest(&client.get_blob(blob).body) == *blob));
}

/// A folder with room for 8 MB, until it is dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Self {
        let folder = scratch();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(folder.path()).status();
        assert!(mounted.is_ok_and(|status| status.success()), "mounting a tmpfs needs root");
        SmallDisk(folder)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
fn a_cache_on_a_disk_of_eight_megabytes_fails_no_pull_of_a_hundred() {
    const LARGE: usize = 100 << 20;
    let registry = Registry::debian().start();
    let blob = Repository::at(registry.address, "team/app").push_blob(&random_bytes(1, LARGE));
    let small = Repository::at(registry.address, "team/app").push_blob(&random_bytes(2, 1 << 20));
    let disk = SmallDisk::new();
    let peer = FaultProxy::before(registry.address);
    let setup = Setup::before(&[peer.address]).cache_at(&disk.0.path().join("cache"));
    let entrepot = setup.set("cache.disk", "\"1GiB\"").set("cache.memory", "\"2MiB\"").start();
    let client = Repository::at(entrepot.address, "team/app");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(digest(&client.get_blob(&blob).expect(200)), blob));
        }
    });
    assert_eq!(digest(&client.get_blob(&blob).expect(200)), blob);
    let range = client.request("GET", client.blob(&blob)).header("Range", "bytes=-1000").send(client.address);
    assert_eq!(range.expect(206), random_bytes(1, LARGE)[LARGE - 1000..]);
    // What fits is still kept.
    client.get_blob(&small).expect(200);
    entrepot.settled();
    peer.forget_seen();
    assert_eq!(digest(&client.get_blob(&small).expect(200)), small);
    assert_eq!(peer.count("GET", &small), 0);
    drop(entrepot);
}
