//! "Pushing blobs" of sizes that no single request to an object store, and no buffer, should hold.

use super::expect::Expect;
use super::flow::Flow;
use super::{Algorithm, Repo};
use crate::harness::repository::location;

on_every_storage![
    large_blobs_must_be_pushed_in_every_way,
    large_blobs_must_be_pushed_by_chunks_that_are_no_multiple_of_anything,
    large_blobs_under_a_wrong_digest_must_be_refused,
    large_blobs_must_have_ranges,
];

const MIB: usize = 1 << 20;

fn large_blobs_must_be_pushed_in_every_way(repo: &Repo) {
    for (algorithm, flow) in Algorithm::ALL.iter().cycle().zip(Flow::ALL) {
        let bytes = repo.bytes(21 * MIB + 11);
        flow.push(repo, &algorithm.digest(&bytes), &bytes).status_is(201).leads_to(repo, &bytes);
    }
}

fn large_blobs_must_be_pushed_by_chunks_that_are_no_multiple_of_anything(repo: &Repo) {
    let bytes = repo.bytes(40 * MIB + 5);
    let (mut upload, mut at) = (repo.start(), 0_usize);
    for size in [17 * MIB + 3, 1, 5 * MIB, 5 * MIB - 1, 3, 12 * MIB + 7].into_iter().chain([usize::MAX]) {
        let end = at.saturating_add(size).min(bytes.len());
        if end > at {
            upload = location(&repo.patch(&upload, Some((at, end - 1)), &bytes[at..end]).status_is(202));
        }
        at = end;
    }
    repo.close(&upload, &Algorithm::Sha256.digest(&bytes), &[]).status_is(201).leads_to(repo, &bytes);
}

fn large_blobs_under_a_wrong_digest_must_be_refused(repo: &Repo) {
    let bytes = repo.bytes(17 * MIB);
    let wrong = Algorithm::Sha256.digest(b"other");
    for flow in Flow::ALL {
        flow.push(repo, &wrong, &bytes).error_is(400, "DIGEST_INVALID");
        repo.get_blob(&wrong).status_is(404);
    }
}

fn large_blobs_must_have_ranges(repo: &Repo) {
    let bytes = repo.bytes(20 * MIB);
    let digest = repo.push(Algorithm::Sha256, &bytes);
    for (first, last) in [(0, 0), (5 * MIB - 1, 5 * MIB), (8 * MIB, 17 * MIB), (20 * MIB - 1, 20 * MIB - 1)] {
        let request = repo.request("GET", &format!("blobs/{digest}")).header("Range", format!("bytes={first}-{last}"));
        let answer = repo.send(request).status_is(206).body_is(&bytes[first..=last]);
        answer.header_is("content-range", &format!("bytes {first}-{last}/{}", bytes.len()));
    }
}
