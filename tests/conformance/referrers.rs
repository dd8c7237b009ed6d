//! "Listing Referrers", end-12a and end-12b.

use serde_json::{Value, json};

use super::data::{EMPTY, Manifest, index_of, push_image, referrer};
use super::data_sets::escaped;
use super::expect::{Expect, referrers};
use super::repo::{INDEX, MANIFEST};
use super::{Algorithm, Repo};

on_every_storage![
    referrers_must_be_200_as_an_image_index,
    referrers_of_an_unknown_digest_must_be_200_and_empty,
    referrers_of_an_unknown_repository_must_not_be_404,
    referrers_of_an_invalid_digest_must_be_400,
    referrers_must_be_described_with_type_size_annotations_and_artifact_type,
    referrers_artifact_type_must_be_the_config_type_where_there_is_none,
    referrers_artifact_type_of_an_index_must_be_left_out_where_there_is_none,
    referrers_must_be_of_the_subject_asked_for_only,
    referrers_must_be_of_this_repository_only,
    referrers_must_be_found_by_a_sha512_subject,
    referrers_may_refer_to_referrers,
    referrers_filtered_must_be_of_that_type_only_and_say_so,
    referrers_filtered_by_a_type_of_nobody_must_be_empty,
    referrers_unfiltered_must_not_claim_a_filter,
    referrers_filter_must_be_exact,
    referrers_must_all_be_listed_following_links,
    referrers_must_lose_what_is_deleted_at_once,
    referrers_must_outlive_their_subject,
    referrers_pushed_twice_must_be_listed_once,
];

fn list(repo: &Repo, subject: &str) -> Vec<Value> {
    let mut descriptors = referrers(&repo.get(&format!("referrers/{subject}")));
    descriptors.sort_by_key(|descriptor| descriptor["digest"].to_string());
    descriptors
}

fn sorted(manifests: &[Manifest]) -> Vec<Value> {
    let mut descriptors: Vec<Value> = manifests.iter().map(Manifest::as_referrer).collect();
    descriptors.sort_by_key(|descriptor| descriptor["digest"].to_string());
    descriptors
}

fn referrers_must_be_200_as_an_image_index(repo: &Repo) {
    let image = push_image(repo, "v1");
    let artifact = referrer(repo, &image.descriptor(), "application/vnd.example.a");
    artifact.push(repo);
    let answer = repo.get(&format!("referrers/{}", image.digest)).status_is(200).header_is("content-type", INDEX);
    assert_eq!(answer.json()["schemaVersion"], 2);
    assert_eq!(answer.json()["mediaType"], INDEX);
    assert_eq!(referrers(&answer), [artifact.as_referrer()]);
}

/// "an empty manifest list MUST be returned", and never a 404.
fn referrers_of_an_unknown_digest_must_be_200_and_empty(repo: &Repo) {
    let image = push_image(repo, "v1");
    for digest in [image.digest, Algorithm::Sha256.digest(b"absent"), Algorithm::Sha512.digest(b"absent")] {
        let answer = repo.get(&format!("referrers/{digest}")).header_is("content-type", INDEX);
        assert_eq!(referrers(&answer), Vec::<Value>::new());
    }
}

/// "MUST NOT return a 404"; the official suite asks before it has pushed anything.
fn referrers_of_an_unknown_repository_must_not_be_404(repo: &Repo) {
    let answer =
        repo.get(&format!("referrers/{}", Algorithm::Sha256.digest(b"absent"))).header_is("content-type", INDEX);
    assert_eq!(referrers(&answer), Vec::<Value>::new());
}

/// code-4.
fn referrers_of_an_invalid_digest_must_be_400(repo: &Repo) {
    push_image(repo, "v1");
    for digest in ["sha256:baddigeststring", "sha256:", "latest", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
        repo.get(&format!("referrers/{digest}")).error_is(400, "DIGEST_INVALID");
    }
}

fn referrers_must_be_described_with_type_size_annotations_and_artifact_type(repo: &Repo) {
    let image = push_image(repo, "v1");
    let artifact = referrer(repo, &image.descriptor(), "application/vnd.example.a+json");
    artifact.push(repo);
    let found = &list(repo, &image.digest)[0];
    assert_eq!(found["mediaType"], MANIFEST);
    assert_eq!(found["digest"], artifact.digest);
    assert_eq!(found["size"], artifact.bytes.len());
    assert_eq!(found["artifactType"], "application/vnd.example.a+json");
    assert_eq!(found["annotations"], artifact.json()["annotations"]);
}

/// Also where it is there and empty.
fn referrers_artifact_type_must_be_the_config_type_where_there_is_none(repo: &Repo) {
    let image = push_image(repo, "v1");
    let mut manifests = Vec::new();
    for artifact_type in [None, Some("")] {
        let mut content = referrer(repo, &image.descriptor(), "").json();
        content.as_object_mut().expect("an object").remove("artifactType");
        if let Some(artifact_type) = artifact_type {
            content["artifactType"] = artifact_type.into();
        }
        let manifest = Manifest::new(Algorithm::Sha256, &content);
        manifest.push(repo);
        assert_eq!(manifest.as_referrer()["artifactType"], EMPTY);
        manifests.push(manifest);
    }
    assert_eq!(list(repo, &image.digest), sorted(&manifests));
}

fn referrers_artifact_type_of_an_index_must_be_left_out_where_there_is_none(repo: &Repo) {
    let image = push_image(repo, "v1");
    let mut content = index_of(&[image.descriptor()]);
    content["subject"] = image.descriptor();
    let plain = Manifest::new(Algorithm::Sha256, &content);
    content["artifactType"] = "application/vnd.example.index".into();
    let typed = Manifest::new(Algorithm::Sha256, &content);
    for index in [&plain, &typed] {
        index.push(repo);
    }
    let found = list(repo, &image.digest);
    assert_eq!(found, sorted(&[plain.clone(), typed]));
    let plain = found.iter().find(|descriptor| descriptor["digest"] == plain.digest).expect("it is listed");
    assert!(plain.get("artifactType").is_none(), "{plain}");
}

fn referrers_must_be_of_the_subject_asked_for_only(repo: &Repo) {
    let (one, two) = (push_image(repo, "one"), push_image(repo, "two"));
    let of_one = referrer(repo, &one.descriptor(), "application/vnd.example.a");
    let of_two = referrer(repo, &two.descriptor(), "application/vnd.example.a");
    of_one.push(repo);
    of_two.push(repo);
    assert_eq!(list(repo, &one.digest), [of_one.as_referrer()]);
    assert_eq!(list(repo, &two.digest), [of_two.as_referrer()]);
}

/// "in the same `<name>` namespace".
fn referrers_must_be_of_this_repository_only(repo: &Repo) {
    let other = repo.neighbour("other");
    let image = push_image(repo, "v1");
    let artifact = referrer(&other, &image.descriptor(), "application/vnd.example.a");
    artifact.push(&other);
    assert_eq!(list(repo, &image.digest), Vec::<Value>::new());
    assert_eq!(list(&other, &image.digest), [artifact.as_referrer()]);
}

fn referrers_must_be_found_by_a_sha512_subject(repo: &Repo) {
    let image = push_image(repo, "v1");
    let digest = Algorithm::Sha512.digest(&image.bytes);
    repo.put_manifest(&digest, MANIFEST, &image.bytes).status_is(201);
    let subject = json!({"mediaType": MANIFEST, "digest": digest, "size": image.bytes.len()});
    let artifact = referrer(repo, &subject, "application/vnd.example.a");
    artifact.push(repo);
    assert_eq!(list(repo, &digest), [artifact.as_referrer()]);
    assert_eq!(list(repo, &image.digest), Vec::<Value>::new());
}

fn referrers_may_refer_to_referrers(repo: &Repo) {
    let image = push_image(repo, "v1");
    let sbom = referrer(repo, &image.descriptor(), "application/vnd.example.sbom");
    sbom.push(repo);
    let signature = referrer(repo, &sbom.descriptor(), "application/vnd.example.signature");
    signature.push(repo);
    assert_eq!(list(repo, &image.digest), [sbom.as_referrer()]);
    assert_eq!(list(repo, &sbom.digest), [signature.as_referrer()]);
}

/// end-12b.
fn referrers_filtered_must_be_of_that_type_only_and_say_so(repo: &Repo) {
    let image = push_image(repo, "v1");
    let types = ["application/vnd.example.a+json", "application/vnd.example.b", "application/vnd.example.a+json"];
    let manifests = types.map(|artifact_type| referrer(repo, &image.descriptor(), artifact_type));
    for manifest in &manifests {
        manifest.push(repo);
    }
    for (artifact_type, expected) in
        [(types[0], vec![manifests[0].clone(), manifests[2].clone()]), (types[1], vec![manifests[1].clone()])]
    {
        let target = format!("referrers/{}?artifactType={}", image.digest, escaped(artifact_type));
        let answer =
            repo.get(&target).header_is("oci-filters-applied", "artifactType").header_is("content-type", INDEX);
        let mut found = referrers(&answer);
        found.sort_by_key(|descriptor| descriptor["digest"].to_string());
        assert_eq!(found, sorted(&expected));
    }
}

fn referrers_filtered_by_a_type_of_nobody_must_be_empty(repo: &Repo) {
    let image = push_image(repo, "v1");
    referrer(repo, &image.descriptor(), "application/vnd.example.a").push(repo);
    let answer = repo.get(&format!("referrers/{}?artifactType=application%2Fvnd.example.none", image.digest));
    assert_eq!(referrers(&answer.header_is("oci-filters-applied", "artifactType")), Vec::<Value>::new());
}

fn referrers_unfiltered_must_not_claim_a_filter(repo: &Repo) {
    let image = push_image(repo, "v1");
    repo.get(&format!("referrers/{}", image.digest)).status_is(200).has_no("oci-filters-applied");
}

/// Neither a beginning nor another case nor a config's type will do.
fn referrers_filter_must_be_exact(repo: &Repo) {
    let image = push_image(repo, "v1");
    referrer(repo, &image.descriptor(), "application/vnd.example.abc").push(repo);
    for artifact_type in
        ["application/vnd.example.ab", "application/vnd.example.abcd", EMPTY, "application%2Fvnd.example.*"]
    {
        let answer = repo.get(&format!("referrers/{}?artifactType={}", image.digest, escaped(artifact_type)));
        assert_eq!(referrers(&answer), Vec::<Value>::new(), "{artifact_type}");
    }
}

/// "A `Link` header MUST be included … when the descriptor list cannot be returned in a single manifest."
fn referrers_must_all_be_listed_following_links(repo: &Repo) {
    let image = push_image(repo, "v1");
    let mut manifests = Vec::new();
    // 6 MB of annotations: more than one manifest may have.
    for _ in 0..60 {
        let mut content = referrer(repo, &image.descriptor(), "application/vnd.example.a").json();
        content["annotations"]["org.example.filler"] = "x".repeat(100_000).into();
        let manifest = Manifest::new(Algorithm::Sha256, &content);
        manifest.push(repo);
        manifests.push(manifest);
    }
    let (mut found, mut page) = (Vec::new(), Some(repo.path(&format!("referrers/{}", image.digest))));
    while let Some(path) = page {
        let answer = repo.get(&path).header_is("content-type", INDEX);
        assert!(answer.body.len() <= 4 << 20, "{} bytes in one answer", answer.body.len());
        found.extend(referrers(&answer));
        page = answer.next_page();
        assert!(found.len() <= manifests.len(), "the pages repeat themselves");
    }
    found.sort_by_key(|descriptor| descriptor["digest"].to_string());
    assert_eq!(found, sorted(&manifests));
}

/// "Content Management": with immediate effect.
fn referrers_must_lose_what_is_deleted_at_once(repo: &Repo) {
    let image = push_image(repo, "v1");
    let manifests = [0, 1, 2].map(|_| referrer(repo, &image.descriptor(), "application/vnd.example.a"));
    for (number, manifest) in manifests.iter().enumerate() {
        manifest.push(repo);
        assert_eq!(list(repo, &image.digest), sorted(&manifests[..=number]));
    }
    for (number, manifest) in manifests.iter().enumerate() {
        repo.delete(&format!("manifests/{}", manifest.digest)).status_is(202);
        assert_eq!(list(repo, &image.digest), sorted(&manifests[number + 1..]));
    }
}

/// "Push": the subject need not exist.
fn referrers_must_outlive_their_subject(repo: &Repo) {
    let image = push_image(repo, "v1");
    let artifact = referrer(repo, &image.descriptor(), "application/vnd.example.a");
    artifact.push(repo);
    repo.delete(&format!("manifests/{}", image.digest)).status_is(202);
    repo.get_manifest(&artifact.digest).status_is(200);
    assert_eq!(list(repo, &image.digest), [artifact.as_referrer()]);
}

fn referrers_pushed_twice_must_be_listed_once(repo: &Repo) {
    let image = push_image(repo, "v1");
    let artifact = referrer(repo, &image.descriptor(), "application/vnd.example.a");
    artifact.push(repo);
    artifact.push(repo);
    repo.put_manifest("sbom", MANIFEST, &artifact.bytes).status_is(201);
    assert_eq!(list(repo, &image.digest), [artifact.as_referrer()]);
}
