//! Conditional requests: RFC 9110, section 13; distribution's `ETag` is the digest in quotes. The specification names them
//! in "Referrers Tag Schema" and "Deleting Manifests".

use super::data::push_image;
use super::expect::Expect;
use super::{Algorithm, Repo};
use crate::harness::Answer;

on_every_storage![
    etag_of_a_manifest_should_be_its_digest,
    etag_of_a_blob_should_be_its_digest,
    if_none_match_of_what_is_there_must_be_304,
    if_none_match_of_something_else_must_be_200,
    if_none_match_of_a_moved_tag_must_be_200,
    if_none_match_of_what_is_gone_must_be_404,
];

fn conditional(repo: &Repo, method: &str, what: &str, header: &str, value: &str) -> Answer {
    repo.send(repo.request(method, what).header(header, value))
}

fn etag_of_a_manifest_should_be_its_digest(repo: &Repo) {
    let image = push_image(repo, "v1");
    for reference in ["v1", &image.digest] {
        let what = format!("manifests/{reference}");
        let tag = format!("\"{}\"", image.digest);
        repo.get(&what).status_is(200).header_is("etag", &tag);
        repo.head(&what).status_is(200).header_is("etag", &tag);
    }
}

fn etag_of_a_blob_should_be_its_digest(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let digest = repo.push(algorithm, &repo.bytes(100));
        repo.get_blob(&digest).status_is(200).header_is("etag", &format!("\"{digest}\""));
    }
}

/// RFC 9110, 13.1.2; distribution: also without the quotes.
fn if_none_match_of_what_is_there_must_be_304(repo: &Repo) {
    let image = push_image(repo, "v1");
    let blob = repo.push(Algorithm::Sha256, &repo.bytes(100));
    let targets = [
        ("manifests/v1".to_owned(), image.digest.clone()),
        (format!("manifests/{}", image.digest), image.digest.clone()),
        (format!("blobs/{blob}"), blob),
    ];
    for (what, digest) in targets {
        let values =
            [format!("\"{digest}\""), format!("W/\"{digest}\""), format!("\"x\", \"{digest}\""), "*".to_owned()];
        for value in &values {
            for method in ["GET", "HEAD"] {
                conditional(repo, method, &what, "If-None-Match", value).status_is(304).body_is(b"");
            }
        }
    }
    conditional(repo, "GET", "manifests/v1", "If-None-Match", &image.digest).status_is(304);
}

/// RFC 9110, 13.1.2.
fn if_none_match_of_something_else_must_be_200(repo: &Repo) {
    let image = push_image(repo, "v1");
    let other = format!("\"{}\"", Algorithm::Sha256.digest(b"other"));
    for reference in ["v1", &image.digest] {
        let what = format!("manifests/{reference}");
        conditional(repo, "GET", &what, "If-None-Match", &other).status_is(200).body_is(&image.bytes);
    }
}

/// A tag is asked anew each time.
fn if_none_match_of_a_moved_tag_must_be_200(repo: &Repo) {
    let old = push_image(repo, "v1");
    let known = format!("\"{}\"", old.digest);
    conditional(repo, "GET", "manifests/v1", "If-None-Match", &known).status_is(304);
    let new = push_image(repo, "v1");
    conditional(repo, "GET", "manifests/v1", "If-None-Match", &known).status_is(200).body_is(&new.bytes);
}

/// "Content Management": deleted is deleted, whatever the client has.
fn if_none_match_of_what_is_gone_must_be_404(repo: &Repo) {
    let image = push_image(repo, "v1");
    let blob = repo.push(Algorithm::Sha256, &repo.bytes(100));
    repo.delete(&format!("manifests/{}", image.digest)).status_is(202);
    repo.delete(&format!("blobs/{blob}")).status_is(202);
    let known = format!("\"{}\"", image.digest);
    conditional(repo, "GET", "manifests/v1", "If-None-Match", &known).status_is(404);
    conditional(repo, "GET", &format!("manifests/{}", image.digest), "If-None-Match", &known).status_is(404);
    conditional(repo, "GET", &format!("blobs/{blob}"), "If-None-Match", &format!("\"{blob}\"")).status_is(404);
}
