//! Blobs: what a repository holds is given at once; what is here for another one is taken over when this one is known to have it; and
//! what is nowhere here comes from the remote, once for all who ask.

mod coming;
mod permitted;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderValue, Method};
use moka::sync::Cache;
use tokio::time::{Instant, timeout_at};

use super::flights::Flights;
use super::image::Named;
use super::keeping::Keeping;
use super::origin::MirrorOrigin;
use super::rights::{self, Who};
use super::statuses::{self, Asked};
use super::{Blob, Body, KeptBlob, Mirror, Reply, Request, overlay, piece};
use crate::cache::{Content, Source};
use crate::oci::{Digest, RepositoryName, media_type};
use crate::remote::{Asker, RemoteError};
#[cfg(test)]
pub(super) use coming::Brought;
pub(super) use coming::fetch;
use coming::{adopted, coming};
use permitted::{Said, at_remote, permitted};

/// Blobs that are known to be in a repository because a manifest of it names them. Forgetting one costs a question.
const MAX_NAMED: u64 = 100_000;
/// So long the remote's word, or its content, counts for everybody who asks by our own right.
const PROVEN_FOR: Duration = Duration::from_secs(60);
/// A remote that did not give a blob is not asked by the others who wait for the same one.
const FAILED_FOR: Duration = Duration::from_secs(1);
const MAX_FAILED: u64 = 10_000;

/// A blob in the cache, or why it does not come.
type Found = Result<(Content, Source), RemoteError>;

/// What is known of a mirror's blobs.
pub(super) struct Blobs {
    /// With their sizes, as manifests say that are kept in the repository.
    named: Cache<(RepositoryName, Digest), u64>,
    /// What the remote said, a moment ago, that the repository has; with its size.
    proven: Cache<(RepositoryName, Digest), u64>,
    pub(super) failed: Cache<Digest, RemoteError>,
    pub(super) keeping: Keeping,
    heads: Flights<(RepositoryName, Digest, Who), Result<u64, RemoteError>>,
    /// GETs whose answer is the permission.
    opens: Flights<(RepositoryName, Digest, Who), Found>,
    /// Streams of the remote that clients wait for.
    pub(super) busy: Arc<AtomicUsize>,
}

impl Default for Blobs {
    fn default() -> Self {
        Blobs {
            named: Cache::new(MAX_NAMED),
            proven: Cache::builder().max_capacity(MAX_NAMED).time_to_live(PROVEN_FOR).build(),
            failed: Cache::builder().max_capacity(MAX_FAILED).time_to_live(FAILED_FOR).build(),
            keeping: Keeping::default(),
            heads: Flights::default(),
            opens: Flights::default(),
            busy: Arc::default(),
        }
    }
}

impl Blobs {
    /// A manifest that is kept in the repository names these.
    pub(super) fn named_by_manifest(&self, name: &RepositoryName, needed: &[Named]) {
        for blob in needed {
            self.named.insert((name.clone(), blob.digest), blob.size);
        }
    }

    pub(super) fn clients_wait(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }
}

/// A blob, by one who asks for it.
pub(super) struct Wanted<'a> {
    pub name: &'a RepositoryName,
    pub digest: &'a Digest,
    pub asker: &'a Asker,
    pub head: bool,
    pub range: Option<&'a HeaderValue>,
    /// Nobody has asked for it yet but ourselves.
    pub ahead: bool,
}

/// GET and HEAD of a blob.
pub(super) async fn answer(mirror: &Arc<Mirror>, request: &Request, name: &RepositoryName, digest: &Digest) -> Reply {
    let (asker, head) = (mirror.asker(&request.asker), request.action.method == Method::HEAD);
    let until = Instant::now() + mirror.remote.config().timeouts.first_byte.0;
    let wanted = Wanted { name, digest, asker: &asker, head, range: request.range.as_ref(), ahead: false };
    let found = timeout_at(until, find(mirror, request, &wanted, until)).await;
    let found = found.unwrap_or_else(|_| Err(RemoteError::Down("no byte of the blob in time".into())));
    found.unwrap_or_else(|error| statuses::reply(&error, Asked::Blob, mirror.remote.config()))
}

async fn find(
    mirror: &Arc<Mirror>,
    request: &Request,
    wanted: &Wanted<'_>,
    until: Instant,
) -> Result<Reply, RemoteError> {
    let Wanted { name, digest, asker, head, .. } = *wanted;
    // Who asks for what was pushed here by HEAD goes on to leave it out of a push: the registry proves that it is there.
    if head && let Some(reply) = overlay::own(mirror, request).await {
        return Ok(reply);
    }
    if let Some(blob) = kept(mirror, wanted).await {
        rights::blob(mirror, name, digest, asker, until).await?;
        return Ok(reply(digest, blob));
    }
    if !head && let Some(reply) = overlay::own(mirror, request).await {
        return Ok(reply);
    }
    let said = permitted(mirror, wanted, until).await?;
    if adopted(mirror, name, digest).await
        && let Some(blob) = kept(mirror, wanted).await
    {
        return Ok(reply(digest, blob));
    }
    match (head, &said) {
        (true, &Said { size: Some(size), by_remote: true, .. }) => {
            Ok(reply(digest, (Blob::Absent(size), Source::Miss)))
        }
        (true, _) => {
            let size = at_remote(mirror, wanted, until).await?;
            Ok(reply(digest, (Blob::Absent(size), Source::Miss)))
        }
        (false, Said { size, .. }) => {
            if let Some(size) = *size
                && let Some(piece) = piece::answer(mirror, wanted, size, until).await
            {
                return piece;
            }
            let (content, source) = coming(mirror, wanted, &said).await?;
            Ok(reply(digest, (Blob::Cached(content), source)))
        }
    }
}

/// What the repository holds. Where that cannot be read, it is as if it were not there.
async fn kept(mirror: &Arc<Mirror>, wanted: &Wanted<'_>) -> Option<(Blob, Source)> {
    let (name, digest) = (wanted.name, wanted.digest);
    // HEAD needs no file.
    if wanted.head {
        return match mirror.parts.keep.blob_size(name, digest).await {
            Ok(size) => size.map(|size| (Blob::Absent(size), Source::Disk)),
            Err(error) => unreadable(wanted, &error.0),
        };
    }
    match mirror.parts.keep.blob(name, digest).await {
        Ok(found) => found.map(|kept| match kept {
            KeptBlob::Whole(bytes) => (Blob::Whole(bytes), Source::Memory),
            KeptBlob::Local(file) => (Blob::Local(file), Source::Disk),
            KeptBlob::Stored(size) => (Blob::Stored(size), Source::Disk),
            KeptBlob::Cached(content, source) => {
                // A damaged file is mended from the remote.
                let origin = MirrorOrigin::new(mirror, name, digest, wanted.asker.clone());
                (Blob::Cached(content.with_origin(Arc::new(origin))), source)
            }
        }),
        Err(error) => unreadable(wanted, &error.0),
    }
}

fn unreadable<T>(wanted: &Wanted<'_>, error: &str) -> Option<T> {
    tracing::warn!(name = %wanted.name, digest = %wanted.digest, error, "a kept blob cannot be read");
    None
}

fn reply(digest: &Digest, (blob, source): (Blob, Source)) -> Reply {
    let media_type = media_type::OCTET_STREAM.to_owned();
    Reply::content(Body::Content { digest: *digest, media_type, by_tag: false, blob }, source)
}
