//! What is repaired, from where, and what never is.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;

use bytes::Bytes;

use super::world::{World, index, manifest, order, source, write};
use crate::maintenance::verify::{Damage, Kind, Report, Source, State};
use crate::oci::Digest;
use crate::storage::{Link, OwnKey, layout};

fn only(report: &Report) -> &Damage {
    assert_eq!(report.damages.len(), 1, "{:#?}", report.damages);
    &report.damages[0]
}

#[tokio::test]
async fn bytes_come_back_from_the_trash_of_a_disk() {
    from_the_trash(World::on_disk().await).await;
}

#[tokio::test]
async fn bytes_come_back_from_the_trash_of_a_bucket() {
    from_the_trash(World::on_minio().await).await;
}

async fn from_the_trash(world: World) {
    let image = world.image("team/app", "v1").await;
    let blob = layout::blob(&image.layer);
    let bytes = world.get(&blob).await.unwrap();
    assert!(world.storage.blob_trash(&image.layer).await.unwrap());
    let moved = world.storage.trash_of(&image.layer).await.unwrap().remove(0);
    let trash = OwnKey::Trash(image.layer, moved.name).key();
    assert_eq!(only(&world.look().await).kind, Kind::NoBytes);
    let report = world.repair(Source::Trash).await;
    assert_eq!((only(&report).state, only(&report).by.as_deref()), (State::Repaired, Some("the trash")));
    assert_eq!(world.get(&blob).await.as_ref(), Some(&bytes));

    // Right ones in the trash, wrong ones in place, of the same size.
    world.put(&trash, bytes.clone()).await;
    world.put(&blob, Bytes::from(vec![b'x'; bytes.len()])).await;
    assert_eq!(only(&world.repair(Source::Trash).await).state, State::Repaired);
    assert_eq!(world.get(&blob).await.as_ref(), Some(&bytes));

    // Of two moves, one took wrong ones.
    world.put(&OwnKey::Trash(image.layer, "another".into()).key(), "y").await;
    world.put(&blob, "x").await;
    assert_eq!(only(&world.repair(Source::Trash).await).state, State::Repaired);
    world.delete(&OwnKey::Trash(image.layer, "another".into()).key()).await;

    // Wrong ones in both.
    world.put(&trash, "y").await;
    world.put(&blob, "x").await;
    let report = world.repair(Source::Trash).await;
    assert_eq!(only(&report).state, State::Left);
    assert!(only(&report).by.as_ref().unwrap().contains("the trash: its bytes have another digest there as well"));
    assert_eq!((world.get(&blob).await.unwrap(), world.get(&trash).await.unwrap()), ("x".into(), "y".into()));
    assert!(!report.is_well());
}

#[tokio::test]
async fn what_is_right_is_never_written_over() {
    let world = World::on_disk().await;
    let (image, _) = (world.image("team/app", "v1").await, world.image("team/app", "v2").await);
    let (_copy, source) = world.copy().await;
    world.put(&layout::blob(&image.layer), "x").await;
    let files = |world: &World| {
        let root = world.folder.path().join("registry/docker");
        let mut files = BTreeMap::new();
        let mut folders = vec![root];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let found = entry.metadata().unwrap();
                if found.is_dir() {
                    folders.push(entry.path());
                } else {
                    files.insert(entry.path(), (found.ino(), found.mtime_nsec(), found.mtime()));
                }
            }
        }
        files
    };
    let before = files(&world);
    assert_eq!(world.repair(source).await.repaired, 1);
    let after = files(&world);
    let changed: Vec<_> = after.iter().filter(|(path, file)| before.get(*path) != Some(*file)).collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert!(changed[0].0.ends_with(layout::blob(&image.layer)), "{changed:?}");
}

#[tokio::test]
async fn wrong_bytes_of_a_source_go_nowhere() {
    let world = World::on_disk().await;
    let image = world.image("team/app", "v1").await;
    let (copy, from) = world.copy().await;
    let blob = layout::blob(&image.layer);
    write(&copy.path().join(&blob), b"neither");
    world.delete(&blob).await;
    let report = world.repair(from).await;
    assert_eq!(only(&report).state, State::Left);
    assert!(only(&report).by.as_ref().unwrap().contains(" instead"), "{report:?}");
    assert_eq!(world.get(&blob).await, None);
    // A second source is asked when the first has nothing of use.
    let good = tempfile::tempdir().unwrap();
    let bytes = format!("the layer of {}:{} ", image.name, image.tag).repeat(100);
    write(&good.path().join(&blob), bytes.as_bytes());
    let sources =
        vec![source(&copy.path().display().to_string()).await, source(&good.path().display().to_string()).await];
    let report = world.run(&order(sources)).await;
    assert_eq!(only(&report).by.as_deref(), Some(good.path().to_str().unwrap()));
    assert_eq!(world.get(&blob).await.unwrap(), bytes);
}

#[tokio::test]
async fn what_no_source_has_is_left_and_told() {
    let world = World::on_disk().await;
    let image = world.image("team/app", "v1").await;
    world.delete(&layout::blob(&image.config)).await;
    world.delete(&layout::blob(&image.layer)).await;
    let empty = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(empty.path().join(layout::TREE)).unwrap();
    let report = world.repair(source(&empty.path().display().to_string()).await).await;
    assert_eq!((report.found, report.repaired, report.left), (2, 0, 2));
    assert_eq!(report.left_by_kind, [(Kind::NoBytes, 2)]);
    assert!(report.damages.iter().all(|damage| damage.by.as_deref() == Some("no source has its bytes")));
}

/// What a manifest names can be seen only once it is readable again.
#[tokio::test]
async fn what_a_repair_brings_to_light_is_repaired_too() {
    let world = World::on_disk().await;
    let image = world.image("team/app", "v1").await;
    let (_copy, from) = world.copy().await;
    let whole = world.tree().await;
    for key in [
        layout::blob(&image.manifest),
        Link::Revision(image.name.clone(), image.manifest).key(),
        Link::Layer(image.name.clone(), image.layer).key(),
        layout::blob(&image.layer),
    ] {
        world.delete(&key).await;
    }
    assert_eq!(only(&world.look().await).kind, Kind::TagToNothing, "nothing else can be seen yet");
    let report = world.repair(from).await;
    assert_eq!((report.found, report.repaired), (2, 2), "{:#?}", report.damages);
    assert_eq!(world.tree().await, whole);
}

#[tokio::test]
async fn a_torn_tag_leads_where_its_history_says_that_it_led_last() {
    let world = World::on_disk().await;
    let first = world.image("team/app", "v1").await;
    // Links are told apart by their times.
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let text = manifest(&first.layer, &first.config).to_string();
    let second = world.manifest(&first.name, &first.tag, text).await;
    let tag = Link::Tag(first.name.clone(), first.tag.clone());
    world.put(&tag.key(), "").await;
    let report = world.repair(Source::Trash).await;
    assert!(only(&report).by.as_ref().unwrap().starts_with("its history"), "{report:?}");
    assert_eq!(world.storage.link(&tag).await.unwrap(), Some(second));
    // Without a history, a source may know.
    let (_copy, from) = world.copy().await;
    world.put(&tag.key(), "").await;
    for digest in [first.manifest, second] {
        world.delete(&Link::TagIndex(first.name.clone(), first.tag.clone(), digest).key()).await;
    }
    assert_eq!(only(&world.repair(Source::Trash).await).by.as_deref(), Some("nobody knows where it led"));
    assert_eq!(only(&world.repair(from).await).state, State::Repaired);
    assert_eq!(world.storage.link(&tag).await.unwrap(), Some(second));
}

#[tokio::test]
async fn manifests_of_other_platforms_need_not_be_here() {
    let world = World::on_disk().await;
    let image = world.image("team/app", "v1").await;
    let absent = Digest::of(crate::oci::Algorithm::Sha256, b"of another platform");
    let tag = "all".parse().unwrap();
    world.manifest(&image.name, &tag, index(&[image.manifest, absent]).to_string()).await;
    let report = world.look().await;
    assert_eq!((report.found, report.sparse), (0, 1));
}

/// A push of it would find it there, and leave it as it is.
#[tokio::test]
async fn wrong_bytes_that_nobody_links_are_taken_away() {
    let world = World::on_disk().await;
    let image = world.image("team/app", "v1").await;
    let orphan = Digest::of(crate::oci::Algorithm::Sha256, b"an orphan");
    world.put(&layout::blob(&orphan), "another").await;
    world.put(&layout::blob(&image.layer), "another").await;
    assert_eq!(world.look().await.found, 2);
    assert!(world.get(&layout::blob(&orphan)).await.is_some(), "who only looks takes nothing away");
    let report = world.repair(Source::Trash).await;
    assert_eq!((report.found, report.repaired, report.left), (2, 1, 1), "{report:#?}");
    assert_eq!(world.get(&layout::blob(&orphan)).await, None);
    assert!(world.get(&layout::blob(&image.layer)).await.is_some(), "somebody may still have a use for it");
}

#[tokio::test]
async fn nothing_is_written_by_who_only_looks() {
    let world = World::on_disk().await;
    let image = world.image("team/app", "v1").await;
    world.put(&layout::blob(&image.layer), "x").await;
    world.put(&Link::Tag(image.name.clone(), image.tag.clone()).key(), "").await;
    let all = |world: &World| {
        let mut command = std::process::Command::new("find");
        command.arg(world.folder.path()).args(["-printf", "%p %s %T@ %C@\n"]);
        let mut lines: Vec<_> =
            String::from_utf8(command.output().unwrap().stdout).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let before = all(&world);
    assert_eq!(world.look().await.found, 2);
    assert_eq!(all(&world), before);
}
