//! "Content Management": a registry may disable deletion.

use super::data::push_image;
use super::expect::Expect;
use super::{Algorithm, Repo};
use crate::harness::repository::location;

on_every_storage![
    DeletionDisabled:
    delete_of_a_tag_must_be_405_and_the_tag_stay,
    delete_of_a_manifest_must_be_405_and_the_manifest_stay,
    delete_of_a_blob_must_be_405_and_the_blob_stay,
    delete_of_what_is_absent_must_be_405_too,
    cancel_of_an_upload_is_no_deletion,
];

/// "Deleting tags": 400 or 405; code-13.
fn delete_of_a_tag_must_be_405_and_the_tag_stay(repo: &Repo) {
    let image = push_image(repo, "v1");
    repo.delete("manifests/v1").error_is(405, "UNSUPPORTED");
    repo.get_manifest("v1").status_is(200).body_is(&image.bytes);
}

/// "Deleting Manifests": 400 or 405; code-13.
fn delete_of_a_manifest_must_be_405_and_the_manifest_stay(repo: &Repo) {
    let image = push_image(repo, "v1");
    repo.delete(&format!("manifests/{}", image.digest)).error_is(405, "UNSUPPORTED");
    repo.get_manifest(&image.digest).status_is(200).body_is(&image.bytes);
}

/// "Deleting Blobs": the official suite takes 405 only; code-13.
fn delete_of_a_blob_must_be_405_and_the_blob_stay(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let bytes = repo.bytes(100);
        let digest = repo.push(algorithm, &bytes);
        repo.delete(&format!("blobs/{digest}")).error_is(405, "UNSUPPORTED");
        repo.get_blob(&digest).status_is(200).body_is(&bytes);
    }
}

/// Whether something is there is not said.
fn delete_of_what_is_absent_must_be_405_too(repo: &Repo) {
    let digest = Algorithm::Sha256.digest(b"absent");
    for what in ["manifests/v1".to_owned(), format!("manifests/{digest}"), format!("blobs/{digest}")] {
        repo.delete(&what).error_is(405, "UNSUPPORTED");
    }
}

/// Distribution: an upload is not content yet.
fn cancel_of_an_upload_is_no_deletion(repo: &Repo) {
    let upload = location(&repo.patch(&repo.start(), None, &repo.bytes(100)).status_is(202));
    repo.delete(&upload).status_is(204);
    repo.get(&upload).status_is(404);
}
