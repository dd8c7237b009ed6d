//! What the integrated registry answers, as HTTP.
//!
//! The registry says what the answer is; conditions, ranges, the cache and the connection are ours. Content of an object
//! store is read through the blob cache, one download for everybody; content on this machine's disk is read from there.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, Response, StatusCode};

use super::{Next, Shared, gate, recording};
use crate::cache::{FillError, Origin, OriginError, OriginStream, Refusal};
use crate::events::Listener;
use crate::exchange::LocalFile;
use crate::exchange::RequestContext;
use crate::exchange::content::{Served, Stored, needs_bytes, serve};
use crate::exchange::request_body::RequestBody;
use crate::exchange::respond::{problem, problem_with_status, send};
use crate::front::{Front, changes};
use crate::listener::{Exchange, Result};
use crate::mirror::Mirror;
use crate::oci::{Action, Digest, ErrorCode, RepositoryName};
use crate::registry::{Absent, Content, ContentBytes, Registry, Reply, ReplyBody, Request};
use crate::remote::config::AskedAs;
use crate::routing::{Site, Target};
use crate::storage;

/// Most bytes of an error's message that the access log repeats.
const MAX_PROBLEM: usize = 512;

/// Answers a request of a route that goes to the integrated registry.
pub async fn answer(
    shared: &Shared,
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    registry: &Arc<Registry>,
    action: Action,
) -> Result<Next> {
    let front = &shared.front;
    let trail = match recording::begin(shared, exchange, ctx, &action).await {
        Ok(trail) => trail,
        Err(response) => {
            RequestBody::new(exchange).settle().await?;
            send(exchange, ctx, *response).await?;
            return Ok(Next::Answered);
        }
    };
    let head = exchange.head();
    let mut headers = HeaderMap::new();
    for name in [CONTENT_TYPE, CONTENT_RANGE] {
        if let Some(value) = head.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    let listener = trail.clone().map(|trail| trail as Arc<dyn Listener>);
    let absent = Beneath::of(ctx);
    let request = Request { id: ctx.id.clone(), permit: ctx.permit.clone(), action, headers, listener, absent };
    let mut body = RequestBody::new(exchange);
    // Boxed, so that the connection's own task stays small, and the compiler need not look into it.
    let answering: BoxFuture<'_, Reply> = Box::pin(registry.answer(request, &mut body));
    let reply = answering.await;
    if let Some(trail) = trail {
        trail.end(reply.status.as_u16()).await;
    }
    let settled = body.settle().await;
    if changes::may_have_changed(reply.status) {
        // Where reads go to a cluster, what was remembered of its answers is old now.
        changes::changed(front, ctx);
    }
    settled?;
    let Reply { status, mut headers, body } = reply;
    if status == StatusCode::UNAUTHORIZED
        && let Some(challenge) = gate::late(&shared.authenticator, exchange, ctx)
    {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    match body {
        ReplyBody::Bytes(body) => small(exchange, ctx, status, headers, body).await?,
        ReplyBody::Content(Content { digest, media_type, by_tag, bytes }) => {
            match stored(front, exchange, ctx, registry, &digest, bytes).await {
                Ok(content) => {
                    let (media_type, extra) = (media_type.as_str(), Some(&headers));
                    serve(exchange, ctx, Served { digest: &digest, content, media_type, by_tag, extra }).await?;
                }
                Err(response) => send(exchange, ctx, response).await?,
            }
        }
    }
    Ok(Next::Answered)
}

async fn small(
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
) -> Result<()> {
    if status.is_server_error() {
        ctx.problem = message(&body);
    }
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    send(exchange, ctx, response).await
}

/// The message of an OCI error, for the access log.
fn message(body: &[u8]) -> Option<String> {
    let error: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = error.pointer("/errors/0/message")?.as_str()?;
    Some(text.chars().take(MAX_PROBLEM).collect())
}

/// What is read of mirrors at this host: what a push names may be there.
struct Beneath {
    site: Arc<Site>,
    host: String,
}

impl Beneath {
    fn of(ctx: &RequestContext) -> Option<Arc<dyn Absent>> {
        let mirrored = !ctx.site.table.names().is_empty();
        mirrored.then(|| Arc::new(Beneath { site: ctx.site.clone(), host: ctx.host.clone() }) as Arc<dyn Absent>)
    }

    /// The mirror whose repository this is at this host. What a caller may see at a remote is not asked here.
    fn mirror(&self, name: &RepositoryName) -> Option<&Arc<Mirror>> {
        let table = &self.site.table;
        let Target::Mirror(mirror) = table.read(&self.host, name)?.target else { return None };
        let remote = mirror.remote();
        let ours = remote.config().identity == AskedAs::Mirror && table.names().owner(name) == Some(remote.name());
        ours.then_some(mirror)
    }
}

#[async_trait]
impl Absent for Beneath {
    async fn bring(&self, name: &RepositoryName, digest: &Digest) -> bool {
        match self.mirror(name) {
            Some(mirror) => mirror.bring(name, digest).await,
            None => false,
        }
    }

    async fn bring_manifest(&self, name: &RepositoryName, digest: &Digest) -> bool {
        match self.mirror(name) {
            Some(mirror) => mirror.bring_manifest(name, digest).await,
            None => false,
        }
    }
}

/// Finds the bytes of a content that the registry has granted.
pub(super) async fn stored(
    front: &Front,
    exchange: &Exchange,
    ctx: &mut RequestContext,
    registry: &Arc<Registry>,
    digest: &Digest,
    bytes: ContentBytes,
) -> std::result::Result<Stored, Response<Bytes>> {
    match bytes {
        ContentBytes::Whole(bytes) => Ok(Stored::Whole(bytes)),
        // Nothing is read of it.
        ContentBytes::Local(blob) if !needs_bytes(exchange, digest, blob.size) => Ok(Stored::Absent(blob.size)),
        ContentBytes::Local(blob) => {
            let buffers = front.cache().buffers();
            let Some(permit) = buffers.file().await else {
                return Err(problem(ErrorCode::Unavailable, "too many files are open"));
            };
            Ok(Stored::File(LocalFile::new(blob.file, blob.size, buffers, Some(permit))))
        }
        ContentBytes::Remote(size) if !needs_bytes(exchange, digest, size) => Ok(Stored::Absent(size)),
        ContentBytes::Remote(_) => remote(front, ctx, registry, digest).await,
    }
}

async fn remote(
    front: &Front,
    ctx: &mut RequestContext,
    registry: &Arc<Registry>,
    digest: &Digest,
) -> std::result::Result<Stored, Response<Bytes>> {
    let origin = Arc::new(RegistryOrigin { registry: registry.clone(), digest: *digest });
    match front.cache().get_or_fill(digest, origin).await {
        Ok((content, source)) => {
            ctx.cache = source.into();
            Ok(Stored::Cached(content))
        }
        Err(FillError::Refused(refusal)) => Err(refusal.response().clone()),
        Err(error) => {
            ctx.problem = Some(error.to_string());
            Err(match error {
                FillError::Unavailable(_) => problem(ErrorCode::Unavailable, "the registry's storage does not answer"),
                _ => problem_with_status(
                    StatusCode::BAD_GATEWAY,
                    ErrorCode::Unknown,
                    "the registry's storage gave no usable content",
                ),
            })
        }
    }
}

/// A blob of the registry's object store, for the cache's fills. Holds no client's credentials: the registry was asked
/// before.
struct RegistryOrigin {
    registry: Arc<Registry>,
    digest: Digest,
}

#[async_trait]
impl Origin for RegistryOrigin {
    async fn open(&self, offset: u64) -> std::result::Result<OriginStream, OriginError> {
        let broken = |error: storage::Error| OriginError::Broken(error.to_string());
        match self.registry.open_blob(&self.digest, offset).await {
            Ok(Some(blob)) => Ok(OriginStream {
                total: Some(blob.total),
                media_type: None,
                body: blob.body.map(move |bytes| bytes.map_err(broken)).boxed(),
            }),
            Ok(None) => Err(OriginError::Refused(Refusal::new(problem(ErrorCode::BlobUnknown, "the blob is gone")))),
            Err(error) => Err(OriginError::Unavailable(error.to_string())),
        }
    }

    fn mismatched(&self) {
        self.registry.blob_damaged(&self.digest);
    }
}
