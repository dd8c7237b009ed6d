//! Content to push: blobs and the manifests that name them, built as descriptors in JSON.

use serde_json::{Value, json};

use crate::harness::Answer;

use super::expect::Expect;
use super::repo::{INDEX, MANIFEST, with_query};
use super::{Algorithm, Repo};

pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// The config of what is no image: two bytes, `{}`.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";

pub struct Blob {
    pub digest: String,
    pub bytes: Vec<u8>,
}

#[derive(Clone)]
pub struct Manifest {
    pub digest: String,
    pub media_type: String,
    pub bytes: Vec<u8>,
    pub tags: Vec<String>,
}

impl Manifest {
    pub fn new(algorithm: Algorithm, content: &Value) -> Self {
        let bytes = serde_json::to_vec_pretty(content).expect("JSON");
        let media_type = content["mediaType"].as_str().unwrap_or(MANIFEST).to_owned();
        Manifest { digest: algorithm.digest(&bytes), media_type, bytes, tags: Vec::new() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).expect("JSON")
    }

    pub fn subject(&self) -> Option<String> {
        self.json()["subject"]["digest"].as_str().map(str::to_owned)
    }

    pub fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len()})
    }

    /// As a list of referrers must have it ("Listing Referrers").
    pub fn as_referrer(&self) -> Value {
        let content = self.json();
        let mut descriptor = self.descriptor();
        let config = Some(&content["config"]["mediaType"]);
        let artifact_type = content.get("artifactType").filter(|value| *value != "").or(config);
        if let Some(artifact_type) = artifact_type.filter(|value| value.is_string()) {
            descriptor["artifactType"] = artifact_type.clone();
        }
        if let Some(annotations) = content.get("annotations") {
            descriptor["annotations"] = annotations.clone();
        }
        descriptor
    }

    #[track_caller]
    pub fn push(&self, repo: &Repo) -> Answer {
        repo.put_manifest(&self.digest, &self.media_type, &self.bytes).status_is(201)
    }
}

/// What is pushed together: blobs first, then manifests in this order.
pub struct Set {
    pub algorithm: Algorithm,
    pub blobs: Vec<Blob>,
    pub manifests: Vec<Manifest>,
}

impl Set {
    pub fn new(algorithm: Algorithm) -> Self {
        Set { algorithm, blobs: Vec::new(), manifests: Vec::new() }
    }

    /// Takes a blob in; its descriptor.
    pub fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let descriptor = self.absent(media_type, &bytes);
        if !self.blobs.iter().any(|blob| descriptor["digest"] == blob.digest) {
            self.blobs.push(Blob { digest: self.algorithm.digest(&bytes), bytes });
        }
        descriptor
    }

    /// The descriptor of a blob that will not be pushed.
    pub fn absent(&self, media_type: &str, bytes: &[u8]) -> Value {
        json!({"mediaType": media_type, "digest": self.algorithm.digest(bytes), "size": bytes.len()})
    }

    /// Takes a manifest in; its descriptor.
    pub fn manifest(&mut self, content: Value) -> Value {
        let manifest = Manifest::new(self.algorithm, &content);
        let descriptor = manifest.descriptor();
        self.manifests.push(manifest);
        descriptor
    }

    /// Tags the manifest taken in last.
    pub fn tag(&mut self, tag: &str) {
        self.manifests.last_mut().expect("a manifest").tags.push(tag.to_owned());
    }

    /// An image of one platform: a config and two layers.
    pub fn image(repo: &Repo, algorithm: Algorithm) -> Set {
        let mut set = Set::new(algorithm);
        let content = set.image_content(repo);
        set.manifest(content);
        set
    }

    /// The blobs of an image are taken in, its manifest is returned.
    pub fn image_content(&mut self, repo: &Repo) -> Value {
        let created = Algorithm::Sha256.digest(&repo.bytes(8));
        let config = json!({"architecture": "amd64", "os": "linux", "author": created, "rootfs": {"type": "layers"}});
        let config = self.blob(CONFIG, serde_json::to_vec(&config).expect("JSON"));
        let layers = [self.blob(LAYER, repo.bytes(1500)), self.blob(LAYER, repo.bytes(700))];
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers})
    }

    /// A manifest of that type that needs nothing but an empty config, which is pushed; `stated`: it has a `mediaType`.
    pub fn bare(repo: &Repo, media_type: &str, stated: bool) -> Vec<u8> {
        let mark = json!({"mark": Algorithm::Sha256.digest(&repo.bytes(8))});
        let mut content = if media_type.contains("index") || media_type.contains("list") {
            json!({"schemaVersion": 2, "manifests": [], "annotations": mark})
        } else {
            let config = json!({"mediaType": CONFIG, "digest": repo.push(Algorithm::Sha256, b"{}"), "size": 2});
            json!({"schemaVersion": 2, "config": config, "layers": [], "annotations": mark})
        };
        if stated {
            content["mediaType"] = media_type.into();
        }
        serde_json::to_vec(&content).expect("JSON")
    }

    /// Pushes everything by digest, then what has tags under them.
    #[track_caller]
    pub fn push(self, repo: &Repo) -> Self {
        for blob in &self.blobs {
            repo.push(self.algorithm, &blob.bytes);
        }
        for manifest in &self.manifests {
            manifest.push(repo);
            for tag in &manifest.tags {
                tag_with(repo, manifest, tag);
            }
        }
        self
    }
}

/// Gives a manifest a tag, and keeps its digest algorithm, which a push by tag alone would not name.
#[track_caller]
pub fn tag_with(repo: &Repo, manifest: &Manifest, tag: &str) -> Answer {
    let target = with_query(&format!("manifests/{}", manifest.digest), "tag", tag);
    let request = repo.request("PUT", &target).header("Content-Type", manifest.media_type.as_str());
    repo.send(request.body(manifest.bytes.clone())).status_is(201)
}

/// An image, pushed under a tag as clients do.
#[track_caller]
pub fn push_image(repo: &Repo, tag: &str) -> Manifest {
    let set = Set::image(repo, Algorithm::Sha256);
    for blob in &set.blobs {
        repo.push(Algorithm::Sha256, &blob.bytes);
    }
    let manifest = set.manifests.into_iter().next().expect("an image has a manifest");
    repo.put_manifest(tag, &manifest.media_type, &manifest.bytes).status_is(201);
    manifest
}

/// Something that refers to `subject`; not pushed yet, but its config is.
pub fn referrer(repo: &Repo, subject: &Value, artifact_type: &str) -> Manifest {
    let config = json!({"mediaType": EMPTY, "digest": repo.push(Algorithm::Sha256, b"{}"), "size": 2});
    let mark = Algorithm::Sha256.digest(&repo.bytes(8));
    let content = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": artifact_type, "config": config, "layers": [config],
        "subject": subject, "annotations": {"org.example.mark": mark, "org.example.text": "ü \"quoted\" \\ €"},
    });
    Manifest::new(Algorithm::Sha256, &content)
}

/// An index of manifests.
pub fn index_of(manifests: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
}
