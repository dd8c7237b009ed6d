//! `/v2/_catalog` is not in the specification any more; clients still ask for it as distribution answers it.

use super::Repo;
use super::data::push_image;
use super::expect::Expect;
use crate::harness::Answer;

on_every_storage![
    catalog_should_have_every_repository_once_in_order,
    catalog_after_last_should_begin_behind_it,
    catalog_of_n_should_be_n_with_a_link,
    catalog_of_a_bad_n_should_be_400,
    catalog_should_show_a_new_repository_at_once,
];

#[track_caller]
fn names(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let names = body["repositories"].as_array().unwrap_or_else(|| panic!("no list: {body}"));
    names.iter().map(|name| name.as_str().expect("a text").to_owned()).collect()
}

/// Other tests add to it meanwhile: only what was there before is looked for.
fn catalog_should_have_every_repository_once_in_order(repo: &Repo) {
    let mine: Vec<Repo> = ["a", "a/b", "a-b", "b"].map(|name| repo.neighbour(name)).into();
    for repo in &mine {
        push_image(repo, "v1");
    }
    let (mut listed, mut page) = (Vec::new(), Some("/v2/_catalog?n=7".to_owned()));
    while let Some(path) = page {
        let answer = repo.get(&path);
        listed.extend(names(&answer));
        page = answer.next_page();
    }
    for repo in &mine {
        assert_eq!(listed.iter().filter(|name| **name == repo.name).count(), 1, "{}", repo.name);
    }
    // distribution orders by path components, others by bytes; a page never goes back.
    let key = |name: &String| name.replace('/', "\0");
    assert!(listed.is_sorted_by_key(key) || listed.is_sorted(), "{listed:?}");
}

fn catalog_after_last_should_begin_behind_it(repo: &Repo) {
    let (one, two) = (repo.neighbour("one"), repo.neighbour("two"));
    push_image(&one, "v1");
    push_image(&two, "v1");
    let answer = repo.get(&format!("/v2/_catalog?n=1&last={}", one.name.replace('/', "%2F")));
    assert_eq!(names(&answer), [two.name]);
}

fn catalog_of_n_should_be_n_with_a_link(repo: &Repo) {
    for name in ["a", "b", "c"] {
        push_image(&repo.neighbour(name), "v1");
    }
    let answer = repo.get("/v2/_catalog?n=2");
    assert_eq!(names(&answer).len(), 2);
    let next = answer.next_page().expect("there is more");
    assert!(!names(&repo.get(&next)).is_empty());
    repo.get("/v2/_catalog?n=0").status_is_one_of(&[200, 400]).has_no("link");
}

fn catalog_of_a_bad_n_should_be_400(repo: &Repo) {
    for n in ["-1", "abc", "99999999999999999999999999"] {
        repo.get(&format!("/v2/_catalog?n={n}")).error_is(400, "PAGINATION_NUMBER_INVALID");
    }
}

fn catalog_should_show_a_new_repository_at_once(repo: &Repo) {
    for number in 0..3 {
        let new = repo.neighbour(&format!("new-{number}"));
        push_image(&new, "v1");
        // By its place, since there may be more repositories than one answer has.
        let before = new.name.strip_suffix(|_: char| true).expect("a character").replace('/', "%2F");
        assert!(names(&repo.get(&format!("/v2/_catalog?n=20&last={before}"))).contains(&new.name), "{}", new.name);
    }
}
