//! Where two things meet: a push by `?ns=`, one digest of two remotes, a tag that is deleted there, a cache that was damaged.

use super::world::{Hub, is_stale, mirroring, overlaying, pull_blob, pull_image, pulls, pulls_image, refused};
use crate::harness::repository::{ACCEPT, OCI_MANIFEST, location, with_digest};
use crate::harness::{
    Answer, FakeRemote, Fault, Gate, Manner, Reply, Repository, Request, Rule, digest, eventually, random_bytes,
};

const SIZE: usize = 20_000;

fn asked_always() -> Hub {
    Hub::start(Manner::plain(), |setup| setup.set("remote.hub.tag_ttl", "\"0s\""))
}

/// containerd pushes to a host with "push" as it pulls from it: with `?ns=`.
#[test]
fn a_push_by_ns_or_at_a_whole_host_lands_in_the_repository_of_that_name() {
    let routes = r#"[{ hosts = ["hub.test"], read = "remote.hub", write = "registry" },
        { repositories = "docker.io/**", read = "remote.hub", write = "registry" },
        { read = "registry", write = "registry" }]"#;
    let hub = Hub::start(Manner::plain(), |setup| setup.set("route", routes));
    hub.remote.put("team/app", "1", 1, SIZE);
    let address = hub.entrepot.address;
    for (number, (host, query)) in
        [(None, "?ns=docker.io"), (Some("hub.test"), ""), (Some("hub.test"), "?ns=docker.io")].into_iter().enumerate()
    {
        let ask = |method: &str, target: &str| {
            let request = Request::new(method, target);
            host.iter().fold(request, |request, host| request.header("Host", *host))
        };
        let bytes = random_bytes(number as u64 + 50, SIZE);
        let blob = digest(&bytes);
        let begun = ask("POST", &format!("/v2/team/app/blobs/uploads/{query}")).send(address);
        assert_eq!(begun.status, 202, "{host:?} {query}: {}", begun.text());
        let done = ask("PUT", &with_digest(&location(&begun), &blob)).body(bytes.clone()).send(address);
        assert_eq!(done.status, 201, "{host:?} {query}: {}", done.text());
        assert_eq!(ask("GET", &location(&done)).send(address).expect(200), bytes, "where it says that it is");
        assert_eq!(ask("HEAD", &format!("/v2/team/app/blobs/{blob}{query}")).send(address).status, 200);
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{blob}","size":{SIZE}}},"layers":[]}}"#
        );
        let target = format!("/v2/team/app/manifests/own{number}{query}");
        let put = ask("PUT", &target).header("Content-Type", OCI_MANIFEST).body(manifest.clone()).send(address);
        assert_eq!(put.status, 201, "{host:?} {query}: {}", put.text());
        assert_eq!(hub.client("team/app").get_manifest(&format!("own{number}")).expect(200), manifest.as_bytes());
        let gone = ask("DELETE", &target).send(address);
        assert_eq!(gone.status, 202, "{host:?} {query}: {}", gone.text());
        refused(&hub.client("team/app").get_manifest(&format!("own{number}")), 404, "MANIFEST_UNKNOWN");
    }
    let raw = Repository::at(address, "team/app");
    assert_eq!(raw.get_manifest("own0").status, 404, "nothing landed in what is called so here");
}

#[test]
fn what_is_asked_for_in_odd_words_is_understood_or_refused() {
    let hub = Hub::new();
    let image = hub.remote.put("library/alpine", "3", 1, SIZE);
    for (query, status) in [
        ("?ns=DOCKER.IO", 200),
        ("?ns=docker%2Eio", 200),
        ("?x=1&ns=docker.io", 200),
        ("?ns=docker.io&ns=docker.io", 200),
        ("?ns=docker.io&ns=quay.io", 404),
        ("?ns=docker.io/library", 404),
        ("?ns=docker.io%00", 404),
        ("?ns=../docker.io", 404),
    ] {
        let request = Request::get(format!("/v2/library/alpine/manifests/3{query}")).header("Accept", ACCEPT);
        let answer = request.send(hub.entrepot.address);
        let fits = answer.status == status || (status == 404 && answer.status == 400);
        assert!(fits, "{query}: {} {}", answer.status, answer.text());
        assert!(status != 200 || answer.body == image.manifest, "{query}");
    }
    for name in ["docker.io", "docker.io/../secret", "docker.io//alpine", "docker.io/UPPER"] {
        let answer = Request::get(format!("/v2/{name}/manifests/3")).send(hub.entrepot.address);
        assert!((400..500).contains(&answer.status), "{name}: {}", answer.status);
    }
    let long = format!("/v2/{}/manifests/3?ns=docker.io", "a".repeat(250));
    let answer = Request::get(long).send(hub.entrepot.address);
    assert!((400..500).contains(&answer.status), "{}", answer.status);
}

#[test]
fn pages_of_a_list_lead_on_however_it_was_asked_for() {
    let hub = Hub::start(Manner { page: 3, ..Manner::plain() }, |setup| {
        let routes = r#"[{ hosts = ["hub.test"], read = "remote.hub" }, { repositories = "docker.io/**", read = "remote.hub" }]"#;
        setup.set("route", routes)
    });
    for number in 0..8 {
        hub.remote.put("team/app", &format!("v{number}"), number, 10);
    }
    for (host, mut target) in [
        (None, "/v2/team/app/tags/list?ns=docker.io".to_owned()),
        (None, "/v2/team/app/tags/list?n=3&ns=docker.io".into()),
        (None, "/v2/docker.io/team/app/tags/list?n=2".into()),
        (Some("hub.test"), "/v2/team/app/tags/list?n=3".into()),
    ] {
        let (begun, mut found) = (target.clone(), Vec::new());
        for _ in 0..10 {
            let request = Request::get(target.clone());
            let request = host.iter().fold(request, |request, host| request.header("Host", *host));
            let answer = request.send(hub.entrepot.address);
            assert_eq!(answer.status, 200, "{target}: {}", answer.text());
            found.extend(answer.json()["tags"].as_array().cloned().unwrap_or_default());
            let Some(link) = answer.header("link").map(str::to_owned) else { break };
            let next = link.trim_start_matches('<').split('>').next().unwrap_or_default().to_owned();
            // A client of another registry sees no difference: it asks the next page of the same host, and says its ns again.
            let ns = begun.contains("ns=") && !next.contains("ns=") && !next.contains("docker.io");
            target = if ns { format!("{next}&ns=docker.io") } else { next };
        }
        assert_eq!(found.len(), 8, "{host:?} {begun}: {found:?}");
    }
}

#[test]
fn a_blob_of_two_repositories_is_fetched_once_while_both_are_asked() {
    let hub = Hub::new();
    let size = 8 << 20;
    let images = ["team/one", "team/two"].map(|name| hub.remote.put(name, "1", 7, size));
    let blob = images[0].layers[0].clone();
    let clients = ["team/one", "team/two"].map(|name| hub.client(name));
    clients.iter().for_each(|client| drop(client.get_manifest("1").expect(200)));
    let gate = Gate::new();
    hub.remote.wire.on(Rule::new("GET", &blob, Fault::HoldAt(2 << 20, gate.clone())));
    std::thread::scope(|scope| {
        let both: Vec<_> = clients
            .iter()
            .map(|client| {
                let mut download = client.request("GET", client.blob(&blob)).open(client.address);
                let first = download.read_exactly(1 << 20);
                scope.spawn(move || (first, download.finish()))
            })
            .collect();
        gate.open();
        for reader in both {
            let (mut first, rest) = reader.join().expect("a client");
            first.extend(rest.body);
            assert!(rest.complete && digest(&first) == blob);
        }
    });
    assert_eq!(hub.remote.fetches(&blob), 1);
    for name in ["team/one", "team/two"] {
        hub.kept(name, std::slice::from_ref(&blob));
    }
}

#[test]
fn a_digest_of_two_remotes_is_fetched_from_one() {
    for (hub_keeps, quay_keeps) in
        [("storage", "storage"), ("cache", "cache"), ("storage", "cache"), ("cache", "storage")]
    {
        let remotes = [FakeRemote::start(Manner::plain()), FakeRemote::start(Manner::plain())];
        let images = remotes.each_ref().map(|remote| remote.put("team/app", "1", 7, SIZE));
        let entrepot =
            mirroring(&[("hub", "docker.io", remotes[0].address()), ("quay", "quay.io", remotes[1].address())])
                .set("remote.hub.keep", &format!("{hub_keeps:?}"))
                .set("remote.quay.keep", &format!("{quay_keeps:?}"))
                .start();
        let [hub, quay] = ["docker.io/team/app", "quay.io/team/app"].map(|name| Repository::at(entrepot.address, name));
        pulls_image(&hub, "1", &images[0]);
        entrepot.settled();
        pulls_image(&quay, "1", &images[1]);
        assert_eq!(remotes[1].fetches("/blobs/"), 0, "{hub_keeps} {quay_keeps}: its bytes are here");
    }
}

#[test]
fn a_tag_that_is_deleted_at_the_remote_is_gone_and_its_digest_is_not() {
    let hub = asked_always();
    let image = hub.remote.put("team/app", "1", 1, SIZE);
    let client = hub.client("team/app");
    pulls_image(&client, "1", &image);
    hub.remote.shelf(|shelf| shelf.repository("team/app").tags.clear());
    refused(&client.get_manifest("1"), 404, "MANIFEST_UNKNOWN");
    pulls_image(&client, &image.digest, &image);
    hub.remote.shelf(|shelf| shelf.repository("team/app").tags.insert("1".into(), image.digest.clone()));
    eventually("it is back", || pull_image(&client, "1", &image).is_ok());
}

/// "How old what is kept may be while the remote is down, refuses or throttles."
#[test]
fn what_is_kept_goes_on_while_the_remote_refuses_us() {
    for status in [401, 403] {
        let hub = asked_always();
        let image = hub.remote.put("team/app", "1", 1, SIZE);
        let client = hub.client("team/app");
        pulls_image(&client, "1", &image);
        hub.kept("team/app", &[image.layers[0].clone(), image.config.clone()]);
        hub.remote.wire.on(Rule::new("", "/v2/", Fault::Answer(Reply::new(status))));
        let answer: Answer = client.get_manifest("1");
        assert!(is_stale(&answer), "{status}: {} {}", answer.status, answer.text());
        pulls_image(&client, "1", &image);
        refused(&client.get_manifest("2"), 404, "MANIFEST_UNKNOWN");
    }
}

#[test]
fn a_pull_that_was_left_in_the_middle_is_completed_and_had_without_the_remote() {
    let hub = Hub::start(Manner::hub(), |setup| {
        setup.set("remote.hub.prefetch", "\"1GiB\"").set("remote.hub.tag_ttl", "\"0s\"")
    });
    let image = hub.remote.put_multi("team/app", "1", 1, 300_000);
    let (client, platform) = (hub.client("team/app"), &image.platforms[1]);
    client.get_manifest("1").expect(200);
    client.get_manifest(&platform.digest).expect(200);
    pull_blob(&client, &platform.config).expect("its config");
    hub.kept("team/app", &platform.layers);
    hub.kept("team/app", std::slice::from_ref(&platform.config));
    hub.remote.die();
    eventually("the tag is served as it was", || client.get_manifest("1").status == 200);
    pulls_image(&client, &platform.digest, platform);
    assert!(hub.remote.fetches(&image.platforms[0].layers[0]) == 0, "the other platform was asked for by nobody");
}

#[test]
fn a_file_of_the_cache_that_was_damaged_is_mended_or_refused() {
    let mut hub =
        Hub::start(Manner::plain(), |setup| setup.set("remote.hub.keep", "\"cache\"").set("cache.memory", "0"));
    let image = hub.remote.put("team/app", "1", 1, 2 << 20);
    let client = hub.client("team/app");
    pulls_image(&client, "1", &image);
    hub.entrepot.settled();
    hub.entrepot.terminate();
    for file in hub.entrepot.cache_files(1 << 20) {
        let mut bytes = std::fs::read(&file).expect("a file of the cache");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, bytes).expect("written");
    }
    hub.entrepot.restart();
    let answer = client.get_blob(&image.layers[0]);
    let well = answer.status == 200 && answer.complete;
    assert!(!well || digest(&answer.body) == image.layers[0], "damaged bytes that ended well");
    eventually("it is fetched again", || pull_blob(&client, &image.layers[0]).is_ok());
}

#[test]
fn a_child_of_an_index_that_the_remote_no_longer_has_fails_alone() {
    let hub = Hub::start(Manner::plain(), overlaying);
    let image = hub.remote.put_multi("team/app", "1", 1, SIZE);
    hub.remote.shelf(|shelf| shelf.repository("team/app").manifests.remove(&image.platforms[1].digest));
    let client = hub.client("team/app");
    assert_eq!(client.get_manifest("1").expect(200), image.index);
    pulls_image(&client, &image.platforms[0].digest, &image.platforms[0]);
    refused(&client.get_manifest(&image.platforms[1].digest), 404, "MANIFEST_UNKNOWN");
    hub.remote.put_multi("team/app", "1", 1, SIZE);
    pulls(&client, "1", &image);
}

/// A tag may move between two questions of ours: HEAD names one manifest, and by then there is another.
#[test]
fn a_tag_that_moves_while_it_is_asked_for_is_served_as_one_or_the_other() {
    let hub = asked_always();
    let first = hub.remote.put("team/app", "1", 1, SIZE);
    let gate = Gate::new();
    hub.remote.wire.on(Rule::new("GET", "/manifests/", Fault::Hold(gate.clone())).times(1));
    let client = hub.client("team/app");
    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| client.get_manifest("1"));
        eventually("the manifest is asked for", || hub.remote.gets("/manifests/") == 1);
        // The old one is gone as if it had been collected.
        hub.remote.shelf(|shelf| shelf.repository("team/app").manifests.clear());
        hub.remote.put("team/app", "1", 2, SIZE);
        gate.open();
        asked.join().expect("an answer")
    });
    let now = client.get_manifest("1");
    assert_eq!(now.status, 200);
    assert_ne!(now.header("docker-content-digest"), Some(first.digest.as_str()));
    assert!(answer.status == 200 && answer.body == now.body, "{} {}", answer.status, answer.text());
}
