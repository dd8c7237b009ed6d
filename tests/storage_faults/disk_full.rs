//! A disk of eight megabytes fills up under pushes.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::repository::{OCI_MANIFEST, Repository, location, with_digest};
use crate::harness::tools::run;
use crate::harness::{Answer, Image, Setup, digest, random_bytes, scratch};

/// A file system in memory, of so many megabytes. Only root can have one.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(megabytes: usize) -> Self {
        let folder = scratch();
        let size = format!("size={megabytes}m");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()));
        SmallDisk { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes so many bytes of it until the file is removed.
    fn fill(&self, bytes: usize) -> PathBuf {
        let file = self.path().join("filler");
        std::fs::write(&file, vec![1; bytes]).expect("there is room for the filler");
        file
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}

/// 507 or 503, with an error that a client can show.
#[track_caller]
fn assert_full(answer: &Answer) {
    assert!(matches!(answer.status, 503 | 507), "{}: {}", answer.status, answer.text());
    assert!(answer.complete && !answer.error_code().is_empty(), "{}", answer.text());
}

#[track_caller]
fn assert_intact(repository: &Repository, image: &Image) {
    assert_eq!(repository.get_manifest("v1").expect(200), image.manifest);
    assert_eq!(digest(&repository.get_blob(&image.layers[0]).expect(200)), image.layers[0]);
}

/// A blob, as docker pushes it or in one PUT; the answer that refused it, or the last.
fn push(repository: &Repository, bytes: &[u8], in_one: bool) -> (String, Answer) {
    let upload = repository.start_upload();
    let digest = digest(bytes);
    if in_one {
        let put = repository.request("PUT", with_digest(&upload, &digest)).body(bytes);
        return (upload, put.send(repository.address));
    }
    let patched = repository.request("PATCH", upload.clone()).body(bytes).send(repository.address);
    if patched.status != 202 {
        return (upload, patched);
    }
    let upload = location(&patched);
    let put = repository.request("PUT", with_digest(&upload, &digest)).send(repository.address);
    (upload, put)
}

#[test]
fn a_full_disk_refuses_pushes_clearly_and_serves_what_it_has() {
    let disk = SmallDisk::mount(8);
    let entrepot = Setup::registry().storage_at(disk.path()).start();
    let repository = Repository::at(entrepot.address, "team/app");
    let image = repository.push_random("v1", 1, 1 << 20);
    for in_one in [false, true] {
        let large = random_bytes(2, 12 << 20);
        let (upload, answer) = push(&repository, &large, in_one);
        assert_full(&answer);
        assert_intact(&repository, &image);
        assert_eq!(repository.get_blob(&digest(&large)).status, 404);
        // The client gives up, and its bytes are gone with it: the next has room.
        let given_up = repository.request("DELETE", upload).send(repository.address);
        assert!(matches!(given_up.status, 204 | 404), "{}", given_up.status);
        let small = random_bytes(3 + u64::from(in_one), 2 << 20);
        let (_, answer) = push(&repository, &small, in_one);
        answer.expect(201);
        assert_eq!(repository.get_blob(&digest(&small)).expect(200), small);
    }
}

#[test]
fn a_disk_without_a_free_byte_takes_no_manifest_and_goes_on_when_there_is_room() {
    let disk = SmallDisk::mount(8);
    let entrepot = Setup::registry().storage_at(disk.path()).start();
    let repository = Repository::at(entrepot.address, "team/app");
    let image = repository.push_random("v1", 1, 1 << 20);
    let filler = disk.fill(6 << 20);
    // What is left goes in small pieces, so that not even a link has room.
    let rest = disk.path().join("rest");
    let mut file = std::fs::File::create(&rest).expect("a file");
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    let refused = repository.request("PUT", repository.manifest("v2")).header("Content-Type", OCI_MANIFEST);
    let other = String::from_utf8(image.manifest.clone()).expect("JSON").replacen('{', "{ ", 1);
    assert_full(&refused.body(other.clone()).send(repository.address));
    assert_full(&repository.request("POST", repository.uploads()).send(repository.address));
    assert_intact(&repository, &image);
    assert_eq!(repository.get_manifest("v2").status, 404);
    let tags = repository.request("GET", "/v2/team/app/tags/list").send(repository.address).json();
    assert_eq!(tags["tags"], serde_json::json!(["v1"]));
    // A tag that would move stays where it was.
    let moved = repository.request("PUT", repository.manifest("v1")).header("Content-Type", OCI_MANIFEST);
    assert_full(&moved.body(other).send(repository.address));
    assert_intact(&repository, &image);

    std::fs::remove_file(filler).expect("the filler goes");
    let again = repository.push_random("v2", 5, 2 << 20);
    assert_eq!(repository.get_manifest("v2").expect(200), again.manifest);
    assert_intact(&repository, &image);
}
