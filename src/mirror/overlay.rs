//! What was pushed over a mirror, and what is brought to it: a pushed manifest may name blobs that only the remote or the mirror has,
//! since clients leave out of a push what a HEAD said is there.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::time::timeout;

use super::{Blob, Body, KeptBlob, Mirror, Reply, Request, blobs, bodies, manifests};
use crate::auth::Permit;
use crate::cache::Source;
use crate::oci::{Action, Digest, Reference, RepositoryName, Resource};
use crate::registry::{self, BodyError, ContentBytes, Registry, ReplyBody};
use crate::remote::Asker;
use crate::remote::config::AskedAs;
use crate::telemetry::RequestId;

/// How long a push waits for one blob that is brought.
const BRING_TIME: Duration = Duration::from_secs(300);

/// What the registry itself has; `None`: nothing, or this is no overlay. Where it cannot say, its failure is the answer: the remote's
/// must not take the place of what may have been pushed.
pub(super) async fn own(mirror: &Mirror, request: &Request) -> Option<Reply> {
    let registry = mirror.parts.registry.as_ref().filter(|_| request.overlay)?;
    // What is kept of the remote is there as well, and whether a caller may have that is not the registry's to say.
    if mirror.remote.config().identity == AskedAs::Caller && is_by_digest(&request.action.resource) {
        return None;
    }
    let answered = ask(registry, request.action.clone()).await;
    (answered.status != StatusCode::NOT_FOUND).then(|| from_registry(answered))
}

fn is_by_digest(resource: &Resource) -> bool {
    matches!(resource, Resource::Blob { .. } | Resource::Manifest { reference: Reference::Digest(_), .. })
}

/// A read, for somebody who may.
pub(super) async fn ask(registry: &Registry, action: Action) -> registry::Reply {
    let (id, permit) = (RequestId::new(), Permit::open());
    let headers = HeaderMap::new();
    let asked = registry::Request { id, permit, action, headers, listener: None, absent: None };
    registry.answer(asked, &mut Nothing).await
}

pub(super) fn from_registry(answered: registry::Reply) -> Reply {
    let registry::Reply { status, headers, body } = answered;
    let body = match body {
        ReplyBody::Bytes(bytes) => Body::Bytes(bytes),
        ReplyBody::Content(registry::Content { digest, media_type, by_tag, bytes }) => {
            let blob = match bytes {
                ContentBytes::Whole(bytes) => Blob::Whole(bytes),
                ContentBytes::Local(blob) => Blob::Local(blob),
                ContentBytes::Remote(size) => Blob::Stored(size),
            };
            Body::Content { digest, media_type, by_tag, blob }
        }
    };
    Reply { status, headers, body, source: Some(Source::Disk), problem: None }
}

/// A request without a body.
struct Nothing;

#[async_trait]
impl registry::Body for Nothing {
    fn length(&self) -> Option<u64> {
        Some(0)
    }

    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        None
    }
}

/// See [`Mirror::bring`].
pub(super) async fn bring(mirror: &Arc<Mirror>, name: &RepositoryName, digest: &Digest) -> bool {
    let Some(registry) = mirror.parts.registry.clone() else { return false };
    if matches!(registry.held_blob_size(name, digest).await, Ok(Some(_))) {
        return true;
    }
    // Whether this caller may have it, only their own credentials could tell.
    if mirror.remote.config().identity == AskedAs::Caller {
        return false;
    }
    let brought = timeout(BRING_TIME, brought(mirror, &registry, name, digest)).await;
    brought.unwrap_or_else(|_| {
        tracing::warn!(%name, %digest, "a blob for a pushed manifest did not come in time");
        false
    })
}

async fn brought(mirror: &Arc<Mirror>, registry: &Registry, name: &RepositoryName, digest: &Digest) -> bool {
    if copied(mirror, registry, name, digest).await {
        return true;
    }
    // What another repository holds is not taken without the remote's word that it is in this one, which a fetch asks for.
    if blobs::fetch(mirror, name, digest).await.is_err() {
        return false;
    }
    let held = registry.held_blob_size(name, digest).await;
    matches!(held, Ok(Some(_))) || copied(mirror, registry, name, digest).await
}

/// From where it is kept of this repository; false: it is not.
async fn copied(mirror: &Mirror, registry: &Registry, name: &RepositoryName, digest: &Digest) -> bool {
    let outcome = match mirror.parts.keep.blob(name, digest).await {
        Ok(None) => return false,
        Ok(Some(KeptBlob::Stored(_))) => registry.adopt_blob(name, digest).await.map(drop).map_err(|e| e.to_string()),
        Ok(Some(kept)) => {
            let kept = registry.keep_blob(name, digest, &mut *bodies::body(kept)).await;
            kept.map(drop).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = &outcome {
        tracing::warn!(%name, %digest, error, "a blob for a pushed manifest is not taken over");
    }
    outcome.is_ok()
}

/// See [`Mirror::bring_manifest`].
pub(super) async fn bring_manifest(mirror: &Arc<Mirror>, name: &RepositoryName, digest: &Digest) -> bool {
    let Some(registry) = mirror.parts.registry.clone() else { return false };
    if matches!(registry.held_manifest(name, digest).await, Ok(Some(_))) {
        return true;
    }
    if mirror.remote.config().identity == AskedAs::Caller {
        return false;
    }
    let found = match manifests::kept(mirror, name, digest).await {
        Some(found) => Ok(found),
        None => manifests::obtain(mirror, name, digest, &Asker::Mirror, None, mirror.until()).await,
    };
    let Ok(found) = found else { return false };
    let manifest = found.manifest;
    let kept = registry.keep_manifest(name, digest, manifest.bytes, &manifest.media_type).await;
    if let Err(error) = &kept {
        tracing::warn!(%name, %digest, %error, "a manifest for a pushed index is not taken over");
    }
    kept.is_ok()
}
