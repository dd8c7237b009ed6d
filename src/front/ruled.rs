//! What our own rules say about a cluster's content beyond what is decided before anything is asked: whether a tag would be moved,
//! where a blob may be mounted from, and which repositories a catalog shows. The peers do not know who asks, so it is found out
//! before they act. Between a peer's word about a tag and its change somebody else may set that tag: what the integrated
//! registry does in one step cannot be had from peers.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, LINK};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Response, StatusCode};
use serde::Deserialize;

use super::Next;
use super::ask::{Question, any_answer, ask};
use super::push::Put;
use super::unanswered::unanswered;
use crate::auth::Permission;
use crate::cluster::Cluster;
use crate::exchange::RequestContext;
use crate::exchange::respond::{CONTENT_DIGEST, problem, send};
use crate::listener::{Exchange, Result};
use crate::oci::action::UploadStart;
use crate::oci::pagination::link_next;
use crate::oci::{Digest, ErrorCode, Page, PageError, RepositoryName, Tag, media_type};

/// Names that are asked of a peer at once: what distribution gives at most.
const PEERS_PAGE: usize = 1000;
/// Pages of a peer that are read for one of ours.
const MAX_PAGES: usize = 100;
/// Names of a page where the client does not say.
const DEFAULT_PAGE: usize = 100;

/// What is said to who may set new tags and not move old ones.
type Refusal = Response<Bytes>;

/// Whether who asks may let these tags lead to the manifest `body`.
///
/// # Errors
/// The refusal: a tag leads elsewhere, or no peer says where it leads.
pub async fn may_lead(
    exchange: &Exchange,
    ctx: &RequestContext,
    cluster: &Cluster,
    (name, tags): (&RepositoryName, &[&Tag]),
    body: &[u8],
) -> std::result::Result<(), Box<Refusal>> {
    if ctx.permit.may(Permission::Overwrite, name) {
        return Ok(());
    }
    for tag in tags {
        // Also what we would not serve: whatever is there would be moved away from.
        let accept = HeaderValue::from_static(media_type::ANY_MANIFEST);
        let question = Question {
            method: Method::HEAD,
            target: with_query(&format!("/v2/{name}/manifests/{tag}"), namespace(ctx).into_iter()),
            headers: ctx.asking(exchange.headers(), Some(accept)),
            body: Bytes::new(),
            hash: name.as_str().as_bytes().to_vec(),
            check: any_answer(),
        };
        let answer = ask(cluster, &question).await.map_err(|why| Box::new(unanswered(why)))?;
        match answer.response.status() {
            StatusCode::NOT_FOUND => {}
            StatusCode::OK if leads_to(&answer.response, body) => {}
            StatusCode::OK => {
                let message = format!("the tag '{tag}' exists, and you may not move it: that needs 'overwrite'");
                return Err(Box::new(problem(ErrorCode::Denied, &message)));
            }
            status => {
                tracing::warn!(%status, %name, "a peer does not say where a tag leads, so that it may not be set");
                return Err(Box::new(problem(
                    ErrorCode::Unavailable,
                    "it cannot be found out now where the tag leads",
                )));
            }
        }
    }
    Ok(())
}

/// A peer that is a mirror of several asks this one.
fn namespace(ctx: &RequestContext) -> Option<String> {
    let ns = ctx.action.as_ref().and_then(|action| action.ns.as_deref())?;
    Some(format!("ns={}", percent_encoding::utf8_percent_encode(ns, percent_encoding::NON_ALPHANUMERIC)))
}

/// Where a manifest is put whose tags were judged: with those tags and nothing else.
pub fn target_of_put(ctx: &RequestContext, put: &Put<'_>) -> String {
    // Tags need no escapes, by their grammar.
    let tags = put.tags.iter().flatten().map(|tag| format!("tag={tag}"));
    with_query(ctx.target.path(), tags.chain(namespace(ctx)))
}

fn with_query(path: &str, pairs: impl Iterator<Item = String>) -> String {
    let query = pairs.collect::<Vec<_>>().join("&");
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

fn leads_to(response: &Response<Bytes>, body: &[u8]) -> bool {
    let told = response.headers().get(CONTENT_DIGEST).and_then(|value| value.to_str().ok());
    let told = told.and_then(|text| text.parse::<Digest>().ok());
    told.is_some_and(|digest| Digest::of(digest.algorithm(), body) == digest)
}

/// Says anew to a peer what was asked of an upload's start: a mount only if we have read it as one, of what who asks may read. What
/// we read as no mount, such as one that is said twice, a peer may read as one. Without it the peer begins an ordinary upload, as it
/// does where there is no such blob.
pub fn without_unreadable_mount(ctx: &mut RequestContext, start: &UploadStart) {
    let mount = start.mount.as_ref().and_then(|mount| Some((mount.digest.text(), mount.from.as_ref()?)));
    // Without a source the peer may take it from anywhere.
    let mount = mount.filter(|(_, from)| ctx.permit.may(Permission::Pull, from));
    let mut query = without_mount(ctx.target.query().unwrap_or_default());
    if let Some((digest, from)) = mount {
        query.push(format!("mount={digest}"));
        query.push(format!("from={from}"));
    }
    let target = with_query(ctx.target.path(), query.into_iter());
    // Of parts of what was a target already; if that cannot be, nothing is said beside the path.
    let path = || ctx.target.path().parse::<PathAndQuery>();
    if let Ok(target) = target.parse::<PathAndQuery>().or_else(|_| path()) {
        ctx.target = target;
    }
}

/// The parameters that speak of no mount, as any server may read them: some part them at `;` too, and some do not mind case.
fn without_mount(query: &str) -> Vec<String> {
    let kept = |pair: &&str| {
        let key = pair.split('=').next().unwrap_or_default().replace('+', " ");
        let key = percent_encoding::percent_decode_str(&key).decode_utf8_lossy().trim().to_ascii_lowercase();
        !pair.is_empty() && key != "mount" && key != "from"
    };
    query.split(['&', ';']).filter(kept).map(str::to_owned).collect()
}

/// Bytes that are uploaded are no form: a peer that reads one takes parameters from it, which nobody has judged.
pub fn without_form(exchange: &mut Exchange) {
    let is_form = |kind: &HeaderValue| {
        let kind = kind.as_bytes().to_ascii_lowercase();
        [&b"x-www-form-urlencoded"[..], b"multipart/"]
            .iter()
            .any(|form| kind.windows(form.len()).any(|part| part == *form))
    };
    if exchange.headers().get_all(CONTENT_TYPE).iter().any(is_form) {
        exchange.put_field(CONTENT_TYPE, HeaderValue::from_static(media_type::OCTET_STREAM));
    }
}

/// Answers with the repositories of a cluster that who asks may see, cut into pages afterwards.
pub async fn catalog(
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    cluster: &Cluster,
    page: &std::result::Result<Page, PageError>,
) -> Result<Next> {
    let response = match page {
        Ok(page) => shown(exchange, ctx, cluster, page).await.unwrap_or_else(|refusal| *refusal),
        Err(error) => problem(ErrorCode::PaginationNumberInvalid, &error.to_string()),
    };
    send(exchange, ctx, response).await?;
    Ok(Next::Answered)
}

async fn shown(
    exchange: &Exchange,
    ctx: &mut RequestContext,
    cluster: &Cluster,
    page: &Page,
) -> std::result::Result<Response<Bytes>, Box<Refusal>> {
    let n = page.n.unwrap_or(DEFAULT_PAGE);
    if n > PEERS_PAGE {
        let message = format!("'n' is at most {PEERS_PAGE}");
        return Err(Box::new(problem(ErrorCode::PaginationNumberInvalid, &message)));
    }
    let mut last = page.last.clone();
    let mut listed: Vec<RepositoryName> = Vec::new();
    let mut seen = BTreeSet::new();
    for _ in 0..MAX_PAGES {
        let part = part(exchange, ctx, cluster, last.as_deref()).await?;
        let mut new = false;
        for name in &part.names {
            if seen.insert(name.clone()) {
                new = true;
                // What is no name of ours could not be asked for here.
                listed.extend(name.parse::<RepositoryName>().ok().filter(|name| ctx.permit.shows(name)));
            }
        }
        // One more than is listed tells whether there are more; a peer that begins again would have us go round.
        match part.names.last().filter(|_| part.more && new && listed.len() <= n) {
            Some(name) => last = Some(name.clone()),
            None => return Ok(reply(&listed, n)),
        }
    }
    let message = "the catalog of the registry behind this proxy is too long to look through it for you";
    Err(Box::new(problem(ErrorCode::Unavailable, message)))
}

/// A peer's page.
struct Part {
    names: Vec<String>,
    more: bool,
}

async fn part(
    exchange: &Exchange,
    ctx: &mut RequestContext,
    cluster: &Cluster,
    last: Option<&str>,
) -> std::result::Result<Part, Box<Refusal>> {
    #[derive(Deserialize)]
    struct Listed {
        #[serde(default)]
        repositories: Option<Vec<String>>,
    }
    let n = PEERS_PAGE.to_string();
    let link = link_next("/v2/_catalog", &[("n", &n), ("last", last.unwrap_or_default())]);
    let target = link.trim_start_matches('<').split('>').next().unwrap_or_default();
    let target = if last.is_none() { target.trim_end_matches("&last=") } else { target };
    let mut headers = ctx.asking(exchange.headers(), None);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let question = Question {
        method: Method::GET,
        target: target.to_owned(),
        headers,
        body: Bytes::new(),
        hash: Vec::new(),
        check: any_answer(),
    };
    let answer = ask(cluster, &question).await.map_err(|why| Box::new(unanswered(why)))?;
    answer.note_in(ctx);
    let response = &answer.response;
    if response.status() != StatusCode::OK {
        tracing::warn!(status = %response.status(), "a peer gives no catalog");
        return Err(Box::new(problem(ErrorCode::Unavailable, "the registry behind this proxy gives no catalog")));
    }
    let listed: Listed = serde_json::from_slice(response.body())
        .map_err(|_| Box::new(problem(ErrorCode::Unavailable, "the registry behind this proxy gives no catalog")))?;
    Ok(Part { names: listed.repositories.unwrap_or_default(), more: response.headers().contains_key(LINK) })
}

fn reply(listed: &[RepositoryName], n: usize) -> Response<Bytes> {
    let page: Vec<&str> = listed.iter().take(n).map(RepositoryName::as_str).collect();
    let body = serde_json::json!({ "repositories": page }).to_string();
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(last) = page.last().filter(|_| listed.len() > n) {
        let n = n.to_string();
        if let Ok(link) = HeaderValue::from_str(&link_next("/v2/_catalog", &[("last", last), ("n", &n)])) {
            response.headers_mut().insert(LINK, link);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn a_page_ends_where_it_was_cut() {
        let names: Vec<RepositoryName> = ["a", "b/c", "d"].iter().map(|name| name.parse().unwrap()).collect();
        let cut = reply(&names, 2);
        assert_eq!(cut.body().as_ref(), br#"{"repositories":["a","b/c"]}"#);
        assert_eq!(cut.headers()[LINK], "</v2/_catalog?last=b%2Fc&n=2>; rel=\"next\"");
        assert!(!reply(&names, 3).headers().contains_key(LINK));
        assert_eq!(reply(&[], 3).body().as_ref(), br#"{"repositories":[]}"#);
    }

    #[test]
    fn no_spelling_of_a_mount_is_kept() {
        for query in [
            "mount=a&from=b",
            "mount=a&mount=a&from=b",
            "mount=a&from=b&from=b",
            "x;mount=a;from=b",
            "%6dount=a&fro%6D=b",
            "Mount=a&FROM=b",
            "+mount=a&from+=b",
            "mount&from",
        ] {
            assert!(without_mount(query).iter().all(|pair| pair == "x"), "{query}: {:?}", without_mount(query));
        }
        assert_eq!(without_mount("digest=d&mount=a&ns=x&&"), ["digest=d", "ns=x"]);
    }

    #[test]
    fn a_tag_leads_where_its_digest_says() {
        let told = |text: &str| Response::builder().header(CONTENT_DIGEST, text).body(Bytes::new()).unwrap();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let digest = Digest::of(algorithm, b"manifest").text();
            assert!(leads_to(&told(&digest), b"manifest") && !leads_to(&told(&digest), b"another"));
        }
        assert!(!leads_to(&told("nonsense"), b"manifest") && !leads_to(&Response::new(Bytes::new()), b"manifest"));
    }
}
