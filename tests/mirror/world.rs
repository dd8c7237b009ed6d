//! What most of these tests stand on: a fake remote, Entrepot that mirrors it, and whole images through it.
#![allow(dead_code, reason = "the quick tests and the proofs share it, and each uses its part")]

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::harness::remote::Multi;
use crate::harness::repository::ACCEPT;
use crate::harness::{
    Answer, Entrepot, FakeRemote, Image, Manner, Repository, Request, Setup, digest, eventually, scratch,
};

/// `Warning` of what may not be what the remote has now: HTTP's own code for it, or that for anything else.
const STALE: [&str; 2] = ["110 ", "299 "];

/// The registry on a filesystem, and these remotes before it: their keys, what they are called, and where they are.
pub fn mirroring(remotes: &[(&str, &str, SocketAddr)]) -> Setup {
    let mut setup = Setup::registry();
    let mut routes = String::new();
    for (key, registry, address) in remotes {
        setup = remote(setup, key, registry, *address);
        let path = registry.split(':').next().unwrap_or_default();
        routes += &format!("{{ repositories = \"{path}/**\", read = \"remote.{key}\" }}, ");
    }
    setup.set("route", &format!("[{routes} {{ read = \"registry\", write = \"registry\" }}]"))
}

/// One remote, of which nothing is fetched but what is asked for, so that a test can count.
pub fn remote(setup: Setup, key: &str, registry: &str, address: SocketAddr) -> Setup {
    setup
        .set(&format!("remote.{key}.registry"), &format!("{registry:?}"))
        .set(&format!("remote.{key}.url"), &format!("\"http://{address}\""))
        .set(&format!("remote.{key}.prefetch"), "\"0\"")
}

/// The route of `docker.io` writes to the registry too.
pub fn overlaying(setup: Setup) -> Setup {
    setup.set("route.0.write", "\"registry\"")
}

/// Docker Hub, or what stands in for it, and Entrepot before it.
pub struct Hub {
    pub entrepot: Entrepot,
    pub remote: FakeRemote,
}

impl Hub {
    pub fn new() -> Self {
        Hub::start(Manner::plain(), |setup| setup)
    }

    pub fn start(manner: Manner, change: impl FnOnce(Setup) -> Setup) -> Self {
        let remote = FakeRemote::start(manner);
        let entrepot = change(mirroring(&[("hub", "docker.io", remote.address())])).start();
        Hub { entrepot, remote }
    }

    /// One of its repositories, by path.
    pub fn client(&self, name: &str) -> Repository {
        Repository::at(self.entrepot.address, &format!("docker.io/{name}"))
    }

    /// A request for something of a repository as `?ns=` has it.
    pub fn by_ns(&self, method: &str, name: &str, what: &str) -> Answer {
        let target = format!("/v2/{name}/{what}?ns=docker.io");
        Request::new(method, target).header("Accept", ACCEPT).send(self.entrepot.address)
    }

    /// Waits until the registry's storage holds these blobs in the repository.
    pub fn kept(&self, name: &str, blobs: &[String]) {
        let root = self.entrepot.cache_path().with_file_name("data").join("docker/registry/v2");
        let linked = |blob: &String| link(&root, &format!("docker.io/{name}"), blob).exists();
        eventually("the blobs are kept in the repository", || blobs.iter().all(linked));
    }
}

/// Where the registry says that a repository holds a blob.
pub fn link(root: &std::path::Path, name: &str, blob: &str) -> PathBuf {
    root.join("repositories").join(name).join("_layers").join(blob.replace(':', "/")).join("link")
}

/// Pulls as a client does: HEAD and GET of the tag, then everything that it names, for every platform. What was wrong, if anything was.
pub fn pull_multi(client: &Repository, tag: &str, image: &Multi) -> Result<(), String> {
    let head = client.head_manifest(tag);
    if head.status != 200 {
        return Err(format!("HEAD {tag}: {} {}", head.status, head.text()));
    }
    let index = manifest(client, tag, &image.index)?;
    if head.header("docker-content-digest") != index.header("docker-content-digest") {
        return Err(format!("HEAD and GET differ: {:?} {:?}", head.headers, index.headers));
    }
    image.platforms.iter().try_for_each(|platform| pull_image(client, &platform.digest, platform))
}

/// The same for an image of one platform.
pub fn pull_image(client: &Repository, reference: &str, image: &Image) -> Result<(), String> {
    manifest(client, reference, &image.manifest)?;
    image.layers.iter().chain([&image.config]).try_for_each(|blob| pull_blob(client, blob))
}

pub fn pull_blob(client: &Repository, blob: &str) -> Result<(), String> {
    let answer = client.get_blob(blob);
    match answer.status == 200 && answer.complete && digest(&answer.body) == *blob {
        true => Ok(()),
        false => {
            Err(format!("blob {blob}: {} complete {} {} bytes", answer.status, answer.complete, answer.body.len()))
        }
    }
}

fn manifest(client: &Repository, reference: &str, bytes: &[u8]) -> Result<Answer, String> {
    let answer = client.get_manifest(reference);
    let right = answer.status == 200 && answer.complete && answer.body == bytes;
    let named = answer.header("docker-content-digest") == Some(digest(bytes).as_str());
    match right && named {
        true => Ok(answer),
        false => Err(format!("manifest {reference}: {} {:?} {}", answer.status, answer.headers, answer.text())),
    }
}

#[track_caller]
pub fn pulls(client: &Repository, tag: &str, image: &Multi) {
    pull_multi(client, tag, image).unwrap_or_else(|what| panic!("{}:{tag}: {what}", client.name));
}

#[track_caller]
pub fn pulls_image(client: &Repository, reference: &str, image: &Image) {
    pull_image(client, reference, image).unwrap_or_else(|what| panic!("{}:{reference}: {what}", client.name));
}

/// A refusal in the specification's words.
#[track_caller]
pub fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.error_code().as_str()), (status, code), "{:?} {}", answer.headers, answer.text());
}

/// 503 that says when to come again.
#[track_caller]
pub fn is_unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{:?} {}", answer.headers, answer.text());
    let after = answer.header("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
    assert!(after.is_some_and(|seconds| seconds >= 1), "{:?}", answer.headers);
}

/// Whether it says that it may be old.
pub fn is_stale(answer: &Answer) -> bool {
    answer.header("warning").is_some_and(|warning| STALE.iter().any(|code| warning.starts_with(code)))
}

/// A file that holds a password.
pub fn password_file(folder: &tempfile::TempDir, name: &str, password: &str) -> String {
    crate::harness::secrets::note(password);
    let file = folder.path().join(name);
    std::fs::write(&file, format!("{password}\n")).expect("a password's file");
    format!("{:?}", file.display().to_string())
}

/// `credentials` of a remote: one name and password.
pub fn login(folder: &tempfile::TempDir, user: &str, password: &str) -> String {
    let file = password_file(folder, user, password);
    format!("{{ username = {user:?}, password_file = {file} }}")
}

pub fn folder() -> tempfile::TempDir {
    scratch()
}
