//! Content by sha512: distribution keeps it under sha256 behind an alias, we under its own digest. Each reads the other.

use serde_json::json;
use sha2::{Digest, Sha512};

use crate::ground::Ground;
use crate::ground::pieces::descriptor;
use crate::harness::repository::{OCI_MANIFEST, with_digest};
use crate::harness::{Repository, Serving, random_bytes};

#[test]
fn sha512_content_passes_between_entrepot_and_debians_registry_on_a_volume() {
    let ground = Ground::volume();
    passes(&ground, ground.debian());
}

#[test]
fn sha512_content_passes_between_entrepot_and_v3_on_a_volume() {
    let ground = Ground::volume();
    passes(&ground, ground.v3());
}

#[test]
fn sha512_content_passes_between_entrepot_and_v3_in_a_bucket() {
    let ground = Ground::bucket();
    passes(&ground, ground.v3());
}

fn sha512(bytes: &[u8]) -> String {
    format!("sha512:{}", hex::encode(Sha512::digest(bytes)))
}

fn push_blob(repository: &Repository, bytes: &[u8]) -> String {
    let digest = sha512(bytes);
    let put = repository.request("PUT", with_digest(&repository.start_upload(), &digest)).body(bytes);
    put.send(repository.address).expect(201);
    digest
}

/// A manifest that names its layer by sha512, and the layer.
fn push(repository: &Repository, seed: u64) -> (Vec<u8>, Vec<u8>) {
    let layer = random_bytes(seed, 70_000);
    let (blob, config) = (push_blob(repository, &layer), repository.push_blob(b"{}"));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.empty.v1+json", &config, 2),
        "layers": [descriptor("application/octet-stream", &blob, layer.len())],
    });
    (manifest.to_string().into_bytes(), layer)
}

#[track_caller]
fn reads(repository: &Repository, reference: &str, manifest: &[u8], layer: &[u8]) {
    let at = repository.address;
    assert_eq!(repository.get_manifest(reference).expect(200), manifest, "{at}");
    assert_eq!(repository.get_blob(&sha512(layer)).expect(200), layer, "{at}");
    assert_eq!(repository.head_blob(&sha512(layer)).header("content-length"), Some("70000"), "{at}");
}

fn passes(ground: &Ground, peer: Serving) {
    let entrepot = ground.entrepot();
    let (ours, theirs) = (Repository::at(entrepot.address, "team/app"), Repository::at(peer.address, "team/app"));
    let (old, old_layer) = push(&theirs, 1);
    theirs.push_manifest("theirs", OCI_MANIFEST, &old);
    reads(&ours, "theirs", &old, &old_layer);
    let head = ours.head_blob(&sha512(&old_layer));
    assert_eq!(head.header("docker-content-digest"), Some(sha512(&old_layer).as_str()));

    // Distribution takes no manifest under a sha512 digest, but reads ours.
    let (new, new_layer) = push(&ours, 2);
    ours.push_manifest(&sha512(&new), OCI_MANIFEST, &new);
    ours.push_manifest("ours", OCI_MANIFEST, &new);
    for repository in [&ours, &theirs] {
        reads(repository, &sha512(&new), &new, &new_layer);
        reads(repository, "ours", &new, &new_layer);
    }
}

/// A collector takes distribution's own sha512 content, whose alias it does not know, and v3's stops there. Ours stays.
#[test]
fn sha512_content_of_entrepot_survives_distributions_collectors() {
    for (ground, mut peer) in [
        {
            let ground = Ground::volume();
            let peer = ground.debian();
            (ground, peer)
        },
        {
            let ground = Ground::volume();
            let peer = ground.v3();
            (ground, peer)
        },
        {
            let ground = Ground::bucket();
            let peer = ground.v3();
            (ground, peer)
        },
    ] {
        let entrepot = ground.entrepot();
        let (ours, theirs) = (Repository::at(entrepot.address, "team/app"), Repository::at(peer.address, "team/app"));
        let (manifest, layer) = push(&ours, 3);
        ours.push_manifest(&sha512(&manifest), OCI_MANIFEST, &manifest);
        let orphan = push_blob(&ours, b"nobody names it");
        peer.collect_garbage(false);
        peer.restart();
        for repository in [&ours, &theirs] {
            reads(repository, &sha512(&manifest), &manifest, &layer);
            assert_eq!(repository.head_blob(&orphan).status, 404);
        }
    }
}
