//! While no peer answers, what was known to be good is served; it survives a restart, and it ends.

use std::time::Duration;

use crate::harness::{Answer, FaultProxy, Registry, Repository, Request, Serving, Setup, TokenServer};

fn is_marked_stale(answer: &Answer) -> bool {
    answer.header("warning").is_some_and(|value| value.starts_with("299 - \""))
}

#[test]
fn tags_permissions_and_the_ping_survive_a_restart_while_every_peer_is_down() {
    let mut registry = Registry::debian().account("ann", "secret").start();
    let mut entrepot = Setup::before(&[registry.address]).start();
    let owner = Repository::at(entrepot.address, "private/app").basic("ann", "secret");
    let image = owner.push_random("v1", 1, 100_000);
    let ping = || Request::get("/v2/").basic("ann", "secret").send(owner.address);
    let challenge = || Request::get("/v2/").send(owner.address);
    owner.get_manifest("v1").expect(200);
    owner.get_blob(&image.layers[0]).expect(200);
    owner.get_blob(&image.config).expect(200);
    ping().expect(200);
    let asked = challenge();
    entrepot.settled();
    registry.kill();
    for restart in [false, true] {
        if restart {
            entrepot.terminate();
            entrepot.restart();
        }
        ping().expect(200);
        let challenged = challenge();
        assert_eq!((challenged.status, challenged.header("www-authenticate")), (401, asked.header("www-authenticate")));
        let tag = owner.get_manifest("v1");
        assert!(is_marked_stale(&tag), "{:?}", tag.headers);
        assert_eq!(tag.expect(200), image.manifest);
        owner.get_manifest(&image.digest).expect(200);
        owner.get_blob(&image.layers[0]).expect(200);
        owner.get_blob(&image.config).expect(200);
        let stranger = Repository::at(entrepot.address, "private/app").basic("ann", "wrong");
        assert!(matches!(stranger.get_blob(&image.layers[0]).status, 401 | 503));
        assert!(matches!(stranger.get_manifest("v1").status, 401 | 503));
    }
    // Killed, not asked to end: what was known is on disk already.
    entrepot.kill();
    entrepot.restart();
    assert_eq!(owner.get_manifest("v1").expect(200), image.manifest);
    owner.get_blob(&image.layers[0]).expect(200);
}

#[test]
fn what_is_older_than_the_limit_is_not_served() {
    let mut registry = Registry::debian().start();
    let image = Repository::at(registry.address, "team/app").push_random("v1", 1, 1000);
    let setup = Setup::before(&[registry.address]).set("cluster.main.stale", "\"2s\"");
    let entrepot = setup.set("cluster.main.verdict_ttl", "\"1s\"").start();
    let client = Repository::at(entrepot.address, "team/app");
    client.get_manifest("v1").expect(200);
    client.get_blob(&image.layers[0]).expect(200);
    entrepot.settled();
    registry.kill();
    client.get_manifest("v1").expect(200);
    std::thread::sleep(Duration::from_millis(3500));
    for answer in [client.get_manifest("v1"), client.get_blob(&image.layers[0])] {
        assert_eq!((answer.status, answer.error_code().as_str()), (503, "UNAVAILABLE"));
    }
}

#[test]
fn with_no_limit_set_to_nothing_nothing_stale_is_served() {
    let mut registry = Registry::debian().start();
    Repository::at(registry.address, "team/app").push_random("v1", 1, 1000);
    let entrepot = Setup::before(&[registry.address]).set("cluster.main.stale", "\"0s\"").start();
    let client = Repository::at(entrepot.address, "team/app");
    client.get_manifest("v1").expect(200);
    entrepot.settled();
    registry.kill();
    assert_eq!(client.get_manifest("v1").status, 503);
}

#[test]
fn a_tag_that_is_gone_is_not_served_because_it_was_there() {
    let (registry, other, _volume): (Serving, Serving, _) = Registry::pair();
    let entrepot = Setup::before(&[registry.address]).start();
    let client = Repository::at(entrepot.address, "team/app");
    let image = client.push_random("v1", 1, 1000);
    client.get_manifest("v1").expect(200);
    let behind_our_back = Repository::at(other.address, "team/app");
    behind_our_back.request("DELETE", behind_our_back.manifest(&image.digest)).send(other.address).expect(202);
    assert_eq!(client.get_manifest("v1").status, 404);
    let mut registry = registry;
    registry.kill();
    assert_ne!(client.get_manifest("v1").status, 200);
}

#[test]
fn a_tag_deleted_through_us_is_not_served_while_the_peers_are_down() {
    let mut registry = Registry::debian().start();
    let entrepot = Setup::before(&[registry.address]).start();
    let client = Repository::at(entrepot.address, "team/app");
    let image = client.push_random("v1", 1, 1000);
    client.get_manifest("v1").expect(200);
    client.get_blob(&image.layers[0]).expect(200);
    entrepot.settled();
    client.request("DELETE", client.manifest(&image.digest)).send(client.address).expect(202);
    client.request("DELETE", client.blob(&image.layers[0])).send(client.address).expect(202);
    registry.kill();
    for answer in [client.get_manifest("v1"), client.get_manifest(&image.digest), client.get_blob(&image.layers[0])] {
        assert!(matches!(answer.status, 404 | 503), "{}", answer.status);
    }
}

#[test]
fn a_tag_moved_through_us_is_served_moved_while_the_peers_are_down() {
    let mut registry = Registry::debian().start();
    let entrepot = Setup::before(&[registry.address]).start();
    let client = Repository::at(entrepot.address, "team/app");
    client.push_random("v1", 1, 1000);
    client.get_manifest("v1").expect(200);
    let moved = client.push_random("v1", 2, 1000);
    let asked_once = client.get_manifest("v1").expect(200);
    assert_eq!(asked_once, moved.manifest);
    entrepot.settled();
    registry.kill();
    assert_eq!(client.get_manifest("v1").expect(200), moved.manifest);
}

#[test]
fn a_fresh_token_is_nobody_while_the_peers_are_down_and_a_known_one_is_somebody() {
    let tokens = TokenServer::start(&[("ann", "secret")], &[("ann", "private/app")]);
    let registry = Registry::v3().token(&tokens).start();
    let token = tokens.token("ann", "private/app", "pull,push");
    let peer = FaultProxy::before(registry.address);
    let entrepot = Setup::before(&[peer.address]).start();
    let known = Repository::at(entrepot.address, "private/app").bearer(&token);
    let image = known.push_random("v1", 1, 1000);
    known.get_manifest("v1").expect(200);
    known.get_blob(&image.layers[0]).expect(200);
    entrepot.settled();
    peer.die();
    known.get_blob(&image.layers[0]).expect(200);
    let fresh = tokens.token("ann", "private/app", "pull");
    let unknown = Repository::at(entrepot.address, "private/app").bearer(&fresh);
    assert!(matches!(unknown.get_blob(&image.layers[0]).status, 401 | 503));
}
