//! Pushes and pulls by the API alone: quick ways to fill a registry and to ask for what is there.

use std::net::SocketAddr;

use serde_json::json;

use super::http::{Answer, Request, basic};
use super::{digest, random_bytes};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// What a client says that it understands.
pub const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// A repository at a registry or at Entrepot, as one client sees it.
#[derive(Clone, Debug)]
pub struct Repository {
    pub address: SocketAddr,
    pub name: String,
    /// Before `/v2/`.
    prefix: String,
    authorization: Option<String>,
}

/// What was pushed.
#[derive(Clone, Debug)]
pub struct Image {
    pub digest: String,
    pub manifest: Vec<u8>,
    pub config: String,
    pub layers: Vec<String>,
}

impl Repository {
    pub fn at(address: SocketAddr, name: &str) -> Self {
        Repository { address, name: name.into(), prefix: String::new(), authorization: None }
    }

    /// Where the registry is reached below a path, such as `/registry`.
    pub fn below(self, prefix: &str) -> Self {
        Repository { prefix: prefix.into(), ..self }
    }

    /// Another repository, by the same client.
    pub fn named(&self, name: &str) -> Self {
        Repository { name: name.into(), ..self.clone() }
    }

    pub fn basic(mut self, user: &str, password: &str) -> Self {
        self.authorization = Some(basic(user, password));
        self
    }

    pub fn bearer(mut self, token: &str) -> Self {
        self.authorization = Some(format!("Bearer {token}"));
        self
    }

    pub fn blob(&self, digest: &str) -> String {
        format!("{}/v2/{}/blobs/{digest}", self.prefix, self.name)
    }

    pub fn manifest(&self, reference: &str) -> String {
        format!("{}/v2/{}/manifests/{reference}", self.prefix, self.name)
    }

    pub fn uploads(&self) -> String {
        format!("{}/v2/{}/blobs/uploads/", self.prefix, self.name)
    }

    /// A request with this client's credentials.
    pub fn request(&self, method: &str, target: impl Into<String>) -> Request {
        let request = Request::new(method, target);
        match &self.authorization {
            Some(value) => request.header("Authorization", value),
            None => request,
        }
    }

    pub fn get_blob(&self, digest: &str) -> Answer {
        self.request("GET", self.blob(digest)).send(self.address)
    }

    pub fn head_blob(&self, digest: &str) -> Answer {
        self.request("HEAD", self.blob(digest)).send(self.address)
    }

    pub fn get_manifest(&self, reference: &str) -> Answer {
        self.request("GET", self.manifest(reference)).header("Accept", ACCEPT).send(self.address)
    }

    pub fn head_manifest(&self, reference: &str) -> Answer {
        self.request("HEAD", self.manifest(reference)).header("Accept", ACCEPT).send(self.address)
    }

    /// Opens an upload; returns the path to go on with.
    pub fn start_upload(&self) -> String {
        let answer = self.request("POST", self.uploads()).send(self.address);
        assert_eq!(answer.status, 202, "{}", answer.text());
        location(&answer)
    }

    /// POST, then one PUT of everything.
    pub fn push_blob(&self, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        let target = with_digest(&self.start_upload(), &digest);
        self.request("PUT", target).body(bytes).send(self.address).expect(201);
        digest
    }

    pub fn push_manifest(&self, reference: &str, media_type: &str, bytes: &[u8]) -> String {
        let request = self.request("PUT", self.manifest(reference)).header("Content-Type", media_type);
        request.body(bytes).send(self.address).expect(201);
        digest(bytes)
    }

    /// An OCI image of these layers, under a tag.
    pub fn push_image(&self, tag: &str, layers: &[&[u8]]) -> Image {
        let config =
            json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, "tag": tag});
        let config = serde_json::to_vec(&config).expect("JSON");
        let config_digest = self.push_blob(&config);
        let digests: Vec<String> = layers.iter().map(|layer| self.push_blob(layer)).collect();
        let descriptor = |(digest, bytes): (&String, &&[u8])| json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": bytes.len()});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len()},
            "layers": digests.iter().zip(layers).map(descriptor).collect::<Vec<_>>(),
        });
        let manifest = serde_json::to_vec(&manifest).expect("JSON");
        let digest = self.push_manifest(tag, OCI_MANIFEST, &manifest);
        Image { digest, manifest, config: config_digest, layers: digests }
    }

    /// An image of one layer of `size` random bytes.
    pub fn push_random(&self, tag: &str, seed: u64, size: usize) -> Image {
        self.push_image(tag, &[&random_bytes(seed, size)])
    }
}

/// The path and query of an answer's `Location`, whether it came absolute or relative.
#[track_caller]
pub fn location(answer: &Answer) -> String {
    let location = answer.header("location").unwrap_or_else(|| panic!("no Location: {:?}", answer.headers));
    match location.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]).to_owned(),
        None => location.to_owned(),
    }
}

/// The upload's path with the digest that closes it.
pub fn with_digest(upload: &str, digest: &str) -> String {
    let joint = if upload.contains('?') { '&' } else { '?' };
    format!("{upload}{joint}digest={digest}")
}
