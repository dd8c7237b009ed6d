//! A part of everything; and where less than everything is enough.

use super::world::{World, order};
use crate::maintenance::verify::{Kind, Order, Sparse};
use crate::oci::Tag;
use crate::storage::{Link, OwnKey, Precondition, layout};

#[tokio::test]
async fn a_sample_takes_what_it_says_and_finds_links_without_bytes_in_any_case() {
    let world = World::on_disk().await;
    for number in 0..40 {
        world.image(&format!("team/app{}", number % 4), &format!("v{number}")).await;
    }
    let image = world.image("team/app0", "broken").await;
    world.delete(&layout::blob(&image.layer)).await;
    let order = || Order { sample: "10%".parse().unwrap(), ..order(Vec::new()) };
    let report = world.run(&order()).await;
    assert_eq!((report.sample.as_str(), report.found, report.damages[0].kind), ("10%", 1, Kind::NoBytes));
    // 41 images of three blobs, but for one; each with four links, a manifest and a tag.
    for (looked, there, expected) in
        [(report.blobs, 122, 12), (report.links, 164, 16), (report.manifests, 41, 4), (report.tags, 41, 4)]
    {
        assert_eq!(looked.there, there);
        assert!(looked.looked_at.abs_diff(expected) <= 1, "{looked:?}");
    }
    assert!(report.bytes.looked_at > 0 && report.bytes.looked_at < report.bytes.there / 3, "{:?}", report.bytes);
    // Over some runs all are seen: wrong bytes are found at last.
    world.put(&layout::blob(&image.config), "x").await;
    let mut runs = 0;
    while world.run(&order()).await.found < 2 {
        runs += 1;
        assert!(runs < 1000, "never picked");
    }
}

#[tokio::test]
async fn images_of_mirrors_need_not_be_whole() {
    let world = World::sparse(Sparse { anywhere: false, below: vec!["quay.io".into()] }).await;
    let lacking = async |name: &str| {
        let image = world.image(name, "v1").await;
        world.delete(&Link::Layer(image.name.clone(), image.layer).key()).await;
        world.delete(&layout::blob(&image.layer)).await;
        image
    };
    lacking("quay.io/team/app").await;
    // Of a remote that is configured no more.
    let known = lacking("docker.io/library/alpine").await;
    let record = OwnKey::MirrorTag(known.name.clone(), "3".parse::<Tag>().unwrap());
    world.storage.own_put(&record, "{}".into(), Precondition::None).await.unwrap();
    let report = world.look().await;
    assert_eq!((report.found, report.sparse), (0, 2), "{:#?}", report.damages);
    lacking("team/app").await;
    let report = world.look().await;
    assert_eq!((report.found, report.damages[0].kind), (1, Kind::LackingReference));
    // What is linked has to be there everywhere.
    world.storage.link_put(&Link::Layer(known.name.clone(), known.layer), &known.layer).await.unwrap();
    assert_eq!(world.look().await.found, 2);
}

#[tokio::test]
async fn where_images_may_be_pushed_without_their_layers_they_are_no_damage() {
    let world = World::sparse(Sparse { anywhere: true, below: Vec::new() }).await;
    let image = world.image("team/app", "v1").await;
    world.delete(&Link::Layer(image.name.clone(), image.layer).key()).await;
    assert_eq!(world.look().await.found, 0);
}
