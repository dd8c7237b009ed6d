//! Each of a hundred damages is found, by its kind and its place, and repaired to the byte from where it is right.

use std::collections::BTreeSet;

use super::world::{Image, World};
use crate::maintenance::verify::{Kind, Report, State};
use crate::oci::{Algorithm, Digest};
use crate::storage::{Link, layout};

const DAMAGES: usize = 100;

/// What is told of a damage that the test knows: its kind and its key.
type Known = (Kind, String);

#[tokio::test]
async fn a_hundred_damages_on_a_disk_are_found_and_repaired_from_a_copy() {
    all_are_found_and_repaired(World::on_disk().await).await;
}

#[tokio::test]
async fn a_hundred_damages_in_a_bucket_are_found_and_repaired_from_a_copy() {
    all_are_found_and_repaired(World::on_minio().await).await;
}

async fn all_are_found_and_repaired(world: World) {
    let mut images = Vec::new();
    for number in 0..DAMAGES {
        images.push(world.image(&format!("team/app{}", number % 7), &format!("v{number}")).await);
    }
    let whole = world.tree().await;
    let (_copy, source) = world.copy().await;
    let report = world.look().await;
    assert_eq!((report.found, report.damages.len()), (0, 0), "{:?}", report.damages);
    assert_eq!((report.repositories, report.manifests.there, report.tags.there), (7, 100, 100));
    assert_eq!((report.blobs.there, report.blobs.looked_at, report.links.looked_at), (300, 300, 400));
    assert_eq!(report.bytes.there, report.bytes.looked_at);

    let mut known = BTreeSet::new();
    for (number, image) in images.iter().enumerate() {
        let (kind, key) = damage(&world, image, number).await;
        assert!(known.insert((kind.word(), key)));
    }
    let report = world.look().await;
    assert_eq!(told(&report), known);
    assert_eq!((report.found, report.repaired, report.left), (100, 0, 100));
    assert!(report.damages.iter().all(|damage| damage.state == State::Found && !damage.repositories.is_empty()));

    let report = world.repair(source).await;
    let left: Vec<_> = report.damages.iter().filter(|damage| damage.state != State::Repaired).collect();
    assert_eq!((report.found, report.repaired, report.left), (100, 100, 0), "{left:#?}");
    assert_eq!(told(&report), known);
    let healed = world.tree().await;
    assert_eq!(healed.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>());
    for (key, bytes) in &whole {
        assert_eq!(healed[key], bytes, "{key}");
    }
    assert_eq!(world.look().await.found, 0);
}

fn told(report: &Report) -> BTreeSet<(&'static str, String)> {
    report.damages.iter().map(|damage| (damage.kind.word(), damage.key.clone())).collect()
}

/// Damages one thing of an image; each number in a way of its own.
async fn damage(world: &World, image: &Image, number: usize) -> Known {
    let Image { name, tag, manifest, config, layer } = image;
    let (of_layer, of_tag) = (Link::Layer(name.clone(), *layer), Link::Tag(name.clone(), tag.clone()));
    let of_revision = Link::Revision(name.clone(), *manifest);
    let blob = layout::blob([layer, config, manifest][number / 10 % 3]);
    match number % 10 {
        0 => (Kind::WrongBytes, flip(world, blob).await),
        1 => (Kind::WrongBytes, cut(world, blob).await),
        2 => (Kind::WrongBytes, replaced(world, blob, "").await),
        3 => (Kind::NoBytes, removed(world, blob).await),
        4 => (Kind::TornLink, replaced(world, of_layer.key(), "").await),
        5 => (Kind::TornLink, replaced(world, of_revision.key(), &manifest.text()[..30]).await),
        6 => (Kind::TornLink, replaced(world, of_tag.key(), "\0\0\0").await),
        7 => (Kind::WrongLink, replaced(world, [of_layer, of_revision][number / 10 % 2].key(), &config.text()).await),
        8 => {
            removed(world, of_revision.key()).await;
            if (number / 10).is_multiple_of(2) {
                removed(world, layout::blob(manifest)).await;
            }
            (Kind::TagToNothing, of_tag.key())
        }
        _ => (
            Kind::LackingReference,
            removed(world, Link::Layer(name.clone(), [*layer, *config][number / 10 % 2]).key()).await,
        ),
    }
}

async fn flip(world: &World, key: String) -> String {
    let mut bytes = world.get(&key).await.unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    world.put(&key, bytes).await;
    key
}

async fn cut(world: &World, key: String) -> String {
    let mut bytes = world.get(&key).await.unwrap().to_vec();
    bytes.truncate(bytes.len() - 1);
    world.put(&key, bytes).await;
    key
}

async fn replaced(world: &World, key: String, text: &str) -> String {
    world.put(&key, text.to_owned()).await;
    key
}

async fn removed(world: &World, key: String) -> String {
    world.delete(&key).await;
    key
}

#[tokio::test]
async fn a_blob_by_another_hash_is_linked_to_its_own_as_distribution_does() {
    let world = World::on_disk().await;
    let image = world.image("team/app", "v1").await;
    let bytes = world.get(&layout::blob(&image.layer)).await.unwrap();
    let long = Digest::of(Algorithm::Sha512, &bytes);
    let link = Link::Layer(image.name.clone(), long);
    world.storage.link_put(&link, &image.layer).await.unwrap();
    assert_eq!(world.look().await.found, 0);
    // To other bytes than it names; and to none.
    world.storage.link_put(&link, &image.config).await.unwrap();
    let report = world.look().await;
    assert_eq!((report.found, report.damages[0].kind, &report.damages[0].key), (1, Kind::WrongLink, &link.key()));
    world.storage.link_put(&link, &image.layer).await.unwrap();
    world.delete(&layout::blob(&image.layer)).await;
    let report = world.look().await;
    assert_eq!((report.found, report.damages[0].digest), (1, Some(image.layer)), "one lack, however it is linked");
}

#[tokio::test]
async fn what_lacks_for_a_blob_that_many_share_is_one_damage() {
    let world = World::on_disk().await;
    let image = world.image("team/app", "v1").await;
    for number in 0..20 {
        let name = format!("team/other{number}").parse().unwrap();
        world.storage.link_put(&Link::Layer(name, image.layer), &image.layer).await.unwrap();
    }
    world.delete(&layout::blob(&image.layer)).await;
    let report = world.look().await;
    assert_eq!((report.found, report.damages.len(), report.damages[0].repositories.len()), (1, 1, 5));
}
