//! From a route to its verb.

use std::time::Instant;

use http::header::ALLOW;
use http::{Method, StatusCode};

use super::reply::{self, Answer, Refusal, unsupported};
use super::{
    Body, Content, ContentBytes, Registry, Reply, ReplyBody, Request, blob, catalog, manifest, referrers, tags, upload,
};
use crate::oci::{ErrorCode, Route};

pub(super) async fn answer(registry: &Registry, request: Request, body: &mut dyn Body) -> Reply {
    let began = Instant::now();
    let _in_flight = registry.metrics.begin(&request.route);
    let mut reply = dispatch(registry, &request, body).await.unwrap_or_else(Refusal::into_reply);
    if reply.status == StatusCode::METHOD_NOT_ALLOWED {
        reply = reply.with(ALLOW, allowed(registry, &request.route));
    }
    registry.metrics.answered(&super::metrics::Done {
        route: &request.route,
        method: &request.method,
        status: reply.status,
        time: began.elapsed(),
        received: body.length().unwrap_or_default(),
        sent: sent(&request.method, &reply.body),
    });
    reply
}

/// The methods that this route has as the registry is configured (RFC 9110 §15.5.6).
fn allowed(registry: &Registry, route: &Route) -> String {
    let settings = registry.settings.load();
    let (read_only, delete) = (settings.config.read_only, settings.config.delete);
    route.allow_without(|method| match method {
        "POST" | "PUT" | "PATCH" => read_only,
        // An upload can always be given up.
        "DELETE" => read_only || !(delete || matches!(route, Route::Upload { .. })),
        _ => false,
    })
}

async fn dispatch(registry: &Registry, request: &Request, body: &mut dyn Body) -> Answer {
    let method = &request.method;
    if *method == Method::OPTIONS {
        return Ok(reply::options(request.route.allow()));
    }
    if reply::is_write(method) && registry.settings.load().config.read_only {
        return Err(unsupported("nothing can be written here now: [registry] read_only = true"));
    }
    let query = request.query.as_deref();
    match &request.route {
        Route::Base => Ok(Reply::json("{}")),
        Route::Catalog => catalog::list(registry, query).await,
        Route::Tags { name } => tags::list(registry, name, query).await,
        Route::Referrers { name, digest } => referrers::list(registry, name, digest, query).await,
        Route::Manifest { name, reference } => match *method {
            Method::PUT => manifest::put(registry, request, name, reference, body).await,
            Method::DELETE => manifest::delete(registry, name, reference).await,
            _ => manifest::get(registry, method, name, reference).await,
        },
        Route::Blob { name, digest } => match *method {
            Method::DELETE => blob::delete(registry, name, digest).await,
            _ => blob::get(registry, method, name, digest).await,
        },
        Route::UploadStart { name } => upload::start(registry, request, name, body).await,
        Route::Upload { name, id } => upload::go_on(registry, request, name, id, body).await,
        Route::Outside => Err(Refusal::of(ErrorCode::NameUnknown)),
    }
}

/// Bytes of the answer's body, were it sent whole.
fn sent(method: &Method, body: &ReplyBody) -> u64 {
    if *method == Method::HEAD {
        return 0;
    }
    match body {
        ReplyBody::Bytes(bytes) | ReplyBody::Content(Content { bytes: ContentBytes::Whole(bytes), .. }) => {
            bytes.len() as u64
        }
        ReplyBody::Content(Content { bytes: ContentBytes::Local(blob), .. }) => blob.size,
        ReplyBody::Content(Content { bytes: ContentBytes::Remote(size), .. }) => *size,
    }
}
