//! The door: a request is parsed once, here, and dispatched. Nothing behind it looks at a URL again.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Method, StatusCode};
use pingora::prelude::Result;
use pingora::proxy::Session;

use super::access::Access;
use super::context::{REQUEST_ID, RequestContext};
use super::pass::Pass;
use super::respond::{self, not_allowed, problem, problem_with_status, send};
use super::routing::Target;
use super::upload::take_home;
use super::{Changed, Front, Next, blob, entrance, forwarded, manifest, ping, push, registry, via};
use crate::auth::Scope;
use crate::cluster::Cluster;
use crate::oci::{ErrorCode, Host, HostError, Reference, RepositoryName, Route};
use crate::telemetry::RequestId;

/// Reads the head, and answers or says who goes on.
pub async fn enter(front: &Front, session: &mut Session, ctx: &mut RequestContext) -> Result<Next> {
    identify(session, ctx);
    // The target as the client sent it; an absolute one loses its authority. A clone shares the text.
    let uri = session.req_header().uri.clone();
    let (path, query) = (uri.path(), uri.query());
    if path == "/healthz" {
        let response = match session.req_header().method {
            Method::GET | Method::HEAD => health(),
            _ => not_allowed("GET, HEAD", "/healthz takes GET and HEAD"),
        };
        return answer(session, ctx, response).await;
    }
    if via::passed_here(&session.req_header().headers) {
        let message = "this request has come through this proxy before: what it was sent on to leads back here";
        let response = problem_with_status(StatusCode::LOOP_DETECTED, ErrorCode::Unsupported, message);
        return answer(session, ctx, response).await;
    }
    if let Err(error) = name_host(session, ctx) {
        let response = problem_with_status(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, &error.to_string());
        return answer(session, ctx, response).await;
    }
    if ctx.connection.as_ref().is_some_and(|connection| connection.settings().redirect_to_https) && !is_https(ctx) {
        let Some(host) = outer_host(session, ctx) else {
            let response =
                problem_with_status(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, "no Host to redirect to");
            return answer(session, ctx, response).await;
        };
        let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        return answer(session, ctx, respond::redirect_to_https(&host, &target)).await;
    }
    let method = &session.req_header().method;
    let parsed = Route::parse(method, path, query).or_else(|error| {
        // Where a peer keeps its uploads is its own affair; that the address is a peer's, its mark says.
        let marked = take_home(query).1.is_some();
        Route::of_peers_upload(method, path, query).filter(|_| marked).ok_or(error)
    });
    let route = match parsed {
        Ok(route) => route,
        Err(error) => {
            let mut response = problem_with_status(error.status(), error.code(), &error.to_string());
            if let Some(allow) = error.allow() {
                response.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static(allow));
            }
            return answer(session, ctx, response).await;
        }
    };
    if session.req_header().headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
        // Which of them a peer would believe is anybody's guess.
        let response =
            problem_with_status(StatusCode::BAD_REQUEST, ErrorCode::Unauthorized, "more than one Authorization");
        return answer(session, ctx, response).await;
    }
    ctx.route = Some(route.clone());
    dispatch(front, session, ctx, route, path, query).await
}

async fn dispatch(
    front: &Front,
    session: &mut Session,
    ctx: &mut RequestContext,
    route: Route,
    path: &str,
    query: Option<&str>,
) -> Result<Next> {
    let site = ctx.site.clone();
    let method = session.req_header().method.clone();
    let reads = matches!(method, Method::GET | Method::HEAD);
    let target = match route.repository() {
        None if matches!(route, Route::Outside) => {
            let home = take_home(query).1.map(|home| home.peer);
            site.table.forward(&ctx.host, path, home).map(|cluster| Target::Cluster(cluster.clone()))
        }
        None => site.table.host(&ctx.host).cloned(),
        Some(repository) if reads && !matches!(route, Route::Upload { .. }) => {
            site.table.read(&ctx.host, repository).cloned()
        }
        Some(repository) => match site.table.write(&ctx.host, repository) {
            Some(None) => return push::refused(session, ctx, &route).await,
            Some(target) => target.cloned(),
            None => None,
        },
    };
    match target {
        Some(Target::Cluster(cluster)) => to_cluster(front, session, ctx, cluster, route, (path, query)).await,
        Some(Target::Registry(registry)) => registry::answer(front, session, ctx, &registry, route, query).await,
        None => {
            let response = match route {
                Route::Outside if path == "/" => entrance::answer(session.req_header()),
                Route::Outside => {
                    problem_with_status(StatusCode::NOT_FOUND, ErrorCode::Unsupported, "no such path here")
                }
                _ => problem(ErrorCode::NameUnknown, "no route of this proxy matches the host and repository"),
            };
            answer(session, ctx, response).await
        }
    }
}

async fn to_cluster(
    front: &Front,
    session: &mut Session,
    ctx: &mut RequestContext,
    cluster: Arc<Cluster>,
    route: Route,
    (path, query): (&str, Option<&str>),
) -> Result<Next> {
    let method = session.req_header().method.clone();
    let reads = matches!(method, Method::GET | Method::HEAD);
    ctx.cluster = Some(cluster.clone());
    match route {
        Route::Base => {
            let credential = front.credential(ctx, &cluster, authorization(session));
            let scope = scope(front, ctx, &cluster, query);
            ping::ping(front, session, ctx, &cluster, scope, credential).await
        }
        Route::Blob { name, digest } if reads => {
            let access = access(front, session, ctx, &cluster, &name, query);
            let next = blob::pull(front, session, ctx, &cluster, access, digest).await?;
            Ok(continued(next, ctx, cluster, path, query))
        }
        Route::Manifest { name, reference } if reads => {
            let access = access(front, session, ctx, &cluster, &name, query);
            manifest::pull(front, session, ctx, &cluster, access, reference).await
        }
        Route::Manifest { name, .. } if method == Method::PUT => {
            let next = push::manifest(front, session, ctx, &cluster, &name).await?;
            Ok(continued(next, ctx, cluster, path, query))
        }
        Route::Manifest { name, .. } | Route::Blob { name, .. } if method == Method::DELETE => {
            push::delete(front, session, ctx, &cluster, &name).await
        }
        Route::Manifest { .. }
        | Route::Blob { .. }
        | Route::Outside
        | Route::Catalog
        | Route::Tags { .. }
        | Route::Referrers { .. }
        | Route::UploadStart { .. }
        | Route::Upload { .. } => Ok(continued(Next::Pass, ctx, cluster, path, query)),
    }
}

/// A request that goes on to a peer by pingora's hands.
fn continued(next: Next, ctx: &mut RequestContext, cluster: Arc<Cluster>, path: &str, query: Option<&str>) -> Next {
    if matches!(next, Next::Pass) {
        let (query, home) = match ctx.route {
            Some(Route::Upload { .. }) => take_home(query),
            // Outside /v2/ the parameter is ours only if it names a peer of ours.
            Some(Route::Outside) => match take_home(query) {
                (rest, Some(home)) if cluster.address(home.peer).is_some() => (rest, Some(home)),
                _ => (query.map(str::to_owned), None),
            },
            _ => (query.map(str::to_owned), None),
        };
        let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        let once = matches!(ctx.route, Some(Route::Outside)) && home.is_none();
        let name = ctx.route.as_ref().and_then(Route::repository).cloned();
        ctx.pass = Some(Pass::new(cluster, target, name, home, once));
    }
    next
}

/// Something was changed at a peer, or may have been: whoever asked before must not be believed. Called before the client
/// hears of it, so that it never meets what it deleted. Never for what a peer refused: anybody may try.
pub fn changed(front: &Front, session: &Session, ctx: &RequestContext) {
    let method = &session.req_header().method;
    let moves = || session.req_header().uri.query().is_some_and(|query| query.contains("tag="));
    let (name, what) = match &ctx.route {
        Some(Route::Manifest { name, reference: Reference::Tag(tag) }) if is_change(method) => {
            (name, Changed::Tag(tag.clone()))
        }
        // By digest, a PUT changes nothing that is known, but for the tags that it may name.
        Some(Route::Manifest { name, .. }) if *method == Method::DELETE || (*method == Method::PUT && moves()) => {
            (name, Changed::Repository)
        }
        Some(Route::Blob { name, .. }) if *method == Method::DELETE => (name, Changed::Repository),
        _ => return,
    };
    front.forget(&ctx.site, name, &what);
}

/// A manifest that was streamed to a peer was refused, perhaps because the repository lacks what it names: what we said
/// was there is asked anew (issue 9, A.1).
pub fn refused(front: &Front, session: &Session, ctx: &RequestContext, status: StatusCode) {
    if let Some(Route::Manifest { name, .. }) = &ctx.route
        && session.req_header().method == Method::PUT
        && matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND)
    {
        front.forget(&ctx.site, name, &Changed::Repository);
    }
}

fn is_change(method: &Method) -> bool {
    matches!(*method, Method::PUT | Method::DELETE)
}

/// Whether a peer's answer to a change leaves it possible that something was changed, or is known to be gone.
pub fn may_have_changed(status: StatusCode) -> bool {
    status.is_success() || status.is_server_error() || status == StatusCode::NOT_FOUND
}

fn access(
    front: &Front,
    session: &Session,
    ctx: &RequestContext,
    cluster: &Arc<Cluster>,
    name: &RepositoryName,
    query: Option<&str>,
) -> Access {
    let credential = front.credential(ctx, cluster, authorization(session));
    let scope = scope(front, ctx, cluster, query);
    let holding = match ctx.route {
        Some(Route::Manifest { .. }) => {
            front.memory.scope(cluster.name(), Some(&format!("{}?{}#manifest", ctx.host, query.unwrap_or_default())))
        }
        _ => scope,
    };
    Access::new(&front.memory, cluster, (scope, holding), credential, name)
}

/// Whose answers count together: a cluster's, for one host name (peers may route by it) and one `ns` (mirrors do).
fn scope(front: &Front, ctx: &RequestContext, cluster: &Cluster, query: Option<&str>) -> Scope {
    match query {
        None => front.memory.scope(cluster.name(), Some(&ctx.host)),
        Some(query) => front.memory.scope(cluster.name(), Some(&format!("{}?{query}", ctx.host))),
    }
}

fn authorization(session: &Session) -> Option<&HeaderValue> {
    session.req_header().headers.get(AUTHORIZATION)
}

/// The request's id, and the client behind trusted proxies.
fn identify(session: &Session, ctx: &mut RequestContext) {
    let headers = &session.req_header().headers;
    ctx.version = session.req_header().version;
    ctx.id = RequestId::accept(headers.get(&REQUEST_ID).map(HeaderValue::as_bytes));
    if let Some(connection) = &ctx.connection {
        let tls = connection.tls().is_some();
        ctx.client = Some(forwarded::client(headers, connection.client(), tls, &connection.settings().trusted_proxies));
    }
}

fn is_https(ctx: &RequestContext) -> bool {
    ctx.client.as_ref().is_some_and(|client| client.https)
}

/// The host under which the client knows us, without a port: a trusted proxy may have put its own in `Host`.
fn outer_host(session: &Session, ctx: &RequestContext) -> Option<String> {
    let connection = ctx.connection.as_ref()?;
    let headers = &session.req_header().headers;
    let told = forwarded::named_host(headers, connection.client(), &connection.settings().trusted_proxies);
    let told = told.and_then(|host| host.parse::<Host>().ok()).map(|host| host.name().to_owned());
    told.or_else(|| (!ctx.host.is_empty()).then(|| ctx.host.clone()))
}

/// Finds the host that the client named: `:authority` on HTTP/2, else `Host`.
fn name_host(session: &Session, ctx: &mut RequestContext) -> std::result::Result<(), HostError> {
    let request = session.req_header();
    let field = request.headers.get(HOST).and_then(|value| value.to_str().ok());
    let authority = request.uri.authority().map(|authority| authority.as_str()).or(field);
    // HTTP/1.0 without Host: any route without hosts may still match.
    if let Some(authority) = authority.filter(|authority| !authority.is_empty()) {
        let host = authority.parse::<Host>()?;
        ctx.host = host.name().to_owned();
        ctx.authority = authority.to_owned();
    }
    Ok(())
}

fn health() -> http::Response<bytes::Bytes> {
    let mut response = http::Response::new(bytes::Bytes::from_static(b"ok\n"));
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

async fn answer(
    session: &mut Session,
    ctx: &mut RequestContext,
    response: http::Response<bytes::Bytes>,
) -> Result<Next> {
    send(session, ctx, response).await?;
    Ok(Next::Answered)
}
