//! What one client at a time sees.

use super::world::{MIB, Pieces, World, bytes, name, sha256};
use crate::oci::{Algorithm, Digest};
use crate::storage::Precondition;
use crate::uploads::UploadError;

pub(super) const SPOOL: u64 = 1 << 30;

/// As docker pushes: one body, and an empty end.
pub(super) async fn one_body(world: &World) {
    for size in [1, 100_000, 20 * MIB + 1] {
        let uploads = world.instance(SPOOL).await;
        let content = bytes(size as u64, size);
        let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
        assert_eq!(upload.append(&mut Pieces::new(&content, 64 << 10)).await.unwrap(), size as u64);
        let upload = uploads.resume(&name(), upload.id()).await.unwrap().unwrap();
        assert_eq!(upload.offset(), size as u64);
        let digest = sha256(&content);
        assert_eq!(upload.commit_all(&digest, &mut Pieces::empty()).await.unwrap(), size as u64);
        world.assert_blob(&digest, &content).await;
        assert!(world.leftovers().await.is_empty());
    }
}

pub(super) async fn several_bodies(world: &World) {
    let content = bytes(1, 300_000);
    let digest = sha256(&content);
    let mut id = None;
    for chunk in content[..250_000].chunks(50_000) {
        let uploads = world.instance(SPOOL).await; // each on another instance
        let mut upload = match &id {
            None => uploads.begin(&name(), Algorithm::Sha256).await.unwrap(),
            Some(id) => uploads.resume(&name(), id).await.unwrap().unwrap(),
        };
        upload.append(&mut Pieces::announced(chunk)).await.unwrap();
        id = Some(upload.id().clone());
    }
    let uploads = world.instance(SPOOL).await;
    let upload = uploads.resume(&name(), &id.unwrap()).await.unwrap().unwrap();
    assert_eq!(upload.offset(), 250_000);
    assert_eq!(upload.commit_all(&digest, &mut Pieces::announced(&content[250_000..])).await.unwrap(), 300_000);
    world.assert_blob(&digest, &content).await;
    assert!(world.leftovers().await.is_empty());
}

/// Copied by the store and joined with what is small.
pub(super) async fn large_then_small(world: &World) {
    let content = bytes(2, 21 * MIB + 77);
    let digest = sha256(&content);
    let uploads = world.instance(SPOOL).await;
    let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    for chunk in [&content[..10 * MIB], &content[10 * MIB..10 * MIB + 3], &content[10 * MIB + 3..20 * MIB]] {
        upload.append(&mut Pieces::new(chunk, 100_000)).await.unwrap();
    }
    assert_eq!(
        upload.commit_all(&digest, &mut Pieces::new(&content[20 * MIB..], 9999)).await.unwrap(),
        21 * 1048576 + 77
    );
    world.assert_blob(&digest, &content).await;
    assert!(world.leftovers().await.is_empty());
}

pub(super) async fn no_spool(world: &World) {
    let content = bytes(3, 17 * MIB);
    let digest = sha256(&content);
    let uploads = world.instance(0).await;
    let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    upload.append(&mut Pieces::new(&content, 1 << 20)).await.unwrap();
    upload.commit_all(&digest, &mut Pieces::empty()).await.unwrap();
    world.assert_blob(&digest, &content).await;
    assert_eq!(world.blobs().await.len(), 1);
    assert!(world.leftovers().await.is_empty());
}

pub(super) async fn spool_runs_out(world: &World) {
    for (spool, size) in [(10 * MIB, 25 * MIB), (100, MIB), (9 * MIB, 9 * MIB + 1)] {
        let content = bytes(4, size);
        let digest = sha256(&content);
        let uploads = world.instance(spool as u64).await;
        let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
        upload.append(&mut Pieces::new(&content, 70_000)).await.unwrap();
        assert_eq!(upload.offset(), size as u64);
        upload.commit_all(&digest, &mut Pieces::empty()).await.unwrap();
        world.assert_blob(&digest, &content).await;
        assert!(world.leftovers().await.is_empty());
    }
    // A spool that cannot be used at all.
    std::fs::write(world.folder.path().join("spool2"), b"a file").unwrap();
    let uploads = world.instance(SPOOL).await;
    uploads.reconfigure(crate::uploads::Limits {
        memory: 0,
        spool: world.folder.path().join("spool2"),
        spool_size: SPOOL,
    });
    let content = bytes(5, MIB);
    let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    upload.append(&mut Pieces::new(&content, 70_000)).await.unwrap();
    upload.commit_all(&sha256(&content), &mut Pieces::empty()).await.unwrap();
    world.assert_blob(&sha256(&content), &content).await;
}

pub(super) async fn empty(world: &World) {
    let uploads = world.instance(SPOOL).await;
    let none = sha256(b"");
    let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    assert_eq!(upload.append(&mut Pieces::new(b"", 1)).await.unwrap(), 0);
    assert_eq!(upload.commit_all(&none, &mut Pieces::new(b"", 1)).await.unwrap(), 0);
    world.assert_blob(&none, b"").await;
    assert_eq!(uploads.put(&none, &mut Pieces::empty()).await.unwrap(), 0);
    let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    upload.append(&mut Pieces::announced(b"abc")).await.unwrap();
    assert_eq!(upload.append(&mut Pieces::empty()).await.unwrap(), 3);
    assert_eq!(upload.commit_all(&sha256(b"abc"), &mut Pieces::new(b"", 1)).await.unwrap(), 3);
    assert!(world.leftovers().await.is_empty());
}

/// The running hash is of another algorithm than the digest.
pub(super) async fn another_algorithm(world: &World) {
    let content = bytes(7, 9 * MIB);
    let long = Digest::of(Algorithm::Sha512, &content);
    for (guess, first) in [
        (Algorithm::Sha256, 9 * MIB),
        (Algorithm::Sha512, 9 * MIB),
        (Algorithm::Sha256, 5 * MIB),
        (Algorithm::Sha256, 0),
    ] {
        let uploads = world.instance(SPOOL).await;
        let mut upload = uploads.begin(&name(), guess).await.unwrap();
        upload.append(&mut Pieces::new(&content[..first], 50_000)).await.unwrap();
        upload.commit_all(&long, &mut Pieces::new(&content[first..], 50_000)).await.unwrap();
        world.assert_blob(&long, &content).await;
        world.storage.blob_delete(&long).await.unwrap();
    }
    assert!(world.leftovers().await.is_empty());
}

pub(super) async fn known_digest(world: &World) {
    let uploads = world.instance(SPOOL).await;
    for size in [0, 1, 8 * MIB, 8 * MIB + 1, 30 * MIB] {
        let content = bytes(size as u64 + 100, size);
        let digest = sha256(&content);
        for body in [&mut Pieces::announced(&content), &mut Pieces::new(&content, 1 << 20)] {
            assert_eq!(uploads.put(&digest, body).await.unwrap(), size as u64);
            world.assert_blob(&digest, &content).await;
            world.storage.blob_delete(&digest).await.unwrap();
        }
    }
    assert!(world.leftovers().await.is_empty());
}

/// A blob that is there must be proven all the same. On an object store it is not written again; on a disk it is, since
/// whoever wrote it may not have made it durable.
pub(super) async fn there_already(world: &World) {
    let uploads = world.instance(SPOOL).await;
    let content = bytes(8, MIB);
    let digest = sha256(&content);
    uploads.put(&digest, &mut Pieces::announced(&content)).await.unwrap();
    let key = crate::storage::layout::blob(&digest);
    if let Some(path) = world.storage.store().local_path(&key) {
        // Damaged, and healed by pushing again.
        std::fs::write(path, vec![0; MIB]).unwrap();
    }
    let store = world.storage.store();
    if !world.local() {
        store.put(&key, vec![0; MIB].into(), Precondition::None).await.unwrap();
        world.storage.blob_damaged(&digest); // as a reader does
    }
    assert_eq!(uploads.put(&digest, &mut Pieces::announced(&content)).await.unwrap(), MIB as u64);
    world.assert_blob(&digest, &content).await;
    if !world.local() {
        store.put(&key, vec![0; MIB].into(), Precondition::None).await.unwrap();
        world.storage.blob_damaged(&digest);
        let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
        upload.append(&mut Pieces::announced(&content)).await.unwrap();
        world.storage.blob_damaged(&digest); // by who had begun to read before
        upload.commit_all(&digest, &mut Pieces::empty()).await.unwrap();
        world.assert_blob(&digest, &content).await;
    }
    assert_eq!(uploads.put(&digest, &mut Pieces::new(&content, 5000)).await.unwrap(), MIB as u64);
    let mut wrong = content.clone();
    wrong[77] ^= 1;
    let error = uploads.put(&digest, &mut Pieces::announced(&wrong)).await.unwrap_err();
    assert!(matches!(error, UploadError::Mismatch { .. }));
    world.assert_blob(&digest, &content).await;
    let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    upload.append(&mut Pieces::announced(&content)).await.unwrap();
    upload.commit_all(&digest, &mut Pieces::empty()).await.unwrap();
    world.assert_blob(&digest, &content).await;
    assert!(world.leftovers().await.is_empty());
}

/// They are joined before they are too many.
pub(super) async fn many_small_bodies(world: &World) {
    let content = bytes(12, 100 * 100_000);
    let uploads = world.instance(SPOOL).await;
    let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
    for chunk in content.chunks(100_000) {
        upload.append(&mut Pieces::announced(chunk)).await.unwrap();
        assert!(upload.state.pieces.len() <= 18, "{}", upload.state.pieces.len());
    }
    upload.commit_all(&sha256(&content), &mut Pieces::empty()).await.unwrap();
    world.assert_blob(&sha256(&content), &content).await;
    assert!(world.leftovers().await.is_empty());
}
