//! "Push": a registry may accept manifests whose blobs or manifests are missing; `missing_references = "accept"`.

use serde_json::json;

use super::data::{CONFIG, LAYER, Set, index_of, tag_with};
use super::expect::{Expect, referrers};
use super::repo::MANIFEST;
use super::{Algorithm, Repo};

on_every_storage![
    Sparse:
    sparse_image_with_its_config_only_may_be_accepted,
    sparse_image_with_nothing_may_be_accepted,
    sparse_index_may_be_accepted,
    sparse_artifact_with_a_subject_must_be_a_referrer,
];

fn sparse_image_with_its_config_only_may_be_accepted(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let mut set = Set::new(algorithm);
        let config = set.blob(CONFIG, repo.bytes(300));
        let layers = [set.absent(LAYER, &repo.bytes(500)), set.absent(LAYER, &repo.bytes(500))];
        set.manifest(json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}));
        let set = set.push(repo);
        let manifest = &set.manifests[0];
        tag_with(repo, manifest, "sparse");
        repo.get_manifest("sparse").status_is(200).body_is(&manifest.bytes);
        repo.get_blob(layers[0]["digest"].as_str().expect("a digest")).status_is(404);
        repo.delete("manifests/sparse").status_is(202);
        repo.delete(&format!("manifests/{}", manifest.digest)).status_is(202);
        repo.head(&format!("manifests/{}", manifest.digest)).status_is(404);
    }
}

fn sparse_image_with_nothing_may_be_accepted(repo: &Repo) {
    let manifest = Set::image(repo, Algorithm::Sha256).manifests.remove(0);
    repo.put_manifest("v1", MANIFEST, &manifest.bytes).status_is(201).leads_to(repo, &manifest.bytes);
    assert_eq!(repo.tags(""), ["v1"]);
}

fn sparse_index_may_be_accepted(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let mut set = Set::new(algorithm);
        let children = [set.absent(MANIFEST, &repo.bytes(500)), set.absent(MANIFEST, &repo.bytes(500))];
        set.manifest(index_of(&children));
        let set = set.push(repo);
        repo.get_manifest(&set.manifests[0].digest).status_is(200).body_is(&set.manifests[0].bytes);
    }
}

fn sparse_artifact_with_a_subject_must_be_a_referrer(repo: &Repo) {
    let subject = Algorithm::Sha256.digest(&repo.bytes(10));
    let mut set = Set::new(Algorithm::Sha256);
    let mut content = Set::new(Algorithm::Sha256).image_content(repo);
    content["subject"] = json!({"mediaType": MANIFEST, "digest": subject, "size": 10});
    set.manifest(content);
    let set = set.push(repo);
    assert_eq!(referrers(&repo.get(&format!("referrers/{subject}"))), [set.manifests[0].as_referrer()]);
}
