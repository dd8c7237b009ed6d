//! "Pushing blobs": monolithically, in chunks and as a stream, with right digests and with wrong ones.

use serde_json::Value;

use super::expect::Expect;
use super::flow::Flow;
use super::repo::{OCTETS, with_query};
use super::{Algorithm, Repo};
use crate::harness::repository::location;

on_every_storage![
    post_of_an_upload_must_be_202_with_a_location,
    post_of_an_upload_without_the_last_slash_must_work,
    post_with_a_digest_must_be_201_with_a_location,
    post_then_put_must_be_201_with_a_location,
    chunks_must_be_closed_with_201_and_a_location,
    chunks_with_the_last_in_the_put_must_be_closed_with_201_and_a_location,
    stream_must_be_closed_with_201_and_a_location,
    push_of_an_empty_blob_must_work_in_every_way,
    push_under_a_digest_that_is_percent_encoded_must_work,
    push_twice_must_be_201_twice,
    push_to_different_repositories_must_reach_both,
    push_under_a_wrong_digest_should_be_400_by_post_only,
    push_under_a_wrong_digest_should_be_400_by_post_and_put,
    push_under_a_wrong_digest_should_be_400_by_chunks,
    push_under_a_wrong_digest_should_be_400_by_chunks_and_put,
    push_under_a_wrong_digest_should_be_400_by_stream,
    push_under_no_digest_must_be_400,
    push_under_an_invalid_digest_should_be_400,
    push_under_an_unsupported_algorithm_should_be_400,
    digest_algorithm_of_the_post_should_be_accepted,
    digest_algorithm_that_is_unsupported_should_be_400,
    digest_algorithm_need_not_be_said_before_the_digest,
    digest_algorithm_said_and_another_used_must_still_be_verified,
];

#[track_caller]
fn pushes_by(flow: Flow, repo: &Repo) {
    for algorithm in Algorithm::ALL {
        for size in [4, 3000, 70_001] {
            let bytes = repo.bytes(size);
            let digest = algorithm.digest(&bytes);
            let answer = flow.push(repo, &digest, &bytes).status_is(201);
            answer.header_is("docker-content-digest", &digest).leads_to(repo, &bytes);
            repo.get_blob(&digest).status_is(200).body_is(&bytes);
        }
    }
}

#[track_caller]
fn refuses_a_wrong_digest_by(flow: Flow, repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let bytes = repo.bytes(3000);
        let wrong = algorithm.digest(&repo.bytes(3000));
        flow.push(repo, &wrong, &bytes).error_is(400, "DIGEST_INVALID");
        repo.get_blob(&wrong).error_is(404, "BLOB_UNKNOWN");
        repo.get_blob(&algorithm.digest(&bytes)).error_is(404, "BLOB_UNKNOWN");
    }
}

/// "POST then PUT".
fn post_of_an_upload_must_be_202_with_a_location(repo: &Repo) {
    let answer = repo.post("blobs/uploads/").status_is(202);
    assert!(location(&answer).starts_with(&format!("/v2/{}/blobs/uploads/", repo.name)), "{:?}", answer.headers);
    assert!(answer.body.is_empty());
}

/// distribution: its route has an optional slash, and clients use it.
fn post_of_an_upload_without_the_last_slash_must_work(repo: &Repo) {
    let bytes = repo.bytes(100);
    let upload = location(&repo.post("blobs/uploads").status_is(202));
    repo.close(&upload, &Algorithm::Sha256.digest(&bytes), &bytes).status_is(201);
}

/// "Single POST", end-4b.
fn post_with_a_digest_must_be_201_with_a_location(repo: &Repo) {
    pushes_by(Flow::PostOnly, repo);
}

/// "POST then PUT", end-6.
fn post_then_put_must_be_201_with_a_location(repo: &Repo) {
    pushes_by(Flow::PostAndPut, repo);
}

/// "Pushing a blob in chunks", end-5 and end-6.
fn chunks_must_be_closed_with_201_and_a_location(repo: &Repo) {
    pushes_by(Flow::Chunks, repo);
}

/// "Pushing a blob in chunks": the final chunk in the closing PUT.
fn chunks_with_the_last_in_the_put_must_be_closed_with_201_and_a_location(repo: &Repo) {
    pushes_by(Flow::ChunksAndPut, repo);
}

/// The official suite's stream: PATCH of unknown length without `Content-Range`, as docker pushes.
fn stream_must_be_closed_with_201_and_a_location(repo: &Repo) {
    pushes_by(Flow::Stream, repo);
}

/// "Pushing blobs": nothing says that a blob has bytes.
fn push_of_an_empty_blob_must_work_in_every_way(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let digest = algorithm.digest(b"");
        for flow in [Flow::PostOnly, Flow::PostAndPut, Flow::Stream] {
            let target = repo.neighbour(&format!("{}-{flow:?}", algorithm.name()).to_lowercase());
            flow.push(&target, &digest, b"").status_is(201).leads_to(&target, b"");
        }
    }
}

/// RFC 3986, 2.1: many clients encode the colon.
fn push_under_a_digest_that_is_percent_encoded_must_work(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        for flow in Flow::ALL {
            let bytes = repo.bytes(3000);
            let encoded = algorithm.digest(&bytes).replace(':', "%3A");
            flow.push(repo, &encoded, &bytes).status_is(201).leads_to(repo, &bytes);
        }
        let source = repo.neighbour("source");
        let bytes = repo.bytes(3000);
        let encoded = source.push(algorithm, &bytes).replace(':', "%3a");
        let target = with_query(&with_query("blobs/uploads/", "mount", &encoded), "from", &source.name);
        repo.post(&target).status_is(201).leads_to(repo, &bytes);
    }
}

/// "Layer Upload De-duplication".
fn push_twice_must_be_201_twice(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let bytes = repo.bytes(5000);
        let digest = algorithm.digest(&bytes);
        for flow in Flow::ALL {
            flow.push(repo, &digest, &bytes).status_is(201).leads_to(repo, &bytes);
        }
    }
}

/// "Definitions": a repository is a scope of its own.
fn push_to_different_repositories_must_reach_both(repo: &Repo) {
    let other = repo.neighbour("other");
    let bytes = repo.bytes(5000);
    let digest = repo.push(Algorithm::Sha256, &bytes);
    assert_eq!(other.push(Algorithm::Sha256, &bytes), digest);
    repo.get_blob(&digest).status_is(200).body_is(&bytes);
    other.get_blob(&digest).status_is(200).body_is(&bytes);
}

/// main, "Pushing blobs", code-4.
fn push_under_a_wrong_digest_should_be_400_by_post_only(repo: &Repo) {
    refuses_a_wrong_digest_by(Flow::PostOnly, repo);
}

/// main, "Pushing blobs", code-4.
fn push_under_a_wrong_digest_should_be_400_by_post_and_put(repo: &Repo) {
    refuses_a_wrong_digest_by(Flow::PostAndPut, repo);
}

/// main, "Pushing blobs", code-4.
fn push_under_a_wrong_digest_should_be_400_by_chunks(repo: &Repo) {
    refuses_a_wrong_digest_by(Flow::Chunks, repo);
}

/// main, "Pushing blobs", code-4.
fn push_under_a_wrong_digest_should_be_400_by_chunks_and_put(repo: &Repo) {
    refuses_a_wrong_digest_by(Flow::ChunksAndPut, repo);
}

/// main, "Pushing blobs", code-4.
fn push_under_a_wrong_digest_should_be_400_by_stream(repo: &Repo) {
    refuses_a_wrong_digest_by(Flow::Stream, repo);
}

/// "Pushing a blob in chunks": the closing PUT must name the digest.
fn push_under_no_digest_must_be_400(repo: &Repo) {
    let upload = repo.start();
    repo.send(repo.request("PUT", &upload).header("Content-Type", OCTETS).body(repo.bytes(10))).status_is(400);
}

/// main, "Pushing blobs", code-4.
fn push_under_an_invalid_digest_should_be_400(repo: &Repo) {
    let bytes = repo.bytes(10);
    let upper = Algorithm::Sha256.digest(&bytes).to_uppercase();
    for digest in ["sha256:baddigeststring", "sha256:", "sha256", "", "sha512:00", &upper] {
        repo.close(&repo.start(), digest, &bytes).error_is(400, "DIGEST_INVALID");
        let post = repo.request("POST", &with_query("blobs/uploads/", "digest", digest));
        repo.send(post.header("Content-Type", OCTETS).body(bytes.clone())).error_is(400, "DIGEST_INVALID");
    }
}

/// main, "Pushing blobs".
fn push_under_an_unsupported_algorithm_should_be_400(repo: &Repo) {
    let digest = "md5:d41d8cd98f00b204e9800998ecf8427e";
    repo.close(&repo.start(), digest, b"").status_is(400);
    repo.post(&with_query("blobs/uploads/", "digest", digest)).status_is(400);
}

/// main, "Pushing a blob in chunks", end-4c.
fn digest_algorithm_of_the_post_should_be_accepted(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let bytes = repo.bytes(9000);
        let target = with_query("blobs/uploads/", "digest-algorithm", algorithm.name());
        let upload = location(&repo.post(&target).status_is(202));
        let upload = location(&repo.patch(&upload, Some((0, 3999)), &bytes[..4000]).status_is(202));
        let upload = location(&repo.patch(&upload, Some((4000, 8999)), &bytes[4000..]).status_is(202));
        let answer = repo.close(&upload, &algorithm.digest(&bytes), &[]).status_is(201);
        answer.header_is("docker-content-digest", &algorithm.digest(&bytes)).leads_to(repo, &bytes);
    }
}

/// main, "Pushing blobs".
fn digest_algorithm_that_is_unsupported_should_be_400(repo: &Repo) {
    for name in ["md5", "unknown", "", "SHA256"] {
        let answer = repo.post(&with_query("blobs/uploads/", "digest-algorithm", name)).status_is(400);
        assert_ne!(answer.json()["errors"][0]["code"], Value::Null);
    }
}

/// main, "Pushing a blob in chunks": the parameter is a SHOULD of the client.
fn digest_algorithm_need_not_be_said_before_the_digest(repo: &Repo) {
    let bytes = repo.bytes(9000);
    let upload = location(&repo.patch(&repo.start(), Some((0, 3999)), &bytes[..4000]).status_is(202));
    let upload = location(&repo.patch(&upload, Some((4000, 8999)), &bytes[4000..]).status_is(202));
    repo.close(&upload, &Algorithm::Sha512.digest(&bytes), &[]).status_is(201).leads_to(repo, &bytes);
}

/// main, "Pushing blobs": whatever was announced.
fn digest_algorithm_said_and_another_used_must_still_be_verified(repo: &Repo) {
    for (said, used) in [(Algorithm::Sha256, Algorithm::Sha512), (Algorithm::Sha512, Algorithm::Sha256)] {
        let bytes = repo.bytes(4000);
        let target = with_query("blobs/uploads/", "digest-algorithm", said.name());
        let wrong = location(&repo.post(&target).status_is(202));
        repo.close(&wrong, &used.digest(b"other"), &bytes).error_is(400, "DIGEST_INVALID");
        let right = location(&repo.post(&target).status_is(202));
        repo.close(&right, &used.digest(&bytes), &bytes).status_is(201).leads_to(repo, &bytes);
    }
}
