//! "Pulling blobs", and "Checking if content exists in the registry" for them.

use super::expect::Expect;
use super::{Algorithm, Repo};

on_every_storage![
    pull_blob_must_be_200_and_the_expected_bytes,
    pull_blob_must_have_its_digest_in_docker_content_digest,
    pull_blob_should_have_its_length,
    pull_blob_digest_header_must_be_of_the_algorithm_asked_for,
    pull_blob_that_is_empty_must_be_200_and_empty,
    pull_blob_of_an_empty_object_must_work,
    pull_blob_that_is_unknown_must_be_404,
    pull_blob_of_an_unknown_repository_must_be_404,
    pull_blob_of_another_repository_must_be_404,
    pull_blob_by_its_other_digest_must_be_404_or_the_same_bytes,
    pull_blob_of_a_bad_digest_must_be_400_or_404,
    head_of_a_blob_must_be_200_with_digest_and_length_and_no_body,
    head_of_an_unknown_blob_must_be_404,
];

/// "Pulling blobs".
fn pull_blob_must_be_200_and_the_expected_bytes(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        for size in [1, 512, 4096, 100_000, 1_500_000] {
            let bytes = repo.bytes(size);
            let digest = repo.push(algorithm, &bytes);
            repo.get_blob(&digest).status_is(200).body_is(&bytes);
            repo.get_blob(&digest).status_is(200).body_is(&bytes);
        }
    }
}

/// main, "Pulling blobs"; SHOULD in 1.1.1.
fn pull_blob_must_have_its_digest_in_docker_content_digest(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let digest = repo.push(algorithm, &repo.bytes(700));
        repo.get_blob(&digest).status_is(200).header_is("docker-content-digest", &digest);
    }
}

/// "Checking if content exists in the registry" asks HEAD for it, RFC 9110 the same of GET.
fn pull_blob_should_have_its_length(repo: &Repo) {
    let digest = repo.push(Algorithm::Sha256, &repo.bytes(12_345));
    repo.get_blob(&digest).status_is(200).header_is("content-length", "12345");
}

/// "Pulling blobs": "a digest matching that of the response body"; the official suite: of the algorithm asked for.
fn pull_blob_digest_header_must_be_of_the_algorithm_asked_for(repo: &Repo) {
    let bytes = repo.bytes(2000);
    for algorithm in Algorithm::ALL {
        let digest = repo.push(algorithm, &bytes);
        repo.get_blob(&digest).status_is(200).body_is(&bytes).header_is("docker-content-digest", &digest);
        repo.head(&format!("blobs/{digest}")).header_is("docker-content-digest", &digest);
    }
}

/// "Pulling blobs": nothing says that a blob has bytes.
fn pull_blob_that_is_empty_must_be_200_and_empty(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let digest = repo.push(algorithm, b"");
        repo.get_blob(&digest).status_is(200).body_is(b"").header_is("content-length", "0");
        repo.head(&format!("blobs/{digest}")).status_is(200).header_is("content-length", "0");
    }
}

/// "Guidance for an Empty Descriptor" of the image specification.
fn pull_blob_of_an_empty_object_must_work(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let digest = repo.push(algorithm, b"{}");
        repo.get_blob(&digest).status_is(200).body_is(b"{}").header_is("content-length", "2");
    }
}

/// "Pulling blobs", code-1.
fn pull_blob_that_is_unknown_must_be_404(repo: &Repo) {
    repo.push(Algorithm::Sha256, b"something else");
    for algorithm in Algorithm::ALL {
        repo.get_blob(&algorithm.digest(&repo.bytes(9))).error_is(404, "BLOB_UNKNOWN");
    }
}

/// "Pushing Manifests": pulling a nonexistent repository.
fn pull_blob_of_an_unknown_repository_must_be_404(repo: &Repo) {
    let answer = repo.get_blob(&Algorithm::Sha256.digest(b"absent")).status_is(404);
    assert!(["BLOB_UNKNOWN", "NAME_UNKNOWN"].contains(&answer.error_code().as_str()), "{}", answer.text());
}

/// "Pulling blobs": not found *in the repository*, whoever else has it.
fn pull_blob_of_another_repository_must_be_404(repo: &Repo) {
    let other = repo.neighbour("other");
    for algorithm in Algorithm::ALL {
        let bytes = repo.bytes(3000);
        let digest = other.push(algorithm, &bytes);
        other.get_blob(&digest).status_is(200);
        repo.get_blob(&digest).error_is(404, "BLOB_UNKNOWN");
        repo.head(&format!("blobs/{digest}")).status_is(404);
    }
}

/// "Pulling blobs": what was pushed by one algorithm need not be known by another, but is never something else.
fn pull_blob_by_its_other_digest_must_be_404_or_the_same_bytes(repo: &Repo) {
    for (pushed, asked) in [(Algorithm::Sha256, Algorithm::Sha512), (Algorithm::Sha512, Algorithm::Sha256)] {
        let bytes = repo.bytes(3000);
        repo.push(pushed, &bytes);
        let answer = repo.get_blob(&asked.digest(&bytes)).status_is_one_of(&[200, 404]);
        assert!(answer.status == 404 || answer.body == bytes);
    }
}

/// "Pulling blobs"; code-4 where it is 400.
fn pull_blob_of_a_bad_digest_must_be_400_or_404(repo: &Repo) {
    for digest in ["sha256:baddigeststring", "sha256:", "sha512:00", "md5:d41d8cd98f00b204e9800998ecf8427e", "latest"] {
        repo.get_blob(digest).status_is_one_of(&[400, 404]);
        repo.head(&format!("blobs/{digest}")).status_is_one_of(&[400, 404]);
    }
}

/// main, "Checking if content exists in the registry"; SHOULD in 1.1.1.
fn head_of_a_blob_must_be_200_with_digest_and_length_and_no_body(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let digest = repo.push(algorithm, &repo.bytes(54_321));
        let answer = repo.head(&format!("blobs/{digest}")).status_is(200).body_is(b"");
        answer.header_is("docker-content-digest", &digest).header_is("content-length", "54321");
    }
}

/// "Checking if content exists in the registry".
fn head_of_an_unknown_blob_must_be_404(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        repo.head(&format!("blobs/{}", algorithm.digest(b"absent"))).status_is(404);
    }
}
