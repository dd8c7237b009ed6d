//! Storage that refuses, until its operator acts: the log says so in a sentence at the start, readiness says it where it matters,
//! and requests are told why.

use std::process::Command;

use crate::harness::entrepot::BINARY;
use crate::harness::process::{Ending, Process, command};
use crate::harness::repository::{OCI_INDEX, Repository};
use crate::harness::tools::run;
use crate::harness::{
    Azurite, Entrepot, Fault, FaultProxy, Minio, Reply, Request, Rule, Setup, digest, eventually, scratch,
};

const NO_BUCKET: &str = "the registry's bucket does not exist";
const BAD_NAME: &str = "the registry's bucket has a name that its store does not take";
const BAD_KEYS: &str = "the registry's storage does not know its credentials";
const NOT_ALLOWED: &str = "the registry's storage refuses it";
const READ_ONLY: &str = "the registry's storage is read-only";

/// One of each kind that needs storage.
fn requests(repository: &Repository) -> Vec<Request> {
    let absent = digest(b"absent");
    vec![
        repository.request("GET", repository.manifest("v1")),
        repository.request("HEAD", repository.manifest(&absent)),
        repository.request("GET", repository.blob(&absent)),
        repository.request("HEAD", repository.blob(&absent)),
        repository.request("GET", "/v2/team/app/tags/list"),
        repository.request("GET", "/v2/_catalog"),
        repository.request("GET", format!("/v2/team/app/referrers/{absent}")),
        repository.request("DELETE", repository.manifest(&absent)),
    ]
    .into_iter()
    .chain(writes(repository))
    .collect()
}

fn writes(repository: &Repository) -> Vec<Request> {
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[]}}"#);
    vec![
        repository.request("POST", repository.uploads()),
        repository.request("POST", format!("{}?digest={}", repository.uploads(), digest(b"x"))).body("x"),
        repository.request("PUT", repository.manifest("v1")).header("Content-Type", OCI_INDEX).body(index),
    ]
}

/// 503, with the reason in OCI's JSON.
#[track_caller]
fn refused(repository: &Repository, request: Request, why: &str) {
    let what = format!("{} {}", request.method, request.target);
    let answer = request.send(repository.address);
    assert_eq!(answer.status, 503, "{what}: {}", answer.text());
    assert!(answer.header("retry-after").is_some(), "{what}");
    if !what.starts_with("HEAD") {
        assert_eq!(answer.error_code(), "UNAVAILABLE", "{what}: {}", answer.text());
        // A store's answer to HEAD has no words: keys that it does not know and keys that may not do it look alike.
        let known = answer.text().contains(why) || (why == BAD_KEYS && answer.text().contains(NOT_ALLOWED));
        assert!(known, "{what}: {}", answer.text());
    }
}

#[track_caller]
fn said(entrepot: &Entrepot, why: &str) {
    eventually("readiness says why", || {
        let answer = Request::get("/readyz").send(entrepot.admin);
        answer.status == 503 && answer.text().contains(why)
    });
    eventually("the log says why", || entrepot.log().contains(why));
}

#[track_caller]
fn all_refused(setup: Setup, why: &str) {
    let entrepot = setup.start();
    said(&entrepot, why);
    let repository = Repository::at(entrepot.address, "team/app");
    for request in requests(&repository) {
        refused(&repository, request, why);
    }
}

#[test]
fn a_bucket_of_s3_that_is_not_there_and_wrong_keys_are_said_at_once_and_to_everybody() {
    let minio = Minio::start(&["there"]);
    let at = |bucket: &str| minio.bucket(bucket).set(Setup::registry());
    all_refused(at("nowhere"), NO_BUCKET);
    all_refused(at("no"), BAD_NAME);
    all_refused(at("there").set("storage.secret_access_key", "\"wrong-secret\""), BAD_KEYS);
    all_refused(at("there").set("storage.access_key_id", "\"nobody\""), BAD_KEYS);
}

#[test]
fn a_container_of_azure_that_is_not_there_and_a_wrong_key_are_said_at_once_and_to_everybody() {
    let azurite = Azurite::start(&["there"]);
    let at = |container: &str| azurite.container(container).set(Setup::registry());
    all_refused(at("nowhere"), NO_BUCKET);
    all_refused(at("no"), BAD_NAME);
    all_refused(at("there").set("storage.account_key", "\"d3Jvbmc=\""), BAD_KEYS);
}

#[test]
fn a_missing_bucket_that_is_made_is_used_without_a_restart() {
    let azurite = Azurite::start(&[]);
    let entrepot = azurite.container("late").set(Setup::registry()).start();
    said(&entrepot, NO_BUCKET);
    azurite.make("late");
    eventually("it is ready", || entrepot.is_ready());
    Repository::at(entrepot.address, "team/app").push_random("v1", 1, 1000);
}

#[test]
fn where_only_writes_come_here_readiness_says_that_the_bucket_is_missing() {
    let (minio, peer) = (Minio::start(&["there"]), FaultProxy::recording());
    let front = |bucket: &str| {
        let setup = minio.bucket(bucket).set(Setup::registry());
        let setup = setup.set("cluster.main.peers", &format!("[\"{}\"]", peer.address));
        setup.set("route.0.read", "\"cluster.main\"").start()
    };
    said(&front("nowhere"), NO_BUCKET);
    let good = front("there");
    eventually("it is ready", || good.is_ready());
}

#[test]
fn keys_that_may_only_read_are_said_where_writes_come_here() {
    let minio = Minio::start(&["there"]);
    let proxy = FaultProxy::before(minio.address);
    let writer = minio.bucket("there").set(Setup::registry()).start();
    let image = Repository::at(writer.address, "team/app").push_random("v1", 1, 1000);
    let denied = "<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>";
    for method in ["PUT", "POST", "DELETE"] {
        let reply = Reply::new(403).header("Content-Type", "application/xml").body(denied);
        proxy.on(Rule::new(method, "", Fault::Answer(reply)));
    }
    let entrepot = minio.bucket("there").through(proxy.address).set(Setup::registry()).start();
    said(&entrepot, NOT_ALLOWED);
    assert!(Request::get("/readyz").send(entrepot.admin).text().contains("registry, writes: "));
    let repository = Repository::at(entrepot.address, "team/app");
    for request in writes(&repository) {
        refused(&repository, request, NOT_ALLOWED);
    }
    assert_eq!(repository.get_manifest("v1").expect(200), image.manifest);
    assert_eq!(repository.get_blob(&image.layers[0]).status, 200);
}

/// A folder, seen a second time without the right to write. Only root can have one.
struct ReadOnly(tempfile::TempDir);

impl ReadOnly {
    fn view(of: &std::path::Path) -> Self {
        let folder = scratch();
        run(Command::new("mount").args(["--bind"]).arg(of).arg(folder.path()));
        run(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(folder.path()));
        ReadOnly(folder)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
fn a_read_only_root_serves_pulls_and_says_why_it_takes_no_push() {
    let folder = scratch();
    let writer = Setup::registry().storage_at(folder.path()).start();
    let image = Repository::at(writer.address, "team/app").push_random("v1", 1, 1000);
    drop(writer);
    for made in [true, false] {
        if !made {
            std::fs::remove_dir_all(folder.path().join("entrepot")).expect("our own files are gone");
        }
        let view = ReadOnly::view(folder.path());
        let entrepot = Setup::registry().storage_at(view.0.path()).start();
        said(&entrepot, READ_ONLY);
        let up = |access| entrepot.metric("entrepot_storage_up", &[("access", access)]);
        eventually("a metric says so", || (up("read"), up("write")) == (1.0, 0.0));
        let repository = Repository::at(entrepot.address, "team/app");
        assert_eq!(repository.get_manifest("v1").expect(200), image.manifest);
        assert_eq!(repository.get_blob(&image.layers[0]).status, 200);
        let delete = repository.request("DELETE", repository.manifest(&image.digest));
        for request in writes(&repository).into_iter().chain([delete]) {
            refused(&repository, request, READ_ONLY);
        }
        let reader = Setup::registry().storage_at(view.0.path()).set("registry.read_only", "true").start();
        eventually("who only reads is ready", || reader.is_ready());
    }
}

#[test]
fn a_root_that_is_a_file_or_cannot_be_made_ends_the_start_with_a_sentence() {
    let folder = scratch();
    std::fs::write(folder.path().join("file"), "x").expect("a file");
    std::fs::create_dir(folder.path().join("empty")).expect("a folder");
    let view = ReadOnly::view(&folder.path().join("empty"));
    for (root, why) in [
        (folder.path().join("file"), "is a file: name a folder"),
        (folder.path().join("file/below"), "Not a directory"),
        (view.0.path().join("new"), "Read-only file system"),
    ] {
        let log = folder.path().join("log");
        let mut command = command(BINARY);
        command.arg("serve").current_dir(folder.path()).env_clear();
        command.env("ENTREPOT_STORAGE__ROOT", &root).env("ENTREPOT_LISTENER__0__ADDRESS", "127.0.0.1:0");
        let mut entrepot = Process::start("entrepot", command, &log, Ending::Kill);
        let status = entrepot.wait(crate::harness::PATIENCE).expect("it does not start");
        let log = entrepot.log();
        assert!(!status.success() && log.contains(why) && log.contains(&root.display().to_string()), "{log}");
    }
}
