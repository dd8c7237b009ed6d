//! What was pushed, so that it can be pushed again as docker does it, and looked at to the last byte.
#![allow(dead_code, reason = "the quick tests and the proofs share it, and each uses its part")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::ground::pieces::descriptor;
use crate::harness::repository::{ACCEPT, OCI_INDEX, OCI_MANIFEST, location, with_digest};
use crate::harness::{Answer, Repository, digest, random_bytes};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const CACHE_CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";

/// A manifest with all that it needs: blobs, manifests that it lists, and what is about it.
#[derive(Clone, Debug)]
pub struct Made {
    pub digest: String,
    pub media_type: &'static str,
    pub bytes: Vec<u8>,
    pub blobs: Vec<Vec<u8>>,
    /// Pushed before it, by their digests.
    pub children: Vec<Made>,
    /// Pushed after it, by their digests.
    pub referrers: Vec<Made>,
}

/// How a push went.
#[derive(Debug)]
pub enum Pushed {
    Acknowledged,
    /// Something was taken meanwhile, or could not be had: begin again.
    Refused(String),
}

/// What a push does beside the plain way.
pub struct Manner<'a> {
    /// Where to send the next request.
    pub next: &'a mut dyn FnMut() -> Repository,
    /// A repository to mount from.
    pub from: Option<String>,
    /// Between the last blob and the manifest.
    pub waits: Duration,
    /// A manifest that is taken only after this may name what is gone, where its registry knows nothing of collections: it is as if it
    /// had been refused.
    pub within: Option<Duration>,
}

impl Made {
    fn new(media_type: &'static str, manifest: &Value, blobs: Vec<Vec<u8>>, children: Vec<Made>) -> Self {
        let bytes = manifest.to_string().into_bytes();
        Made { digest: digest(&bytes), media_type, bytes, blobs, children, referrers: Vec::new() }
    }

    /// An image that differs from every other by its number, of layers that others may have.
    pub fn image(number: u64, layers: Vec<Vec<u8>>) -> Self {
        let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, "number": number});
        let config = config.to_string().into_bytes();
        let described: Vec<Value> = layers.iter().map(|layer| descriptor(LAYER, &digest(layer), layer.len())).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(CONFIG, &digest(&config), config.len()),
            "layers": described,
        });
        let blobs = layers.into_iter().chain([config]).collect();
        Made::new(OCI_MANIFEST, &manifest, blobs, Vec::new())
    }

    pub fn index(children: Vec<Made>) -> Self {
        let entries = children.iter().zip(["amd64", "arm64", "riscv64"]).map(|(child, architecture)| {
            let mut entry = descriptor(child.media_type, &child.digest, child.bytes.len());
            entry["platform"] = json!({"architecture": architecture, "os": "linux"});
            entry
        });
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries.collect::<Vec<_>>()});
        Made::new(OCI_INDEX, &manifest, Vec::new(), children)
    }

    /// BuildKit's: an index whose "manifests" are layers.
    pub fn build_cache(number: u64, layers: Vec<Vec<u8>>) -> Self {
        let config = json!({"layers": [], "records": [], "number": number}).to_string().into_bytes();
        let mut entries: Vec<Value> =
            layers.iter().map(|layer| descriptor(LAYER, &digest(layer), layer.len())).collect();
        entries.push(descriptor(CACHE_CONFIG, &digest(&config), config.len()));
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
        Made::new(OCI_INDEX, &manifest, layers.into_iter().chain([config]).collect(), Vec::new())
    }

    pub fn is_build_cache(&self) -> bool {
        self.media_type == OCI_INDEX && self.children.is_empty()
    }

    /// With an artifact about it.
    #[must_use]
    pub fn signed(mut self, number: u64) -> Self {
        let layer = random_bytes(number ^ 0x5165, 300);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": "application/vnd.test.signature",
            "config": descriptor("application/vnd.oci.empty.v1+json", &digest(b"{}"), 2),
            "layers": [descriptor("application/octet-stream", &digest(&layer), layer.len())],
            "subject": descriptor(self.media_type, &self.digest, self.bytes.len()),
        });
        self.referrers.push(Made::new(OCI_MANIFEST, &manifest, vec![layer, b"{}".to_vec()], Vec::new()));
        self
    }

    /// Everything whose bytes have to stay.
    pub fn needs(&self, needed: &mut BTreeSet<String>) {
        needed.insert(self.digest.clone());
        needed.extend(self.blobs.iter().map(|blob| digest(blob)));
        self.children.iter().chain(&self.referrers).for_each(|made| made.needs(needed));
    }

    /// As docker pushes: what a HEAD tells to be there is left out; the rest is mounted or uploaded; then the manifest.
    pub fn push(&self, reference: &str, manner: &mut Manner<'_>) -> Pushed {
        let waits = std::mem::take(&mut manner.waits);
        for made in &self.children {
            if let refused @ Pushed::Refused(_) = made.push(&made.digest, manner) {
                return refused;
            }
        }
        for blob in &self.blobs {
            if let Some(refused) = bring(blob, manner) {
                return Pushed::Refused(refused);
            }
        }
        std::thread::sleep(waits);
        let repository = (manner.next)();
        let request = repository.request("PUT", repository.manifest(reference)).header("Content-Type", self.media_type);
        let asked = Instant::now();
        let answer = request.body(self.bytes.clone()).send(repository.address);
        if answer.status != 201 {
            return Pushed::Refused(said("manifest", &answer));
        }
        if manner.within.is_some_and(|within| asked.elapsed() >= within) {
            return Pushed::Refused(format!("after {:?}: longer than the grace", asked.elapsed()));
        }
        for made in &self.referrers {
            if let refused @ Pushed::Refused(_) = made.push(&made.digest, manner) {
                return refused;
            }
        }
        Pushed::Acknowledged
    }

    /// Pulls all of it; what is wrong.
    pub fn pull(&self, reference: &str, next: &mut dyn FnMut() -> Repository) -> Result<(), String> {
        let repository = next();
        let request = repository.request("GET", repository.manifest(reference)).header("Accept", ACCEPT);
        let answer = request.send(repository.address);
        if answer.status != 200 || answer.body != self.bytes {
            return Err(format!("{}:{reference} at {}: {}", repository.name, repository.address, said("", &answer)));
        }
        for blob in &self.blobs {
            let (repository, digest) = (next(), digest(blob));
            let answer = repository.get_blob(&digest);
            if answer.status != 200 || answer.body != *blob {
                let at = repository.address;
                return Err(format!("{}@{digest}, of {reference}, at {at}: {}", repository.name, said("", &answer)));
            }
        }
        self.children.iter().chain(&self.referrers).try_for_each(|made| made.pull(&made.digest, next))
    }
}

/// Makes a blob be in the repository. Why it is not.
fn bring(blob: &[u8], manner: &mut Manner<'_>) -> Option<String> {
    let digest = digest(blob);
    let repository = (manner.next)();
    if repository.head_blob(&digest).status == 200 {
        return None;
    }
    let repository = (manner.next)();
    let uploads = match &manner.from {
        Some(from) => format!("{}?mount={digest}&from={from}", repository.uploads()),
        None => repository.uploads(),
    };
    let answer = repository.request("POST", uploads).send(repository.address);
    match answer.status {
        201 => return None,
        202 => {}
        _ => return Some(said("blob's POST", &answer)),
    }
    // An upload is closed where it was begun: distribution beside us has no part in ours.
    let request = repository.request("PUT", with_digest(&location(&answer), &digest)).body(blob);
    let answer = request.send(repository.address);
    (answer.status != 201).then(|| said("blob's PUT", &answer))
}

fn said(what: &str, answer: &Answer) -> String {
    let text: String = answer.text().chars().take(300).collect();
    format!("{what} {} {text}", answer.status)
}
