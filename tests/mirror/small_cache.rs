//! A cache that is smaller than what is pulled: whole images leave it, nothing fails, and what is offered without the remote is whole.

use super::world::{mirroring, pull_image, pulls_image};
use crate::harness::{FakeRemote, Image, Manner, Repository, Request, eventually, scratch};

const LAYER: usize = 1 << 20;
const IMAGES: usize = 24;

#[test]
fn whole_images_leave_and_none_is_offered_that_cannot_be_had() {
    let fake = FakeRemote::start(Manner::plain());
    let cache = scratch();
    let entrepot = mirroring(&[("hub", "docker.io", fake.address())])
        .set("remote.hub.keep", "\"cache\"")
        .set("remote.hub.tag_ttl", "\"0s\"")
        .set("cache.memory", "\"1MiB\"")
        .set("cache.disk", "\"20MiB\"")
        .cache_at(cache.path())
        .start();
    // One layer is everybody's, as base layers are.
    let base = crate::harness::random_bytes(1000, LAYER);
    let images: Vec<(Repository, Image)> = (0..IMAGES)
        .map(|number| {
            let name = format!("team/app{number}");
            let own = crate::harness::random_bytes(number as u64, LAYER);
            let image = fake.shelf(|shelf| shelf.put_image(&name, "1", &[base.clone(), own]));
            (Repository::at(entrepot.address, &format!("docker.io/{name}")), image)
        })
        .collect();
    for round in 0..3 {
        for (client, image) in &images {
            pull_image(client, "1", image).unwrap_or_else(|what| panic!("round {round}, {}: {what}", client.name));
        }
    }
    entrepot.settled();
    eventually("it is no larger than it may be", || {
        entrepot
            .cache_files(LAYER as u64 / 2)
            .iter()
            .filter_map(|file| file.metadata().ok())
            .map(|file| file.len())
            .sum::<u64>()
            <= 21 << 20
    });
    fake.die();
    let (mut whole, mut gone) = (0, 0);
    for (client, image) in &images {
        // Asked twice: a tag that is served is served with all of its layers.
        match client.get_manifest("1").status {
            200 => {
                pulls_image(client, "1", image);
                whole += 1;
            }
            503 => gone += 1,
            other => panic!("{}: {other}", client.name),
        }
    }
    assert!(whole >= 8, "{whole} of the last images are still here, {gone} are not");
    assert!(gone >= 2, "{whole} whole ones are more than fit");
    let status = Request::get("/status").send(entrepot.admin);
    assert_eq!(status.status, 200);
    fake.revive();
    eventually("everything is had again", || pull_image(&images[0].0, "1", &images[0].1).is_ok());
}
