//! Pushes of blobs: POST, PATCH, PUT, GET and DELETE of uploads.

use http::header::{LOCATION, RANGE};
use http::{HeaderMap, Method, StatusCode};

use super::chunk::Chunk;
use super::reply::{Answer, DOCKER_UPLOAD_UUID, Refusal};
use super::unfinished::Counted;
use super::{Body, Registry, Reply, Request, blob, membership, mount, unfinished};
use crate::oci::action::UploadStart;
use crate::oci::{Digest, ErrorCode, RepositoryName};
use crate::storage::Link;
use crate::uploads::{Upload, UploadError, UploadId};

/// POST: mounts, takes a whole blob, or begins an upload.
pub(super) async fn start(
    registry: &Registry,
    name: &RepositoryName,
    start: &UploadStart,
    body: &mut dyn Body,
) -> Answer {
    if let Some(mount) = &start.mount
        && let Some(mounted) = mount::try_mount(registry, name, mount).await?
    {
        return Ok(mounted);
    }
    if let Some(digest) = &start.digest {
        registry.uploads.put(digest, body).await?;
        return finish(registry, name, digest).await;
    }
    let algorithm = start.algorithm.clone()?;
    let upload = registry.uploads.begin(name, algorithm).await?;
    Ok(progress(StatusCode::ACCEPTED, name, upload.id(), 0))
}

/// Everything below `/blobs/uploads/<id>`.
pub(super) async fn go_on(
    registry: &Registry,
    request: &Request,
    name: &RepositoryName,
    (id, digest): (&str, Option<&Digest>),
    body: &mut dyn Body,
) -> Answer {
    let id: UploadId = id.parse().map_err(|_| unknown())?;
    let method = &request.action.method;
    let Some(upload) = registry.uploads.resume(name, &id).await? else {
        return if *method == Method::PUT { finished(registry, name, digest).await } else { Err(unknown()) };
    };
    match *method {
        Method::PATCH => patch(registry, name, upload, &request.headers, body).await,
        Method::PUT => put(registry, &request.headers, name, (upload, digest), body).await,
        Method::DELETE => {
            let held = upload.offset();
            upload.cancel().await?;
            registry.unfinished.ended(name, held);
            Ok(Reply::empty(StatusCode::NO_CONTENT).with(DOCKER_UPLOAD_UUID, id.to_string()))
        }
        _ => Ok(progress(StatusCode::NO_CONTENT, name, &id, upload.offset())),
    }
}

async fn patch(
    registry: &Registry,
    name: &RepositoryName,
    mut upload: Upload,
    headers: &HeaderMap,
    body: &mut dyn Body,
) -> Answer {
    let mut counted = Counted::new(registry, name, body).await?;
    let mut chunk = Chunk::new(name, &upload, headers, &mut counted)?;
    let before = upload.offset();
    let appended = upload.append(&mut chunk).await;
    let fault = chunk.fault();
    let full = counted.full;
    counted.kept(upload.offset().saturating_sub(before));
    match appended {
        Ok(offset) => Ok(progress(StatusCode::ACCEPTED, name, upload.id(), offset)),
        // What did arrive is kept, as of a body that breaks off: who goes on must ask how much.
        Err(_) if full => Err(unfinished::full()),
        Err(error) => Err(fault.unwrap_or_else(|| error.into())),
    }
}

async fn put(
    registry: &Registry,
    headers: &HeaderMap,
    name: &RepositoryName,
    (upload, digest): (Upload, Option<&Digest>),
    body: &mut dyn Body,
) -> Answer {
    let digest = digest.ok_or_else(digest_missing)?;
    let mut chunk = Chunk::new(name, &upload, headers, body)?;
    let held = upload.offset();
    match upload.commit(digest, &mut chunk).await {
        Ok(committed) => {
            // Only then is the upload over: without the link, the client sends the same PUT again.
            let created = finish(registry, name, digest).await?;
            committed.done().await;
            registry.unfinished.ended(name, held);
            Ok(created)
        }
        Err(error @ UploadError::Mismatch { .. }) => {
            registry.unfinished.ended(name, held);
            Err(error.into())
        }
        Err(UploadError::Gone) => finished(registry, name, Some(digest)).await,
        Err(error) => Err(chunk.fault().unwrap_or_else(|| error.into())),
    }
}

/// PUT to an upload that is not there. It may be one whose answer was lost on its way: then the repository has the blob, and
/// the client is told so again. Otherwise the upload is unknown.
async fn finished(registry: &Registry, name: &RepositoryName, digest: Option<&Digest>) -> Answer {
    let digest = digest.ok_or_else(digest_missing)?;
    match membership::layer(registry, name, digest, true).await? {
        Some(_) => Ok(Reply::created(blob::location(name, digest), digest)),
        None => Err(unknown()),
    }
}

fn digest_missing() -> Refusal {
    Refusal::new(ErrorCode::DigestInvalid, "?digest= is missing")
}

/// The bytes are there: the repository holds them from now on.
async fn finish(registry: &Registry, name: &RepositoryName, digest: &Digest) -> Answer {
    registry.storage.link_put(&Link::Layer(name.clone(), *digest), digest).await?;
    Ok(Reply::created(blob::location(name, digest), digest))
}

/// How far an upload is, and where it goes on.
fn progress(status: StatusCode, name: &RepositoryName, id: &UploadId, offset: u64) -> Reply {
    Reply::empty(status)
        .with(LOCATION, location(name, id))
        .with(RANGE, received(offset))
        .with(DOCKER_UPLOAD_UUID, id.to_string())
}

/// What has arrived, in the form that distribution gave it: for nothing, as for one byte, `0-0`.
pub(super) fn received(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

pub(super) fn location(name: &RepositoryName, id: &UploadId) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}

fn unknown() -> Refusal {
    Refusal::of(ErrorCode::BlobUploadUnknown)
}
