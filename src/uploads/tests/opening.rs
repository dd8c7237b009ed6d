//! Storage and uploads without anything that serves: as a command opens them.

use std::sync::Arc;

use futures::stream::TryStreamExt as _;

use super::world::{Minio, Pieces, World, name, sha256};
use crate::oci::Algorithm;
use crate::storage::layout;

/// What one has pushed, another that is opened beside it lists; nothing holds them when they are let go.
async fn opened_listed_and_closed(world: World) {
    let uploads = world.instance(0).await;
    let content = b"a blob";
    uploads.put(&sha256(content), &mut Pieces::announced(content)).await.unwrap();
    let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    upload.append(&mut Pieces::announced(b"some")).await.unwrap();

    let command = world.again().await;
    let seen = command.instance(0).await;
    command.storage.check().await.unwrap();
    assert_eq!(seen.count().await.unwrap(), 1);
    let found: Vec<_> = command.storage.below(layout::TREE, None).try_collect().await.unwrap();
    let blob = layout::blob(&sha256(content));
    assert_eq!(found.iter().map(|entry| format!("{}/{}", layout::TREE, entry.name)).collect::<Vec<_>>(), [blob]);
    assert_eq!(found.first().map(|entry| entry.size), Some(content.len() as u64));
    let own: Vec<_> = command.storage.below(layout::UPLOADS, None).try_collect().await.unwrap();
    assert!(own.iter().any(|entry| entry.name == format!("{}/state", upload.id())), "{own:?}");

    assert_eq!(Arc::strong_count(&seen), 1);
    drop(seen);
    assert_eq!(Arc::strong_count(&command.storage), 1, "something still holds the storage");
    upload.cancel().await.unwrap();
}

#[tokio::test]
async fn a_command_opens_a_filesystem() {
    opened_listed_and_closed(World::filesystem().await).await;
}

#[tokio::test]
async fn a_command_opens_an_object_store() {
    let minio = Minio::start().await;
    opened_listed_and_closed(minio.world("command").await).await;
}
