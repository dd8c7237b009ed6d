//! Distribution and Entrepot take turns at collecting the same tree, and both serve what is left.

use std::time::Duration;

use super::world::{blobs, gc, number, short, trash, until_quiet};
use crate::ground::Ground;
use crate::ground::pieces::{assert_whole, push_artifact, push_index};
use crate::harness::repository::OCI_MANIFEST;
use crate::harness::{Entrepot, Image, Repository, Serving, random_bytes};

const NAME: &str = "team/app";

/// What was pushed, by how it is held.
struct Tree {
    tagged: Image,
    /// By an index that is tagged.
    children: [Image; 2],
    index: (String, Vec<u8>),
    /// About the tagged one.
    artifact: (String, Vec<u8>),
    untagged: Image,
    deleted: Image,
    orphan: String,
}

fn push(first: &Repository, second: &Repository) -> Tree {
    let tagged = first.push_random("v1", 1, 50_000);
    let children = [first.push_random("tmp", 2, 20_000), second.push_random("tmp", 3, 20_000)];
    let index = push_index(second, "all", &[&children[0], &children[1]]);
    let artifact = push_artifact(first, "application/vnd.test", 6, &tagged);
    let untagged = second.push_random("tmp", 4, 20_000);
    second.push_random("tmp", 5, 100);
    let deleted = first.push_random("gone", 8, 20_000);
    first.request("DELETE", first.manifest(&deleted.digest)).send(first.address).expect(202);
    let orphan = second.push_blob(&random_bytes(7, 30_000));
    Tree { tagged, children, index, artifact, untagged, deleted, orphan }
}

fn kept(address: std::net::SocketAddr, tree: &Tree) {
    let repository = Repository::at(address, NAME);
    assert_whole(&repository, "v1", &tree.tagged);
    tree.children.iter().for_each(|child| assert_whole(&repository, &child.digest, child));
    assert_eq!(repository.get_manifest("all").expect(200), tree.index.1);
    assert_eq!(repository.get_manifest(&tree.index.0).expect(200), tree.index.1);
    assert_eq!(repository.get_manifest(&tree.artifact.0).expect(200), tree.artifact.1);
}

fn gone(address: std::net::SocketAddr, tree: &Tree) {
    let repository = Repository::at(address, NAME);
    assert_eq!(repository.get_manifest(&tree.deleted.digest).status, 404);
    for digest in [&tree.deleted.layers[0], &tree.deleted.config, &tree.orphan] {
        assert_eq!(repository.head_blob(digest).status, 404, "a client would leave {digest} out of its push");
        assert_eq!(repository.get_blob(digest).status, 404);
    }
}

/// A second longer than `grace`, which is a second.
fn let_it_age() {
    std::thread::sleep(Duration::from_millis(2100));
}

fn entrepot(ground: &Ground) -> Entrepot {
    short(ground.setup(), "1s", "1s").start()
}

#[test]
fn debians_registry_serves_all_that_our_collection_leaves() {
    let ground = Ground::volume();
    ours(&ground, ground.debian());
}

#[test]
fn v3_serves_all_that_our_collection_leaves_of_a_volume() {
    let ground = Ground::volume();
    ours(&ground, ground.v3());
}

#[test]
fn v3_serves_all_that_our_collection_leaves_of_a_bucket() {
    let ground = Ground::bucket();
    ours(&ground, ground.v3());
}

fn ours(ground: &Ground, mut peer: Serving) {
    let server = entrepot(ground);
    let both = [server.address, peer.address];
    let tree = push(&Repository::at(both[0], NAME), &Repository::at(both[1], NAME));
    let before = blobs(ground);
    let_it_age();
    let plan = gc(&server, &["plan"]);
    assert!(number(&plan, "condemned_blobs") >= 3, "{plan}");
    assert_eq!(blobs(ground), before, "a plan takes nothing");
    let reports = until_quiet(&server, &[]);
    peer.restart();
    for address in both {
        kept(address, &tree);
        gone(address, &tree);
        assert_whole(&Repository::at(address, NAME), &tree.untagged.digest, &tree.untagged);
    }
    let left = blobs(ground);
    assert!(!left.contains(&tree.orphan) && !left.contains(&tree.deleted.layers[0]) && trash(ground).is_empty());
    let freed: u64 = reports.iter().map(|report| number(report, "freed_bytes")).sum();
    assert!(freed >= 50_000, "{reports:?}");
    // Untagged manifests go when that is meant, and what an index or an image holds does not.
    until_quiet(&server, &["--untagged", "0s"]);
    peer.restart();
    for address in both {
        kept(address, &tree);
        gone(address, &tree);
        let repository = Repository::at(address, NAME);
        assert_eq!(repository.get_manifest(&tree.untagged.digest).status, 404);
        assert_eq!(repository.head_blob(&tree.untagged.layers[0]).status, 404);
    }
    // And all of it can be pushed again, by either.
    for (address, tag) in [(both[0], "again"), (both[1], "again-2")] {
        let again = Repository::at(address, NAME).push_random(tag, 4, 20_000);
        assert_eq!(again.layers, tree.untagged.layers);
        both.iter().for_each(|address| assert_whole(&Repository::at(*address, NAME), tag, &again));
    }
}

#[test]
fn we_collect_after_v3_collected_a_volume() {
    after(&Ground::volume());
}

#[test]
fn we_collect_after_v3_collected_a_bucket() {
    after(&Ground::bucket());
}

/// Distribution's collector leaves links that lead nowhere: they go too, and nothing else does.
fn after(ground: &Ground) {
    let mut peer = ground.v3();
    let server = entrepot(ground);
    let both = [server.address, peer.address];
    let tree = push(&Repository::at(both[1], NAME), &Repository::at(both[0], NAME));
    // Distribution's collector takes what has no tag, also if it is about something that has one.
    Repository::at(both[1], NAME).push_manifest("signed", OCI_MANIFEST, &tree.artifact.1);
    peer.collect_garbage(true);
    peer.restart();
    let left = blobs(ground);
    assert!(!left.contains(&tree.orphan) && !left.contains(&tree.untagged.digest));
    let_it_age();
    let reports = until_quiet(&server, &["--untagged", "0s"]);
    let sum = |key| reports.iter().map(|report| number(report, key)).sum::<u64>();
    assert_eq!((sum("moved"), sum("deleted"), sum("lost")), (0, 0, 0), "{reports:?}");
    assert_eq!(blobs(ground), left);
    let keys = ground.keys();
    let hash = tree.orphan.trim_start_matches("sha256:");
    assert!(!keys.iter().any(|key| key.contains(hash)), "a link leads nowhere");
    // The other collector finds nothing that it would take.
    let plan = peer.plan_garbage(true);
    assert!(plan.contains("0 blobs and 0 manifests eligible"), "{plan}");
    for address in both {
        kept(address, &tree);
        gone(address, &tree);
    }
}
