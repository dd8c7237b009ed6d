//! A mirror that is started again while its remotes are gone has everything that it had.

use super::world::{Hub, link, mirroring, pulls, remote};
use crate::harness::remote::Multi;
use crate::harness::{Entrepot, FakeRemote, Manner, Minio, Repository, Request, Setup, eventually, scratch};

const SIZE: usize = 200_000;
const IMAGES: usize = 5;

/// Images of one to three tags, all pulled.
fn warmed(remote: &FakeRemote, entrepot: &Entrepot) -> Vec<(Repository, Multi)> {
    let images = (0..IMAGES).map(|number| {
        let name = format!("team/app{number}");
        let image = remote.put_multi(&name, "1", number as u64 + 1, SIZE);
        let client = Repository::at(entrepot.address, &format!("docker.io/{name}"));
        pulls(&client, "1", &image);
        (client, image)
    });
    images.collect()
}

/// Kills both, starts the mirror alone, and pulls everything.
fn all_is_there(remote: &FakeRemote, entrepot: &mut Entrepot, images: &[(Repository, Multi)]) {
    entrepot.kill();
    remote.die();
    entrepot.restart();
    for (client, image) in images {
        pulls(client, "1", image);
        let name = client.name.trim_start_matches("docker.io/");
        let by_ns = Request::get(format!("/v2/{name}/manifests/1?ns=docker.io")).send(client.address);
        assert_eq!(by_ns.expect(200), image.index);
    }
}

fn asked_always(setup: Setup) -> Setup {
    setup.set("remote.hub.tag_ttl", "\"0s\"")
}

#[test]
fn on_a_filesystem() {
    let mut hub = Hub::start(Manner::hub(), asked_always);
    let images = warmed(&hub.remote, &hub.entrepot);
    for (client, image) in &images {
        hub.kept(client.name.trim_start_matches("docker.io/"), &image.blobs());
    }
    all_is_there(&hub.remote, &mut hub.entrepot, &images);
}

#[test]
fn on_an_object_store() {
    let minio = Minio::start(&["mirror"]);
    let bucket = minio.bucket("mirror");
    let fake = FakeRemote::start(Manner::hub());
    let mut entrepot = asked_always(bucket.set(mirroring(&[("hub", "docker.io", fake.address())]))).start();
    let images = warmed(&fake, &entrepot);
    let root = std::path::Path::new("docker/registry/v2");
    eventually("everything is in the bucket", || {
        let keys = bucket.keys();
        images.iter().all(|(client, image)| {
            image.blobs().iter().all(|blob| keys.contains(&link(root, &client.name, blob).display().to_string()))
        })
    });
    all_is_there(&fake, &mut entrepot, &images);
}

/// No registry stands here: what is kept lies in the cache.
#[test]
fn in_the_cache_alone() {
    let fake = FakeRemote::start(Manner::hub());
    let cache = scratch();
    let mut entrepot = alone(&fake).cache_at(cache.path()).start();
    let images = warmed(&fake, &entrepot);
    entrepot.settled();
    entrepot.terminate();
    entrepot.restart();
    all_is_there(&fake, &mut entrepot, &images);
}

/// A mirror that has no registry.
fn alone(fake: &FakeRemote) -> Setup {
    let table = r#"
        threads = 2
        [[listener]]
        address = "127.0.0.1:0"
        [admin]
        address = "127.0.0.1:0"
        [log]
        level = "debug"
        [cache]
        memory = "64MiB"
        disk = "1GiB"
        [[route]]
        read = "remote.hub"
    "#;
    asked_always(remote(Setup::of(table.parse().expect("TOML")), "hub", "docker.io", fake.address()))
}

#[test]
fn a_mirror_needs_no_registry_and_no_other_route() {
    let fake = FakeRemote::start(Manner::plain());
    let image = fake.put_multi("library/alpine", "3", 1, SIZE);
    let entrepot = alone(&fake).start();
    for name in ["docker.io/library/alpine", "library/alpine", "alpine"] {
        pulls(&Repository::at(entrepot.address, name), "3", &image);
    }
    assert_eq!(fake.gets("/blobs/"), image.blobs().len());
    let list = Request::get("/v2/_catalog").send(entrepot.address);
    assert_eq!(list.json()["repositories"][0], "library/alpine", "{}", list.text());
}
