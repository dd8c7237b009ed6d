//! Whether a repository has a blob, and whether the asker may have it.

use std::sync::Arc;

use futures::FutureExt;
use tokio::time::Instant;

use super::Wanted;
use crate::mirror::rights::{self, Thing, Who};
use crate::mirror::{Mirror, origin};
use crate::oci::Digest;
use crate::remote::{RemoteError, What};

/// What is known of the size of a blob that may be had.
pub(super) struct Said {
    pub size: Option<u64>,
    /// Just now.
    pub by_remote: bool,
    /// By the remote, now or a moment ago, and not only by a manifest.
    pub proven: bool,
}

/// Whether the repository has the blob and the asker may have it. What is nowhere here, and a manifest names, the remote is asked for
/// by the GET itself. What is here came for others: then only the remote's word counts, since a manifest may name what it will.
pub(super) async fn permitted(mirror: &Arc<Mirror>, wanted: &Wanted<'_>, until: Instant) -> Result<Said, RemoteError> {
    let key = (wanted.name.clone(), *wanted.digest);
    if mirror.rights.known(wanted.asker, wanted.name, Thing::Blobs) {
        if let Some(size) = mirror.blobs.proven.get(&key) {
            return Ok(Said { size: Some(size), by_remote: false, proven: true });
        }
        if let Some(size) = mirror.blobs.named.get(&key) {
            let opened = || mirror.blobs.opens.is_under_way(&(key.0.clone(), key.1, Who::by(wanted.asker)));
            // What comes may be what has been asked for by the same right: then its answer is ours as well.
            if !is_anywhere(mirror, wanted.digest).await || opened() {
                return Ok(Said { size: Some(size), by_remote: false, proven: false });
            }
            if let Some(size) = mirror.blobs.proven.get(&key) {
                return Ok(Said { size: Some(size), by_remote: false, proven: true });
            }
        }
    }
    Ok(Said { size: Some(at_remote(mirror, wanted, until).await?), by_remote: true, proven: true })
}

/// Whether its bytes are here, or come, for whatever repository.
async fn is_anywhere(mirror: &Mirror, digest: &Digest) -> bool {
    let cache = &mirror.parts.cache;
    cache.holds(digest) || cache.progress(digest).is_some() || mirror.parts.keep.has_bytes(digest).await
}

/// HEAD, once for all who ask it meanwhile by the same right.
pub(super) async fn at_remote(mirror: &Arc<Mirror>, wanted: &Wanted<'_>, until: Instant) -> Result<u64, RemoteError> {
    let Wanted { name, digest, asker, .. } = *wanted;
    let (asking, named, by) = (mirror.clone(), (name.clone(), *digest), asker.clone());
    let ask = move || {
        async move {
            let headers = rights::head(&asking, &named.0, What::Blob(&named.1), &by, until).await?;
            origin::total(&headers).ok_or_else(|| RemoteError::Useless("it does not say how long a blob is".into()))
        }
        .boxed()
    };
    let key = (name.clone(), *digest, Who::by(asker));
    let landed = mirror.blobs.heads.join(key, ask).await;
    let size = landed.ok_or_else(|| RemoteError::Down("too much is asked of it at once".into()))?.value?;
    mirror.rights.given(asker, name, Thing::Blobs);
    mirror.blobs.proven.insert((name.clone(), *digest), size);
    Ok(size)
}
