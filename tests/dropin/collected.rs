//! Distribution's garbage collector goes over what Entrepot pushed: what is used stays, what is not goes.

use std::net::SocketAddr;

use crate::ground::Ground;
use crate::ground::pieces::{assert_whole, push_artifact, push_index};
use crate::harness::{Image, Redis, Repository, Serving, random_bytes};

#[test]
fn what_entrepot_pushed_to_a_volume_survives_the_collector_of_debians_registry() {
    let ground = Ground::volume();
    survives(&ground, ground.debian(), false);
}

#[test]
fn what_entrepot_pushed_to_a_volume_survives_the_collector_of_v3() {
    let ground = Ground::volume();
    survives(&ground, ground.v3(), true);
}

#[test]
fn what_entrepot_pushed_to_a_bucket_survives_the_collector_of_v3() {
    let ground = Ground::bucket();
    survives(&ground, ground.v3(), true);
}

#[test]
fn a_layer_that_the_collector_took_is_pushed_again_whatever_redis_remembers() {
    let (ground, redis) = (Ground::volume(), Redis::new().start());
    let (entrepot, mut peer) = (redis.set(ground.setup()).start(), ground.v3());
    let repository = Repository::at(entrepot.address, "team/app");
    repository.push_random("v1", 1, 1000);
    let orphan = repository.push_blob(&random_bytes(2, 30_000));
    for _ in 0..3 {
        assert_eq!(repository.head_blob(&orphan).status, 200);
        repository.get_blob(&orphan).expect(200);
    }
    peer.collect_garbage(false);
    peer.restart();
    assert_eq!(repository.head_blob(&orphan).status, 404);
    let mount = format!("{}?mount={orphan}&from=team/app", Repository::at(entrepot.address, "other").uploads());
    assert_eq!(repository.request("POST", mount).send(entrepot.address).status, 202);
    repository.push_random("v2", 2, 30_000);
    assert_eq!(crate::harness::digest(&repository.get_blob(&orphan).expect(200)), orphan);
}

/// What was pushed, by how it is held.
struct Pushed {
    tagged: Image,
    /// By an index that is tagged.
    children: [Image; 2],
    index: (String, Vec<u8>),
    untagged: Image,
    artifact: (String, Vec<u8>),
    orphan: String,
}

fn push(repository: &Repository) -> Pushed {
    let tagged = repository.push_random("v1", 1, 50_000);
    let children = [repository.push_random("tmp", 2, 20_000), repository.push_random("tmp", 3, 20_000)];
    let index = push_index(repository, "all", &[&children[0], &children[1]]);
    let untagged = repository.push_random("tmp", 4, 20_000);
    repository.push_random("tmp", 5, 100);
    let artifact = push_artifact(repository, "application/vnd.test", 6, &tagged);
    let orphan = repository.push_blob(&random_bytes(7, 30_000));
    Pushed { tagged, children, index, untagged, artifact, orphan }
}

/// `keeps_children`: 2.8.2's `-m` deletes untagged manifests even where a tagged index names them.
fn survives(ground: &Ground, mut peer: Serving, keeps_children: bool) {
    let entrepot = ground.entrepot();
    let ours = Repository::at(entrepot.address, "team/app");
    let pushed = push(&ours);
    for address in [entrepot.address, peer.address] {
        all_there(address, &pushed);
    }
    peer.collect_garbage(false);
    peer.restart();
    for address in [entrepot.address, peer.address] {
        all_there(address, &pushed);
        let repository = Repository::at(address, "team/app");
        assert_eq!(repository.head_blob(&pushed.orphan).status, 404, "a client would leave this layer out of its push");
        assert_eq!(repository.get_blob(&pushed.orphan).status, 404);
    }
    peer.collect_garbage(true);
    peer.restart();
    for address in [entrepot.address, peer.address] {
        let repository = Repository::at(address, "team/app");
        assert_whole(&repository, "v1", &pushed.tagged);
        assert_eq!(repository.get_manifest("all").expect(200), pushed.index.1);
        if keeps_children {
            pushed.children.iter().for_each(|child| assert_whole(&repository, &child.digest, child));
        }
        assert_eq!(repository.get_manifest(&pushed.untagged.digest).status, 404);
        assert_eq!(repository.head_blob(&pushed.untagged.layers[0]).status, 404);
    }
    // And all of it can be pushed again, by either.
    for (address, tag) in [(entrepot.address, "again"), (peer.address, "again-2")] {
        let again = Repository::at(address, "team/app").push_random(tag, 4, 20_000);
        assert_eq!(again.layers, pushed.untagged.layers);
        assert_whole(&Repository::at(peer.address, "team/app"), tag, &again);
        assert_whole(&ours, tag, &again);
    }
}

fn all_there(address: SocketAddr, pushed: &Pushed) {
    let repository = Repository::at(address, "team/app");
    assert_whole(&repository, "v1", &pushed.tagged);
    assert_whole(&repository, &pushed.untagged.digest, &pushed.untagged);
    pushed.children.iter().for_each(|child| assert_whole(&repository, &child.digest, child));
    assert_eq!(repository.get_manifest("all").expect(200), pushed.index.1);
    assert_eq!(repository.get_manifest(&pushed.index.0).expect(200), pushed.index.1);
    assert_eq!(repository.get_manifest(&pushed.artifact.0).expect(200), pushed.artifact.1);
}
