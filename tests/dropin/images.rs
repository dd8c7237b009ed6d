//! What docker and skopeo push to the one is pulled from the other.

use std::net::SocketAddr;

use super::layout::Layout;
use crate::ground::Ground;
use crate::harness::repository::ACCEPT;
use crate::harness::tools::busybox_tree;
use crate::harness::{Dockerd, Repository, Request, docker, scratch};

/// Names of one, two and five components: `_uploads` and `_manifests` lie beside repositories below.
const NAMES: [&str; 3] = ["app", "team/app", "team/app/of/the/fifth"];

#[test]
fn images_of_docker_and_skopeo_pass_between_entrepot_and_debians_registry_on_one_volume() {
    let ground = Ground::volume();
    let (entrepot, peer) = (ground.entrepot(), ground.debian());
    pass_both_ways(entrepot.address, peer.address);
}

#[test]
fn images_of_docker_and_skopeo_pass_between_entrepot_and_distribution_v3_on_one_volume() {
    let ground = Ground::volume();
    let (entrepot, peer) = (ground.entrepot(), ground.v3());
    pass_both_ways(entrepot.address, peer.address);
}

#[test]
fn images_of_docker_and_skopeo_pass_between_entrepot_and_distribution_v3_on_one_bucket() {
    let ground = Ground::bucket();
    let (entrepot, peer) = (ground.entrepot(), ground.v3());
    pass_both_ways(entrepot.address, peer.address);
}

fn pass_both_ways(ours: SocketAddr, theirs: SocketAddr) {
    let dockerd = Dockerd::start();
    for (at, (writer, reader)) in [(theirs, ours), (ours, theirs)].into_iter().enumerate() {
        for (number, name) in NAMES.iter().enumerate() {
            let layout = Layout::make((at * NAMES.len() + number) as u64 * 10);
            let tag = format!("all-{at}");
            layout.push(&Repository::at(writer, name), &tag);
            layout.pull(&Repository::at(reader, name), &tag);
        }
        docker_passes(&dockerd, writer, reader, &format!("docker/from-{at}"));
    }
}

/// Docker pushes to the one, forgets everything, pulls from the other by tag and by digest, and runs it.
fn docker_passes(dockerd: &Dockerd, writer: SocketAddr, reader: SocketAddr, name: &str) {
    let files = scratch();
    let (pushed, pulled) = (format!("{writer}/{name}:1"), format!("{reader}/{name}:1"));
    docker::import(dockerd, &busybox_tree(files.path()), &pushed);
    dockerd.run(&["push", &pushed]);
    let digest = dockerd.digest(&pushed);
    dockerd.forget(&[&pushed]);
    dockerd.run(&["pull", &pulled]);
    assert_eq!(dockerd.digest(&pulled), digest);
    assert_eq!(dockerd.run(&["run", "--rm", "--network", "none", &pulled, "/bin/busybox", "echo", "hello"]), "hello");
    dockerd.forget(&[&pulled]);
    dockerd.run(&["pull", &format!("{reader}/{name}@{digest}")]);
    let head = Request::head(format!("/v2/{name}/manifests/1")).header("Accept", ACCEPT).send(reader);
    assert_eq!(head.header("docker-content-digest"), Some(digest.as_str()));
}
