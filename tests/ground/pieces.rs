//! What the tests on a ground push: indexes, artifacts, manifests that differ.

use serde_json::{Value, json};

use crate::harness::repository::{Image, OCI_INDEX, OCI_MANIFEST};
use crate::harness::{Repository, digest, random_bytes};

pub fn descriptor(media_type: &str, digest: &str, size: usize) -> Value {
    json!({"mediaType": media_type, "digest": digest, "size": size})
}

/// An index of these manifests, under a tag; its digest.
pub fn push_index(repository: &Repository, tag: &str, images: &[&Image]) -> (String, Vec<u8>) {
    let architectures = ["amd64", "arm64", "riscv64", "s390x"];
    let entries = images.iter().zip(architectures).map(|(image, architecture)| {
        let mut entry = descriptor(OCI_MANIFEST, &image.digest, image.manifest.len());
        entry["platform"] = json!({"architecture": architecture, "os": "linux"});
        entry
    });
    let entries: Vec<Value> = entries.collect();
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).to_string().into_bytes();
    (repository.push_manifest(tag, OCI_INDEX, &index), index)
}

/// An artifact about `subject`, pushed by its digest alone; its digest and bytes.
pub fn push_artifact(repository: &Repository, kind: &str, seed: u64, subject: &Image) -> (String, Vec<u8>) {
    let empty = repository.push_blob(b"{}");
    let bytes = random_bytes(seed, 2000);
    let layer = repository.push_blob(&bytes);
    let artifact = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": kind,
        "config": descriptor("application/vnd.oci.empty.v1+json", &empty, 2),
        "layers": [descriptor("application/octet-stream", &layer, bytes.len())],
        "subject": descriptor(OCI_MANIFEST, &subject.digest, subject.manifest.len()),
    });
    let artifact = artifact.to_string().into_bytes();
    let digest = digest(&artifact);
    repository.push_manifest(&digest, OCI_MANIFEST, &artifact);
    (digest, artifact)
}

/// Everything that an image names is there, to the byte.
#[track_caller]
pub fn assert_whole(repository: &Repository, reference: &str, image: &Image) {
    let at = format!("{}/{}:{reference}", repository.address, repository.name);
    let answer = repository.get_manifest(reference);
    assert_eq!(answer.header("docker-content-digest"), Some(image.digest.as_str()), "{at}: {}", answer.text());
    assert_eq!(answer.expect(200), image.manifest, "{at}");
    for blob in image.layers.iter().chain([&image.config]) {
        assert_eq!(digest(&repository.get_blob(blob).expect(200)), *blob, "{at}");
    }
}

/// The manifest with a number in it, so that its digest is another.
pub fn variant(image: &Image, number: usize) -> Vec<u8> {
    let mut manifest: Value = serde_json::from_slice(&image.manifest).expect("JSON");
    manifest["annotations"] = json!({"number": number.to_string()});
    manifest.to_string().into_bytes()
}
