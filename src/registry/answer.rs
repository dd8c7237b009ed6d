//! From a route to its verb.

use http::header::ALLOW;
use http::{Method, StatusCode};

use super::publish::Writing;
use super::reply::{self, Answer, Refusal, unsupported};
use super::watermark::{self, Guarded};
use super::{Body, Registry, Reply, Request, blob, catalog, manifest, referrers, tags, upload};
use crate::oci::{ErrorCode, Resource};

pub(super) async fn answer(registry: &Registry, request: Request, body: &mut dyn Body) -> Reply {
    let mut reply = minding_the_disk(registry, &request, body).await.unwrap_or_else(Refusal::into_reply);
    if reply.status == StatusCode::METHOD_NOT_ALLOWED {
        reply = reply.with(ALLOW, allowed(registry, &request.action.resource));
    }
    reply
}

/// The methods that this route has as the registry is configured (RFC 9110 §15.5.6).
fn allowed(registry: &Registry, resource: &Resource) -> String {
    let settings = registry.settings.load();
    let (read_only, delete) = (settings.config.read_only, settings.config.delete);
    resource.allow_without(|method| match method {
        "POST" | "PUT" | "PATCH" => read_only,
        // An upload can always be given up.
        "DELETE" => read_only || !(delete || matches!(resource, Resource::Upload { .. })),
        _ => false,
    })
}

/// What brings bytes is refused while the disk of the storage is nearly full, and ends when it gets so.
async fn minding_the_disk(registry: &Registry, request: &Request, body: &mut dyn Body) -> Answer {
    let brings = request.action.is_write() && request.action.method != Method::DELETE;
    if !brings || registry.may_be_written().is_err() || !registry.stores.storage.is_local() {
        return dispatch(registry, request, body).await;
    }
    registry.health.watermark.admit(body.length())?;
    let mut guarded = Guarded::new(body, &registry.health.watermark);
    let answer = dispatch(registry, request, &mut guarded).await;
    if guarded.cut { Err(watermark::full()) } else { answer }
}

/// Refuses all writes while the operator wants none.
pub(super) fn may_write(registry: &Registry) -> Result<(), Refusal> {
    if registry.settings.load().config.read_only {
        return Err(unsupported("nothing can be written here now: [registry] read_only = true"));
    }
    registry.maintenance().map_or(Ok(()), |maintenance| Err(maintenance.refusal()))
}

async fn dispatch(registry: &Registry, request: &Request, body: &mut dyn Body) -> Answer {
    let action = &request.action;
    let method = &action.method;
    if *method == Method::OPTIONS {
        return Ok(reply::options(action.resource.allow()));
    }
    if action.is_write() {
        may_write(registry)?;
    }
    let writing = |name| Writing { registry, request, name };
    match &action.resource {
        Resource::Base => Ok(Reply::json("{}")),
        Resource::Catalog { page } => catalog::list(registry, page, &request.permit).await,
        Resource::Tags { name, page } => tags::list(registry, name, page).await,
        Resource::Referrers { name, digest, artifact_types, page } => {
            referrers::list(registry, name, digest, (artifact_types, page)).await
        }
        Resource::Manifest { name, reference, tags } => match *method {
            Method::PUT => Ok(manifest::put(writing(name), (reference, tags), body).await?.into()),
            Method::DELETE => Ok(manifest::delete(writing(name), reference).await?.into()),
            _ => manifest::get(registry, method, name, reference).await,
        },
        Resource::Blob { name, digest } => match *method {
            Method::DELETE => Ok(blob::delete(writing(name), digest).await?.into()),
            _ => blob::get(registry, method, name, digest).await,
        },
        Resource::UploadStart { name, start } => upload::start(writing(name), start, body).await,
        Resource::Upload { name, id, digest } => upload::go_on(writing(name), (id, digest.as_ref()), body).await,
        Resource::Outside => Err(Refusal::of(ErrorCode::NameUnknown)),
    }
}
