//! The driver: one repository of the registry under test, asked over HTTP and nothing else.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::harness::repository::location;
use crate::harness::{Answer, Request, random_bytes};

use super::Algorithm;
use super::audit::audit;
use super::expect::Expect;
use super::login::Login;

pub const OCTETS: &str = "application/octet-stream";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

pub struct Repo {
    pub address: SocketAddr,
    pub name: String,
    pub login: Login,
    seed: AtomicU64,
}

impl Repo {
    /// The name gets a random end, so that a registry that keeps its content can be asked twice.
    pub fn new(address: SocketAddr, login: Login, name: &str) -> Self {
        let run: u32 = rand::random();
        Repo { address, name: format!("{name}-{run:08x}"), login, seed: AtomicU64::new(rand::random()) }
    }

    /// Another repository of the same registry.
    pub fn neighbour(&self, name: &str) -> Repo {
        self.named(&format!("{}/{name}", self.name))
    }

    /// A repository of just this name, at the same registry.
    pub fn named(&self, name: &str) -> Repo {
        Repo { address: self.address, name: name.to_owned(), login: self.login, seed: AtomicU64::new(rand::random()) }
    }

    /// Bytes that nobody has pushed before.
    pub fn bytes(&self, size: usize) -> Vec<u8> {
        random_bytes(self.seed.fetch_add(1, Ordering::Relaxed), size)
    }

    /// The whole path of `blobs/…`, `manifests/…`, `tags/list`…; one that begins with a slash is whole already.
    pub fn path(&self, what: &str) -> String {
        if what.starts_with('/') { what.to_owned() } else { format!("/v2/{}/{what}", self.name) }
    }

    pub fn request(&self, method: &str, what: &str) -> Request {
        let request = self.authorized(Request::new(method, self.path(what)));
        let manifest = what.contains("manifests/") && matches!(method, "GET" | "HEAD");
        if manifest { request.header("Accept", MANIFEST).header("Accept", INDEX) } else { request }
    }

    /// With what shows who asks.
    pub fn authorized(&self, request: Request) -> Request {
        let authorization = self.login.authorization(self.address, &request.target);
        authorization.iter().fold(request, |request, value| request.header("Authorization", value))
    }

    /// Sends it on a connection of its own, and audits the answer.
    #[track_caller]
    pub fn send(&self, request: Request) -> Answer {
        let what = format!("{} {}", request.method, request.target);
        let answer = request.send(self.address);
        audit(&what, &answer);
        answer
    }

    #[track_caller]
    pub fn get(&self, what: &str) -> Answer {
        self.send(self.request("GET", what))
    }

    #[track_caller]
    pub fn head(&self, what: &str) -> Answer {
        self.send(self.request("HEAD", what))
    }

    #[track_caller]
    pub fn delete(&self, what: &str) -> Answer {
        self.send(self.request("DELETE", what))
    }

    #[track_caller]
    pub fn post(&self, what: &str) -> Answer {
        self.send(self.request("POST", what))
    }

    /// Opens an upload; returns where to go on.
    #[track_caller]
    pub fn start(&self) -> String {
        location(&self.post("blobs/uploads/").status_is(202))
    }

    /// A chunk; without a range, a stream that says how long it is.
    #[track_caller]
    pub fn patch(&self, upload: &str, range: Option<(usize, usize)>, bytes: &[u8]) -> Answer {
        let request = self.request("PATCH", upload).header("Content-Type", OCTETS).body(bytes);
        self.send(match range {
            Some((first, last)) => request.header("Content-Range", format!("{first}-{last}")),
            None => request,
        })
    }

    /// The closing request of an upload, with bytes or none.
    #[track_caller]
    pub fn close(&self, upload: &str, digest: &str, bytes: &[u8]) -> Answer {
        let request = self.request("PUT", &with_query(upload, "digest", digest));
        self.send(request.header("Content-Type", OCTETS).body(bytes))
    }

    /// POST, then PUT.
    #[track_caller]
    pub fn push(&self, algorithm: Algorithm, bytes: &[u8]) -> String {
        let digest = algorithm.digest(bytes);
        self.close(&self.start(), &digest, bytes).status_is(201);
        digest
    }

    #[track_caller]
    pub fn put_manifest(&self, reference: &str, media_type: &str, bytes: &[u8]) -> Answer {
        let request = self.request("PUT", &format!("manifests/{reference}"));
        self.send(request.header("Content-Type", media_type).body(bytes))
    }

    #[track_caller]
    pub fn get_manifest(&self, reference: &str) -> Answer {
        self.get(&format!("manifests/{reference}"))
    }

    #[track_caller]
    pub fn get_blob(&self, digest: &str) -> Answer {
        self.get(&format!("blobs/{digest}"))
    }

    /// The list of tags, as it comes in one answer.
    #[track_caller]
    pub fn tags(&self, query: &str) -> Vec<String> {
        self.get(&format!("tags/list{query}")).status_is(200).tags()
    }

    /// The list of tags; none where the repository is not known yet.
    #[track_caller]
    pub fn tags_or_404(&self) -> Vec<String> {
        let answer = self.get("tags/list").status_is_one_of(&[200, 404]);
        if answer.status == 404 { Vec::new() } else { answer.tags() }
    }
}

/// A location with one more parameter; whatever it had is kept.
pub fn with_query(location: &str, name: &str, value: &str) -> String {
    let joint = if location.contains('?') { '&' } else { '?' };
    format!("{location}{joint}{name}={value}")
}
