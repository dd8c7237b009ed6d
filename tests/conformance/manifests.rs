//! "Pulling manifests", and "Checking if content exists in the registry" for them.

use super::data::{Set, push_image};
use super::expect::Expect;
use super::repo::{INDEX, MANIFEST, with_query};
use super::{Algorithm, Repo};

on_every_storage![
    pull_manifest_by_tag_must_be_200_and_the_expected_manifest,
    pull_manifest_by_digest_must_be_200_and_the_expected_manifest,
    pull_manifest_by_sha512_must_be_200_and_the_expected_manifest,
    pull_manifest_must_have_its_digest_in_docker_content_digest,
    pull_manifest_content_type_should_be_what_was_pushed,
    pull_manifest_content_type_should_have_no_parameters,
    pull_manifest_should_not_depend_on_accept,
    pull_manifest_of_an_unknown_tag_must_be_404,
    pull_manifest_of_an_unknown_digest_must_be_404,
    pull_manifest_of_an_unknown_repository_must_be_404,
    pull_manifest_of_another_repository_must_be_404,
    pull_manifest_of_a_digest_that_names_a_blob_must_be_404,
    pull_manifest_of_a_bad_digest_must_be_400_or_404,
    pull_manifest_of_neither_tag_nor_digest_must_be_400_or_404,
    pull_manifest_tag_of_128_characters_must_work,
    pull_manifest_tag_of_129_characters_must_not_be_accepted,
    pull_manifest_tags_of_every_allowed_character_must_work,
    head_of_a_manifest_must_be_200_without_a_body,
    head_of_a_manifest_must_have_digest_and_length,
    head_of_an_unknown_manifest_must_be_404,
];

/// "Pulling manifests".
fn pull_manifest_by_tag_must_be_200_and_the_expected_manifest(repo: &Repo) {
    let image = push_image(repo, "v1");
    repo.get_manifest("v1").status_is(200).body_is(&image.bytes);
}

/// "Pulling manifests".
fn pull_manifest_by_digest_must_be_200_and_the_expected_manifest(repo: &Repo) {
    let image = push_image(repo, "v1");
    repo.get_manifest(&image.digest).status_is(200).body_is(&image.bytes);
}

/// "Pulling manifests", "Digests" of the image specification: sha512 is a registered algorithm.
fn pull_manifest_by_sha512_must_be_200_and_the_expected_manifest(repo: &Repo) {
    let image = Set::image(repo, Algorithm::Sha512).push(repo);
    let manifest = &image.manifests[0];
    assert!(manifest.digest.starts_with("sha512:"));
    let answer = repo.get_manifest(&manifest.digest).status_is(200).body_is(&manifest.bytes);
    answer.header_is("docker-content-digest", &manifest.digest);
}

/// main, "Pulling manifests"; SHOULD in 1.1.1.
fn pull_manifest_must_have_its_digest_in_docker_content_digest(repo: &Repo) {
    let image = push_image(repo, "v1");
    for reference in ["v1", &image.digest] {
        repo.get_manifest(reference).header_is("docker-content-digest", &image.digest);
    }
}

/// "Pulling manifests": also where the manifest does not say its type itself.
fn pull_manifest_content_type_should_be_what_was_pushed(repo: &Repo) {
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    for (tag, media_type, stated) in
        [("a", MANIFEST, true), ("b", MANIFEST, false), ("c", docker, true), ("d", INDEX, true), ("e", INDEX, false)]
    {
        let bytes = Set::bare(repo, media_type, stated);
        repo.put_manifest(tag, media_type, &bytes).status_is(201);
        repo.get_manifest(tag).status_is(200).header_is("content-type", media_type);
        repo.get_manifest(&Algorithm::Sha256.digest(&bytes)).header_is("content-type", media_type);
    }
}

/// "Pulling manifests".
fn pull_manifest_content_type_should_have_no_parameters(repo: &Repo) {
    let bytes = Set::bare(repo, MANIFEST, true);
    repo.put_manifest("v1", &format!("{MANIFEST}; charset=utf-8"), &bytes).status_is(201);
    repo.get_manifest("v1").status_is(200).header_is("content-type", MANIFEST);
}

/// "Pulling manifests": `Accept` is a SHOULD of the client: `*/*` is served.
fn pull_manifest_should_not_depend_on_accept(repo: &Repo) {
    let image = push_image(repo, "v1");
    for accept in [None, Some("*/*"), Some("application/json"), Some(INDEX), Some("text/html, */*;q=0.1")] {
        let request = repo.authorized(crate::harness::Request::get(repo.path("manifests/v1")));
        let request = accept.iter().fold(request, |request, accept| request.header("Accept", *accept));
        repo.send(request).status_is(200).body_is(&image.bytes).header_is("content-type", MANIFEST);
    }
}

/// "Pulling manifests", code-7.
fn pull_manifest_of_an_unknown_tag_must_be_404(repo: &Repo) {
    push_image(repo, "v1");
    repo.get_manifest("v2").error_is(404, "MANIFEST_UNKNOWN");
    repo.get_manifest("V1").error_is(404, "MANIFEST_UNKNOWN");
}

/// "Pulling manifests", code-7.
fn pull_manifest_of_an_unknown_digest_must_be_404(repo: &Repo) {
    push_image(repo, "v1");
    for algorithm in Algorithm::ALL {
        repo.get_manifest(&algorithm.digest(&repo.bytes(9))).error_is(404, "MANIFEST_UNKNOWN");
    }
}

/// "Pushing Manifests": pulling a nonexistent repository.
fn pull_manifest_of_an_unknown_repository_must_be_404(repo: &Repo) {
    let codes = ["NAME_UNKNOWN", "MANIFEST_UNKNOWN"];
    for reference in ["v1", &Algorithm::Sha256.digest(b"absent")] {
        let answer = repo.get_manifest(reference).status_is(404);
        assert!(codes.contains(&answer.error_code().as_str()), "{}", answer.text());
        repo.head(&format!("manifests/{reference}")).status_is(404);
    }
}

/// "Pulling manifests": not found *in the repository*.
fn pull_manifest_of_another_repository_must_be_404(repo: &Repo) {
    let other = repo.neighbour("other");
    let image = push_image(&other, "v1");
    push_image(repo, "v2");
    repo.get_manifest("v1").error_is(404, "MANIFEST_UNKNOWN");
    repo.get_manifest(&image.digest).error_is(404, "MANIFEST_UNKNOWN");
    other.get_manifest(&image.digest).status_is(200);
}

/// "Pulling manifests": a blob is no manifest, even when its bytes would be one.
fn pull_manifest_of_a_digest_that_names_a_blob_must_be_404(repo: &Repo) {
    push_image(repo, "v1");
    let digest = repo.push(Algorithm::Sha256, &Set::bare(repo, MANIFEST, true));
    repo.get_manifest(&digest).error_is(404, "MANIFEST_UNKNOWN");
}

/// "Pulling manifests"; what the official suite asks for as "bad digest".
fn pull_manifest_of_a_bad_digest_must_be_400_or_404(repo: &Repo) {
    push_image(repo, "v1");
    for digest in ["sha256:baddigeststring", "sha256:", "sha512:00", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
        repo.get_manifest(digest).status_is_one_of(&[400, 404]);
        repo.head(&format!("manifests/{digest}")).status_is_one_of(&[400, 404]);
    }
}

/// "Pulling manifests": the reference is a tag or a digest, and nothing else.
fn pull_manifest_of_neither_tag_nor_digest_must_be_400_or_404(repo: &Repo) {
    push_image(repo, "v1");
    for reference in [".v1", "-v1", "v1+a", "v%201", "v1/"] {
        repo.get_manifest(reference).status_is_one_of(&[400, 404]);
    }
}

/// "Pulling manifests".
fn pull_manifest_tag_of_128_characters_must_work(repo: &Repo) {
    let tag = "t".repeat(128);
    let image = push_image(repo, &tag);
    repo.get_manifest(&tag).status_is(200).body_is(&image.bytes);
    assert_eq!(repo.tags(""), [tag]);
}

/// "Pulling manifests".
fn pull_manifest_tag_of_129_characters_must_not_be_accepted(repo: &Repo) {
    let bytes = Set::bare(repo, MANIFEST, true);
    repo.put_manifest(&"t".repeat(129), MANIFEST, &bytes).status_is(400);
    repo.get_manifest(&"t".repeat(129)).status_is_one_of(&[400, 404]);
}

/// "Pulling manifests": `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
fn pull_manifest_tags_of_every_allowed_character_must_work(repo: &Repo) {
    let bytes = Set::bare(repo, MANIFEST, true);
    for tag in
        ["_", "0", "Z", "_.-", "a..b", "A-_-.9", "latest", "sha256-0", "abcdefghijklmnopqrstuvwxyz", "ABC.xyz_0-9"]
    {
        repo.put_manifest(tag, MANIFEST, &bytes).status_is(201);
        repo.get_manifest(tag).status_is(200).body_is(&bytes);
        assert!(repo.tags("").contains(&tag.to_owned()));
    }
    for tag in [".a", "-a", "a:b", "a@b", "a%20b", "%C3%A9"] {
        repo.put_manifest(tag, MANIFEST, &bytes).status_is(400);
    }
}

/// "Checking if content exists in the registry".
fn head_of_a_manifest_must_be_200_without_a_body(repo: &Repo) {
    let image = push_image(repo, "v1");
    for reference in ["v1", &image.digest] {
        repo.head(&format!("manifests/{reference}")).status_is(200).body_is(b"").header_is("content-type", MANIFEST);
    }
}

/// main, "Checking if content exists in the registry"; SHOULD in 1.1.1.
fn head_of_a_manifest_must_have_digest_and_length(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let set = Set::image(repo, algorithm).push(repo);
        let manifest = &set.manifests[0];
        let by_digest = format!("manifests/{}", manifest.digest);
        repo.send(
            repo.request("PUT", &with_query(&by_digest, "tag", "v1"))
                .header("Content-Type", MANIFEST)
                .body(manifest.bytes.clone()),
        )
        .status_is(201);
        for reference in ["manifests/v1", &by_digest] {
            let answer = repo.head(reference).status_is(200);
            let answer = answer.header_is("content-length", &manifest.bytes.len().to_string());
            answer.header_is("docker-content-digest", &manifest.digest);
        }
    }
}

/// "Checking if content exists in the registry".
fn head_of_an_unknown_manifest_must_be_404(repo: &Repo) {
    push_image(repo, "v1");
    repo.head("manifests/v2").status_is(404);
    repo.head(&format!("manifests/{}", Algorithm::Sha256.digest(b"absent"))).status_is(404);
}
