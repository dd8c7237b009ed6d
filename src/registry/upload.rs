//! Pushes of blobs: POST, PATCH, PUT, GET and DELETE of uploads.

use http::header::{LOCATION, RANGE};
use http::{HeaderMap, Method, StatusCode};

use super::chunk::Chunk;
use super::publish::{ForLists, Published, Writing, Written, publish};
use super::quota::{Hold, Measured};
use super::reply::{Answer, DOCKER_UPLOAD_UUID, Refusal};
use super::unfinished::Counted;
use super::{Body, Registry, Reply, blob, membership, mount, settling, unfinished};
use crate::events::What;
use crate::oci::action::UploadStart;
use crate::oci::{Digest, ErrorCode, RepositoryName};
use crate::uploads::{Upload, UploadError, UploadId};

/// POST: mounts, takes a whole blob, or begins an upload.
pub(super) async fn start(writing: Writing<'_>, start: &UploadStart, body: &mut dyn Body) -> Answer {
    let Writing { registry, name, .. } = writing;
    if let Some(mount) = &start.mount
        && let Some(mounted) = mount::try_mount(writing, mount).await?
    {
        return Ok(mounted.into());
    }
    if let Some(digest) = &start.digest {
        return Ok(whole(writing, digest, body).await?.into());
    }
    registry.bounds.quotas.hold(name).open().await?;
    let algorithm = start.algorithm.clone()?;
    let owner = writing.request.permit.owner();
    let upload = registry.stores.uploads.begin_for(name, algorithm, owner).await?;
    Ok(progress(StatusCode::ACCEPTED, name, upload.id(), 0))
}

/// All of a blob at once.
async fn whole(writing: Writing<'_>, digest: &Digest, body: &mut dyn Body) -> Result<Written, Refusal> {
    let Writing { registry, name, .. } = writing;
    let mut hold = registry.bounds.quotas.hold(name);
    hold.comes(digest).await?;
    let mut measured = Measured::new(&mut hold, 0, body).await?;
    let put = registry.stores.uploads.put(digest, &mut measured).await;
    let refused = measured.refused.take();
    let size = put.map_err(|error| refused.unwrap_or_else(|| error.into()))?;
    finish(writing, digest, size, hold).await
}

/// Everything below `/blobs/uploads/<id>`.
pub(super) async fn go_on(writing: Writing<'_>, (id, digest): (&str, Option<&Digest>), body: &mut dyn Body) -> Answer {
    let Writing { registry, request, name } = writing;
    let id: UploadId = id.parse().map_err(|_| unknown())?;
    let method = &request.action.method;
    let late = request.permit.is_late();
    let Some(upload) = registry.stores.uploads.resume(name, &id).await? else {
        return if late {
            Err(ended())
        } else if *method == Method::PUT {
            Ok(finished(registry, name, digest).await?.into())
        } else {
            Err(unknown())
        };
    };
    if !request.permit.owns(upload.owner()) {
        // Another's is as if it were not there.
        return Err(if late { ended() } else { unknown() });
    }
    match *method {
        Method::PATCH => patch(registry, name, upload, &request.headers, body).await,
        Method::PUT => Ok(put(writing, (upload, digest), body).await?.into()),
        Method::DELETE => {
            let held = upload.offset();
            upload.cancel().await?;
            registry.bounds.unfinished.ended(name, held);
            registry.bounds.quotas.ended(&id);
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
    let mut hold = registry.bounds.quotas.resume(name, upload.id());
    let mut measured = Measured::new(&mut hold, upload.offset(), body).await?;
    let mut counted = Counted::new(registry, name, &mut measured).await?;
    let mut chunk = Chunk::new(name, &upload, headers, &mut counted)?;
    let before = upload.offset();
    let appended = upload.append(&mut chunk).await;
    let fault = chunk.fault();
    let full = counted.full;
    counted.kept(upload.offset().saturating_sub(before));
    let refused = measured.refused.take();
    hold.shrink(upload.offset());
    registry.bounds.quotas.park(upload.id(), hold);
    match (appended, refused) {
        (Ok(offset), _) => Ok(progress(StatusCode::ACCEPTED, name, upload.id(), offset)),
        // What did arrive is kept, as of a body that breaks off: who goes on must ask how much.
        (Err(_), Some(refused)) => Err(refused),
        (Err(_), None) if full => Err(unfinished::full()),
        (Err(error), None) => Err(fault.unwrap_or_else(|| error.into())),
    }
}

async fn put(
    writing: Writing<'_>,
    (upload, digest): (Upload, Option<&Digest>),
    body: &mut dyn Body,
) -> Result<Written, Refusal> {
    let Writing { registry, request, name } = writing;
    let digest = digest.ok_or_else(digest_missing)?;
    let mut hold = registry.bounds.quotas.resume(name, upload.id());
    hold.comes(digest).await?;
    let mut measured = Measured::new(&mut hold, upload.offset(), body).await?;
    let mut chunk = Chunk::new(name, &upload, &request.headers, &mut measured)?;
    let held = upload.offset();
    let committed = upload.commit(digest, &mut chunk).await;
    let fault = chunk.fault();
    let refused = measured.refused.take();
    match committed {
        Ok(committed) => {
            // Only then is the upload over: without the link, the client sends the same PUT again.
            let created = finish(writing, digest, committed.size, hold).await?;
            committed.done().await;
            registry.bounds.unfinished.ended(name, held);
            Ok(created)
        }
        Err(error @ UploadError::Mismatch { .. }) => {
            registry.bounds.unfinished.ended(name, held);
            Err(error.into())
        }
        Err(UploadError::Gone) => finished(registry, name, Some(digest)).await,
        Err(error) => Err(refused.or(fault).unwrap_or_else(|| error.into())),
    }
}

/// PUT to an upload that is not there. It may be one whose answer was lost on its way: then the repository has the blob, and
/// the client is told so again. Otherwise the upload is unknown.
async fn finished(registry: &Registry, name: &RepositoryName, digest: Option<&Digest>) -> Result<Written, Refusal> {
    let digest = digest.ok_or_else(digest_missing)?;
    match membership::layer(registry, name, digest, true).await? {
        Some(_) => Ok(Published::before().created(blob::location(name, digest), digest)),
        None => Err(unknown()),
    }
}

fn digest_missing() -> Refusal {
    Refusal::new(ErrorCode::DigestInvalid, "?digest= is missing")
}

/// The bytes are there, so many: the repository holds them from now on, if its quotas have room.
async fn finish(writing: Writing<'_>, digest: &Digest, size: u64, mut hold: Hold) -> Result<Written, Refusal> {
    let Writing { registry, name, .. } = writing;
    hold.afford(vec![(*digest, size)], 0).await?;
    if !settling::link(registry, name, digest, digest).await? {
        return Err(settling::taken("the blob"));
    }
    hold.linked();
    let linked = What::BlobLinked { digest: *digest, size, mounted: None };
    let published = publish(writing, vec![linked], ForLists::Nothing).await?;
    Ok(hold.warned(published.created(blob::location(name, digest), digest)))
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

/// The token has ended, and this is no upload of its subject: another token may do.
fn ended() -> Refusal {
    Refusal::new(ErrorCode::Unauthorized, "the token has expired")
}

fn unknown() -> Refusal {
    Refusal::of(ErrorCode::BlobUploadUnknown)
}
