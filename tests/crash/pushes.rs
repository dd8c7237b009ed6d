//! A client that pushes images without end and keeps a diary of what it was told.

use std::net::SocketAddr;

use serde_json::json;

use crate::ground::pieces::descriptor;
use crate::harness::repository::{OCI_MANIFEST, Repository, location, with_digest};
use crate::harness::{Answer, Request, Stop, digest, random_bytes};

/// What one client sent, and what of it was acknowledged.
#[derive(Default)]
pub struct Diary {
    /// Every blob that was begun, by digest: its seed and size, and whether its 201 came.
    pub blobs: Vec<Blob>,
    /// Every manifest that was sent, and whether its 201 came.
    pub manifests: Vec<Manifest>,
}

pub struct Blob {
    pub digest: String,
    pub seed: u64,
    pub size: usize,
    pub acknowledged: bool,
}

pub struct Manifest {
    pub digest: String,
    pub bytes: Vec<u8>,
    pub blobs: Vec<String>,
    pub acknowledged: bool,
}

/// One client's own repository and tag.
pub struct Client {
    pub repository: Repository,
    pub diary: Diary,
    seed: u64,
}

impl Client {
    pub fn new(address: SocketAddr, number: u64) -> Self {
        let repository = Repository::at(address, &format!("team/client-{number}"));
        Client { repository, diary: Diary::default(), seed: (number + 1) << 32 }
    }

    /// Pushes until the connection fails or somebody says stop. Every size of upload has its turn.
    pub fn push_until(&mut self, stop: &Stop) {
        while !stop.is_set() {
            let sizes = [200, 40_000, 2 << 20, 6 << 20];
            let Some(config) = self.push_blob(300) else { return };
            let Some(layer) = self.push_blob(sizes[self.seed as usize % sizes.len()]) else { return };
            if self.push_manifest(config, layer).is_none() {
                return;
            }
        }
    }

    fn try_send(&self, request: Request) -> Option<Answer> {
        let answer = request.try_send(self.repository.address).ok()?;
        let told = answer.complete && answer.status < 300;
        // Anything but an answer of success is a connection that died, or an answer that died with it.
        told.then_some(answer)
    }

    fn push_blob(&mut self, size: usize) -> Option<(String, usize)> {
        self.seed += 1;
        let bytes = random_bytes(self.seed, size);
        let digest = digest(&bytes);
        self.diary.blobs.push(Blob { digest: digest.clone(), seed: self.seed, size, acknowledged: false });
        let opened = self.try_send(self.repository.request("POST", self.repository.uploads()))?;
        let put = if self.seed.is_multiple_of(2) {
            let patch = self.repository.request("PATCH", location(&opened)).body(bytes);
            let patched = self.try_send(patch)?;
            self.repository.request("PUT", with_digest(&location(&patched), &digest))
        } else {
            self.repository.request("PUT", with_digest(&location(&opened), &digest)).body(bytes)
        };
        self.try_send(put)?;
        self.diary.blobs.last_mut()?.acknowledged = true;
        Some((digest, size))
    }

    fn push_manifest(&mut self, config: (String, usize), layer: (String, usize)) -> Option<()> {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config.0, config.1),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer.0, layer.1)],
        });
        let bytes = manifest.to_string().into_bytes();
        let blobs = vec![config.0, layer.0];
        self.diary.manifests.push(Manifest {
            digest: digest(&bytes),
            bytes: bytes.clone(),
            blobs,
            acknowledged: false,
        });
        let put = self.repository.request("PUT", self.repository.manifest("latest"));
        self.try_send(put.header("Content-Type", OCI_MANIFEST).body(bytes))?;
        self.diary.manifests.last_mut()?.acknowledged = true;
        Some(())
    }
}
