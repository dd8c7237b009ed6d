//! "Listing Tags", end-8a and end-8b.

use super::data::{Set, push_image};
use super::expect::Expect;
use super::repo::MANIFEST;
use super::{Algorithm, Repo};

on_every_storage![
    list_of_tags_must_be_200_with_name_and_tags,
    list_of_tags_must_be_in_lexical_order,
    list_of_tags_of_mixed_case_must_be_in_one_of_the_two_orders,
    list_of_no_tags_must_be_empty_and_no_null,
    list_of_tags_of_an_unknown_repository_must_be_404,
    list_of_tags_must_be_of_this_repository_only,
    list_of_n_tags_must_be_the_first_n_with_a_link,
    list_of_more_than_there_are_must_be_all_without_a_link,
    list_of_exactly_all_should_have_no_link,
    list_of_0_tags_must_be_empty_without_a_link,
    list_by_its_links_must_give_every_tag_once,
    list_by_last_must_give_every_tag_once,
    list_after_last_must_begin_behind_it,
    list_after_last_without_n_must_be_all_the_rest,
    list_after_a_last_that_is_no_tag_of_the_repository_must_begin_behind_its_place,
    list_after_the_last_of_all_must_be_empty,
    list_of_a_bad_n_must_be_400_or_clamped,
    list_must_show_a_push_and_a_delete_at_once,
];

/// Twelve tags in lexical order, all of one manifest.
fn twelve(repo: &Repo) -> Vec<String> {
    let bytes = Set::bare(repo, MANIFEST, true);
    let tags: Vec<String> = (0..12).map(|number| format!("tag-{number:02}")).collect();
    for tag in tags.iter().rev() {
        repo.put_manifest(tag, MANIFEST, &bytes).status_is(201);
    }
    tags
}

fn list_of_tags_must_be_200_with_name_and_tags(repo: &Repo) {
    push_image(repo, "v1");
    let answer = repo.get("tags/list").status_is(200);
    assert!(answer.header("content-type").is_some_and(|value| value.starts_with("application/json")));
    assert_eq!(answer.json(), serde_json::json!({"name": repo.name, "tags": ["v1"]}));
}

fn list_of_tags_must_be_in_lexical_order(repo: &Repo) {
    let tags = twelve(repo);
    assert_eq!(repo.tags(""), tags);
}

/// 1.1.1 has "case-insensitive alphanumeric order", main allows that of the bytes too.
fn list_of_tags_of_mixed_case_must_be_in_one_of_the_two_orders(repo: &Repo) {
    let bytes = Set::bare(repo, MANIFEST, true);
    let pushed = ["beta", "Alpha", "alpha", "1.10", "1.9", "_x", "Zulu", "v1", "V1", "a.b", "a-b", "ab"];
    for tag in pushed {
        repo.put_manifest(tag, MANIFEST, &bytes).status_is(201);
    }
    let (mut by_bytes, mut by_letters) = (pushed.to_vec(), pushed.to_vec());
    by_bytes.sort_unstable();
    by_letters.sort_by_key(|tag| (tag.to_lowercase(), *tag));
    let listed = repo.tags("");
    assert!(listed == by_bytes || listed == by_letters, "{listed:?}");
    assert_eq!(repo.tags(&format!("?last={}", listed[5])), listed[6..]);
}

fn list_of_no_tags_must_be_empty_and_no_null(repo: &Repo) {
    let image = push_image(repo, "v1");
    repo.delete("manifests/v1").status_is(202);
    assert_eq!(repo.get("tags/list").status_is(200).tags(), [""; 0]);
    repo.get_manifest(&image.digest).status_is(200);
    let other = repo.neighbour("other");
    Set::image(&other, Algorithm::Sha256).push(&other);
    assert_eq!(other.get("tags/list").status_is(200).tags(), [""; 0]);
}

/// code-9.
fn list_of_tags_of_an_unknown_repository_must_be_404(repo: &Repo) {
    repo.get("tags/list").error_is(404, "NAME_UNKNOWN");
    repo.get("tags/list?n=5").error_is(404, "NAME_UNKNOWN");
}

fn list_of_tags_must_be_of_this_repository_only(repo: &Repo) {
    push_image(repo, "mine");
    push_image(&repo.neighbour("below"), "theirs");
    assert_eq!(repo.tags(""), ["mine"]);
    assert_eq!(repo.neighbour("below").tags(""), ["theirs"]);
}

/// `Link` may be left out; then nobody knows that there is more. Ours is there.
fn list_of_n_tags_must_be_the_first_n_with_a_link(repo: &Repo) {
    let tags = twelve(repo);
    for n in [1, 5, 11] {
        let answer = repo.get(&format!("tags/list?n={n}")).status_is(200);
        assert_eq!(answer.tags(), tags[..n]);
        assert!(answer.next_page().is_some(), "n={n}");
    }
}

fn list_of_more_than_there_are_must_be_all_without_a_link(repo: &Repo) {
    let tags = twelve(repo);
    for n in [13, 100, 1000, 1_000_000] {
        let answer = repo.get(&format!("tags/list?n={n}")).status_is(200).has_no("link");
        assert_eq!(answer.tags(), tags);
    }
}

/// "when additional tags are available".
fn list_of_exactly_all_should_have_no_link(repo: &Repo) {
    let tags = twelve(repo);
    assert_eq!(repo.get("tags/list?n=12").status_is(200).has_no("link").tags(), tags);
    assert_eq!(repo.get("tags/list?n=2&last=tag-09").status_is(200).has_no("link").tags(), tags[10..]);
}

fn list_of_0_tags_must_be_empty_without_a_link(repo: &Repo) {
    twelve(repo);
    for query in ["?n=0", "?n=0&last=tag-03"] {
        assert_eq!(repo.get(&format!("tags/list{query}")).status_is(200).has_no("link").tags(), [""; 0]);
    }
}

fn list_by_its_links_must_give_every_tag_once(repo: &Repo) {
    let tags = twelve(repo);
    for n in [1, 5, 6, 11] {
        let (mut listed, mut page) = (Vec::new(), Some(repo.path(&format!("tags/list?n={n}"))));
        while let Some(path) = page {
            let answer = repo.get(&path).status_is(200);
            assert!(answer.tags().len() <= n, "{path}");
            listed.extend(answer.tags());
            page = answer.next_page();
            assert!(listed.len() <= tags.len(), "{listed:?}");
        }
        assert_eq!(listed, tags, "n={n}");
    }
}

fn list_by_last_must_give_every_tag_once(repo: &Repo) {
    let tags = twelve(repo);
    let mut listed = repo.tags("?n=5");
    while listed.len() < tags.len() {
        let page = repo.tags(&format!("?n=5&last={}", listed[listed.len() - 1]));
        assert!(!page.is_empty());
        listed.extend(page);
    }
    assert_eq!(listed, tags);
}

fn list_after_last_must_begin_behind_it(repo: &Repo) {
    let tags = twelve(repo);
    assert_eq!(repo.tags("?n=3&last=tag-04"), tags[5..8]);
    assert_eq!(repo.tags("?last=tag-04&n=3"), tags[5..8]);
}

fn list_after_last_without_n_must_be_all_the_rest(repo: &Repo) {
    let tags = twelve(repo);
    assert_eq!(repo.tags("?last=tag-04"), tags[5..]);
}

fn list_after_a_last_that_is_no_tag_of_the_repository_must_begin_behind_its_place(repo: &Repo) {
    let tags = twelve(repo);
    assert_eq!(repo.tags("?last=tag-04x"), tags[5..]);
    assert_eq!(repo.tags("?last=a"), tags);
    assert_eq!(repo.tags("?last=zzz"), [""; 0]);
}

fn list_after_the_last_of_all_must_be_empty(repo: &Repo) {
    twelve(repo);
    let answer = repo.get("tags/list?n=5&last=tag-11").status_is(200).has_no("link");
    assert_eq!(answer.tags(), [""; 0]);
}

/// An integer; distribution: 400 for what is none. What is too much is cut, never refused with a 5xx.
fn list_of_a_bad_n_must_be_400_or_clamped(repo: &Repo) {
    let tags = twelve(repo);
    for n in ["-1", "abc", "1.5", "5x", "%20", "99999999999999999999999999"] {
        let answer = repo.get(&format!("tags/list?n={n}")).status_is_one_of(&[200, 400]);
        assert!(answer.status == 400 || answer.tags() == tags, "n={n}: {}", answer.text());
        assert!(answer.status == 200 || answer.error_code() == "PAGINATION_NUMBER_INVALID", "{}", answer.text());
    }
    assert_eq!(repo.tags("?n=1000000000000000000"), tags);
}

fn list_must_show_a_push_and_a_delete_at_once(repo: &Repo) {
    let image = push_image(repo, "kept");
    for round in 0..5 {
        let tag = format!("round-{round}");
        repo.put_manifest(&tag, MANIFEST, &image.bytes).status_is(201);
        assert_eq!(repo.tags(""), ["kept", &tag]);
        repo.delete(&format!("manifests/{tag}")).status_is(202);
        assert_eq!(repo.tags(""), ["kept"]);
    }
}
