//! main, "Pushing Manifests", end-7b: tags in the query of a push by digest.

use super::data::{Manifest, Set, push_image};
use super::expect::Expect;
use super::repo::MANIFEST;
use super::{Algorithm, Repo};
use crate::harness::Answer;

on_every_storage![
    tag_parameter_must_tag_the_manifest_and_be_in_oci_tag,
    tag_parameters_must_all_be_in_oci_tag,
    tag_parameters_should_be_accepted_at_least_ten_at_once,
    tag_parameters_must_keep_the_digest_algorithm,
    tag_parameter_must_move_a_tag,
    tag_parameter_said_twice_must_count_once,
    tag_parameter_that_is_no_tag_must_be_400,
    tag_parameter_may_be_percent_encoded,
    push_by_digest_without_tag_parameters_must_have_no_oci_tag,
];

fn push(repo: &Repo, manifest: &Manifest, tags: &[&str]) -> Answer {
    let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
    let target = format!("manifests/{}?{}", manifest.digest, query.join("&"));
    repo.send(repo.request("PUT", &target).header("Content-Type", MANIFEST).body(manifest.bytes.clone()))
}

/// A list, or a header for each.
fn accepted(answer: &Answer) -> Vec<String> {
    let values = answer.headers.all("oci-tag");
    let mut tags: Vec<String> = values.flat_map(|value| value.split(',')).map(|tag| tag.trim().to_owned()).collect();
    tags.sort();
    tags
}

fn manifest(repo: &Repo, algorithm: Algorithm) -> Manifest {
    let bytes = Set::bare(repo, MANIFEST, true);
    Manifest { digest: algorithm.digest(&bytes), media_type: MANIFEST.into(), bytes, tags: vec![] }
}

fn tag_parameter_must_tag_the_manifest_and_be_in_oci_tag(repo: &Repo) {
    let manifest = manifest(repo, Algorithm::Sha256);
    let answer = push(repo, &manifest, &["v1"]).status_is(201);
    assert_eq!(accepted(&answer), ["v1"]);
    answer.header_is("docker-content-digest", &manifest.digest).leads_to(repo, &manifest.bytes);
    repo.get_manifest("v1").status_is(200).body_is(&manifest.bytes);
    assert_eq!(repo.tags(""), ["v1"]);
}

fn tag_parameters_must_all_be_in_oci_tag(repo: &Repo) {
    let manifest = manifest(repo, Algorithm::Sha256);
    let answer = push(repo, &manifest, &["1.2.3", "1.2", "1", "latest"]).status_is(201);
    assert_eq!(accepted(&answer), ["1", "1.2", "1.2.3", "latest"]);
    assert_eq!(repo.tags(""), ["1", "1.2", "1.2.3", "latest"]);
}

fn tag_parameters_should_be_accepted_at_least_ten_at_once(repo: &Repo) {
    let manifest = manifest(repo, Algorithm::Sha256);
    let tags: Vec<String> = (0..10).map(|number| format!("{number}{}", "t".repeat(127))).collect();
    let answer = push(repo, &manifest, &tags.iter().map(String::as_str).collect::<Vec<_>>()).status_is(201);
    assert_eq!(accepted(&answer), tags);
    for tag in &tags {
        repo.get_manifest(tag).status_is(200).body_is(&manifest.bytes);
    }
}

fn tag_parameters_must_keep_the_digest_algorithm(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let manifest = manifest(repo, algorithm);
        push(repo, &manifest, &["v1", "v2"]).status_is(201).header_is("docker-content-digest", &manifest.digest);
        for tag in ["v1", "v2"] {
            let answer = repo.get_manifest(tag).status_is(200).body_is(&manifest.bytes);
            answer.header_is("docker-content-digest", &manifest.digest);
            repo.head(&format!("manifests/{tag}")).header_is("docker-content-digest", &manifest.digest);
        }
    }
}

fn tag_parameter_must_move_a_tag(repo: &Repo) {
    let old = push_image(repo, "v1");
    let new = manifest(repo, Algorithm::Sha256);
    push(repo, &new, &["v1", "v2"]).status_is(201);
    repo.get_manifest("v1").status_is(200).body_is(&new.bytes);
    repo.get_manifest(&old.digest).status_is(200).body_is(&old.bytes);
}

fn tag_parameter_said_twice_must_count_once(repo: &Repo) {
    let manifest = manifest(repo, Algorithm::Sha256);
    push(repo, &manifest, &["v1", "v1"]).status_is(201);
    assert_eq!(repo.tags(""), ["v1"]);
}

/// "Pulling manifests": what a tag is; nothing of the push remains.
fn tag_parameter_that_is_no_tag_must_be_400(repo: &Repo) {
    let manifest = manifest(repo, Algorithm::Sha256);
    let long = "t".repeat(129);
    for tag in [".v1", "a%2Fb", "a%20b", "", &long] {
        push(repo, &manifest, &["good", tag]).status_is(400);
        repo.get_manifest("good").status_is(404);
    }
    assert!(repo.tags_or_404().is_empty());
}

fn tag_parameter_may_be_percent_encoded(repo: &Repo) {
    let manifest = manifest(repo, Algorithm::Sha256);
    push(repo, &manifest, &["v%31%2e0"]).status_is(201);
    repo.get_manifest("v1.0").status_is(200).body_is(&manifest.bytes);
}

fn push_by_digest_without_tag_parameters_must_have_no_oci_tag(repo: &Repo) {
    manifest(repo, Algorithm::Sha256).push(repo).has_no("oci-tag");
}
