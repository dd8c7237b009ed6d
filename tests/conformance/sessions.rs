//! "POST then PUT": an upload is a session of one repository, and there may be many.

use super::expect::Expect;
use super::{Algorithm, Repo};
use crate::harness::repository::location;

on_every_storage![
    sessions_must_be_unique,
    sessions_must_not_disturb_each_other,
    session_of_another_repository_must_be_404,
    session_that_is_unknown_must_be_404,
    session_that_is_closed_must_be_404,
    session_should_take_a_full_path_or_a_url,
];

/// main, "POST then PUT": concurrent uploads must be supported; 1.1.1: a unique session.
fn sessions_must_be_unique(repo: &Repo) {
    let mut uploads: Vec<String> = (0..20).map(|_| repo.start()).collect();
    uploads.sort();
    uploads.dedup();
    assert_eq!(uploads.len(), 20);
}

/// main, "POST then PUT".
fn sessions_must_not_disturb_each_other(repo: &Repo) {
    let contents: Vec<Vec<u8>> = (0..4).map(|_| repo.bytes(2000)).collect();
    let mut uploads: Vec<String> = contents.iter().map(|_| repo.start()).collect();
    for part in 0..2 {
        for (upload, bytes) in uploads.iter_mut().zip(&contents) {
            let (first, last) = (part * 1000, part * 1000 + 999);
            *upload = location(&repo.patch(upload, Some((first, last)), &bytes[first..=last]).status_is(202));
        }
    }
    for (upload, bytes) in uploads.iter().zip(&contents) {
        repo.close(upload, &Algorithm::Sha256.digest(bytes), &[]).status_is(201).leads_to(repo, bytes);
    }
}

/// "POST then PUT": the session belongs to `<name>`; code-3.
fn session_of_another_repository_must_be_404(repo: &Repo) {
    let other = repo.neighbour("other");
    other.push(Algorithm::Sha256, b"so that it exists");
    let bytes = repo.bytes(100);
    let digest = Algorithm::Sha256.digest(&bytes);
    let upload = location(&repo.patch(&repo.start(), Some((0, 99)), &bytes).status_is(202));
    let stolen = upload.replacen(&format!("/v2/{}/", repo.name), &format!("/v2/{}/", other.name), 1);
    assert_ne!(stolen, upload);
    other.get(&stolen).status_is(404);
    other.patch(&stolen, Some((100, 199)), &bytes).status_is(404);
    other.close(&stolen, &digest, &[]).status_is(404);
    other.delete(&stolen).status_is(404);
    other.get_blob(&digest).status_is(404);
    repo.close(&upload, &digest, &[]).status_is(201).leads_to(repo, &bytes);
}

/// "Endpoints", end-5, end-6, end-13, end-14; code-3.
fn session_that_is_unknown_must_be_404(repo: &Repo) {
    repo.push(Algorithm::Sha256, b"so that it exists");
    let id = crate::harness::repository::location(&repo.post("blobs/uploads/"));
    repo.delete(&id).status_is(204);
    for upload in [id.as_str(), "blobs/uploads/5b5a4c31-8f1c-4f0a-9d52-0123456789ab"] {
        repo.get(upload).error_is(404, "BLOB_UPLOAD_UNKNOWN");
        repo.patch(upload, Some((0, 4)), b"bytes").error_is(404, "BLOB_UPLOAD_UNKNOWN");
        repo.close(upload, &Algorithm::Sha256.digest(b"bytes"), b"bytes").error_is(404, "BLOB_UPLOAD_UNKNOWN");
        repo.delete(upload).error_is(404, "BLOB_UPLOAD_UNKNOWN");
    }
}

/// "Pushing a blob in chunks": the PUT closes it.
fn session_that_is_closed_must_be_404(repo: &Repo) {
    let bytes = repo.bytes(1000);
    let upload = location(&repo.patch(&repo.start(), Some((0, 999)), &bytes).status_is(202));
    repo.close(&upload, &Algorithm::Sha256.digest(&bytes), &[]).status_is(201);
    repo.get(&upload).error_is(404, "BLOB_UPLOAD_UNKNOWN");
    repo.patch(&upload, Some((1000, 1999)), &bytes).error_is(404, "BLOB_UPLOAD_UNKNOWN");
    repo.delete(&upload).error_is(404, "BLOB_UPLOAD_UNKNOWN");
}

/// "POST then PUT": `Location` may be relative or absolute, and leads to this registry.
fn session_should_take_a_full_path_or_a_url(repo: &Repo) {
    let answer = repo.post("blobs/uploads/").status_is(202);
    let whole = answer.header("location").expect("a location");
    let here = format!("http://{}/v2/", repo.address);
    assert!(whole.starts_with("/v2/") || whole.starts_with(&here), "{whole}");
}
