//! "Pushing a blob in chunks": order, what is answered to a chunk, and how to go on after a refusal.

use super::expect::Expect;
use super::flow::pieces;
use super::repo::{OCTETS, with_query};
use super::{Algorithm, Repo};
use crate::harness::repository::location;

on_every_storage![
    chunk_must_be_202_with_location_and_range,
    chunk_out_of_order_must_be_416,
    chunk_that_is_not_the_first_must_be_416_on_an_empty_upload,
    chunk_sent_again_must_be_416,
    chunk_that_overlaps_must_be_416,
    chunk_out_of_order_in_the_put_must_be_416,
    chunk_refused_must_leave_the_upload_as_it_was,
    chunk_whose_range_is_not_its_length_must_be_refused,
    chunk_whose_range_is_malformed_must_be_refused,
    chunk_may_have_no_range,
    chunks_with_and_without_a_range_may_be_mixed,
    chunks_may_be_of_any_sizes,
    status_of_an_upload_must_be_204_with_location_and_range,
    status_of_an_empty_upload_must_have_a_range_that_parses,
    status_of_an_upload_must_not_mind_the_digest_of_a_refused_put,
    chunk_of_no_bytes_must_be_202,
    chunk_min_length_should_be_a_number_where_it_is_said,
];

/// "Pushing a blob in chunks", end-5: the position of the last byte, without a unit.
fn chunk_must_be_202_with_location_and_range(repo: &Repo) {
    let bytes = repo.bytes(3000);
    let begun = repo.post("blobs/uploads/").status_is(202);
    let (mut upload, mut at) = (location(&begun), 0);
    for piece in pieces(&bytes, &begun) {
        let answer = repo.patch(&upload, Some((at, at + piece.len() - 1)), piece).status_is(202);
        at += piece.len();
        upload = location(&answer.header_is("range", &format!("0-{}", at - 1)));
    }
}

/// "Pushing a blob in chunks".
fn chunk_out_of_order_must_be_416(repo: &Repo) {
    let bytes = repo.bytes(3000);
    let upload = location(&repo.patch(&repo.start(), Some((0, 999)), &bytes[..1000]).status_is(202));
    repo.patch(&upload, Some((2000, 2999)), &bytes[2000..]).status_is(416);
}

/// "Pushing a blob in chunks": the first chunk must begin with 0.
fn chunk_that_is_not_the_first_must_be_416_on_an_empty_upload(repo: &Repo) {
    repo.patch(&repo.start(), Some((1000, 1999)), &repo.bytes(1000)).status_is(416);
}

/// "Pushing a blob in chunks": nothing is appended twice.
fn chunk_sent_again_must_be_416(repo: &Repo) {
    let bytes = repo.bytes(1000);
    let upload = location(&repo.patch(&repo.start(), Some((0, 999)), &bytes).status_is(202));
    repo.patch(&upload, Some((0, 999)), &bytes).status_is(416);
    repo.close(&upload, &Algorithm::Sha256.digest(&bytes), &[]).status_is(201).leads_to(repo, &bytes);
}

/// "Pushing a blob in chunks": a chunk begins behind the last byte.
fn chunk_that_overlaps_must_be_416(repo: &Repo) {
    let bytes = repo.bytes(2000);
    let upload = location(&repo.patch(&repo.start(), Some((0, 999)), &bytes[..1000]).status_is(202));
    repo.patch(&upload, Some((999, 1999)), &bytes[999..]).status_is(416);
}

/// main, "Pushing a blob in chunks", end-6.
fn chunk_out_of_order_in_the_put_must_be_416(repo: &Repo) {
    let bytes = repo.bytes(3000);
    let digest = Algorithm::Sha256.digest(&bytes);
    let upload = location(&repo.patch(&repo.start(), Some((0, 999)), &bytes[..1000]).status_is(202));
    let put = |upload: &str, first: usize| {
        let request = repo.request("PUT", &with_query(upload, "digest", &digest)).header("Content-Type", OCTETS);
        repo.send(request.header("Content-Range", format!("{first}-2999")).body(&bytes[first..]))
    };
    put(&upload, 2000).status_is(416);
    repo.get_blob(&digest).status_is(404);
    let status = repo.get(&upload).status_is(204).header_is("range", "0-999");
    put(&location(&status), 1000).status_is(201).leads_to(repo, &bytes);
}

/// "Pushing a blob in chunks": the status tells where to go on, and it goes on.
fn chunk_refused_must_leave_the_upload_as_it_was(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let bytes = repo.bytes(3000);
        let upload = repo.start();
        repo.patch(&upload, Some((1000, 1999)), &bytes[1000..2000]).status_is(416);
        let upload = location(&repo.get(&upload).status_is(204));
        let upload = location(&repo.patch(&upload, Some((0, 999)), &bytes[..1000]).status_is(202));
        repo.patch(&upload, Some((2000, 2999)), &bytes[2000..]).status_is(416);
        repo.patch(&upload, Some((0, 999)), &bytes[..1000]).status_is(416);
        let status = repo.get(&upload).status_is(204).header_is("range", "0-999");
        let upload = location(&repo.patch(&location(&status), Some((1000, 1999)), &bytes[1000..2000]).status_is(202));
        let upload = location(&repo.patch(&upload, Some((2000, 2999)), &bytes[2000..]).status_is(202));
        repo.close(&upload, &algorithm.digest(&bytes), &[]).status_is(201).leads_to(repo, &bytes);
    }
}

/// "Pushing a blob in chunks": inclusive on both ends, so the range says the length; code-10.
fn chunk_whose_range_is_not_its_length_must_be_refused(repo: &Repo) {
    let bytes = repo.bytes(1000);
    let upload = repo.start();
    for (first, last) in [(0, 998), (0, 1000), (0, 0)] {
        repo.patch(&upload, Some((first, last)), &bytes).status_is_one_of(&[400, 416]);
    }
    let upload = location(&repo.patch(&upload, Some((0, 999)), &bytes).status_is(202));
    repo.close(&upload, &Algorithm::Sha256.digest(&bytes), &[]).status_is(201).leads_to(repo, &bytes);
}

/// "Pushing a blob in chunks": `^[0-9]+-[0-9]+$`.
fn chunk_whose_range_is_malformed_must_be_refused(repo: &Repo) {
    let bytes = repo.bytes(10);
    let upload = repo.start();
    for range in ["9-0", "0", "-9", "0-", "a-b", "0-9-9", "", "0-99999999999999999999999999", "+0-9", "0 - 9"] {
        let request = repo.request("PATCH", &upload).header("Content-Type", OCTETS).header("Content-Range", range);
        repo.send(request.body(bytes.clone())).status_is_one_of(&[400, 416]);
    }
    let upload = location(&repo.patch(&upload, Some((0, 9)), &bytes).status_is(202));
    repo.close(&upload, &Algorithm::Sha256.digest(&bytes), &[]).status_is(201).leads_to(repo, &bytes);
}

/// distribution: a PATCH with a length and without a range is a stream; podman and docker send such.
fn chunk_may_have_no_range(repo: &Repo) {
    let bytes = repo.bytes(3000);
    let answer = repo.patch(&repo.start(), None, &bytes).status_is(202).header_is("range", "0-2999");
    repo.close(&location(&answer), &Algorithm::Sha256.digest(&bytes), &[]).status_is(201).leads_to(repo, &bytes);
}

/// distribution: streams are appended.
fn chunks_with_and_without_a_range_may_be_mixed(repo: &Repo) {
    let bytes = repo.bytes(4000);
    let upload = location(&repo.patch(&repo.start(), None, &bytes[..1000]).status_is(202));
    let upload = location(&repo.patch(&upload, Some((1000, 1999)), &bytes[1000..2000]).status_is(202));
    let answer = repo.patch(&upload, None, &bytes[2000..3000]).status_is(202).header_is("range", "0-2999");
    repo.close(&location(&answer), &Algorithm::Sha256.digest(&bytes), &bytes[3000..])
        .status_is(201)
        .leads_to(repo, &bytes);
}

/// "Pushing a blob in chunks": a minimum is the registry's to say (`OCI-Chunk-Min-Length`).
fn chunks_may_be_of_any_sizes(repo: &Repo) {
    let begun = repo.post("blobs/uploads/").status_is(202);
    let least: usize = begun.header("oci-chunk-min-length").map_or(1, |value| value.parse().expect("a number"));
    let sizes: Vec<usize> = [1, 7, 100, 65_536, 1, 3, 300_001].iter().map(|size| least.max(*size)).collect();
    let bytes = repo.bytes(sizes.iter().sum());
    let (mut upload, mut at) = (location(&begun), 0);
    for size in sizes {
        let piece = &bytes[at..at + size];
        upload = location(&repo.patch(&upload, Some((at, at + size - 1)), piece).status_is(202));
        at += size;
    }
    repo.close(&upload, &Algorithm::Sha512.digest(&bytes), &[]).status_is(201).leads_to(repo, &bytes);
}

/// "Pushing a blob in chunks", end-13.
fn status_of_an_upload_must_be_204_with_location_and_range(repo: &Repo) {
    let bytes = repo.bytes(1234);
    let upload = location(&repo.patch(&repo.start(), Some((0, 1233)), &bytes).status_is(202));
    for _ in 0..2 {
        let status = repo.get(&upload).status_is(204).body_is(b"").header_is("range", "0-1233");
        assert!(location(&status).contains("/blobs/uploads/"));
    }
    repo.close(&upload, &Algorithm::Sha256.digest(&bytes), &[]).status_is(201);
}

/// The official suite, where nothing has been received: `0-0`, as distribution says it.
fn status_of_an_empty_upload_must_have_a_range_that_parses(repo: &Repo) {
    let status = repo.get(&repo.start()).status_is(204).header_is("range", "0-0");
    location(&status);
}

/// The official suite asks after a PUT that was refused, at the very URL of the PUT.
fn status_of_an_upload_must_not_mind_the_digest_of_a_refused_put(repo: &Repo) {
    let bytes = repo.bytes(3000);
    let upload = location(&repo.patch(&repo.start(), Some((0, 999)), &bytes[..1000]).status_is(202));
    let target = with_query(&upload, "digest", &Algorithm::Sha512.digest(&bytes).replace(':', "%3A"));
    let request = repo.request("PUT", &target).header("Content-Type", OCTETS).header("Content-Range", "2000-2999");
    repo.send(request.body(&bytes[2000..])).status_is(416);
    let status = repo.get(&target).status_is(204).header_is("range", "0-999");
    let upload = location(&repo.patch(&location(&status), Some((1000, 2999)), &bytes[1000..]).status_is(202));
    repo.close(&upload, &Algorithm::Sha512.digest(&bytes), &[]).status_is(201).leads_to(repo, &bytes);
}

/// The stream of an empty blob, as Go's client sends it: a PATCH whose length is 0.
fn chunk_of_no_bytes_must_be_202(repo: &Repo) {
    for algorithm in Algorithm::ALL {
        let upload = location(&repo.patch(&repo.start(), None, b"").status_is(202));
        repo.close(&upload, &algorithm.digest(b""), &[]).status_is(201).leads_to(repo, b"");
        let bytes = repo.bytes(500);
        let upload = location(&repo.patch(&repo.start(), None, b"").status_is(202));
        let upload = location(&repo.patch(&upload, None, &bytes).status_is(202).header_is("range", "0-499"));
        let upload = location(&repo.patch(&upload, None, b"").status_is(202).header_is("range", "0-499"));
        repo.close(&upload, &algorithm.digest(&bytes), &[]).status_is(201).leads_to(repo, &bytes);
    }
}

/// "Pushing a blob in chunks".
fn chunk_min_length_should_be_a_number_where_it_is_said(repo: &Repo) {
    if let Some(length) = repo.post("blobs/uploads/").status_is(202).header("oci-chunk-min-length") {
        assert!(length.parse::<usize>().is_ok_and(|length| length <= 64 << 20), "{length}");
    }
}
