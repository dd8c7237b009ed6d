//! What several writers see.

use futures::future::join_all;

use super::scenarios::SPOOL;
use super::world::{End, MIB, Pieces, World, bytes, name, sha256};
use crate::oci::Algorithm;
use crate::uploads::UploadError;

/// In one process the second is told at once.
pub(super) async fn the_loser_is_busy(world: &World) {
    let uploads = world.instance(SPOOL).await;
    let mut first = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    let mut second = uploads.resume(&name(), first.id()).await.unwrap().unwrap();
    let third = uploads.resume(&name(), first.id()).await.unwrap().unwrap();
    let mut body = Pieces::new(&bytes(1, 100_000), 1000).ending(End::Hangs);
    let hanging = first.append(&mut body);
    let mut hanging = std::pin::pin!(hanging);
    // The first has begun, and hangs.
    for _ in 0..50 {
        _ = futures::poll!(&mut hanging);
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    assert!(matches!(second.append(&mut Pieces::announced(b"x")).await, Err(UploadError::Busy)));
    assert!(matches!(third.commit_all(&sha256(b""), &mut Pieces::empty()).await, Err(UploadError::Busy)));
}

/// Both send all of it; one wins, and its bytes are those that are kept.
pub(super) async fn two_instances(world: &World) {
    for spool in [SPOOL, 0] {
        let (one, two) = (world.instance(spool).await, world.instance(spool).await);
        let mut first = one.begin(&name(), Algorithm::Sha256).await.unwrap();
        let mut second = two.resume(&name(), first.id()).await.unwrap().unwrap();
        let contents = [bytes(1, 2 * MIB), bytes(2, 3 * MIB)];
        let mut bodies = contents.each_ref().map(|content| Pieces::new(content, 30_000));
        let [a, b] = &mut bodies;
        let (a, b) = tokio::join!(first.append(a), second.append(b));
        let winner = match (&a, &b) {
            (Ok(_), Err(UploadError::Busy)) => 0,
            (Err(UploadError::Busy), Ok(_)) => 1,
            other => panic!("{other:?}"),
        };
        let upload = two.resume(&name(), first.id()).await.unwrap().unwrap();
        assert_eq!(upload.offset(), contents[winner].len() as u64);
        let digest = sha256(&contents[winner]);
        upload.commit_all(&digest, &mut Pieces::empty()).await.unwrap();
        world.assert_blob(&digest, &contents[winner]).await;
        assert!(world.leftovers().await.is_empty());
    }
}

/// Two instances take turns; each sees what the other has written.
pub(super) async fn interleaved(world: &World) {
    let instances = [world.instance(SPOOL).await, world.instance(0).await];
    let content = bytes(3, 10 * MIB);
    let id = instances[0].begin(&name(), Algorithm::Sha256).await.unwrap().id().clone();
    for (index, chunk) in content.chunks(999_999).enumerate() {
        let stale = &instances[(index + 1) % 2];
        let mut stale = stale.resume(&name(), &id).await.unwrap().unwrap();
        let mut upload = instances[index % 2].resume(&name(), &id).await.unwrap().unwrap();
        assert_eq!(upload.offset(), (index * 999_999) as u64);
        upload.append(&mut Pieces::announced(chunk)).await.unwrap();
        assert!(matches!(stale.append(&mut Pieces::announced(b"no")).await, Err(UploadError::Busy)));
        let early = stale.commit_all(&sha256(&content), &mut Pieces::announced(b"no")).await;
        assert!(matches!(early, Err(UploadError::Busy)), "{early:?}");
    }
    let upload = instances[1].resume(&name(), &id).await.unwrap().unwrap();
    upload.commit_all(&sha256(&content), &mut Pieces::empty()).await.unwrap();
    world.assert_blob(&sha256(&content), &content).await;
    assert!(world.leftovers().await.is_empty());
}

pub(super) async fn the_same_blob_at_once(world: &World) {
    let uploads = world.instance(SPOOL).await;
    let content = bytes(4, 9 * MIB);
    let digest = sha256(&content);
    let push = |index: usize| {
        let (uploads, content) = (&uploads, &content);
        async move {
            if index.is_multiple_of(3) {
                return uploads.put(&digest, &mut Pieces::new(content, 100_000)).await.unwrap();
            }
            let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
            let first = if index % 3 == 1 { content.len() } else { 5 * MIB };
            upload.append(&mut Pieces::new(&content[..first], 100_000)).await.unwrap();
            upload.commit_all(&digest, &mut Pieces::new(&content[first..], 100_000)).await.unwrap()
        }
    };
    assert_eq!(join_all((0..12).map(push)).await, vec![content.len() as u64; 12]);
    world.assert_blob(&digest, &content).await;
    assert!(world.leftovers().await.is_empty());
}
