//! What a fake registry holds: content by digest in repositories, and tags.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::harness::repository::{Image, OCI_INDEX, OCI_MANIFEST};
use crate::harness::{digest, random_bytes};

pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

#[derive(Default)]
pub struct Shelf {
    pub repositories: BTreeMap<String, Kept>,
}

#[derive(Default)]
pub struct Kept {
    pub tags: BTreeMap<String, String>,
    /// Media type and bytes, by digest.
    pub manifests: BTreeMap<String, (String, Vec<u8>)>,
    pub blobs: BTreeMap<String, Arc<Vec<u8>>>,
}

/// An image of several platforms.
#[derive(Clone, Debug)]
pub struct Multi {
    pub digest: String,
    pub index: Vec<u8>,
    /// amd64 and arm64.
    pub platforms: Vec<Image>,
}

impl Multi {
    /// Every blob of every platform.
    pub fn blobs(&self) -> Vec<String> {
        self.platforms.iter().flat_map(|image| image.layers.iter().chain([&image.config]).cloned()).collect()
    }
}

/// The manifest of an image with this config and these layers: whole, but for being anywhere.
pub fn image_of(config: &[u8], layers: &[Vec<u8>]) -> Image {
    let described =
        |media: &str, bytes: &[u8]| json!({"mediaType": media, "digest": digest(bytes), "size": bytes.len()});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(CONFIG, config),
        "layers": layers.iter().map(|layer| described(LAYER, layer)).collect::<Vec<_>>(),
    });
    let manifest = manifest.to_string().into_bytes();
    Image {
        digest: digest(&manifest),
        manifest,
        config: digest(config),
        layers: layers.iter().map(|layer| digest(layer)).collect(),
    }
}

fn config(architecture: &str, tag: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let layers: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    json!({
        "architecture": architecture, "os": "linux", "config": {"Labels": {"tag": tag}},
        "rootfs": {"type": "layers", "diff_ids": layers},
    })
    .to_string()
    .into_bytes()
}

impl Shelf {
    pub fn repository(&mut self, name: &str) -> &mut Kept {
        self.repositories.entry(name.to_owned()).or_default()
    }

    pub fn put_image(&mut self, name: &str, tag: &str, layers: &[Vec<u8>]) -> Image {
        let image = self.put_platform(name, "amd64", tag, layers);
        self.repository(name).tags.insert(tag.into(), image.digest.clone());
        image
    }

    /// An image without a tag.
    pub fn put_platform(&mut self, name: &str, architecture: &str, tag: &str, layers: &[Vec<u8>]) -> Image {
        let config = config(architecture, tag, layers);
        let image = image_of(&config, layers);
        let kept = self.repository(name);
        kept.put_blob(config);
        layers.iter().for_each(|layer| drop(kept.put_blob(layer.clone())));
        kept.put_manifest(OCI_MANIFEST, &image.manifest);
        image
    }

    pub fn put_multi(&mut self, name: &str, tag: &str, seed: u64, size: usize) -> Multi {
        let platforms: Vec<Image> = ["amd64", "arm64"]
            .iter()
            .zip(0..)
            .map(|(architecture, at)| {
                let layers = [0, 1].map(|layer| random_bytes(seed * 100 + at * 10 + layer, size)).to_vec();
                self.put_platform(name, architecture, tag, &layers)
            })
            .collect();
        let entry = |(image, architecture): (&Image, &str)| {
            json!({
                "mediaType": OCI_MANIFEST, "digest": image.digest, "size": image.manifest.len(),
                "platform": {"architecture": architecture, "os": "linux"},
            })
        };
        let entries: Vec<Value> = platforms.iter().zip(["amd64", "arm64"]).map(entry).collect();
        let index = json!({
            "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries, "annotations": {"seed": seed.to_string()},
        });
        let index = index.to_string().into_bytes();
        let digest = self.repository(name).tag(tag, OCI_INDEX, &index);
        Multi { digest, index, platforms }
    }
}

impl Kept {
    pub fn put_blob(&mut self, bytes: Vec<u8>) -> String {
        let digest = digest(&bytes);
        self.blobs.insert(digest.clone(), Arc::new(bytes));
        digest
    }

    pub fn put_manifest(&mut self, media_type: &str, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        self.manifests.insert(digest.clone(), (media_type.to_owned(), bytes.to_vec()));
        digest
    }

    /// Puts a manifest under a tag, which moves if it is there.
    pub fn tag(&mut self, tag: &str, media_type: &str, bytes: &[u8]) -> String {
        let digest = self.put_manifest(media_type, bytes);
        self.tags.insert(tag.into(), digest.clone());
        digest
    }

    /// The manifest of a tag or digest, with its digest.
    pub fn manifest(&self, reference: &str) -> Option<(String, String, Vec<u8>)> {
        let digest = self.tags.get(reference).map_or(reference, String::as_str);
        let (media_type, bytes) = self.manifests.get(digest)?;
        Some((digest.to_owned(), media_type.clone(), bytes.clone()))
    }

    /// Descriptors of those manifests whose `subject` this is.
    pub fn referrers(&self, subject: &str) -> Vec<Value> {
        let all = self.manifests.iter().filter_map(|(digest, (media_type, bytes))| {
            let manifest: Value = serde_json::from_slice(bytes).ok()?;
            let kind = &manifest["artifactType"];
            (manifest["subject"]["digest"] == subject)
                .then(|| json!({"mediaType": media_type, "digest": digest, "size": bytes.len(), "artifactType": kind}))
        });
        all.collect()
    }
}
