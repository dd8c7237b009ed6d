//! What one client sees when something goes wrong.

use super::scenarios::SPOOL;
use super::world::{End, MIB, Pieces, World, bytes, name, sha256};
use crate::oci::Algorithm;
use crate::storage::Precondition;
use crate::uploads::{UploadError, UploadId};

pub(super) async fn mismatch_leaves_nothing(world: &World) {
    let uploads = world.instance(SPOOL).await;
    let wrong = sha256(b"something else");
    let large = bytes(6, 18 * MIB);
    for content in [b"content".as_slice(), &large] {
        let error = uploads.put(&wrong, &mut Pieces::new(content, 50_000)).await.unwrap_err();
        assert!(matches!(error, UploadError::Mismatch { found, .. } if found == sha256(content)));
        let upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
        let id = upload.id().clone();
        let error = upload.commit_all(&wrong, &mut Pieces::new(content, 50_000)).await.unwrap_err();
        assert!(matches!(error, UploadError::Mismatch { .. }));
        assert!(uploads.resume(&name(), &id).await.unwrap().is_none());
    }
    assert!(world.blobs().await.is_empty());
    let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    upload.append(&mut Pieces::announced(b"con")).await.unwrap();
    let error = upload.commit_all(&wrong, &mut Pieces::announced(b"tent")).await.unwrap_err();
    assert!(matches!(error, UploadError::Mismatch { found, .. } if found == sha256(b"content")));
    assert!(world.storage.blob_size(&wrong).await.unwrap().is_none());
    assert!(world.leftovers().await.is_empty());
    assert_eq!(uploads.count().await.unwrap(), 0);
}

pub(super) async fn broken_body(world: &World) {
    let content = bytes(9, 12 * MIB);
    for spool in [SPOOL, 0] {
        let uploads = world.instance(spool).await;
        let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
        let half = &mut Pieces::new(&content[..6 * MIB], 33_333).ending(End::Broken);
        assert!(matches!(upload.append(half).await, Err(UploadError::Body(_))));
        // What the session says is what the next one goes on from.
        let offset = upload.offset();
        let mut upload = uploads.resume(&name(), upload.id()).await.unwrap().unwrap();
        assert_eq!(upload.offset(), offset);
        assert_eq!(offset, if world.local() || spool == 0 { 6 * MIB as u64 } else { 0 });
        upload.append(&mut Pieces::new(&content[offset as usize..], 33_333)).await.unwrap();
        upload.commit_all(&sha256(&content), &mut Pieces::empty()).await.unwrap();
        world.assert_blob(&sha256(&content), &content).await;
        assert!(world.leftovers().await.is_empty());
        world.storage.blob_delete(&sha256(&content)).await.unwrap();
    }
    let uploads = world.instance(SPOOL).await;
    let error = uploads.put(&sha256(&content), &mut Pieces::new(&content, 50_000).ending(End::Broken)).await;
    assert!(matches!(error, Err(UploadError::Body(_))));
    assert!(world.blobs().await.is_empty() && world.leftovers().await.is_empty());
}

/// The closing request can be sent again, with the same body.
pub(super) async fn broken_last_body(world: &World) {
    let content = bytes(10, 200_000);
    let digest = sha256(&content);
    for first in [0, 100_000] {
        let uploads = world.instance(SPOOL).await;
        let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
        upload.append(&mut Pieces::announced(&content[..first])).await.unwrap();
        let id = upload.id().clone();
        let broken = &mut Pieces::new(&content[first..150_000], 7000).ending(End::Broken);
        assert!(matches!(upload.commit_all(&digest, broken).await, Err(UploadError::Body(_))));
        let upload = uploads.resume(&name(), &id).await.unwrap().unwrap();
        assert_eq!(upload.offset(), first as u64);
        upload.commit_all(&digest, &mut Pieces::new(&content[first..], 7000)).await.unwrap();
        world.assert_blob(&digest, &content).await;
        assert!(world.leftovers().await.is_empty());
        world.storage.blob_delete(&digest).await.unwrap();
    }
}

/// Of another version, or damaged: the bytes are read again.
pub(super) async fn unknown_hash(world: &World) {
    let content = bytes(11, 300_000);
    let digest = sha256(&content);
    for format in [true, false] {
        let uploads = world.instance(SPOOL).await;
        let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
        for chunk in content[..200_000].chunks(100_000) {
            upload.append(&mut Pieces::announced(chunk)).await.unwrap();
            let mut state = upload.state.clone();
            state.damage_hash(format);
            assert!(state.hasher().is_none());
            let key = crate::uploads::keys::state(upload.id());
            let put = world.storage.store().put(&key, state.encode().unwrap().into(), Precondition::None);
            put.await.unwrap();
            upload = uploads.resume(&name(), upload.id()).await.unwrap().unwrap();
        }
        upload.commit_all(&digest, &mut Pieces::announced(&content[200_000..])).await.unwrap();
        world.assert_blob(&digest, &content).await;
        assert!(world.leftovers().await.is_empty());
        world.storage.blob_delete(&digest).await.unwrap();
    }
}

pub(super) async fn cancel(world: &World) {
    let uploads = world.instance(0).await;
    let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    upload.append(&mut Pieces::announced(b"some")).await.unwrap();
    let mut other = uploads.resume(&name(), upload.id()).await.unwrap().unwrap();
    let id = upload.id().clone();
    assert_eq!(uploads.count().await.unwrap(), 1);
    upload.cancel().await.unwrap();
    assert_eq!(uploads.count().await.unwrap(), 0);
    assert!(uploads.resume(&name(), &id).await.unwrap().is_none());
    assert!(matches!(other.append(&mut Pieces::announced(b"more")).await, Err(UploadError::Gone)));
    assert!(world.leftovers().await.is_empty());
}

pub(super) async fn other_repository(world: &World) {
    let uploads = world.instance(0).await;
    let upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    assert!(uploads.resume(&"team/other".parse().unwrap(), upload.id()).await.unwrap().is_none());
    let unknown: UploadId = "6a3a6a0e-4b8e-4b8e-8b8e-0123456789ab".parse().unwrap();
    assert!(uploads.resume(&name(), &unknown).await.unwrap().is_none());
    upload.cancel().await.unwrap();
}
