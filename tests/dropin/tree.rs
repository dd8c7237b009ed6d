//! The same push leaves the same files, whoever serves it.

use std::net::SocketAddr;

use crate::ground::pieces::{push_artifact, push_index};
use crate::ground::{Ground, Tree};
use crate::harness::Repository;
use crate::harness::repository::{DOCKER_MANIFEST, OCI_MANIFEST};

#[test]
fn the_same_push_leaves_the_files_that_debians_registry_leaves() {
    let (ours, theirs) = (Ground::volume(), Ground::volume());
    let (entrepot, peer) = (ours.entrepot(), theirs.debian());
    same(push(entrepot.address, &ours), push(peer.address, &theirs));
    same(delete(entrepot.address, &ours), delete(peer.address, &theirs));
}

#[test]
fn the_same_push_leaves_the_files_that_v3_leaves_on_a_volume() {
    let (ours, theirs) = (Ground::volume(), Ground::volume());
    let (entrepot, peer) = (ours.entrepot(), theirs.v3());
    same(push(entrepot.address, &ours), push(peer.address, &theirs));
    same(delete(entrepot.address, &ours), delete(peer.address, &theirs));
}

#[test]
fn the_same_push_leaves_the_files_that_v3_leaves_in_a_bucket() {
    let (ours, theirs) = (Ground::bucket(), Ground::bucket());
    let (entrepot, peer) = (ours.entrepot(), theirs.v3());
    same(push(entrepot.address, &ours), push(peer.address, &theirs));
    same(delete(entrepot.address, &ours), delete(peer.address, &theirs));
}

#[test]
fn our_own_files_lie_outside_the_tree() {
    let ground = Ground::volume();
    push(ground.entrepot().address, &ground);
    let foreign = |key: &String| !key.starts_with("docker/registry/v2/") && !key.starts_with("entrepot/v1/");
    assert_eq!(ground.keys().into_iter().filter(foreign).collect::<Vec<_>>(), Vec::<String>::new());
}

/// Images, an index, an artifact, a Docker image, a mounted blob, a moved tag; in names of one and of three components.
fn push(address: SocketAddr, ground: &Ground) -> Tree {
    let (app, deep) = (Repository::at(address, "app"), Repository::at(address, "team/of/app"));
    let one = app.push_random("v1", 1, 5000);
    let two = app.push_random("v2", 2, 5000);
    push_index(&app, "all", &[&one, &two]);
    app.push_manifest("moved", OCI_MANIFEST, &one.manifest);
    app.push_manifest("moved", OCI_MANIFEST, &two.manifest);
    push_artifact(&app, "application/vnd.test", 3, &one);
    deep.push_random("v1", 4, 5000);
    for blob in [&one.config, &one.layers[0]] {
        let mount = format!("{}?mount={blob}&from=app", deep.uploads());
        deep.request("POST", mount).send(address).expect(201);
    }
    let docker = String::from_utf8(one.manifest).expect("JSON");
    let docker = docker.replace(OCI_MANIFEST, DOCKER_MANIFEST);
    deep.push_manifest("docker", DOCKER_MANIFEST, docker.as_bytes());
    app.push_blob(b"");
    tree(ground)
}

/// By digest, as every one of them can: a manifest with its tags, and a blob.
fn delete(address: SocketAddr, ground: &Ground) -> Tree {
    let app = Repository::at(address, "app");
    let two = app.push_random("v2", 2, 5000);
    app.request("DELETE", app.manifest(&two.digest)).send(address).expect(202);
    app.request("DELETE", app.blob(&two.layers[0])).send(address).expect(202);
    tree(ground)
}

fn tree(ground: &Ground) -> Tree {
    let tree = ground.tree("");
    tree.into_iter().filter(|(path, _)| !path.contains("/_uploads/")).collect()
}

#[track_caller]
fn same(ours: Tree, theirs: Tree) {
    let only = |one: &Tree, other: &Tree| -> Vec<String> {
        one.keys().filter(|path| !other.contains_key(*path)).cloned().collect()
    };
    assert_eq!((only(&ours, &theirs), only(&theirs, &ours)), (vec![], vec![]), "only ours, only theirs");
    for (path, bytes) in &ours {
        assert_eq!(bytes, &theirs[path], "{path}");
    }
}
