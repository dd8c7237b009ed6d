//! Bytes that unfinished uploads hold.

use super::harness::{Harness, Whole, on_disk, sha256};
use crate::registry::Config;
use crate::units::mebibytes;

const MIB: usize = 1 << 20;

fn bounded(mib: u64) -> Config {
    Config { upload_unfinished: mebibytes(mib), ..Config::default() }
}

/// One that holds nothing yet.
async fn begin(harness: &Harness, name: &str) -> String {
    harness.send("POST", &format!("/v2/{name}/blobs/uploads/"), &[], b"").await.header("location").to_owned()
}

/// Status and code of a chunk.
async fn patch(harness: &Harness, upload: &str, mib: usize, chunked: bool) -> (u16, String) {
    harness.send_body("PATCH", upload, &[], &mut Whole::new(&vec![7; mib * MIB], chunked)).await.error()
}

fn full() -> (u16, String) {
    (429, "TOOMANYREQUESTS".into())
}

const TAKEN: (u16, String) = (202, String::new());

#[tokio::test]
async fn unfinished_uploads_of_a_repository_hold_no_more_than_they_may() {
    let folder = tempfile::tempdir().unwrap();
    for chunked in [false, true] {
        for local in [false, true] {
            let storage = match local {
                true => on_disk(&folder.path().join(chunked.to_string())).await,
                false => Harness::new().await.storage,
            };
            let harness = Harness::over(bounded(8), storage.clone()).await;
            let (first, second, third) =
                (begin(&harness, "a").await, begin(&harness, "a").await, begin(&harness, "a").await);
            assert_eq!(patch(&harness, &first, 3, chunked).await, TAKEN);
            assert_eq!(patch(&harness, &second, 3, chunked).await, TAKEN);
            assert_eq!(patch(&harness, &third, 3, chunked).await, full(), "chunked {chunked}, local {local}");
            // Another repository is none of its business, and an instance that is started now knows as much.
            assert_eq!(patch(&harness, &begin(&harness, "b").await, 3, chunked).await, TAKEN);
            let restarted = Harness::over(bounded(8), storage).await;
            assert_eq!(patch(&restarted, &begin(&restarted, "a").await, 3, chunked).await, full());
            // What is finished or given up counts no more.
            let digest = sha256(&vec![7; 3 * MIB]);
            assert_eq!(harness.status("PUT", &format!("{first}?digest={digest}")).await, 201);
            assert_eq!(harness.status("DELETE", &third).await, 204);
            let fourth = begin(&harness, "a").await;
            assert_eq!(patch(&harness, &fourth, 3, chunked).await, TAKEN);
        }
    }
}

#[tokio::test]
async fn what_is_finished_never_counts_however_much_it_is() {
    let harness = Harness::with(bounded(16)).await;
    let digest = sha256(&vec![7; 5 * MIB]);
    for _ in 0..20 {
        let upload = begin(&harness, "a").await;
        assert_eq!(patch(&harness, &upload, 5, true).await, TAKEN);
        assert_eq!(harness.status("PUT", &format!("{upload}?digest={digest}")).await, 201);
        // In one request: what of it is cut off is not kept.
        assert_eq!(harness.push_blob("a", &vec![8; 5 * MIB]).await, sha256(&vec![8; 5 * MIB]));
    }
}

#[tokio::test]
async fn a_mismatch_ends_what_the_upload_held() {
    let harness = Harness::with(bounded(16)).await;
    for _ in 0..10 {
        let upload = begin(&harness, "a").await;
        assert_eq!(patch(&harness, &upload, 5, false).await, TAKEN);
        assert_eq!(harness.status("PUT", &format!("{upload}?digest={}", sha256(b"other"))).await, 400);
    }
}

#[tokio::test]
async fn one_upload_may_hold_all_there_is_when_there_is_no_bound() {
    let harness = Harness::with(bounded(0)).await;
    let upload = begin(&harness, "a").await;
    for _ in 0..5 {
        assert_eq!(patch(&harness, &upload, 8, true).await, TAKEN);
    }
}
