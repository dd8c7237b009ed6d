//! main, "Endpoints", end-14: an upload can be cancelled.

use super::expect::Expect;
use super::{Algorithm, Repo};
use crate::harness::repository::location;

on_every_storage![
    cancel_of_an_upload_should_be_204,
    cancel_of_an_upload_with_bytes_should_be_204_and_leave_nothing,
    cancel_of_an_unknown_upload_must_be_404,
    cancel_must_leave_other_uploads_alone,
];

fn cancel_of_an_upload_should_be_204(repo: &Repo) {
    let upload = repo.start();
    repo.delete(&upload).status_is(204).body_is(b"");
    repo.get(&upload).error_is(404, "BLOB_UPLOAD_UNKNOWN");
}

fn cancel_of_an_upload_with_bytes_should_be_204_and_leave_nothing(repo: &Repo) {
    let bytes = repo.bytes(3000);
    let digest = Algorithm::Sha256.digest(&bytes);
    let upload = location(&repo.patch(&repo.start(), None, &bytes).status_is(202));
    repo.delete(&upload).status_is(204);
    repo.get(&upload).error_is(404, "BLOB_UPLOAD_UNKNOWN");
    repo.close(&upload, &digest, &[]).error_is(404, "BLOB_UPLOAD_UNKNOWN");
    repo.get_blob(&digest).status_is(404);
}

fn cancel_of_an_unknown_upload_must_be_404(repo: &Repo) {
    let upload = repo.start();
    repo.delete(&upload).status_is(204);
    repo.delete(&upload).error_is(404, "BLOB_UPLOAD_UNKNOWN");
}

fn cancel_must_leave_other_uploads_alone(repo: &Repo) {
    let bytes = repo.bytes(3000);
    let kept = location(&repo.patch(&repo.start(), Some((0, 999)), &bytes[..1000]).status_is(202));
    let given_up = location(&repo.patch(&repo.start(), Some((0, 999)), &bytes[..1000]).status_is(202));
    repo.delete(&given_up).status_is(204);
    let kept = location(&repo.patch(&kept, Some((1000, 2999)), &bytes[1000..]).status_is(202));
    repo.close(&kept, &Algorithm::Sha256.digest(&bytes), &[]).status_is(201).leads_to(repo, &bytes);
}
