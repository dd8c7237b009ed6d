//! How fresh a tag is, and what it costs the remote to know.

use std::sync::Barrier;

use super::world::{Hub, pulls, pulls_image, refused};
use crate::harness::{Fault, Gate, Manner, Reply, Repository, Rule, eventually};

const SIZE: usize = 20_000;
const ASKED_ALWAYS: (&str, &str) = ("remote.hub.tag_ttl", "\"0s\"");
const ASKED_SELDOM: (&str, &str) = ("remote.hub.tag_ttl", "\"1h\"");

fn with((key, value): (&str, &str)) -> Hub {
    Hub::start(Manner::plain(), |setup| setup.set(key, value))
}

#[test]
fn a_tag_costs_a_head_until_it_moves_and_then_one_get() {
    let hub = with(ASKED_ALWAYS);
    let (client, first) = (hub.client("team/app"), hub.remote.put_multi("team/app", "1", 1, SIZE));
    for _ in 0..4 {
        pulls(&client, "1", &first);
    }
    assert_eq!(hub.remote.gets("/manifests/"), 3, "the index and two manifests");
    assert!((5..=8).contains(&hub.remote.heads("/manifests/1")), "{}", hub.remote.heads("/manifests/1"));
    assert_eq!(
        hub.remote.heads("/manifests/sha256:") + hub.remote.heads("/blobs/"),
        0,
        "a digest that is here is asked of nobody"
    );
    let second = hub.remote.put_multi("team/app", "1", 2, SIZE);
    for _ in 0..3 {
        pulls(&client, "1", &second);
    }
    assert_eq!(hub.remote.gets("/manifests/"), 6);
    // What the tag named before is still there by its digest.
    pulls_image(&client, &first.platforms[0].digest, &first.platforms[0]);
    assert_eq!(client.get_manifest(&first.digest).expect(200), first.index);
    assert_eq!(hub.remote.gets("/manifests/"), 6);
}

#[test]
fn a_tag_is_believed_for_as_long_as_it_was_told() {
    let hub = with(ASKED_SELDOM);
    let (client, first) = (hub.client("team/app"), hub.remote.put_multi("team/app", "1", 1, SIZE));
    pulls(&client, "1", &first);
    let asked = hub.remote.asked();
    hub.remote.put_multi("team/app", "1", 2, SIZE);
    for _ in 0..3 {
        pulls(&client, "1", &first);
    }
    assert_eq!(hub.remote.asked(), asked, "nobody was asked");
}

#[test]
fn a_hundred_who_ask_at_once_ask_once() {
    let hub = with(ASKED_SELDOM);
    let image = hub.remote.put("team/app", "1", 1, SIZE);
    let gate = Gate::new();
    hub.remote.wire.on(Rule::new("", "/manifests/1", Fault::Hold(gate.clone())));
    let (client, start) = (hub.client("team/app"), Barrier::new(101));
    std::thread::scope(|scope| {
        let askers: Vec<_> = (0..100)
            .map(|number| {
                let (client, start) = (&client, &start);
                scope.spawn(move || {
                    start.wait();
                    if number % 2 == 0 { client.get_manifest("1") } else { client.head_manifest("1") }
                })
            })
            .collect();
        start.wait();
        eventually("the remote is asked", || hub.remote.asked() > 0);
        gate.open();
        for asker in askers {
            let answer = asker.join().expect("an answer");
            assert_eq!(answer.header("docker-content-digest"), Some(image.digest.as_str()));
            answer.expect(200);
        }
    });
    assert_eq!((hub.remote.heads("/manifests/"), hub.remote.gets("/manifests/")), (1, 1));
}

#[test]
fn a_remote_that_names_no_digest_or_takes_no_head_is_read_and_hashed() {
    let manners: [fn(&mut Manner); 3] = [
        |manner| manner.digest_header = false,
        |manner| manner.head = false,
        |manner| manner.manifests_redirect = true,
    ];
    for (number, change) in manners.into_iter().enumerate() {
        let mut manner = Manner::plain();
        change(&mut manner);
        let hub = Hub::start(manner, |setup| setup.set(ASKED_ALWAYS.0, ASKED_ALWAYS.1));
        let client = hub.client("team/app");
        let first = hub.remote.put_multi("team/app", "1", 1, SIZE);
        pulls(&client, "1", &first);
        pulls(&client, "1", &first);
        let second = hub.remote.put_multi("team/app", "1", 2, SIZE);
        pulls(&client, "1", &second);
        assert_eq!(
            client.head_manifest("1").header("content-length"),
            Some(second.index.len().to_string().as_str()),
            "{number}"
        );
    }
}

#[test]
fn what_is_not_there_is_told_as_such_and_digests_are_asked_again_at_once() {
    let hub = Hub::start(Manner::hub(), |setup| setup.set(ASKED_ALWAYS.0, ASKED_ALWAYS.1));
    hub.remote.put("team/app", "1", 1, SIZE);
    let (client, nothing) = (hub.client("team/app"), hub.client("team/nothing"));
    refused(&client.get_manifest("2"), 404, "MANIFEST_UNKNOWN");
    assert_eq!(client.head_manifest("2").status, 404);
    assert_eq!(nothing.get_manifest("1").status, 404, "Docker Hub says 401 to that");
    let absent = crate::harness::digest(b"absent");
    refused(&client.get_manifest(&absent), 404, "MANIFEST_UNKNOWN");
    refused(&client.get_blob(&absent), 404, "BLOB_UNKNOWN");
    assert_eq!(client.head_blob(&absent).status, 404);
    let later = hub.remote.put("team/app", "2", 2, SIZE);
    assert_eq!(client.get_manifest(&later.digest).expect(200), later.manifest);
    eventually("the tag is found within ten seconds", || client.get_manifest("2").status == 200);
    let blob = hub.remote.shelf(|shelf| shelf.repository("team/app").put_blob(b"absent".to_vec()));
    assert_eq!(client.get_blob(&blob).expect(200), b"absent");
}

#[test]
fn a_manifest_that_is_not_what_its_digest_says_is_neither_served_nor_kept() {
    let hub = with(ASKED_ALWAYS);
    let image = hub.remote.put("team/app", "1", 1, SIZE);
    let client = hub.client("team/app");
    for reference in ["1", image.digest.as_str()] {
        hub.remote.wire.on(Rule::new("GET", "/manifests/", Fault::FlipAt(30)));
        let answer = client.get_manifest(reference);
        assert!(answer.status >= 500, "{reference}: {} {}", answer.status, answer.text());
        hub.remote.wire.on(Rule::new(
            "GET",
            "/manifests/",
            Fault::Answer(Reply::new(200).body("<html>maintenance</html>")),
        ));
        hub.remote.forget_rules();
    }
    let page = Reply::new(200).header("Content-Type", "text/html").body("<html>maintenance</html>");
    hub.remote.wire.on(Rule::new("", "/manifests/", Fault::Answer(page)));
    let answer = client.get_manifest("1");
    assert!(answer.status >= 500 && !answer.text().contains("maintenance"), "{} {}", answer.status, answer.text());
    hub.remote.forget_rules();
    eventually("the remote is asked again", || client.get_manifest("1").status == 200);
    assert_eq!(client.get_manifest(&image.digest).expect(200), image.manifest);
}

#[test]
fn only_platforms_that_are_asked_for_are_fetched() {
    let hub = Hub::start(Manner::plain(), |setup| setup.set("remote.hub.prefetch", "\"1GiB\""));
    let image = hub.remote.put_multi("team/app", "1", 1, SIZE);
    let (client, amd64, arm64) = (hub.client("team/app"), &image.platforms[0], &image.platforms[1]);
    client.get_manifest("1").expect(200);
    client.get_manifest(&amd64.digest).expect(200);
    eventually("the blobs of the platform that was pulled come by themselves", || {
        amd64.layers.iter().chain([&amd64.config]).all(|blob| hub.remote.gets(blob) == 1)
    });
    hub.kept("team/app", &amd64.layers);
    pulls_image(&client, &amd64.digest, amd64);
    assert!(arm64.layers.iter().all(|blob| hub.remote.gets(blob) == 0) && hub.remote.gets(&arm64.digest) == 0);
    assert_eq!(hub.remote.gets("/blobs/"), 3);
}

/// A reference that a client may use of another repository of the remote.
#[test]
fn what_another_repository_holds_is_not_fetched_again_and_not_given_away() {
    let hub = with(ASKED_SELDOM);
    let image = hub.remote.put("team/app", "1", 1, SIZE);
    let copy = hub.remote.put("team/copy", "1", 1, SIZE);
    hub.remote.put("team/other", "1", 9, SIZE);
    pulls_image(&hub.client("team/app"), "1", &image);
    hub.kept("team/app", &image.layers);
    let before = hub.remote.gets("/blobs/");
    let clients: [Repository; 2] = [hub.client("team/copy"), hub.client("team/other")];
    pulls_image(&clients[0], "1", &copy);
    assert_eq!(hub.remote.gets("/blobs/"), before, "its bytes are here");
    refused(&clients[1].get_blob(&image.layers[0]), 404, "BLOB_UNKNOWN");
    assert_eq!(clients[1].head_blob(&image.layers[0]).status, 404);
    refused(&clients[1].get_manifest(&image.digest), 404, "MANIFEST_UNKNOWN");
}
