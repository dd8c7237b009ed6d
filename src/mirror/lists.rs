//! Lists of a remote: its tags, what is about a manifest, and its catalog. Read to their end and kept for `tag_ttl`, so that clients
//! page through them as they like; what was pushed over the mirror is among them.
//!
//! - `pages`: the remote's lists, page by page; `link`: where the next one is
//! - `kept`: one question for all who ask, and the list as it was while the remote cannot say
//! - `referrers`: by the API or by a tag; `own`: what was pushed here
//! - `written`: our own pages

mod kept;
mod link;
mod own;
mod pages;
mod referrers;
mod written;

#[cfg(any(test, fuzzing))]
pub(super) use link::fuzz;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::statuses::{self, Asked};
use super::{Mirror, Reply, Request, stale};
use crate::cache::Source;
use crate::oci::{Descriptor, Digest, ErrorCode, Page, RepositoryName, Resource};
use crate::remote::{Asker, RemoteError};
pub(super) use kept::Lists;
use kept::Of;
use written::Place;

/// How long what is kept of tags may be looked for.
const KEPT_TIME: Duration = Duration::from_secs(2);
/// Most tags of which something is kept that are listed while the remote does not answer.
const MAX_KEPT_TAGS: usize = 10_000;

/// GET and HEAD of tags, referrers and the catalog, in bounded time.
pub(super) async fn answer(mirror: &Arc<Mirror>, request: &Request) -> Reply {
    let page = match &request.action.resource {
        Resource::Tags { page, .. } | Resource::Referrers { page, .. } | Resource::Catalog { page } => page,
        _ => return Reply::problem(ErrorCode::Unsupported, "this is no list"),
    };
    let page = match page {
        Ok(page) => page,
        Err(error) => return Reply::problem(ErrorCode::PaginationNumberInvalid, &error.to_string()),
    };
    let answered = match &request.action.resource {
        Resource::Tags { name, .. } => tags(mirror, request, name, page).await,
        Resource::Referrers { name, digest, artifact_types, .. } => {
            referrers(mirror, request, (name, digest), (artifact_types, page)).await
        }
        _ => catalog(mirror, request, page).await,
    };
    answered.unwrap_or_else(|refusal| *refusal)
}

/// A refusal is an answer too; it travels as an error so that `?` ends the verb.
type Answered = Result<Reply, Box<Reply>>;

async fn tags(mirror: &Arc<Mirror>, request: &Request, name: &RepositoryName, page: &Page) -> Answered {
    let own = own::tags(mirror, request, name).await.map_err(Box::new)?;
    let asker = mirror.asker(&request.asker);
    let head = format!("{{\"name\":\"{name}\",\"tags\":[");
    let place = Place { path: format!("/v2/{name}/tags/list"), ns: request.action.ns.as_deref() };
    let error = match kept::get(mirror, Of::Tags(name.clone()), &asker).await {
        Ok(listed) if own.is_empty() => {
            return Ok(told(written::names(&head, listed.list.names(), page, &place), listed.source, listed.stale));
        }
        Ok(listed) => {
            let names = joined(own, listed.list.names().to_vec());
            return Ok(told(written::names(&head, &names, page, &place), listed.source, listed.stale));
        }
        Err(error) => error,
    };
    // What is known of the remote's tags, when it cannot be asked for all of them.
    let known = match &asker {
        Asker::Mirror if stale::may_speak(&error, mirror.remote.config()) => known(mirror, name).await,
        _ => Vec::new(),
    };
    if own.is_empty() && known.is_empty() {
        return Err(refusal(mirror, &error));
    }
    // That the remote has none is an answer, and the list is all there is.
    let incomplete = !matches!(error, RemoteError::Absent(_));
    let mut reply = told(written::names(&head, &joined(own, known), page, &place), Source::Disk, incomplete);
    reply.problem = incomplete.then(|| error.to_string());
    Ok(reply)
}

async fn referrers(
    mirror: &Arc<Mirror>,
    request: &Request,
    (name, subject): (&RepositoryName, &Digest),
    (wanted, page): (&[String], &Page),
) -> Answered {
    let own = own::referrers(mirror, request, name, subject).await.map_err(Box::new)?;
    let asker = mirror.asker(&request.asker);
    let place = Place { path: format!("/v2/{name}/referrers/{subject}"), ns: request.action.ns.as_deref() };
    let listed = match kept::get(mirror, Of::Referrers(name.clone(), *subject), &asker).await {
        Ok(listed) => listed,
        Err(error) if own.is_empty() => return Err(refusal(mirror, &error)),
        Err(error) => {
            let incomplete = !matches!(error, RemoteError::Absent(_));
            let own = referrers::sorted(own);
            let mut reply = told(written::referrers(&own, wanted, page, &place), Source::Disk, incomplete);
            reply.problem = incomplete.then(|| error.to_string());
            return Ok(reply);
        }
    };
    let reply = if own.is_empty() {
        written::referrers(listed.list.referrers(), wanted, page, &place)
    } else {
        let both: Vec<Descriptor> = own.into_iter().chain(listed.list.referrers().iter().cloned()).collect();
        written::referrers(&referrers::sorted(both), wanted, page, &place)
    };
    Ok(told(reply, listed.source, listed.stale))
}

/// Names as the remote has them: only a host that stands for it alone is asked for its catalog.
async fn catalog(mirror: &Arc<Mirror>, request: &Request, page: &Page) -> Answered {
    let asker = mirror.asker(&request.asker);
    let place = Place { path: "/v2/_catalog".into(), ns: request.action.ns.as_deref() };
    match kept::get(mirror, Of::Catalog, &asker).await {
        Ok(listed) => {
            let reply = written::names("{\"repositories\":[", listed.list.names(), page, &place);
            Ok(told(reply, listed.source, listed.stale))
        }
        Err(error) => Err(refusal(mirror, &error)),
    }
}

/// Tags of which a record is kept.
async fn known(mirror: &Mirror, name: &RepositoryName) -> Vec<String> {
    match timeout(KEPT_TIME, mirror.parts.keep.tags(name.as_str(), MAX_KEPT_TAGS)).await {
        Ok(Ok(found)) => {
            let mut known: Vec<String> =
                found.into_iter().filter(|(of, _)| of == name).map(|(_, tag)| tag.as_str().to_owned()).collect();
            known.sort_unstable();
            known
        }
        Ok(Err(error)) => {
            tracing::warn!(%name, %error, "what is kept of tags cannot be listed");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}

/// Both, in their order, each name once.
fn joined(mut names: Vec<String>, others: Vec<String>) -> Vec<String> {
    names.extend(others);
    names.sort_unstable();
    names.dedup();
    names
}

fn told(mut reply: Reply, source: Source, stale: bool) -> Reply {
    reply.source = Some(source);
    if stale {
        stale::warn(&mut reply);
    }
    reply
}

/// A registry that has no such list says so in other words than one that does not answer.
fn refusal(mirror: &Mirror, error: &RemoteError) -> Box<Reply> {
    Box::new(match error {
        RemoteError::Unsupported(_) => {
            let mut reply = Reply::problem(ErrorCode::Unsupported, "the remote registry has no such list");
            reply.problem = Some(error.to_string());
            reply
        }
        _ => statuses::reply(error, Asked::List, mirror.remote.config()),
    })
}
