//! What is in the sets.

use serde_json::{Value, json};

use crate::conformance::data::{CONFIG, EMPTY, LAYER, Set, index_of};
use crate::conformance::repo::{INDEX, MANIFEST};
use crate::conformance::{Algorithm, Repo};

pub fn image(repo: &Repo, algorithm: Algorithm) -> Set {
    let mut set = Set::image(repo, algorithm);
    set.tag("latest");
    set
}

pub fn image_of_uncompressed_layers(repo: &Repo, algorithm: Algorithm) -> Set {
    let mut set = Set::new(algorithm);
    let config = set.blob(CONFIG, repo.bytes(300));
    let layers = [0, 1].map(|_| set.blob("application/vnd.oci.image.layer.v1.tar", repo.bytes(10_240)));
    set.manifest(json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}));
    set.tag("uncompressed");
    set
}

pub fn image_without_layers(repo: &Repo, algorithm: Algorithm) -> Set {
    let mut set = Set::new(algorithm);
    let config = set.blob(CONFIG, repo.bytes(300));
    set.manifest(json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []}));
    set.tag("no-layers");
    set
}

/// 3.9 MB, in annotations.
pub fn image_with_a_large_manifest(repo: &Repo, algorithm: Algorithm) -> Set {
    let mut set = Set::new(algorithm);
    let mut content = set.image_content(repo);
    for number in 0..390 {
        content["annotations"][format!("org.example.large-{number}")] = "x".repeat(10_000).into();
    }
    set.manifest(content);
    set.tag("large");
    set
}

/// The first layer's bytes are in its descriptor too.
pub fn image_with_data_fields(repo: &Repo, algorithm: Algorithm) -> Set {
    use base64::Engine;
    let mut set = Set::new(algorithm);
    let mut content = set.image_content(repo);
    content["config"] = set.blob(EMPTY, b"{}".to_vec());
    content["config"]["data"] = base64::engine::general_purpose::STANDARD.encode(b"{}").into();
    set.manifest(content);
    set.tag("data");
    set
}

pub fn image_with_custom_fields(repo: &Repo, algorithm: Algorithm) -> Set {
    let mut set = Set::new(algorithm);
    let mut content = set.image_content(repo);
    content["org.example.custom"] = json!({"a": [1, 2.5, null, true], "b": {"c": "d"}});
    content["config"]["org.example.custom"] = "of a descriptor".into();
    content["layers"][0]["org.example.custom"] = json!([{}]);
    set.manifest(content);
    set.tag("custom");
    set
}

/// Two layers that nobody pushes, as their media types allow.
pub fn image_with_nondistributable_layers(repo: &Repo, algorithm: Algorithm) -> Set {
    let mut set = Set::new(algorithm);
    let mut content = set.image_content(repo);
    let media_type = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    let mut layer = set.absent(media_type, &repo.bytes(900));
    layer["urls"] = json!(["https://layers.example/one"]);
    content["layers"] =
        json!([layer, set.absent(&format!("{media_type}+gzip"), &repo.bytes(900)), content["layers"][0]]);
    set.manifest(content);
    set.tag("nondistributable");
    set
}

pub fn index(repo: &Repo, algorithm: Algorithm) -> Set {
    let mut set = Set::new(algorithm);
    let children = ["amd64", "arm64"].map(|architecture| {
        let content = set.image_content(repo);
        let mut child = set.manifest(content);
        child["platform"] = json!({"os": "linux", "architecture": architecture});
        child
    });
    set.manifest(index_of(&children));
    set.tag("index");
    set
}

pub fn index_nested(repo: &Repo, algorithm: Algorithm) -> Set {
    let mut set = index(repo, algorithm);
    let first = set.manifests[2].descriptor();
    let content = set.image_content(repo);
    let child = set.manifest(content);
    let second = set.manifest(index_of(&[child]));
    set.manifest(index_of(&[first, second]));
    set.tag("nested");
    set
}

pub fn index_empty(repo: &Repo, algorithm: Algorithm) -> Set {
    let mut set = Set::new(algorithm);
    let mark = Algorithm::Sha256.digest(&repo.bytes(8));
    set.manifest(json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "annotations": {"mark": mark}}));
    set.tag("empty");
    set
}

/// Missing children of an index are always accepted.
pub fn index_of_children_that_are_missing(repo: &Repo, algorithm: Algorithm) -> Set {
    let mut set = Set::new(algorithm);
    let content = set.image_content(repo);
    let there = set.manifest(content);
    let missing = set.absent(MANIFEST, &repo.bytes(600));
    set.manifest(index_of(&[there, missing]));
    set.tag("sparse");
    set
}

pub fn index_with_a_subject(repo: &Repo, algorithm: Algorithm) -> Set {
    let mut set = index(repo, algorithm);
    let subject = set.manifests[2].descriptor();
    for artifact_type in [None, Some("application/vnd.example.index")] {
        let content = set.image_content(repo);
        let child = set.manifest(content);
        let mut content = index_of(&[child]);
        content["subject"] = subject.clone();
        content["annotations"] = json!({"org.example.kind": "index"});
        if let Some(artifact_type) = artifact_type {
            content["artifactType"] = artifact_type.into();
        }
        set.manifest(content);
    }
    set
}

fn artifact_content(set: &mut Set, repo: &Repo) -> Value {
    let config = set.blob(EMPTY, b"{}".to_vec());
    let layer = set.blob("application/vnd.example.file", repo.bytes(600));
    json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example.file+x",
        "config": config, "layers": [layer],
    })
}

pub fn artifact(repo: &Repo, algorithm: Algorithm) -> Set {
    let mut set = Set::new(algorithm);
    let content = artifact_content(&mut set, repo);
    set.manifest(content);
    set.tag("artifact");
    set
}

/// "Guidelines for Artifact Usage" of the image specification: then the one layer is the empty descriptor.
pub fn artifact_without_layers(repo: &Repo, algorithm: Algorithm) -> Set {
    let mut set = Set::new(algorithm);
    let mut content = artifact_content(&mut set, repo);
    content["layers"] = json!([content["config"]]);
    content["annotations"] = json!({"org.example.mark": Algorithm::Sha256.digest(&repo.bytes(8))});
    set.manifest(content);
    set.tag("empty-artifact");
    set
}

pub fn artifact_index(repo: &Repo, algorithm: Algorithm) -> Set {
    let mut set = Set::new(algorithm);
    let children = [0, 1].map(|_| {
        let content = artifact_content(&mut set, repo);
        set.manifest(content)
    });
    let mut content = index_of(&children);
    content["artifactType"] = "application/vnd.example.files".into();
    set.manifest(content);
    set.tag("artifact-index");
    set
}

/// Three of them: one with a type of its own, one whose type is its config's, one of another type.
pub fn artifacts_with_a_subject(repo: &Repo, algorithm: Algorithm) -> Set {
    let mut set = Set::image(repo, algorithm);
    set.tag("subject");
    let subject = set.manifests[0].descriptor();
    refer(&mut set, repo, &subject);
    set
}

/// "Push": a subject that does not exist must be accepted.
pub fn artifacts_with_a_missing_subject(repo: &Repo, algorithm: Algorithm) -> Set {
    let mut set = Set::new(algorithm);
    let subject = set.absent(MANIFEST, &repo.bytes(600));
    refer(&mut set, repo, &subject);
    set
}

fn refer(set: &mut Set, repo: &Repo, subject: &Value) {
    let types = [Some("application/vnd.example.sbom+json"), None, Some("application/vnd.example.signature")];
    for (number, artifact_type) in types.into_iter().enumerate() {
        let mut content = artifact_content(set, repo);
        content["subject"] = subject.clone();
        content["annotations"] = json!({"org.example.number": number.to_string(), "org.example.empty": ""});
        match artifact_type {
            Some(artifact_type) => content["artifactType"] = artifact_type.into(),
            None => {
                content["config"] = set.blob("application/vnd.example.config", repo.bytes(200));
                content.as_object_mut().expect("an object").remove("artifactType");
            }
        }
        set.manifest(content);
    }
}

pub fn image_with_ten_tags(repo: &Repo, algorithm: Algorithm) -> Set {
    let mut set = Set::new(algorithm);
    let mut content = set.image_content(repo);
    content["layers"].as_array_mut().expect("a list").push(set.blob(LAYER, Vec::new()));
    set.manifest(content);
    for number in 0..10 {
        set.tag(&format!("tag-{number}"));
    }
    set
}
