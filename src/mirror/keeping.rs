//! A blob that has come whole is taken to where it stays, beside the answers that it is part of.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use super::flights::Flights;
use super::{KeepError, Mirror};
use crate::cache::Content;
use crate::oci::{Digest, RepositoryName};

/// Before what could not be kept is tried a second time, which is the last.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What is being kept.
#[derive(Default)]
pub(super) struct Keeping {
    under_way: Flights<(RepositoryName, Digest), bool>,
}

/// Keeps it in the repository, once for all who say so meanwhile; whether it is kept. Goes on when the caller leaves.
pub(super) async fn put(mirror: &Arc<Mirror>, name: &RepositoryName, digest: &Digest, content: Content) -> bool {
    let key = (name.clone(), *digest);
    let work = {
        let (mirror, (name, digest)) = (mirror.clone(), key.clone());
        move || async move { keep(&mirror, &name, &digest, content).await }.boxed()
    };
    mirror.blobs.keeping.under_way.join(key, work).await.is_some_and(|landed| landed.value)
}

async fn keep(mirror: &Mirror, name: &RepositoryName, digest: &Digest, content: Content) -> bool {
    let (store, metrics) = (&mirror.parts.keep, &mirror.parts.fetching.metrics);
    let Ok(_place) = mirror.parts.fetching.keeping.acquire().await else { return false };
    if matches!(store.blob_size(name, digest).await, Ok(Some(_))) {
        return true;
    }
    if !store.has_room().await {
        metrics.no_room.inc();
        return false;
    }
    let outcome = match store.put_blob(name, digest, content.clone()).await {
        Err(error) => {
            tracing::debug!(%name, %digest, %error, "a blob is not kept; once more");
            tokio::time::sleep(AGAIN_AFTER).await;
            store.put_blob(name, digest, content).await
        }
        Ok(()) => Ok(()),
    };
    match outcome {
        Ok(()) => {
            metrics.kept.inc();
            true
        }
        Err(KeepError(error)) => {
            metrics.not_kept.inc();
            tracing::warn!(%name, %digest, error, "a blob that came is not kept: it is fetched again when it is asked for");
            false
        }
    }
}
