//! Lists of tags, of referrers and of repositories: the remote's, as far as its manners let them be had.

use std::collections::BTreeSet;

use serde_json::json;

use super::world::{Hub, is_stale, mirroring, overlaying, pulls_image};
use crate::harness::remote::Referrers;
use crate::harness::repository::{OCI_INDEX, OCI_MANIFEST};
use crate::harness::{Answer, FakeRemote, Manner, Repository, Request, digest, eventually};

const SIZE: usize = 1000;

fn asked_always(manner: Manner) -> Hub {
    Hub::start(manner, |setup| setup.set("remote.hub.tag_ttl", "\"0s\""))
}

fn list(client: &Repository, query: &str) -> Answer {
    client.request("GET", format!("/v2/{}/tags/list{query}", client.name)).send(client.address)
}

fn tags(answer: &Answer) -> Vec<String> {
    let list = answer.json()["tags"].as_array().cloned().unwrap_or_default();
    list.into_iter().filter_map(|tag| tag.as_str().map(str::to_owned)).collect()
}

/// Follows `Link` to the end.
fn all_tags(client: &Repository, query: &str) -> Vec<String> {
    let (mut found, mut answer) = (Vec::new(), list(client, query));
    for _ in 0..100 {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["name"], client.name.as_str());
        found.extend(tags(&answer));
        let Some(link) = answer.header("link").map(str::to_owned) else { return found };
        let target = link.trim_start_matches('<').split('>').next().unwrap_or_default().to_owned();
        assert!(target.starts_with("/v2/docker.io/"), "the next page is ours: {link}");
        answer = client.request("GET", target).send(client.address);
    }
    panic!("the pages have no end: {found:?}");
}

#[test]
fn tags_of_all_pages_are_listed_however_the_remote_names_its_pages() {
    let hub = asked_always(Manner { page: 7, ..Manner::hub() });
    let wanted: BTreeSet<String> = (0..40).map(|number| format!("v{number:02}")).collect();
    for (seed, tag) in (0..).zip(&wanted) {
        hub.remote.put("team/app", tag, seed, 10);
    }
    let client = hub.client("team/app");
    for query in ["", "?n=5", "?n=100", "?n=40"] {
        let found = all_tags(&client, query);
        assert_eq!(found.len(), 40, "{query}: none twice");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted, "{query}");
    }
    assert!(tags(&list(&client, "?n=5")).len() <= 5);
    assert!(tags(&list(&client, "?n=3&last=v30")).iter().all(|tag| tag.as_str() > "v30"));
    hub.remote.put("team/app", "w", 99, 10);
    eventually("a new tag is listed", || all_tags(&client, "").contains(&"w".to_owned()));
}

#[test]
fn a_list_is_asked_for_once_in_its_time_and_served_when_the_remote_is_gone() {
    let hub = Hub::start(Manner::plain(), |setup| setup.set("remote.hub.tag_ttl", "\"1h\""));
    hub.remote.put("team/app", "1", 1, SIZE);
    let client = hub.client("team/app");
    for _ in 0..5 {
        assert_eq!(tags(&list(&client, "")), ["1"]);
    }
    assert_eq!(hub.remote.gets("/tags/list"), 1);
    let hub = asked_always(Manner::plain());
    hub.remote.put("team/app", "1", 1, SIZE);
    let client = hub.client("team/app");
    assert_eq!(tags(&list(&client, "")), ["1"]);
    hub.remote.die();
    let stale = list(&client, "");
    assert!(stale.status == 200 && is_stale(&stale), "{} {:?}", stale.status, stale.headers);
    assert_eq!(tags(&stale), ["1"]);
}

#[test]
fn what_is_not_there_has_no_list() {
    let hub = asked_always(Manner::hub());
    let answer = list(&hub.client("team/nothing"), "");
    assert_eq!(answer.status, 404, "{}", answer.text());
}

#[test]
fn a_list_over_an_overlay_has_the_tags_of_both() {
    let hub = Hub::start(Manner { page: 3, ..Manner::plain() }, overlaying);
    for (seed, tag) in (0..).zip(["a", "c", "e", "g"]) {
        hub.remote.put("team/app", tag, seed, 10);
    }
    let client = hub.client("team/app");
    for (seed, tag) in (50..).zip(["b", "e", "h"]) {
        client.push_random(tag, seed, 10);
    }
    for query in ["", "?n=2"] {
        let found = all_tags(&client, query);
        assert_eq!(found, ["a", "b", "c", "e", "g", "h"], "{query}");
    }
    hub.remote.die();
    assert!(tags(&list(&client, "")).contains(&"h".to_owned()), "what is ours is listed in any case");
}

/// An artifact about an image, in the remote's repository.
fn artifact(hub: &Hub, subject: &crate::harness::Image) -> (String, Vec<u8>) {
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/vnd.test.signature",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(b"{}"), "size": 2},
        "layers": [], "subject": {"mediaType": OCI_MANIFEST, "digest": subject.digest, "size": subject.manifest.len()},
    });
    let bytes = manifest.to_string().into_bytes();
    let digest = hub.remote.shelf(|shelf| {
        let kept = shelf.repository("team/app");
        kept.put_blob(b"{}".to_vec());
        kept.put_manifest(OCI_MANIFEST, &bytes)
    });
    (digest, bytes)
}

fn referrers(client: &Repository, subject: &str) -> Answer {
    client.request("GET", format!("/v2/{}/referrers/{subject}", client.name)).send(client.address)
}

#[test]
fn referrers_are_the_remote_s_own() {
    let hub = asked_always(Manner::plain());
    let image = hub.remote.put("team/app", "1", 1, SIZE);
    let (signature, bytes) = artifact(&hub, &image);
    let client = hub.client("team/app");
    let answer = referrers(&client, &image.digest);
    assert_eq!(answer.header("content-type"), Some(OCI_INDEX));
    assert_eq!(answer.json()["manifests"][0]["digest"], signature.as_str(), "{}", answer.text());
    assert_eq!(client.get_manifest(&signature).expect(200), bytes);
    hub.remote.die();
    let stale = referrers(&client, &image.digest);
    assert_eq!(stale.json()["manifests"][0]["digest"], signature.as_str());
}

#[test]
fn a_remote_without_referrers_is_read_by_the_tag_that_stands_for_them() {
    for manner in [Referrers::Refused(404), Referrers::Refused(405), Referrers::Refused(429), Referrers::LedAstray] {
        let hub = asked_always(Manner { referrers: manner, ..Manner::plain() });
        let image = hub.remote.put("team/app", "1", 1, SIZE);
        let (signature, bytes) = artifact(&hub, &image);
        let client = hub.client("team/app");
        let none = referrers(&client, &image.digest);
        assert_eq!(none.json()["manifests"], json!([]), "{manner:?}: MUST NOT be 404");
        let entry = json!({"mediaType": OCI_MANIFEST, "digest": signature, "size": bytes.len()});
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).to_string();
        let tag = image.digest.replace(':', "-");
        hub.remote.shelf(|shelf| shelf.repository("team/app").tag(&tag, OCI_INDEX, index.as_bytes()));
        eventually("the tag is read", || {
            referrers(&client, &image.digest).json()["manifests"][0]["digest"] == signature.as_str()
        });
        assert!(hub.remote.store.seen().len() <= 2, "nobody is led astray again and again");
        pulls_image(&client, "1", &image);
    }
}

#[test]
fn the_catalog_of_a_whole_host_is_the_remote_s() {
    let fake = FakeRemote::start(Manner { page: 3, ..Manner::plain() });
    for number in 0..8 {
        fake.put(&format!("team/app{number}"), "1", number, 10);
    }
    let routes = r#"[{ hosts = ["hub.test"], read = "remote.hub" }, { read = "registry", write = "registry" }]"#;
    let entrepot = mirroring(&[("hub", "docker.io", fake.address())]).set("route", routes).start();
    Repository::at(entrepot.address, "own/app").push_random("1", 1, 10);
    let (mut found, mut target) = (Vec::new(), "/v2/_catalog".to_owned());
    for _ in 0..10 {
        let answer = Request::get(target).header("Host", "hub.test").send(entrepot.address);
        let page = answer.json()["repositories"].as_array().cloned().unwrap_or_default();
        found.extend(page.into_iter().filter_map(|name| name.as_str().map(str::to_owned)));
        let Some(link) = answer.header("link").map(str::to_owned) else { break };
        target = link.trim_start_matches('<').split('>').next().unwrap_or_default().to_owned();
    }
    assert_eq!(found, (0..8).map(|number| format!("team/app{number}")).collect::<Vec<_>>());
    let own = Request::get("/v2/_catalog").send(entrepot.address).json();
    assert_eq!(own["repositories"], json!(["own/app"]), "the registry's own is another");
}
