//! "Pulling blobs": the `Range` header SHOULD be supported as RFC 9110, section 14, has it.

use super::expect::Expect;
use super::{Algorithm, Repo};
use crate::harness::Answer;

on_every_storage![
    range_of_both_ends_must_be_206_with_just_these_bytes,
    range_without_an_end_must_reach_to_the_last_byte,
    range_of_the_last_bytes_must_be_counted_from_the_end,
    range_beyond_the_end_must_be_cut_there,
    range_of_one_byte_must_be_one_byte,
    range_of_more_last_bytes_than_there_are_must_be_all,
    range_that_ends_before_it_begins_must_be_416,
    range_that_begins_behind_the_end_must_be_416,
    range_of_no_last_bytes_must_be_416,
    range_of_another_unit_must_be_ignored,
    range_on_head_must_be_ignored,
    ranges_should_be_announced,
    ranges_of_a_sha512_blob_must_work,
    if_range_of_another_version_must_give_the_whole,
    if_range_of_this_version_must_give_the_range,
];

const SIZE: usize = 2048;

fn ask(repo: &Repo, algorithm: Algorithm, range: &str) -> (Answer, Vec<u8>) {
    let bytes = repo.bytes(SIZE);
    let digest = repo.push(algorithm, &bytes);
    (repo.send(repo.request("GET", &format!("blobs/{digest}")).header("Range", range)), bytes)
}

#[track_caller]
fn assert_part(repo: &Repo, algorithm: Algorithm, range: &str, first: usize, last: usize) {
    let (answer, bytes) = ask(repo, algorithm, range);
    let answer = answer.status_is(206).body_is(&bytes[first..=last]);
    let answer = answer.header_is("content-range", &format!("bytes {first}-{last}/{SIZE}"));
    let answer = answer.header_is("content-length", &(last + 1 - first).to_string());
    answer.header_is("docker-content-digest", &algorithm.digest(&bytes));
}

/// RFC 9110, 14.1.2.
fn range_of_both_ends_must_be_206_with_just_these_bytes(repo: &Repo) {
    assert_part(repo, Algorithm::Sha256, "bytes=500-1499", 500, 1499);
}

/// RFC 9110, 14.1.2.
fn range_without_an_end_must_reach_to_the_last_byte(repo: &Repo) {
    assert_part(repo, Algorithm::Sha256, "bytes=500-", 500, SIZE - 1);
}

/// RFC 9110, 14.1.2.
fn range_of_the_last_bytes_must_be_counted_from_the_end(repo: &Repo) {
    assert_part(repo, Algorithm::Sha256, "bytes=-500", SIZE - 500, SIZE - 1);
}

/// RFC 9110, 14.1.2.
fn range_beyond_the_end_must_be_cut_there(repo: &Repo) {
    assert_part(repo, Algorithm::Sha256, "bytes=2000-5000", 2000, SIZE - 1);
}

/// RFC 9110, 14.1.2.
fn range_of_one_byte_must_be_one_byte(repo: &Repo) {
    assert_part(repo, Algorithm::Sha256, "bytes=0-0", 0, 0);
    assert_part(repo, Algorithm::Sha256, "bytes=-1", SIZE - 1, SIZE - 1);
}

/// RFC 9110, 14.1.2.
fn range_of_more_last_bytes_than_there_are_must_be_all(repo: &Repo) {
    assert_part(repo, Algorithm::Sha256, "bytes=-5000", 0, SIZE - 1);
}

/// The official suite asks for 416, where RFC 9110 would also allow to ignore it.
fn range_that_ends_before_it_begins_must_be_416(repo: &Repo) {
    ask(repo, Algorithm::Sha256, "bytes=500-0").0.status_is(416);
}

/// RFC 9110, 15.5.17: with the length, so that the client can do better.
fn range_that_begins_behind_the_end_must_be_416(repo: &Repo) {
    for range in ["bytes=5000-10000", "bytes=2048-", "bytes=2048-2048"] {
        ask(repo, Algorithm::Sha256, range).0.status_is(416).header_is("content-range", "bytes */2048");
    }
}

/// RFC 9110, 14.1.2: a suffix of length 0 cannot be satisfied.
fn range_of_no_last_bytes_must_be_416(repo: &Repo) {
    ask(repo, Algorithm::Sha256, "bytes=-0").0.status_is(416);
}

/// RFC 9110, 14.2.
fn range_of_another_unit_must_be_ignored(repo: &Repo) {
    let (answer, bytes) = ask(repo, Algorithm::Sha256, "pages=1-2");
    answer.status_is(200).body_is(&bytes);
}

/// RFC 9110, 14.2: only GET has ranges.
fn range_on_head_must_be_ignored(repo: &Repo) {
    let digest = repo.push(Algorithm::Sha256, &repo.bytes(SIZE));
    let request = repo.request("HEAD", &format!("blobs/{digest}")).header("Range", "bytes=0-99");
    repo.send(request).status_is(200).header_is("content-length", "2048");
}

/// RFC 9110, 14.3.
fn ranges_should_be_announced(repo: &Repo) {
    let digest = repo.push(Algorithm::Sha256, &repo.bytes(SIZE));
    repo.get_blob(&digest).status_is(200).header_is("accept-ranges", "bytes");
    repo.head(&format!("blobs/{digest}")).status_is(200).header_is("accept-ranges", "bytes");
}

/// "Pulling blobs".
fn ranges_of_a_sha512_blob_must_work(repo: &Repo) {
    assert_part(repo, Algorithm::Sha512, "bytes=500-1499", 500, 1499);
    assert_part(repo, Algorithm::Sha512, "bytes=-500", SIZE - 500, SIZE - 1);
    ask(repo, Algorithm::Sha512, "bytes=5000-10000").0.status_is(416);
}

/// RFC 9110, 13.1.5.
fn if_range_of_another_version_must_give_the_whole(repo: &Repo) {
    let bytes = repo.bytes(SIZE);
    let digest = repo.push(Algorithm::Sha256, &bytes);
    let request = repo.request("GET", &format!("blobs/{digest}")).header("Range", "bytes=0-9");
    repo.send(request.header("If-Range", r#""another""#)).status_is(200).body_is(&bytes);
}

/// RFC 9110, 13.1.5.
fn if_range_of_this_version_must_give_the_range(repo: &Repo) {
    let bytes = repo.bytes(SIZE);
    let digest = repo.push(Algorithm::Sha256, &bytes);
    let tag = repo.get_blob(&digest).header("etag").expect("an ETag").to_owned();
    let request = repo.request("GET", &format!("blobs/{digest}")).header("Range", "bytes=0-9");
    repo.send(request.header("If-Range", tag)).status_is(206).body_is(&bytes[..10]);
}
