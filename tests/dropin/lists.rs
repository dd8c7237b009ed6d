//! What distribution writes beside us is in our lists after `list_ttl`, and what it deletes is out of them.

use serde_json::Value;

use crate::ground::Ground;
use crate::ground::pieces::{push_artifact, push_index};
use crate::harness::repository::{OCI_INDEX, OCI_MANIFEST};
use crate::harness::{Entrepot, Repository, Request, Serving};

#[test]
fn lists_on_a_volume_follow_distribution_within_their_time() {
    let ground = Ground::volume();
    for peer in [ground.debian(), ground.v3()] {
        lists_follow(&ground, &peer);
    }
}

#[test]
fn lists_in_a_bucket_follow_distribution_within_their_time() {
    let ground = Ground::bucket();
    lists_follow(&ground, &ground.v3());
}

#[test]
fn referrers_on_a_volume_pushed_by_distribution_are_listed() {
    let ground = Ground::volume();
    for (peer, name) in [(ground.debian(), "old/app"), (ground.v3(), "new/app")] {
        referrers_listed(&ground, &peer, name);
    }
}

#[test]
fn referrers_in_a_bucket_pushed_by_distribution_are_listed() {
    let ground = Ground::bucket();
    referrers_listed(&ground, &ground.v3(), "team/app");
}

/// As it is set here.
const LIST_TTL: std::time::Duration = std::time::Duration::from_secs(1);

fn strings(entrepot: &Entrepot, path: &str, field: &str) -> Vec<String> {
    let answer = Request::get(path).send(entrepot.address);
    if answer.status == 404 {
        return Vec::new();
    }
    let list: Value = serde_json::from_slice(&answer.expect(200)).expect("JSON");
    list[field].as_array().into_iter().flatten().map(|item| item.as_str().unwrap_or("?").to_owned()).collect()
}

fn start(ground: &Ground) -> Entrepot {
    ground.setup().set("registry.list_ttl", "\"1s\"").start()
}

/// Every list is asked for before each change, so that an old one is in memory.
fn lists_follow(ground: &Ground, peer: &Serving) {
    let entrepot = start(ground);
    let (tags, catalog) = ("/v2/team/lists/tags/list", "/v2/_catalog?n=1000");
    let theirs = Repository::at(peer.address, "team/lists");
    let image = theirs.push_random("base", 1, 1000);
    for round in 0..3 {
        let (tag, name) = (format!("t{round}"), format!("team/new-{}-{round}", peer.address.port()));
        assert!(!strings(&entrepot, tags, "tags").contains(&tag));
        assert!(!strings(&entrepot, catalog, "repositories").contains(&name));
        theirs.push_manifest(&tag, OCI_MANIFEST, &image.manifest);
        Repository::at(peer.address, &name).push_random("v1", 5, 100);
        std::thread::sleep(LIST_TTL);
        assert!(strings(&entrepot, tags, "tags").contains(&tag), "round {round}");
        assert!(strings(&entrepot, catalog, "repositories").contains(&name), "round {round}");
    }
    // 2.8.2 deletes manifests only, and all their tags with them.
    theirs.request("DELETE", theirs.manifest(&image.digest)).send(peer.address).expect(202);
    std::thread::sleep(LIST_TTL);
    assert_eq!(strings(&entrepot, tags, "tags"), Vec::<String>::new());
}

/// Nobody has asked Entrepot for a list yet; its own gauge has.
#[test]
fn the_first_lists_after_a_start_have_all_that_distribution_pushed_before() {
    for ground in [Ground::bucket(), Ground::volume()] {
        let peer = ground.v3();
        let theirs = Repository::at(peer.address, "team/before");
        let subject = theirs.push_random("v1", 1, 100);
        // An hour: what is read of a list counts as fresh all through the test.
        let entrepot = ground.setup().set("registry.list_ttl", "\"1h\"").start();
        crate::harness::eventually("the gauge has counted", || {
            entrepot.metric("entrepot_registry_repositories", &[]) == 1.0
        });
        Repository::at(peer.address, "team/after").push_random("v1", 2, 100);
        theirs.push_manifest("v2", OCI_MANIFEST, &subject.manifest);
        let (artifact, _) = push_artifact(&theirs, "application/vnd.after", 3, &subject);
        assert_eq!(strings(&entrepot, "/v2/_catalog", "repositories"), ["team/after", "team/before"]);
        let tags = strings(&entrepot, "/v2/team/before/tags/list", "tags");
        assert!(["v1", "v2"].iter().all(|tag| tags.iter().any(|listed| listed == tag)), "{tags:?}");
        assert_eq!(referrers(&entrepot, "team/before", &subject.digest), [artifact]);
    }
}

fn referrers(entrepot: &Entrepot, name: &str, subject: &str) -> Vec<String> {
    let answer = Request::get(format!("/v2/{name}/referrers/{subject}")).send(entrepot.address);
    assert_eq!(answer.header("content-type"), Some(OCI_INDEX));
    let list: Value = serde_json::from_slice(&answer.expect(200)).expect("JSON");
    let digests = list["manifests"].as_array().expect("a list").iter().map(|entry| entry["digest"].as_str());
    digests.map(|digest| digest.expect("a digest").to_owned()).collect()
}

/// One pushed before us, one beside us, one that only the fallback tag names, and none of another subject.
fn referrers_listed(ground: &Ground, peer: &Serving, name: &str) {
    let theirs = Repository::at(peer.address, name);
    let (subject, other) = (theirs.push_random("v1", 1, 1000), theirs.push_random("v2", 2, 1000));
    let (before, _) = push_artifact(&theirs, "application/vnd.before", 10, &subject);
    push_artifact(&theirs, "application/vnd.other", 11, &other);
    // By the specification's fallback, a client lists there what refers to the subject: this one does not say so itself.
    let silent = theirs.push_random("silent", 3, 1000);
    push_index(&theirs, &subject.digest.replace(':', "-"), &[&silent]);
    let entrepot = start(ground);
    let mut expected = vec![before, silent.digest.clone()];
    expected.sort();
    let listed = || {
        let mut listed = referrers(&entrepot, name, &subject.digest);
        listed.sort();
        listed
    };
    assert_eq!(listed(), expected);
    let (beside, _) = push_artifact(&theirs, "application/vnd.beside", 12, &subject);
    std::thread::sleep(LIST_TTL);
    expected.push(beside);
    expected.sort();
    assert_eq!(listed(), expected);
    let filter = format!("/v2/{name}/referrers/{}?artifactType=application/vnd.beside", subject.digest);
    let filtered = Request::get(filter).send(entrepot.address);
    assert_eq!(filtered.header("oci-filters-applied"), Some("artifactType"));
    assert_eq!(filtered.json()["manifests"].as_array().map(Vec::len), Some(1));
}
