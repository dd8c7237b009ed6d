//! What is kept of other registries is as if it had been pushed: lists, the catalog and listeners learn of it.

use bytes::Bytes;
use serde_json::json;

use super::harness::{Harness, Whole, artifact, digest_of, image, sha256};
use crate::events::{MountedFrom, What};
use crate::oci::{RepositoryName, media_type};
use crate::uploads::UploadError;

fn repository(name: &str) -> RepositoryName {
    name.parse().unwrap()
}

#[tokio::test]
async fn a_manifest_is_kept_before_what_it_names_and_everybody_learns_of_it() {
    let harness = Harness::new().await;
    assert_eq!(harness.get("/v2/_catalog").await.json()["repositories"], json!([]));
    let name = repository("remote.test/app");
    let manifest = image(&sha256(b"absent"), &sha256(b"absent too"));
    let (digest, bytes) = (digest_of(&manifest), Bytes::from(manifest.to_string()));
    harness.registry.keep_manifest(&name, &digest, bytes.clone(), media_type::OCI_MANIFEST).await.unwrap();
    let told = harness.notes.take();
    assert!(matches!(&told[..], [change] if matches!(change.what, What::ManifestPushed { new: true, .. })), "{told:?}");
    assert_eq!(harness.get("/v2/_catalog").await.json()["repositories"], json!(["remote.test/app"]));
    let seen = harness.get(&format!("/v2/remote.test/app/manifests/{digest}")).await;
    assert_eq!((seen.status.as_u16(), seen.body), (200, bytes));
    assert_eq!(harness.get("/v2/remote.test/app/tags/list").await.json()["tags"], json!([]));
    let about = artifact(&digest, "application/x", "1");
    let bytes = Bytes::from(about.to_string());
    harness.registry.keep_manifest(&name, &digest_of(&about), bytes, media_type::OCI_INDEX).await.unwrap();
    let listed = harness.get(&format!("/v2/remote.test/app/referrers/{digest}")).await.json();
    assert_eq!(listed["manifests"][0]["digest"], digest_of(&about).text());
}

#[tokio::test]
async fn a_blob_is_kept_once_proven_and_adopted_by_other_repositories() {
    let harness = Harness::new().await;
    let (one, other, bytes) = (repository("a"), repository("b"), vec![5; 200_000]);
    let digest = sha256(&bytes);
    let wrong = harness.registry.keep_blob(&one, &sha256(b"x"), &mut Whole::new(&bytes, true)).await;
    assert!(matches!(wrong, Err(UploadError::Mismatch { .. })));
    assert_eq!(harness.registry.adopt_blob(&other, &digest).await.unwrap(), None);
    let size = harness.registry.keep_blob(&one, &digest, &mut Whole::new(&bytes, true)).await.unwrap();
    assert_eq!(size, 200_000);
    assert_eq!(harness.registry.held_blob_size(&other, &digest).await.unwrap(), None);
    harness.notes.take();
    for _ in 0..2 {
        assert_eq!(harness.registry.adopt_blob(&other, &digest).await.unwrap(), Some(size));
    }
    let told = harness.notes.take();
    let mounted = Some(MountedFrom::Anywhere);
    assert!(
        matches!(&told[..], [change] if change.what == What::BlobLinked { digest, size, mounted: mounted.clone() })
    );
    assert!(harness.registry.held_blob(&other, &digest).await.unwrap().is_some());
    assert_eq!(harness.status("GET", &format!("/v2/b/blobs/{digest}")).await, 200);
    // One that was found to be damaged is not handed on.
    harness.registry.blob_damaged(&digest);
    assert_eq!(harness.registry.adopt_blob(&repository("c"), &digest).await.unwrap(), None);
}
