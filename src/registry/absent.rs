//! Content that a repository lacks and somebody else may have: whoever wires the rooms says who.

use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use tokio::time::timeout;

use super::Request;
use super::fan::PER_REQUEST;
use crate::auth::Permission;
use crate::oci::{Digest, Manifest, RepositoryName};

/// How long the blobs of one push may take to come before it is refused; the client may push again, and finds what has come meanwhile.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);
/// Manifests of one index that are looked for, and how long they may take together.
const MAX_CHILDREN: usize = 64;
const CHILDREN_PATIENCE: Duration = Duration::from_secs(10);

/// Who may have what a repository lacks.
#[async_trait]
pub trait Absent: Send + Sync + 'static {
    /// Brings a blob into the repository's own content. False: it cannot be had. Asked by many at once; each ends in bounded time.
    async fn bring(&self, name: &RepositoryName, digest: &Digest) -> bool;

    /// The same of a manifest, which a pushed index names.
    async fn bring_manifest(&self, name: &RepositoryName, digest: &Digest) -> bool;
}

/// Whether anybody may be asked for what the repository lacks.
pub(super) fn may_be_asked(request: &Request, name: &RepositoryName) -> bool {
    askable(request, name).is_some()
}

/// Brings what may be brought for who asks: whoever may not pull it has to send it.
pub(super) async fn bring(request: &Request, name: &RepositoryName, digest: &Digest) -> bool {
    match askable(request, name) {
        Some(absent) => timeout(PATIENCE, absent.bring(name, digest)).await.unwrap_or(false),
        None => false,
    }
}

/// Brings what a pushed index names, as far as it can be had: an index may name what is not there.
pub(super) async fn bring_children(request: &Request, name: &RepositoryName, index: &Manifest) {
    let Some(absent) = askable(request, name) else { return };
    let children: Vec<Digest> =
        index.manifests.iter().flatten().filter_map(|child| child.digest.parse().ok()).collect();
    // Made before they are a stream: else the compiler does not see that they may change threads.
    let bringing: Vec<BoxFuture<'_, bool>> =
        children.iter().take(MAX_CHILDREN).map(|digest| absent.bring_manifest(name, digest)).collect();
    let all = stream::iter(bringing).buffer_unordered(PER_REQUEST).collect::<Vec<bool>>();
    // What is not here by then is missing as any other.
    let _ = timeout(CHILDREN_PATIENCE, all).await;
}

fn askable<'a>(request: &'a Request, name: &RepositoryName) -> Option<&'a dyn Absent> {
    request.absent.as_deref().filter(|_| request.permit.may(Permission::Pull, name))
}
