//! What a mirror answers, as HTTP. The mirror says what the answer is and where its bytes are; conditions, ranges, the connection and
//! whose right a remote is asked by are ours.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{
    ALLOW, AUTHORIZATION, CONTENT_TYPE, IF_NONE_MATCH, IF_RANGE, LINK, RANGE, WARNING, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::registry::stored;
use super::{Next, Shared};
use crate::auth::Permit;
use crate::cache::Source;
use crate::exchange::content::{Piece, Served, Stored, serve, serve_piece};
use crate::exchange::respond::{CACHE_STATUS, problem, send};
use crate::exchange::{CacheUse, RequestContext};
use crate::listener::{Exchange, Result};
use crate::mirror::{Blob, Body, Mirror, Reply, Request};
use crate::oci::conditional::{if_range_holds, none_match_lists};
use crate::oci::pagination;
use crate::oci::{Action, Digest, ErrorCode, Resource, media_type};
use crate::outbound::via;
use crate::registry::ContentBytes;
use crate::remote::config::AskedAs;
use crate::remote::{Asker, RemoteNames};

/// A read of a route that goes to a mirror.
pub struct Asked<'a> {
    pub mirror: &'a Arc<Mirror>,
    pub action: Action,
    /// Whether what is pushed here goes before what the remote has.
    pub overlay: bool,
}

/// Answers it. Who may has been decided before, but for what a remote says of its callers.
pub async fn answer(
    shared: &Shared,
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    asked: Asked<'_>,
) -> Result<Next> {
    let Asked { mirror, action, overlay } = asked;
    let asker = asker(exchange, mirror);
    if let Some(response) = without_the_remote(mirror, &action, &asker) {
        send(exchange, ctx, response).await?;
        return Ok(Next::Answered);
    }
    let resource = action.resource.clone();
    let mut request = Request { range: range(exchange.headers(), &action), action, asker, overlay };
    if let Resource::Catalog { page: Ok(page) } = &mut request.action.resource
        && ctx.permit.is_ruled()
    {
        // Cut when it is known what of it may be read: where a page ends tells a name.
        page.n = None;
    }
    // Boxed, so that the connection's own task stays small, and the compiler need not look into it.
    let answering: BoxFuture<'_, Reply> = Box::pin(via::Passed::of(exchange.headers()).along(mirror.answer(request)));
    let reply = answering.await;
    let source = reply.source;
    let written = write(shared, exchange, ctx, mirror, reply).await;
    mirror.sent(&resource, source, exchange.sent());
    written.map(|()| Next::Answered)
}

async fn write(
    shared: &Shared,
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    mirror: &Mirror,
    reply: Reply,
) -> Result<()> {
    let Reply { status, mut headers, body, source, problem } = reply;
    note(ctx, mirror, source, &headers, problem);
    match body {
        Body::Bytes(body) => {
            let filtered = status == StatusCode::OK && ctx.permit.is_ruled();
            let body = match ctx.resource() {
                Some(Resource::Catalog { page: Ok(page) }) if filtered => {
                    let more = headers.remove(LINK).is_some();
                    let (body, last) = readable(&body, mirror.remote().names(), &ctx.permit, (page, more));
                    let ns = ctx.action.as_ref().and_then(|action| action.ns.as_deref());
                    if let Some(link) = last.and_then(|last| behind(&last, page, ns)) {
                        headers.insert(LINK, link);
                    }
                    body
                }
                _ => body,
            };
            if status == StatusCode::UNAUTHORIZED && !headers.contains_key(WWW_AUTHENTICATE) {
                headers.insert(WWW_AUTHENTICATE, login(mirror));
            }
            if let Some(field) = ctx.cache.field(true) {
                headers.entry(CACHE_STATUS).or_insert(field);
            }
            let mut response = Response::new(body);
            (*response.status_mut(), *response.headers_mut()) = (status, headers);
            send(exchange, ctx, response).await?;
        }
        Body::Content { digest, media_type, by_tag, blob } => {
            match content(shared, exchange, ctx, &digest, blob).await {
                Ok(content) => {
                    let (media_type, extra) = (media_type.as_str(), Some(&headers));
                    serve(exchange, ctx, Served { digest: &digest, content, media_type, by_tag, extra }).await?;
                }
                Err(response) => send(exchange, ctx, response).await?,
            }
        }
        Body::Piece { digest, start, end, total, stream } => {
            let piece = Piece { digest: &digest, range: start..end, total, extra: &headers };
            serve_piece(exchange, ctx, piece, stream).await?;
        }
    }
    Ok(())
}

/// By whose right the remote is asked. A credential that is neither ours nor the remote's to judge is not looked at, and goes no
/// further: clients send to a mirror what was meant for another registry.
fn asker(exchange: &mut Exchange, mirror: &Mirror) -> Asker {
    let shown = exchange.take_field(&AUTHORIZATION);
    match mirror.remote().config().identity {
        AskedAs::Mirror => Asker::Mirror,
        AskedAs::Caller => Asker::Caller(shown),
    }
}

/// What is no content of the remote's: whether this is a registry, and what may be done here.
fn without_the_remote(mirror: &Mirror, action: &Action, asker: &Asker) -> Option<Response<Bytes>> {
    if action.method == Method::OPTIONS {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        if let Ok(allow) = HeaderValue::from_str(&action.resource.allow_of_reads()) {
            response.headers_mut().insert(ALLOW, allow);
        }
        return Some(response);
    }
    if !matches!(action.resource, Resource::Base) {
        return None;
    }
    Some(match asker {
        // Most clients show a login only where they were asked for one here.
        Asker::Caller(None) => {
            let message = "log in with what you have at the registry that is mirrored here";
            let mut response = problem(ErrorCode::Unauthorized, message);
            response.headers_mut().insert(WWW_AUTHENTICATE, login(mirror));
            response
        }
        Asker::Caller(Some(_)) | Asker::Mirror => {
            let mut response = Response::new(Bytes::from_static(b"{}"));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type::JSON));
            response
        }
    })
}

/// The challenge of a mirror that passes its callers' logins on. Never sent by one that asks by its own right: clients would offer
/// it a login of another registry, or give up.
fn login(mirror: &Mirror) -> HeaderValue {
    let realm = format!("Basic realm=\"{}\"", mirror.remote().config().registry);
    HeaderValue::from_str(&realm).unwrap_or(HeaderValue::from_static("Basic realm=\"registry\""))
}

/// The range that counts, of a GET of a blob.
fn range(headers: &HeaderMap, action: &Action) -> Option<HeaderValue> {
    let Resource::Blob { digest, .. } = &action.resource else { return None };
    let digest = digest.text();
    let field = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let unchanged = field(IF_NONE_MATCH).is_some_and(|listed| none_match_lists(listed, &digest));
    let holds = field(IF_RANGE).is_none_or(|tag| if_range_holds(tag, &digest));
    let counts = action.method == Method::GET && !unchanged && holds;
    headers.get(RANGE).filter(|_| counts).cloned()
}

/// What may be read here of the remote's catalog, up to as many names as were asked for; and the last of them, if others follow.
fn readable(
    listed: &[u8],
    names: &RemoteNames,
    permit: &Permit,
    (asked, more): (&pagination::Page, bool),
) -> (Bytes, Option<String>) {
    let may = |name: &String| {
        let canonical = name.parse().ok().and_then(|name| names.canonical(&name));
        canonical.is_some_and(|name| permit.shows(&name))
    };
    let Page { mut repositories } = serde_json::from_slice(listed).unwrap_or_default();
    repositories.retain(may);
    let count = asked.n.unwrap_or(usize::MAX);
    let more = more || repositories.len() > count;
    repositories.truncate(count);
    let last = repositories.last().filter(|_| more).cloned();
    (serde_json::to_vec(&Page { repositories }).unwrap_or_default().into(), last)
}

/// The `Link` to what follows.
fn behind(last: &str, asked: &pagination::Page, ns: Option<&str>) -> Option<HeaderValue> {
    let n = asked.n.map(|n| n.to_string());
    let parameters = [("last", Some(last)), ("n", n.as_deref()), ("ns", ns)];
    let parameters: Vec<_> = parameters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    HeaderValue::try_from(pagination::link_next("/v2/_catalog", &parameters)).ok()
}

#[derive(Default, Deserialize, Serialize)]
struct Page {
    repositories: Vec<String>,
}

/// What came of it, for the log and the metrics.
fn note(
    ctx: &mut RequestContext,
    mirror: &Mirror,
    source: Option<Source>,
    headers: &HeaderMap,
    problem: Option<String>,
) {
    ctx.cache = match source {
        _ if headers.contains_key(WARNING) => CacheUse::Stale,
        Some(source) => source.into(),
        None => CacheUse::None,
    };
    if matches!(source, Some(Source::Miss)) {
        ctx.peer = Some(format!("remote.{}", mirror.remote().name()).into());
    }
    ctx.problem = problem;
}

/// Finds the bytes of a content that the mirror has granted.
async fn content(
    shared: &Shared,
    exchange: &Exchange,
    ctx: &mut RequestContext,
    digest: &Digest,
    blob: Blob,
) -> std::result::Result<Stored, Response<Bytes>> {
    let bytes = match blob {
        Blob::Whole(bytes) => return Ok(Stored::Whole(bytes)),
        Blob::Cached(content) => return Ok(Stored::Cached(content)),
        Blob::Absent(size) => return Ok(Stored::Absent(size)),
        Blob::Local(blob) => ContentBytes::Local(blob),
        Blob::Stored(size) => ContentBytes::Remote(size),
    };
    let Some(registry) = ctx.site.table.registry().cloned() else {
        return Err(problem(ErrorCode::Unavailable, "the registry that keeps this is not open"));
    };
    // How the answer came about is the mirror's to say, also where the object store is read through the cache.
    let told = ctx.cache;
    let found = stored(&shared.front, exchange, ctx, &registry, digest, bytes).await;
    if told != CacheUse::None {
        ctx.cache = told;
    }
    found
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;

    use super::*;
    use crate::auth::{Identity, Policy};

    #[test]
    fn a_catalog_shows_what_may_be_read_by_the_name_that_it_has_here() {
        let rules =
            "[[rule]]\nrepositories = \"docker.io/team/**\"\nwho = [\"anonymous\"]\nallow = [\"pull\", \"catalog\"]\n";
        let policy = Arc::new(Policy::new(&toml::from_str(rules).unwrap()).unwrap());
        let permit = Permit::new(policy, (Identity::Anonymous, None, false), "h", [127, 0, 0, 1].into());
        let page = br#"{"repositories":["alpine","library/busybox","other/a","team/a","team/b","NO NAME"]}"#;
        let names = RemoteNames::new("docker.io", None);
        let all = pagination::Page { n: None, last: None };
        let told = |page: &[u8], asked: &pagination::Page| readable(page, &names, &permit, (asked, false));
        assert_eq!(told(page, &all), (r#"{"repositories":["team/a","team/b"]}"#.into(), None));
        assert_eq!(told(b"no JSON", &all), (r#"{"repositories":[]}"#.into(), None));
        // A page ends with a name that may be read, and what is behind it begins there.
        let one = pagination::Page { n: Some(1), last: None };
        assert_eq!(told(page, &one), (r#"{"repositories":["team/a"]}"#.into(), Some("team/a".to_owned())));
        let link = behind("team/a", &one, Some("docker.io")).unwrap();
        assert_eq!(link, "</v2/_catalog?last=team%2Fa&n=1&ns=docker.io>; rel=\"next\"");
    }

    #[test]
    fn a_range_counts_for_a_get_of_a_blob_that_the_client_has_not() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let counts = |method: &str, path: &str, more: Option<(HeaderName, &str)>| {
            let action = Action::parse(&method.parse().unwrap(), path, None).unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, HeaderValue::from_static("bytes=5-"));
            if let Some((name, value)) = more {
                headers.insert(name, HeaderValue::from_str(value).unwrap());
            }
            range(&headers, &action).is_some()
        };
        let blob = format!("/v2/a/blobs/{digest}");
        let tag = format!("\"{digest}\"");
        assert!(counts("GET", &blob, None));
        assert!(counts("GET", &blob, Some((IF_RANGE, &tag))));
        assert!(counts("GET", &blob, Some((IF_NONE_MATCH, "\"other\""))));
        assert!(!counts("HEAD", &blob, None));
        assert!(!counts("GET", &format!("/v2/a/manifests/{digest}"), None));
        assert!(!counts("GET", &blob, Some((IF_NONE_MATCH, &tag))));
        assert!(!counts("GET", &blob, Some((IF_RANGE, "\"other\""))));
    }
}
