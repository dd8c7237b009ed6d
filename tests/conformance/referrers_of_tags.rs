//! "Referrers Tag Schema" and "Enabling the Referrers API": lists that clients keep under tags stand beside the API.

use serde_json::Value;

use super::data::{Manifest, index_of, push_image, referrer};
use super::expect::{Expect, referrers};
use super::repo::INDEX;
use super::{Algorithm, Repo};

on_every_storage![
    tag_schema_entries_must_be_among_the_referrers_once,
    tag_schema_of_a_sha512_subject_must_be_cut_to_64_characters,
    tag_schema_index_must_stay_an_ordinary_tag,
    tag_schema_tag_that_is_no_index_must_not_break_the_list,
];

fn tag_of(digest: &str) -> String {
    let (algorithm, encoded) = digest.split_once(':').expect("a digest");
    format!("{algorithm}-{}", &encoded[..64])
}

fn list(repo: &Repo, subject: &str) -> Vec<Value> {
    let mut descriptors = referrers(&repo.get(&format!("referrers/{subject}")));
    descriptors.sort_by_key(|descriptor| descriptor["digest"].to_string());
    descriptors
}

fn sorted(manifests: &[&Manifest]) -> Vec<Value> {
    let mut descriptors: Vec<Value> = manifests.iter().map(|manifest| manifest.as_referrer()).collect();
    descriptors.sort_by_key(|descriptor| descriptor["digest"].to_string());
    descriptors
}

/// "MUST include preexisting image manifests that are listed in an image index tagged with the referrers tag schema".
fn tag_schema_entries_must_be_among_the_referrers_once(repo: &Repo) {
    let image = push_image(repo, "v1");
    let listed = referrer(repo, &image.descriptor(), "application/vnd.example.old");
    listed.push(repo);
    let fallback = Manifest::new(Algorithm::Sha256, &index_of(&[listed.as_referrer()]));
    repo.put_manifest(&tag_of(&image.digest), INDEX, &fallback.bytes).status_is(201);
    assert_eq!(list(repo, &image.digest), sorted(&[&listed]));
    let newer = referrer(repo, &image.descriptor(), "application/vnd.example.new");
    newer.push(repo);
    assert_eq!(list(repo, &image.digest), sorted(&[&listed, &newer]));
}

/// `<ref>` has 64 characters at most.
fn tag_schema_of_a_sha512_subject_must_be_cut_to_64_characters(repo: &Repo) {
    let image = push_image(repo, "v1");
    let digest = Algorithm::Sha512.digest(&image.bytes);
    let subject = serde_json::json!({"mediaType": image.media_type, "digest": digest, "size": image.bytes.len()});
    let listed = referrer(repo, &subject, "application/vnd.example.old");
    listed.push(repo);
    let fallback = Manifest::new(Algorithm::Sha256, &index_of(&[listed.as_referrer()]));
    repo.put_manifest(&tag_of(&digest), INDEX, &fallback.bytes).status_is(201);
    assert_eq!(list(repo, &digest), sorted(&[&listed]));
}

/// "Maintaining the content of this tag is the responsibility of clients".
fn tag_schema_index_must_stay_an_ordinary_tag(repo: &Repo) {
    let image = push_image(repo, "v1");
    let tag = tag_of(&image.digest);
    repo.get_manifest(&tag).error_is(404, "MANIFEST_UNKNOWN");
    let artifact = referrer(repo, &image.descriptor(), "application/vnd.example.a");
    artifact.push(repo);
    for content in [index_of(&[]), index_of(&[artifact.as_referrer()])] {
        let fallback = Manifest::new(Algorithm::Sha256, &content);
        repo.put_manifest(&tag, INDEX, &fallback.bytes).status_is(201);
        repo.get_manifest(&tag).status_is(200).body_is(&fallback.bytes);
    }
    assert_eq!(repo.tags(""), [tag.as_str(), "v1"]);
    repo.delete(&format!("manifests/{tag}")).status_is(202);
    assert_eq!(list(repo, &image.digest), sorted(&[&artifact]));
}

/// Nobody keeps a client from using such a tag for something else.
fn tag_schema_tag_that_is_no_index_must_not_break_the_list(repo: &Repo) {
    let image = push_image(repo, "v1");
    let artifact = referrer(repo, &image.descriptor(), "application/vnd.example.a");
    artifact.push(repo);
    push_image(repo, &tag_of(&image.digest));
    assert_eq!(list(repo, &image.digest), sorted(&[&artifact]));
}
