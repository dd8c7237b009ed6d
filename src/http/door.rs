//! The door: what is asked is read once, here, and dispatched. Nothing behind it looks at a URL again.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};

use super::{Next, entrance, registry};
use crate::cluster::Cluster;
use crate::exchange::RequestContext;
use crate::exchange::fields::REQUEST_ID;
use crate::exchange::respond::{self, not_allowed, problem, problem_with_status, send};
use crate::exchange::{forwarded, via};
use crate::front::pass::Pass;
use crate::front::upload::take_peer;
use crate::front::{self, Front, Pull, Standing, blob, manifest, ping, push};
use crate::listener::{Exchange, Result};
use crate::oci::{Action, ActionError, ErrorCode, Host, HostError, Resource};
use crate::routing::Target;
use crate::telemetry::RequestId;

/// Reads the head, and answers or says who goes on.
pub async fn enter(front: &Front, exchange: &mut Exchange, ctx: &mut RequestContext) -> Result<Next> {
    identify(exchange, ctx);
    if let Some(response) = before_routing(exchange, ctx) {
        return answer(exchange, ctx, response).await;
    }
    match read(exchange, ctx) {
        Ok(action) => dispatch(front, exchange, ctx, action).await,
        Err(response) => answer(exchange, ctx, *response).await,
    }
}

/// Too many requests are under way: this one is told to come again.
pub async fn turn_away(exchange: &mut Exchange, ctx: &mut RequestContext) -> Result<Next> {
    identify(exchange, ctx);
    if !exchange.body_done() {
        exchange.close_after();
    }
    answer(exchange, ctx, problem(ErrorCode::Unavailable, "too many requests are under way")).await
}

/// What concerns the process, the connection or the host, and nothing that a registry holds.
fn before_routing(exchange: &Exchange, ctx: &mut RequestContext) -> Option<Response<Bytes>> {
    let request = exchange.head();
    let bad = |message: &str| problem_with_status(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, message);
    if ctx.target.path() == "/healthz" {
        return Some(match request.method {
            Method::GET | Method::HEAD => health(),
            _ => not_allowed("GET, HEAD", "/healthz takes GET and HEAD"),
        });
    }
    if via::passed_here(&request.headers) {
        let message = "this request has come through this proxy before: what it was sent on to leads back here";
        return Some(problem_with_status(StatusCode::LOOP_DETECTED, ErrorCode::Unsupported, message));
    }
    if let Err(error) = name_host(exchange, ctx) {
        return Some(bad(&error.to_string()));
    }
    if ctx.connection.settings().redirect_to_https && !is_https(ctx) {
        return Some(match outer_host(exchange, ctx) {
            Some(host) => respond::redirect_to_https(&host, ctx.target.as_str()),
            None => bad("no Host to redirect to"),
        });
    }
    None
}

/// What is asked, or what is wrong with it.
fn read(exchange: &Exchange, ctx: &RequestContext) -> std::result::Result<Action, Box<Response<Bytes>>> {
    let request = exchange.head();
    let (path, query) = (ctx.target.path(), ctx.target.query());
    let action = Action::parse(&request.method, path, query).or_else(|error| {
        // Where a peer keeps its uploads is its own affair; that the address is a peer's, its mark says.
        let marked = take_peer(query).1.is_some();
        Action::of_peers_upload(&request.method, path, query).filter(|_| marked).ok_or(error)
    });
    let action = action.map_err(|error| Box::new(refused(error)))?;
    if request.headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
        // Which of them a peer would believe is anybody's guess.
        let message = "more than one Authorization";
        return Err(Box::new(problem_with_status(StatusCode::BAD_REQUEST, ErrorCode::Unauthorized, message)));
    }
    Ok(action)
}

fn refused(error: ActionError) -> Response<Bytes> {
    let mut response = problem_with_status(error.status(), error.code(), &error.to_string());
    if let Some(allow) = error.allow() {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// Finds who answers.
async fn dispatch(front: &Front, exchange: &mut Exchange, ctx: &mut RequestContext, action: Action) -> Result<Next> {
    ctx.action = Some(action.clone());
    let table = &ctx.site.table;
    let target = match action.resource.repository() {
        None if matches!(action.resource, Resource::Outside) => {
            let peer = take_peer(ctx.target.query()).1.map(|upload| upload.peer);
            table.forward(&ctx.host, ctx.target.path(), peer).map(|cluster| Target::Cluster(cluster.clone()))
        }
        None => table.host(&ctx.host).cloned(),
        Some(repository) if action.is_read() => table.read(&ctx.host, repository).cloned(),
        Some(repository) => match table.write(&ctx.host, repository) {
            Some(None) => {
                let message = "this route takes no writes: it has no `write` target";
                return answer(exchange, ctx, not_allowed(&action.resource.allow_of_reads(), message)).await;
            }
            Some(target) => target.cloned(),
            None => None,
        },
    };
    match target {
        Some(Target::Cluster(cluster)) => to_cluster(front, exchange, ctx, cluster, action).await,
        Some(Target::Registry(registry)) => registry::answer(front, exchange, ctx, &registry, action).await,
        None => {
            let response = match action.resource {
                Resource::Outside if ctx.target.path() == "/" => entrance::answer(exchange.head()),
                Resource::Outside => {
                    problem_with_status(StatusCode::NOT_FOUND, ErrorCode::Unsupported, "no such path here")
                }
                _ => problem(ErrorCode::NameUnknown, "no route of this proxy matches the host and repository"),
            };
            answer(exchange, ctx, response).await
        }
    }
}

async fn to_cluster(
    front: &Front,
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    cluster: Arc<Cluster>,
    action: Action,
) -> Result<Next> {
    let reads = action.is_read();
    ctx.cluster = Some(cluster.clone());
    let next = match action.resource {
        Resource::Base => ping::ping(front, exchange, ctx, &cluster).await?,
        Resource::Blob { name, digest } if reads => {
            let standing = Standing::of(front, exchange, ctx, &cluster, &name);
            blob::pull(Pull { front, exchange, ctx, standing }, digest).await?
        }
        Resource::Manifest { name, reference, .. } if reads => {
            let standing = Standing::of(front, exchange, ctx, &cluster, &name);
            manifest::pull(Pull { front, exchange, ctx, standing }, reference).await?
        }
        Resource::Manifest { name, .. } if action.method == Method::PUT => {
            push::manifest(front, exchange, ctx, &cluster, &name).await?
        }
        Resource::Manifest { name, .. } | Resource::Blob { name, .. } if action.method == Method::DELETE => {
            push::delete(front, exchange, ctx, &cluster, &name).await?
        }
        Resource::Manifest { .. }
        | Resource::Blob { .. }
        | Resource::Outside
        | Resource::Catalog { .. }
        | Resource::Tags { .. }
        | Resource::Referrers { .. }
        | Resource::UploadStart { .. }
        | Resource::Upload { .. } => front::Next::Pass,
    };
    Ok(match next {
        front::Next::Answered => Next::Answered,
        front::Next::Pass => Next::Pass(Box::new(Pass::of(ctx, cluster))),
    })
}

/// The request's target and id, and the client behind trusted proxies.
fn identify(exchange: &Exchange, ctx: &mut RequestContext) {
    let request = exchange.head();
    // A clone shares the text.
    ctx.target = request.target.clone();
    ctx.version = request.version;
    ctx.id = RequestId::accept(request.headers.get(&REQUEST_ID).map(HeaderValue::as_bytes));
    let connection = &ctx.connection;
    let (tls, trusted) = (connection.tls().is_some(), &connection.settings().trusted_proxies);
    ctx.client = Some(forwarded::client(&request.headers, connection.client(), tls, trusted));
}

fn is_https(ctx: &RequestContext) -> bool {
    ctx.client.as_ref().is_some_and(|client| client.https)
}

/// The host under which the client knows us, without a port: a trusted proxy may have put its own in `Host`.
fn outer_host(exchange: &Exchange, ctx: &RequestContext) -> Option<String> {
    let connection = &ctx.connection;
    let told = forwarded::named_host(exchange.headers(), connection.client(), &connection.settings().trusted_proxies);
    let told = told.and_then(|host| host.parse::<Host>().ok()).map(|host| host.name().to_owned());
    told.or_else(|| (!ctx.host.is_empty()).then(|| ctx.host.clone()))
}

/// Finds the host that the client named.
fn name_host(exchange: &Exchange, ctx: &mut RequestContext) -> std::result::Result<(), HostError> {
    let authority = exchange.head().authority.as_deref();
    // HTTP/1.0 without Host: any route without hosts may still match.
    if let Some(authority) = authority.filter(|authority| !authority.is_empty()) {
        let host = authority.parse::<Host>()?;
        ctx.host = host.name().to_owned();
        ctx.authority = authority.to_owned();
    }
    Ok(())
}

fn health() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(b"ok\n"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

async fn answer(exchange: &mut Exchange, ctx: &mut RequestContext, response: Response<Bytes>) -> Result<Next> {
    send(exchange, ctx, response).await?;
    Ok(Next::Answered)
}
