//! A disk that is nearly full takes nothing new, and gives and deletes as before.

use async_trait::async_trait;
use bytes::Bytes;

use super::harness::{Harness, on_disk, sha256};
use crate::registry::{Body, BodyError, Config, DiskLevel};
use crate::storage::Usage;

fn fill(harness: &Harness, used: u64) {
    let usage = Usage { used, total: 100 << 20, reserved: 0 };
    harness.registry.health.watermark.seen(Some(usage), &Config::default());
}

/// Gives some, then the disk fills up, then would give more.
struct Filling<'a> {
    harness: &'a Harness,
    left: u32,
}

#[async_trait]
impl Body for Filling<'_> {
    fn length(&self) -> Option<u64> {
        None
    }

    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        self.left = self.left.checked_sub(1)?;
        if self.left == 1 {
            fill(self.harness, 99 << 20);
        }
        Some(Ok(Bytes::from_static(b"1234")))
    }
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_takes_nothing_new_and_goes_on_with_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let harness = Harness::over(Config::default(), on_disk(folder.path()).await).await;
    let manifest = harness.push_image("a", "v1", "x").await;
    let unlinked = harness.push_blob("a", b"unlinked").await;
    let upload = harness.send("POST", "/v2/a/blobs/uploads/", &[], b"").await.header("location").to_owned();
    fill(&harness, 99 << 20);
    assert_eq!(harness.registry.disk_level(), DiskLevel::Full);
    let body = manifest.to_string();
    for (method, target) in [
        ("POST", "/v2/a/blobs/uploads/".to_owned()),
        ("POST", format!("/v2/b/blobs/uploads/?mount={unlinked}&from=a")),
        ("PATCH", upload.clone()),
        ("PUT", "/v2/a/manifests/v2".to_owned()),
    ] {
        let seen = harness.send(method, &target, &[], body.as_bytes()).await;
        assert_eq!(seen.error(), (507, "UNAVAILABLE".into()), "{method} {target}");
        assert!(String::from_utf8_lossy(&seen.body).contains("disk_full"), "{seen:?}");
    }
    assert_eq!(harness.status("GET", "/v2/a/manifests/v1").await, 200);
    assert_eq!(harness.status("DELETE", &format!("/v2/a/blobs/{unlinked}")).await, 202);
    assert_eq!(harness.status("DELETE", &upload).await, 204);
    assert_eq!(harness.status("DELETE", "/v2/a/manifests/v1").await, 202);
    fill(&harness, 50 << 20);
    harness.push_image("a", "v1", "x").await;
}

#[tokio::test]
async fn what_would_not_fit_is_refused_before_it_comes_and_what_does_not_ends() {
    let folder = tempfile::tempdir().unwrap();
    let harness = Harness::over(Config::default(), on_disk(folder.path()).await).await;
    fill(&harness, 94 << 20);
    let large = vec![7; 2 << 20];
    let target = format!("/v2/a/blobs/uploads/?digest={}", sha256(&large));
    assert_eq!(harness.send("POST", &target, &[], &large).await.status, 507, "announced");
    harness.push_blob("a", b"small").await;
    let upload = harness.send("POST", "/v2/a/blobs/uploads/", &[], b"").await.header("location").to_owned();
    let mut filling = Filling { harness: &harness, left: 4 };
    let seen = harness.send_body("PATCH", &upload, &[], &mut filling).await;
    assert_eq!(seen.error(), (507, "UNAVAILABLE".into()), "{seen:?}");
    fill(&harness, 50 << 20);
    let seen = harness.send("GET", &upload, &[], b"").await;
    assert_eq!((seen.status.as_u16(), seen.header("range")), (204, "0-11"), "what arrived is kept");
}

#[tokio::test]
async fn an_object_store_has_no_disk() {
    let harness = Harness::new().await;
    fill(&harness, 99 << 20);
    harness.push_image("a", "v1", "x").await;
}
