//! Memory: many uploads at once stay within it, and none waits for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::future::join_all;

use super::scenarios::SPOOL;
use super::world::{MIB, Pieces, World, bytes, name, sha256};
use crate::oci::Algorithm;
use crate::uploads::budget::LEAST;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_uploads_share_the_least_budget() {
    for world in [World::memory().await, World::filesystem().await] {
        let uploads = world.instance(SPOOL).await;
        let bounds = uploads.inner.bounds();
        let (peak, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let watch = {
            let (bounds, peak, over) = (bounds.clone(), peak.clone(), over.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    peak.fetch_max(bounds.budget.used(), Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            })
        };
        let content = bytes(1, 20 * MIB);
        let push = |index: usize| {
            let (uploads, content) = (&uploads, &content[..20 * MIB - index]);
            async move {
                let digest = sha256(content);
                if index.is_multiple_of(2) {
                    return uploads.put(&digest, &mut Pieces::new(content, 500_000)).await.unwrap();
                }
                let mut upload = uploads.begin(&name(), Algorithm::Sha256).await.unwrap();
                let half = if index % 4 == 1 { content.len() } else { 9 * MIB };
                upload.append(&mut Pieces::new(&content[..half], 500_000)).await.unwrap();
                upload.commit_all(&digest, &mut Pieces::new(&content[half..], 500_000)).await.unwrap()
            }
        };
        let sizes = join_all((0..24).map(push)).await;
        over.store(true, Ordering::Relaxed);
        watch.await.unwrap();
        assert_eq!(sizes.len(), 24);
        let peak = peak.load(Ordering::Relaxed);
        assert!(peak > 0 && peak <= LEAST, "{peak}");
        assert_eq!(bounds.budget.used(), 0);
        assert!(world.leftovers().await.is_empty());
    }
}
