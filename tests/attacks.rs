//! What a hostile reader tried: each test is an attack or an accident that once worked.

use crate::harness::{Fault, FaultProxy, Gate, Registry, Reply, Repository, Request, Rule, Setup, random_bytes};

#[test]
fn a_delete_through_one_cluster_is_seen_in_the_cluster_that_is_read() {
    let (one, other, _volume) = Registry::pair();
    let setup = Setup::before(&[one.address]).without_health_checks();
    let writes = format!("{{ peers = [\"{}\"], health = {{ interval = \"0s\" }} }}", other.address);
    let entrepot = setup.set("cluster.writes", &writes).set("route.0.write", "\"cluster.writes\"").start();
    let client = Repository::at(entrepot.address, "team/app");
    let image = client.push_random("v1", 1, 1000);
    client.get_manifest(&image.digest).expect(200);
    client.get_blob(&image.layers[0]).expect(200);
    client.request("DELETE", client.manifest(&image.digest)).send(entrepot.address).expect(202);
    assert_eq!(client.get_manifest(&image.digest).status, 404);
    client.request("DELETE", client.blob(&image.layers[0])).send(entrepot.address).expect(202);
    assert_eq!(client.get_blob(&image.layers[0]).status, 404);
}

#[test]
fn a_question_begun_before_a_delete_answers_nobody_who_asks_after_it() {
    let registry = Registry::debian().start();
    let peer = FaultProxy::before(registry.address);
    let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
    let client = Repository::at(entrepot.address, "team/app");
    let image = client.push_random("v1", 1, 1000);
    let layer = &image.layers[0];
    let gate = Gate::new();
    peer.on(Rule::new("HEAD", layer, Fault::Hold(gate.clone())).times(1));
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| client.head_blob(layer).status);
        crate::harness::eventually("the slow question is asked", || peer.count("HEAD", layer) == 1);
        client.request("DELETE", client.blob(layer)).send(entrepot.address).expect(202);
        assert_eq!(client.head_blob(layer).status, 404);
        gate.open();
        slow.join().expect("an answer");
    });
    assert_eq!(client.head_blob(layer).status, 404);
}

#[test]
fn a_page_to_log_in_at_is_no_permission() {
    let registry = Registry::debian().account("ann", "secret").start();
    let owner = Repository::at(registry.address, "team/app").basic("ann", "secret");
    let image = owner.push_random("v1", 1, 1000);
    let layer = image.layers[0].clone();
    let peer = FaultProxy::before(registry.address);
    let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
    Repository::at(entrepot.address, "team/app").basic("ann", "secret").get_blob(&layer).expect(200);
    entrepot.settled();
    let page = format!("http://{}/login", peer.address);
    peer.on(Rule::new("HEAD", &layer, Fault::Answer(Reply::new(404))));
    peer.on(Rule::new("GET", "/login", Fault::Answer(Reply::new(200).body("<html>"))));
    let stranger = Repository::at(entrepot.address, "team/app");
    for answer in [Reply::new(302).header("Location", page), Reply::new(200).body("<html>")] {
        peer.on(Rule::new("GET", &layer, Fault::Answer(answer)).times(1));
        assert_eq!(stranger.get_blob(&layer).status, 404);
    }
    // A registry that fetches on GET only says yes with the digest, or by sending to its store.
    let bytes = random_bytes(9, 5000);
    let digest = crate::harness::digest(&bytes);
    peer.on(Rule::new("HEAD", &digest, Fault::Answer(Reply::new(404))));
    let yes = Reply::new(200).header("Docker-Content-Digest", digest.clone()).body(bytes.clone());
    peer.on(Rule::new("GET", &digest, Fault::Answer(yes)));
    assert_eq!(stranger.get_blob(&digest).expect(200), bytes);
}

#[test]
fn a_peer_that_breaks_every_body_is_left_for_one_that_does_not() {
    let (one, other, _volume) = Registry::pair();
    let blob = Repository::at(one.address, "team/app").push_blob(&random_bytes(1, 500_000));
    let bad = FaultProxy::before(one.address);
    bad.on(Rule::new("GET", &blob, Fault::CutAt(100_000)));
    let list = format!("[{{ address = \"{}\", weight = 100 }}, \"{}\"]", bad.address, other.address);
    let entrepot = Setup::before(&[bad.address]).without_health_checks().set("cluster.main.peers", &list).start();
    let answer = Repository::at(entrepot.address, "team/app").get_blob(&blob);
    assert_eq!((answer.status, answer.complete, crate::harness::digest(&answer.body)), (200, true, blob.clone()));
    assert_eq!(bad.count("GET", &blob), 1);
}

#[test]
fn a_stranger_s_delete_takes_nothing_away() {
    let mut registry = Registry::debian().account("ann", "secret").start();
    let entrepot = Setup::before(&[registry.address]).without_health_checks().start();
    let owner = Repository::at(entrepot.address, "team/app").basic("ann", "secret");
    let image = owner.push_random("v1", 1, 1000);
    owner.get_manifest("v1").expect(200);
    owner.get_blob(&image.layers[0]).expect(200);
    let stranger = Repository::at(entrepot.address, "team/app");
    let tries = || {
        for target in [stranger.manifest("v1"), stranger.manifest(&image.digest), stranger.blob(&image.layers[0])] {
            assert!(matches!(stranger.request("DELETE", target).send(entrepot.address).status, 401 | 503));
        }
    };
    tries();
    entrepot.settled();
    registry.kill();
    tries();
    owner.get_manifest("v1").expect(200);
    owner.get_blob(&image.layers[0]).expect(200);
}

#[test]
fn a_stranger_s_upload_sets_no_peer_aside() {
    let registry = Registry::debian().account("ann", "secret").start();
    let entrepot = Setup::before(&[registry.address]).without_health_checks().start();
    for _ in 0..5 {
        let target = "/v2/team/app/blobs/uploads/x?_peer=000000000000-new";
        assert_eq!(Request::new("PATCH", target).body(b"x").send(entrepot.address).status, 401);
    }
    assert_eq!(entrepot.metric("entrepot_peer_requests_total", &[("outcome", "failed")]), 0.0);
    Repository::at(entrepot.address, "team/app").basic("ann", "secret").push_random("v1", 1, 1000);
}

#[test]
fn manifests_of_strangers_take_a_bounded_part_of_memory() {
    let registry = Registry::debian().account("ann", "secret").start();
    let mut entrepot = Setup::before(&[registry.address]).without_health_checks().start();
    let address = entrepot.address;
    let before = entrepot.process().resident();
    let body = vec![b' '; (4 << 20) - 1];
    let mut held = Vec::new();
    for _ in 0..60 {
        let mut connection = crate::harness::Connection::open(address).expect("a connection");
        let head = format!("PUT /v2/team/app/manifests/v1 HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 4 << 20);
        connection.send_raw(head.as_bytes()).expect("the head");
        // All but the last byte; what is streamed to the peer instead is refused there, and may break off.
        let _ = connection.send_raw(&body);
        held.push(connection);
    }
    let grown = entrepot.process().resident().saturating_sub(before);
    assert!(grown < 150 << 20, "{} MiB more than before", grown >> 20);
    drop(held);
    Repository::at(address, "team/app").basic("ann", "secret").push_random("v1", 1, 1000);
}

#[test]
fn being_busy_does_not_bring_a_withdrawn_permission_back() {
    let registry = Registry::debian().account("ann", "secret").start();
    let peer = FaultProxy::before(registry.address);
    let list = format!("[{{ address = \"{}\", max_connections = 1 }}]", peer.address);
    let setup = Setup::before(&[peer.address]).without_health_checks().set("cluster.main.peers", &list);
    let setup = setup.set("cluster.main.queue_timeout", "\"200ms\"").set("cluster.main.verdict_ttl", "\"500ms\"");
    let entrepot = setup.start();
    let owner = Repository::at(entrepot.address, "team/app").basic("ann", "secret");
    let image = owner.push_random("v1", 1, 1000);
    owner.get_blob(&image.layers[0]).expect(200);
    entrepot.settled();
    std::thread::sleep(std::time::Duration::from_millis(700));
    let gate = Gate::new();
    peer.on(Rule::new("GET", "/tags/list", Fault::Hold(gate.clone())));
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| Request::get("/v2/team/app/tags/list").send(entrepot.address));
        crate::harness::eventually("the peer is busy", || peer.count("GET", "/tags/list") == 1);
        assert_eq!(owner.get_blob(&image.layers[0]).status, 503);
        gate.open();
        slow.join().expect("an answer");
    });
}

#[test]
fn what_a_repository_holds_as_a_blob_it_does_not_hold_as_a_manifest() {
    let registry = Registry::debian().start();
    let entrepot = Setup::before(&[registry.address]).start();
    let client = Repository::at(entrepot.address, "team/app");
    let image = client.push_random("v1", 1, 1000);
    client.get_blob(&image.config).expect(200);
    client.get_blob(&image.config).expect(200);
    // The registry's own answer, whatever it is (docker-registry 2.8.2: 500), and not the blob.
    assert_ne!(client.get_manifest(&image.config).status, 200);
}

#[test]
fn a_manifest_by_digest_is_verified_whatever_it_is_called() {
    let peer = FaultProxy::recording();
    let digest = crate::harness::digest(b"something else");
    let evil = Reply::new(200).header("Content-Type", "application/json").body("{\"evil\":1}");
    peer.on(Rule::new("", "/manifests/", Fault::Answer(evil)));
    let entrepot = Setup::before(&[peer.address]).without_health_checks().start();
    let answer = Repository::at(entrepot.address, "team/app").get_manifest(&digest);
    assert_ne!((answer.status, answer.complete), (200, true), "{}", answer.text());
}

#[test]
fn a_forwarded_post_is_sent_once() {
    let (one, other) = (FaultProxy::recording(), FaultProxy::recording());
    for peer in [&one, &other] {
        peer.on(Rule::new("POST", "/api/", Fault::Hangup));
    }
    let setup = Setup::before(&[one.address, other.address]).without_health_checks();
    let entrepot = setup.set("cluster.main.forward", "[\"/api/\"]").start();
    assert!(Request::new("POST", "/api/scan").send(entrepot.address).status >= 500);
    assert_eq!(one.count("POST", "/api/") + other.count("POST", "/api/"), 1);
}
