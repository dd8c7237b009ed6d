//! What is pushed and deleted while storage is looked at is no damage.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::world::{Image, World, order};
use crate::storage::Link;

#[tokio::test]
async fn pushes_and_deletions_on_a_disk_are_no_damage() {
    are_no_damage(World::on_disk().await, 12).await;
}

#[tokio::test]
async fn pushes_and_deletions_in_a_bucket_are_no_damage() {
    are_no_damage(World::on_minio().await, 4).await;
}

/// Pushes that a look has to stand beside.
const ENOUGH: usize = 10;

async fn are_no_damage(world: World, runs: usize) {
    for number in 0..10 {
        world.image(&format!("team/app{}", number % 3), &format!("v{number}")).await;
    }
    let (over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let push = async {
        let mut pushed = 0_usize;
        let mut images: Vec<Image> = Vec::new();
        while !over.load(Ordering::Relaxed) {
            // Also in repositories that nobody had when the blobs were listed.
            images.push(world.image(&format!("team/app{}", pushed % 50), &format!("new{pushed}")).await);
            pushed += 1;
            count.store(pushed, Ordering::Relaxed);
            if images.len() > 5 {
                delete(&world, &images.remove(0)).await;
            }
            tokio::task::yield_now().await;
        }
    };
    let look = async {
        let order = crate::maintenance::verify::Order { second_look: Duration::from_millis(500), ..order(Vec::new()) };
        // As often as said, and until there was something to meet.
        for run in 0.. {
            if run >= runs && count.load(Ordering::Relaxed) > ENOUGH {
                break;
            }
            let report = world.run(&order).await;
            assert_eq!(report.found, 0, "{:#?}", report.damages);
        }
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(push, look);
}

/// In the order in which a registry and a collection do it: tag, links, bytes.
async fn delete(world: &World, image: &Image) {
    let Image { name, tag, manifest, config, layer } = image;
    world.storage.tag_delete(name, tag).await.unwrap();
    for link in
        [Link::Revision(name.clone(), *manifest), Link::Layer(name.clone(), *layer), Link::Layer(name.clone(), *config)]
    {
        world.storage.link_delete(&link).await.unwrap();
    }
    for digest in [manifest, layer, config] {
        world.storage.blob_remove(digest).await.unwrap();
    }
}
