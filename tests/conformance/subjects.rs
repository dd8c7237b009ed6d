//! "Pushing Manifests with Subject", and "Push" for subjects that are not there.

use serde_json::json;

use super::data::{Manifest, index_of, push_image, referrer};
use super::expect::{Expect, referrers};
use super::repo::MANIFEST;
use super::{Algorithm, Repo};

on_every_storage![
    push_with_a_subject_must_name_it_in_oci_subject,
    push_of_an_index_with_a_subject_must_name_it_in_oci_subject,
    push_by_tag_with_a_subject_must_name_it_in_oci_subject,
    push_without_a_subject_must_not_have_oci_subject,
    push_with_a_missing_subject_must_be_accepted,
    push_of_the_subject_may_come_later,
    push_with_a_sha512_subject_must_be_accepted,
    push_with_a_bad_subject_must_be_400,
];

fn push_with_a_subject_must_name_it_in_oci_subject(repo: &Repo) {
    let image = push_image(repo, "v1");
    let artifact = referrer(repo, &image.descriptor(), "application/vnd.example.sbom");
    artifact.push(repo).header_is("oci-subject", &image.digest);
    // Also the second time, when nothing changes.
    artifact.push(repo).header_is("oci-subject", &image.digest);
}

fn push_of_an_index_with_a_subject_must_name_it_in_oci_subject(repo: &Repo) {
    let image = push_image(repo, "v1");
    let mut content = index_of(&[]);
    content["subject"] = image.descriptor();
    Manifest::new(Algorithm::Sha256, &content).push(repo).header_is("oci-subject", &image.digest);
}

fn push_by_tag_with_a_subject_must_name_it_in_oci_subject(repo: &Repo) {
    let image = push_image(repo, "v1");
    let artifact = referrer(repo, &image.descriptor(), "application/vnd.example.sbom");
    let answer = repo.put_manifest("sbom", MANIFEST, &artifact.bytes).status_is(201);
    answer.header_is("oci-subject", &image.digest);
    assert_eq!(referrers(&repo.get(&format!("referrers/{}", image.digest))), [artifact.as_referrer()]);
}

fn push_without_a_subject_must_not_have_oci_subject(repo: &Repo) {
    let image = push_image(repo, "v1");
    repo.put_manifest("v2", MANIFEST, &image.bytes).status_is(201).has_no("oci-subject");
}

/// "Push".
fn push_with_a_missing_subject_must_be_accepted(repo: &Repo) {
    let digest = Algorithm::Sha256.digest(&repo.bytes(9));
    let artifact =
        referrer(repo, &json!({"mediaType": MANIFEST, "digest": digest, "size": 9}), "application/vnd.example.a");
    artifact.push(repo).header_is("oci-subject", &digest);
    assert_eq!(referrers(&repo.get(&format!("referrers/{digest}"))), [artifact.as_referrer()]);
}

/// "Push": "in either order".
fn push_of_the_subject_may_come_later(repo: &Repo) {
    let image = push_image(&repo.neighbour("drafts"), "v1");
    let artifact = referrer(repo, &image.descriptor(), "application/vnd.example.a");
    artifact.push(repo);
    repo.get_manifest(&image.digest).status_is(404);
    let config = image.json()["config"]["digest"].as_str().expect("a digest").to_owned();
    let mount =
        |digest: &str| repo.post(&format!("blobs/uploads/?mount={digest}&from={}/drafts", repo.name)).status_is(201);
    mount(&config);
    for layer in image.json()["layers"].as_array().expect("layers") {
        mount(layer["digest"].as_str().expect("a digest"));
    }
    image.push(repo);
    assert_eq!(referrers(&repo.get(&format!("referrers/{}", image.digest))), [artifact.as_referrer()]);
}

fn push_with_a_sha512_subject_must_be_accepted(repo: &Repo) {
    let digest = Algorithm::Sha512.digest(&repo.bytes(9));
    let artifact =
        referrer(repo, &json!({"mediaType": MANIFEST, "digest": digest, "size": 9}), "application/vnd.example.a");
    artifact.push(repo).header_is("oci-subject", &digest);
    assert_eq!(referrers(&repo.get(&format!("referrers/{digest}"))), [artifact.as_referrer()]);
}

/// "otherwise valid manifest"; code-6, or code-4.
fn push_with_a_bad_subject_must_be_400(repo: &Repo) {
    for subject in [json!({"mediaType": MANIFEST, "digest": "sha256:bad", "size": 9}), json!("text"), json!([])] {
        let artifact = referrer(repo, &subject, "application/vnd.example.a");
        let answer = repo.put_manifest("v1", MANIFEST, &artifact.bytes).status_is(400);
        assert!(["MANIFEST_INVALID", "DIGEST_INVALID"].contains(&answer.error_code().as_str()));
    }
}
