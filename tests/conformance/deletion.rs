//! "Content Management": tags, manifests and blobs are deleted with immediate effect.

use super::data::{Set, push_image, tag_with};
use super::expect::Expect;
use super::repo::MANIFEST;
use super::{Algorithm, Repo};

on_every_storage![
    delete_of_a_tag_must_be_202_and_the_tag_404,
    delete_of_a_tag_must_keep_the_manifest_and_its_other_tags,
    delete_of_a_manifest_must_be_202_and_the_manifest_404,
    delete_of_a_manifest_must_take_all_its_tags_and_no_others,
    delete_of_a_manifest_must_keep_its_blobs_and_children,
    delete_of_a_blob_must_be_202_and_the_blob_404,
    delete_of_sha512_content_must_work,
    delete_of_an_unknown_tag_must_be_404,
    delete_of_an_unknown_manifest_must_be_404,
    delete_of_an_unknown_blob_must_be_404,
    delete_in_an_unknown_repository_must_be_404,
    delete_twice_must_be_404_the_second_time,
    delete_of_a_bad_digest_must_be_400_or_404,
    delete_must_be_of_this_repository_only,
    deleted_content_may_be_pushed_again,
    deleted_blob_must_make_new_manifests_of_it_unknown,
];

fn delete_of_a_tag_must_be_202_and_the_tag_404(repo: &Repo) {
    push_image(repo, "v1");
    repo.get_manifest("v1").status_is(200);
    repo.delete("manifests/v1").status_is(202);
    repo.head("manifests/v1").status_is(404);
    repo.get_manifest("v1").error_is(404, "MANIFEST_UNKNOWN");
}

fn delete_of_a_tag_must_keep_the_manifest_and_its_other_tags(repo: &Repo) {
    let image = push_image(repo, "v1");
    repo.put_manifest("v2", MANIFEST, &image.bytes).status_is(201);
    repo.delete("manifests/v1").status_is(202);
    repo.get_manifest(&image.digest).status_is(200).body_is(&image.bytes);
    repo.get_manifest("v2").status_is(200).body_is(&image.bytes);
    assert_eq!(repo.tags(""), ["v2"]);
}

fn delete_of_a_manifest_must_be_202_and_the_manifest_404(repo: &Repo) {
    let image = push_image(repo, "v1");
    repo.get_manifest(&image.digest).status_is(200);
    repo.delete(&format!("manifests/{}", image.digest)).status_is(202);
    repo.head(&format!("manifests/{}", image.digest)).status_is(404);
    repo.get_manifest(&image.digest).error_is(404, "MANIFEST_UNKNOWN");
}

/// "Deleting Manifests": "any tag pointing to that digest will return a 404".
fn delete_of_a_manifest_must_take_all_its_tags_and_no_others(repo: &Repo) {
    let image = push_image(repo, "a1");
    let other = push_image(repo, "b1");
    for tag in ["a2", "a3", "moved"] {
        repo.put_manifest(tag, MANIFEST, &image.bytes).status_is(201);
    }
    repo.put_manifest("moved", MANIFEST, &other.bytes).status_is(201);
    repo.delete(&format!("manifests/{}", image.digest)).status_is(202);
    for tag in ["a1", "a2", "a3"] {
        repo.head(&format!("manifests/{tag}")).status_is(404);
        repo.get_manifest(tag).error_is(404, "MANIFEST_UNKNOWN");
    }
    assert_eq!(repo.tags(""), ["b1", "moved"]);
    repo.get_manifest("moved").status_is(200).body_is(&other.bytes);
}

fn delete_of_a_manifest_must_keep_its_blobs_and_children(repo: &Repo) {
    let mut set = Set::image(repo, Algorithm::Sha256);
    let child = set.manifests[0].descriptor();
    set.manifest(super::data::index_of(&[child]));
    let set = set.push(repo);
    repo.delete(&format!("manifests/{}", set.manifests[1].digest)).status_is(202);
    repo.get_manifest(&set.manifests[0].digest).status_is(200);
    repo.delete(&format!("manifests/{}", set.manifests[0].digest)).status_is(202);
    for blob in &set.blobs {
        repo.get_blob(&blob.digest).status_is(200).body_is(&blob.bytes);
    }
}

fn delete_of_a_blob_must_be_202_and_the_blob_404(repo: &Repo) {
    for size in [0, 100, 200_000] {
        let digest = repo.push(Algorithm::Sha256, &repo.bytes(size));
        repo.get_blob(&digest).status_is(200);
        repo.delete(&format!("blobs/{digest}")).status_is(202);
        repo.head(&format!("blobs/{digest}")).status_is(404);
        repo.get_blob(&digest).error_is(404, "BLOB_UNKNOWN");
    }
}

fn delete_of_sha512_content_must_work(repo: &Repo) {
    let set = Set::image(repo, Algorithm::Sha512).push(repo);
    let manifest = &set.manifests[0];
    tag_with(repo, manifest, "v1");
    repo.delete(&format!("manifests/{}", manifest.digest)).status_is(202);
    repo.get_manifest(&manifest.digest).status_is(404);
    repo.get_manifest("v1").status_is(404);
    for blob in &set.blobs {
        repo.delete(&format!("blobs/{}", blob.digest)).status_is(202);
        repo.get_blob(&blob.digest).status_is(404);
    }
}

/// "Endpoints", end-9.
fn delete_of_an_unknown_tag_must_be_404(repo: &Repo) {
    push_image(repo, "v1");
    repo.delete("manifests/v2").error_is(404, "MANIFEST_UNKNOWN");
}

/// "Endpoints", end-9.
fn delete_of_an_unknown_manifest_must_be_404(repo: &Repo) {
    push_image(repo, "v1");
    for algorithm in Algorithm::ALL {
        repo.delete(&format!("manifests/{}", algorithm.digest(b"absent"))).error_is(404, "MANIFEST_UNKNOWN");
    }
}

/// "Deleting Blobs", code-1.
fn delete_of_an_unknown_blob_must_be_404(repo: &Repo) {
    push_image(repo, "v1");
    for algorithm in Algorithm::ALL {
        repo.delete(&format!("blobs/{}", algorithm.digest(b"absent"))).error_is(404, "BLOB_UNKNOWN");
    }
}

/// "Deleting Manifests": "If the repository does not exist".
fn delete_in_an_unknown_repository_must_be_404(repo: &Repo) {
    let digest = Algorithm::Sha256.digest(b"absent");
    for what in ["manifests/v1".to_owned(), format!("manifests/{digest}"), format!("blobs/{digest}")] {
        let answer = repo.delete(&what).status_is(404);
        let codes = ["NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"];
        assert!(codes.contains(&answer.error_code().as_str()), "{}", answer.text());
    }
    repo.get("tags/list").status_is(404);
}

fn delete_twice_must_be_404_the_second_time(repo: &Repo) {
    let image = push_image(repo, "v1");
    let digest = repo.push(Algorithm::Sha256, &repo.bytes(50));
    for what in ["manifests/v1".to_owned(), format!("manifests/{}", image.digest), format!("blobs/{digest}")] {
        repo.delete(&what).status_is(202);
        repo.delete(&what).status_is(404);
    }
}

fn delete_of_a_bad_digest_must_be_400_or_404(repo: &Repo) {
    push_image(repo, "v1");
    for digest in ["sha256:baddigeststring", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
        repo.delete(&format!("manifests/{digest}")).status_is_one_of(&[400, 404]);
        repo.delete(&format!("blobs/{digest}")).status_is_one_of(&[400, 404]);
    }
}

fn delete_must_be_of_this_repository_only(repo: &Repo) {
    let (one, two) = (repo.neighbour("one"), repo.neighbour("two"));
    let set = Set::image(repo, Algorithm::Sha256).push(&one).push(&two);
    let manifest = &set.manifests[0];
    for repo in [&one, &two] {
        repo.put_manifest("v1", MANIFEST, &manifest.bytes).status_is(201);
    }
    one.delete("manifests/v1").status_is(202);
    one.delete(&format!("manifests/{}", manifest.digest)).status_is(202);
    for blob in &set.blobs {
        one.delete(&format!("blobs/{}", blob.digest)).status_is(202);
    }
    two.get_manifest("v1").status_is(200).body_is(&manifest.bytes);
    two.get_manifest(&manifest.digest).status_is(200).body_is(&manifest.bytes);
    for blob in &set.blobs {
        two.get_blob(&blob.digest).status_is(200).body_is(&blob.bytes);
        one.get_blob(&blob.digest).status_is(404);
    }
}

fn deleted_content_may_be_pushed_again(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let mut set = Set::image(repo, algorithm);
        for _ in 0..3 {
            set = set.push(repo);
            let manifest = &set.manifests[0];
            tag_with(repo, manifest, "v1");
            repo.get_manifest("v1").status_is(200).body_is(&manifest.bytes);
            repo.delete(&format!("manifests/{}", manifest.digest)).status_is(202);
            repo.get_manifest("v1").status_is(404);
            for blob in &set.blobs {
                repo.get_blob(&blob.digest).status_is(200).body_is(&blob.bytes);
                repo.delete(&format!("blobs/{}", blob.digest)).status_is(202);
                repo.get_blob(&blob.digest).status_is(404);
            }
        }
    }
}

/// "Push", code-5: what was there a moment ago.
fn deleted_blob_must_make_new_manifests_of_it_unknown(repo: &Repo) {
    let set = Set::image(repo, Algorithm::Sha256).push(repo);
    repo.delete(&format!("manifests/{}", set.manifests[0].digest)).status_is(202);
    repo.delete(&format!("blobs/{}", set.blobs[1].digest)).status_is(202);
    let answer = repo.put_manifest("v1", MANIFEST, &set.manifests[0].bytes).status_is_one_of(&[400, 404]);
    assert_eq!(answer.error_code(), "MANIFEST_BLOB_UNKNOWN");
}
