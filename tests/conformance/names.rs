//! "Pulling manifests": what a repository may be called.

use super::data::push_image;
use super::expect::Expect;
use super::{Algorithm, Repo};

on_every_storage![
    names_that_match_must_work,
    names_that_contain_the_words_of_paths_must_work,
    names_that_do_not_match_must_be_refused,
    names_that_are_too_long_must_be_refused,
    names_of_the_greatest_length_must_work,
];

/// The last part makes it unique, so that the same names can be tried again.
fn works(repo: &Repo, name: &str) {
    let unique = repo.name.rsplit('-').next().unwrap_or_default();
    let named = repo.named(&format!("{name}/{unique}"));
    let image = push_image(&named, "v1");
    named.get_manifest("v1").status_is(200).body_is(&image.bytes);
    assert_eq!(named.tags(""), ["v1"]);
    let bytes = repo.bytes(50);
    let digest = named.push(Algorithm::Sha512, &bytes);
    named.get_blob(&digest).status_is(200).body_is(&bytes);
}

fn names_that_match_must_work(repo: &Repo) {
    for name in
        ["a", "0", "a.b", "a_b", "a__b", "a-b", "a---b", "a/b/c/d/e/f/g/h", "a.b_c__d-e--f/0-9", "library/ubuntu"]
    {
        works(repo, name);
    }
}

fn names_that_contain_the_words_of_paths_must_work(repo: &Repo) {
    for name in ["blobs", "manifests/tags", "tags/list", "blobs/uploads", "a/referrers", "v2", "v2/a", "catalog"] {
        works(repo, name);
    }
}

/// code-8.
fn names_that_do_not_match_must_be_refused(repo: &Repo) {
    for name in
        ["A", "a/B", "-a", "a-", "a_", "_a", ".a", "a.", "a..b", "a___b", "a._b", "a/-b", "a~b", "a+b", "%C3%A9"]
    {
        let named = repo.named(name);
        named.get("tags/list").status_is_one_of(&[400, 404]);
        named.post("blobs/uploads/").error_is(400, "NAME_INVALID");
        let bytes = b"{}";
        named.put_manifest("v1", super::repo::MANIFEST, bytes).error_is(400, "NAME_INVALID");
    }
}

/// distribution: 255 characters are the most.
fn names_that_are_too_long_must_be_refused(repo: &Repo) {
    for length in [256, 300, 4000] {
        repo.named(&"a".repeat(length)).post("blobs/uploads/").error_is(400, "NAME_INVALID");
    }
}

fn names_of_the_greatest_length_must_work(repo: &Repo) {
    let unique = repo.name.rsplit('-').next().unwrap_or_default();
    works(repo, &"a".repeat(254 - unique.len()));
    works(repo, &["a"; 120].join("/"));
}
