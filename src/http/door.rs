//! The door: what is asked is read once, here, and dispatched. Nothing behind it looks at a URL again.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};

use super::{Next, Shared, entrance, fleet, gate, limit, mirror, names, registry, token};
use crate::acme;
use crate::cluster::Cluster;
use crate::cluster::config::Authorization;
use crate::cors;
use crate::exchange::RequestContext;
use crate::exchange::fields::REQUEST_ID;
use crate::exchange::request_body::RequestBody;
use crate::exchange::respond::{self, not_allowed, problem, problem_with_status, send};
use crate::exchange::{forwarded, via};
use crate::front::pass::Pass;
use crate::front::upload::take_peer;
use crate::front::{self, Front, Pull, Standing, blob, manifest, ping, push};
use crate::listener::{Amendment, Exchange, Result};
use crate::oci::{Action, ActionError, ErrorCode, Host, HostError, Resource};
use crate::routing::{Answerer, Target};
use crate::telemetry::RequestId;

/// The path that says whether the process lives.
const HEALTH: &str = "/healthz";

/// Where a request's target lies, of a listener with a prefix.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Below,
    Outside,
}

/// Reads the head, and answers or says who goes on.
pub async fn enter(shared: &Shared, exchange: &mut Exchange, ctx: &mut RequestContext) -> Result<Next> {
    let place = identify(exchange, ctx);
    if let Some(response) = of_an_authority(shared, &exchange.head().method, ctx.target.path()).await {
        return answer(exchange, ctx, response).await;
    }
    if let Some(asked) = fleet::asked(shared, exchange, ctx) {
        return fleet::answer(shared, exchange, ctx, asked).await;
    }
    if let Err(response) = limit::by_address(exchange, ctx).await {
        return refuse(exchange, ctx, *response).await;
    }
    if let Some(response) = before_routing(exchange, ctx, place) {
        return answer(exchange, ctx, response).await;
    }
    match read(exchange, ctx).and_then(|action| names::make_canonical(exchange, ctx, action)) {
        Ok(action) => dispatch(shared, exchange, ctx, action).await,
        Err(response) => answer(exchange, ctx, *response).await,
    }
}

/// What an authority looks for at a name before it gives us a certificate for it (http-01), if somebody here has ordered that. Before
/// everything else: rules, limits and redirects are for clients.
async fn of_an_authority(shared: &Shared, method: &Method, path: &str) -> Option<Response<Bytes>> {
    if !is_of_an_authority(method, path) {
        return None;
    }
    let mut response = Response::new(Bytes::from(shared.acme.answer(path).await?));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Some(response)
}

/// Whether only an authority asks like that.
fn is_of_an_authority(method: &Method, path: &str) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && path.starts_with(acme::PATH)
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
fn before_routing(exchange: &Exchange, ctx: &mut RequestContext, place: Place) -> Option<Response<Bytes>> {
    let request = exchange.head();
    let bad = |message: &str| problem_with_status(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, message);
    // Also outside the prefix: whoever looks after the process need not know it.
    if ctx.target.path() == HEALTH {
        return Some(match request.method {
            Method::GET | Method::HEAD => health(),
            _ => not_allowed("GET, HEAD", "/healthz takes GET and HEAD"),
        });
    }
    if place == Place::Outside {
        return Some(problem_with_status(StatusCode::NOT_FOUND, ErrorCode::Unsupported, "no such path here"));
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
            Some(host) => respond::redirect_to_https(&host, request.target.as_str()),
            None => bad("no Host to redirect to"),
        });
    }
    // Before anybody is asked who they are: browsers ask it without any credentials.
    (ctx.site.cors.is_some() && cors::is_preflight(&request.method, &request.headers)).then(cors::preflight)
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
async fn dispatch(shared: &Shared, exchange: &mut Exchange, ctx: &mut RequestContext, action: Action) -> Result<Next> {
    ctx.asking = shared.metrics.asks(&action.resource);
    ctx.action = Some(action.clone());
    if matches!(action.resource, Resource::Outside)
        && token::is_ours(ctx.target.path())
        && ctx.site.table.is_ruled(&ctx.host)
    {
        return token::answer(&shared.authenticator, exchange, ctx).await;
    }
    if matches!(action.resource, Resource::Outside) && ctx.site.table.is_ruled(&ctx.host) {
        // Logins at hosts with rules are for us, also where no rule is asked.
        exchange.take_field(&AUTHORIZATION);
    }
    let Found { target, ruled, overlay } = match answerer(ctx, &action) {
        Ok(Some(found)) => found,
        Ok(None) => return answer(exchange, ctx, nobody(exchange, ctx, &action)).await,
        Err(response) => return answer(exchange, ctx, *response).await,
    };
    if ruled && let Err(response) = gate::admit(shared, exchange, ctx, &action).await {
        return refuse(exchange, ctx, *response).await;
    }
    if let Err(response) = limit::by_identity(exchange, ctx, &action).await {
        return refuse(exchange, ctx, *response).await;
    }
    match target {
        // Whose an upload is, its peers do not know.
        Target::Cluster(_) if ctx.permit.is_late() => {
            let response = gate::ended(&shared.authenticator, exchange, ctx, &action);
            refuse(exchange, ctx, response).await
        }
        Target::Cluster(cluster) => {
            if ruled
                && cluster.config().authorization == Authorization::Token
                && let Err(response) = gate::vouch(&shared.authenticator, exchange, ctx, &action).await
            {
                return refuse(exchange, ctx, *response).await;
            }
            to_cluster(&shared.front, exchange, ctx, cluster, action).await
        }
        Target::Registry(registry) => registry::answer(shared, exchange, ctx, &registry, action).await,
        Target::Mirror(mirror) => {
            let asked = mirror::Asked { mirror: &mirror, action, overlay };
            mirror::answer(shared, exchange, ctx, asked).await
        }
    }
}

/// Who answers, kept apart from the routes.
struct Found {
    target: Target,
    /// Whether our own rules say who may ask.
    ruled: bool,
    /// Whether what is pushed here goes before what a mirror has.
    overlay: bool,
}

impl From<Answerer<'_>> for Found {
    fn from(answerer: Answerer<'_>) -> Self {
        Found { target: answerer.target.clone(), ruled: answerer.ruled, overlay: answerer.overlay }
    }
}

/// Who answers; `None`: nobody.
fn answerer(ctx: &RequestContext, action: &Action) -> std::result::Result<Option<Found>, Box<Response<Bytes>>> {
    let table = &ctx.site.table;
    let of = Found::from;
    let found = match action.resource.repository() {
        None if matches!(action.resource, Resource::Outside) => {
            let peer = take_peer(ctx.target.query()).1.map(|upload| upload.peer);
            // Outside `/v2/` is nothing that rules speak of.
            let cluster = table.forward(&ctx.host, ctx.target.path(), peer);
            cluster.map(|cluster| Found { target: Target::Cluster(cluster.clone()), ruled: false, overlay: false })
        }
        None => match action.ns.as_deref().and_then(|ns| table.names().declared(ns)) {
            Some(remote) => table.of_remote(&ctx.host, remote).map(of),
            None if matches!(action.resource, Resource::Catalog { .. }) => table.catalog(&ctx.host).map(of),
            None => table.host(&ctx.host).map(of),
        },
        Some(repository) if action.is_read() => table.read(&ctx.host, repository).map(of),
        Some(repository) => match table.write(&ctx.host, repository) {
            Some(None) => {
                let message = "this route takes no writes: it has no `write` target";
                return Err(Box::new(not_allowed(&action.resource.allow_of_reads(), message)));
            }
            Some(target) => target.map(of),
            None => None,
        },
    };
    Ok(found.filter(|found| is_of_the_name(ctx, &found.target, action)))
}

/// A remote is asked for its own repositories only, whatever a route's pattern lets through; and the registry, in whose storage they
/// are kept, for none whose remote has to be asked who may.
fn is_of_the_name(ctx: &RequestContext, target: &Target, action: &Action) -> bool {
    match (target, action.resource.repository()) {
        (Target::Registry(_), Some(name)) => !ctx.site.table.is_for_callers(name),
        (Target::Mirror(mirror), Some(name)) => ctx.site.table.names().owner(name) == Some(mirror.remote().name()),
        _ => true,
    }
}

/// What is said where no route leads anywhere.
fn nobody(exchange: &Exchange, ctx: &RequestContext, action: &Action) -> Response<Bytes> {
    match action.resource {
        Resource::Outside if ctx.target.path() == "/" => {
            entrance::answer(exchange.head(), &ctx.connection.settings().prefix)
        }
        Resource::Outside => problem_with_status(StatusCode::NOT_FOUND, ErrorCode::Unsupported, "no such path here"),
        _ => problem(ErrorCode::NameUnknown, "no route of this proxy matches the host and repository"),
    }
}

/// Answers a request that may not be: what its body still brings is not waited for.
async fn refuse(exchange: &mut Exchange, ctx: &mut RequestContext, response: Response<Bytes>) -> Result<Next> {
    RequestBody::new(exchange).settle().await?;
    answer(exchange, ctx, response).await
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
        Resource::Manifest { name, reference, tags } if action.method == Method::PUT => {
            let put = push::Put { name: &name, reference: &reference, tags: &tags };
            push::manifest(front, exchange, ctx, &cluster, &put).await?
        }
        Resource::Manifest { name, .. } | Resource::Blob { name, .. } if action.method == Method::DELETE => {
            push::delete(front, exchange, ctx, &cluster, &name).await?
        }
        Resource::Catalog { page } if ctx.permit.is_ruled() && reads => {
            front::ruled::catalog(exchange, ctx, &cluster, &page).await?
        }
        Resource::UploadStart { start, .. } => {
            if ctx.permit.is_ruled() {
                front::ruled::without_unreadable_mount(ctx, &start);
                front::ruled::without_form(exchange);
            }
            front::Next::Pass
        }
        Resource::Upload { .. } => {
            if ctx.permit.is_ruled() {
                front::ruled::without_form(exchange);
            }
            front::Next::Pass
        }
        Resource::Manifest { .. }
        | Resource::Blob { .. }
        | Resource::Outside
        | Resource::Catalog { .. }
        | Resource::Tags { .. }
        | Resource::Referrers { .. } => front::Next::Pass,
    };
    Ok(match next {
        front::Next::Answered => Next::Answered,
        front::Next::Pass => Next::Pass(Box::new(Pass::of(ctx, cluster))),
    })
}

/// Whether a request is answered however much there is to do: it asks for health, or an authority looks for us.
pub fn is_always_answered(exchange: &Exchange) -> bool {
    let head = exchange.head();
    let path = head.target.path();
    exchange.connection().settings().prefix.take_off(path).unwrap_or(path) == HEALTH
        || is_of_an_authority(&head.method, path)
}

/// The request's target and id, and the client behind trusted proxies; what browsers are told in every answer.
fn identify(exchange: &mut Exchange, ctx: &mut RequestContext) -> Place {
    if let Some(cors) = &ctx.site.cors {
        let with = cors.fields(&exchange.head().method, exchange.headers());
        exchange.amend(Amendment { without: &cors::PEERS, with });
    }
    let request = exchange.head();
    let settings = exchange.connection().settings();
    let below = match settings.prefix.take_off(request.target.as_str()) {
        Some(_) if settings.prefix.is_none() => None,
        Some(below) => below.parse().ok(),
        None => None,
    };
    let place = if below.is_some() || settings.prefix.is_none() { Place::Below } else { Place::Outside };
    // A clone shares the text.
    ctx.target = below.unwrap_or_else(|| request.target.clone());
    ctx.version = request.version;
    ctx.id = RequestId::accept(request.headers.get(&REQUEST_ID).map(HeaderValue::as_bytes));
    let connection = &ctx.connection;
    let (tls, trusted) = (connection.tls().is_some(), &connection.settings().trusted_proxies);
    ctx.client = Some(forwarded::client(&request.headers, connection.client(), tls, trusted));
    place
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
