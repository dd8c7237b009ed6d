//! Pulling a blob: permission first, then the cache, then one download for everybody who waits.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use pingora::prelude::Result;
use pingora::proxy::Session;

use super::access::{Access, refusal};
use super::ask::{Answer, Question, Unanswered, any_answer, ask};
use super::content::{Served, Stored, serve};
use super::context::{CacheUse, RequestContext};
use super::origin::ClusterOrigin;
use super::respond::{self, CACHE_STATUS, CONTENT_DIGEST, problem, send};
use super::{Front, Next};
use crate::cache::{Content, FillError, Origin as _, OriginError, Source};
use crate::cluster::Cluster;
use crate::cluster::config::Redirects;
use crate::oci::{Digest, ErrorCode, media_type};

/// Key of a question that simultaneous askers share: latest change, scope, credential, repository, digest.
pub type Key = (u64, crate::auth::Scope, crate::auth::Credential, crate::oci::RepositoryName, Digest);

/// What the peers say of this client and this blob.
enum Verdict {
    /// Remembered from an earlier answer.
    Remembered,
    Granted(Answer),
    /// Not there, says HEAD. Where a peer fetches on GET only (Harbor's proxy projects), the GET is the answer.
    Absent(Answer),
    Refused(Answer),
    Unanswered(Unanswered),
}

/// Answers a GET or HEAD of a blob.
pub async fn pull(
    front: &Front,
    session: &mut Session,
    ctx: &mut RequestContext,
    cluster: &Arc<Cluster>,
    access: Access,
    digest: Digest,
) -> Result<Next> {
    let get = session.req_header().method == Method::GET;
    let generation = access.memory().generation();
    let verdict = match access.remembered(&digest) {
        true => Verdict::Remembered,
        false => permission(front, session, ctx, cluster, &access, &digest).await,
    };
    let mut opened = None;
    match &verdict {
        Verdict::Remembered | Verdict::Granted(_) => {}
        // Opened for this very client: only a peer's yes makes it join the others.
        Verdict::Absent(_) if get => {
            let origin = origin(session, ctx, cluster, &digest);
            if let Err(error) = origin.open_as_permission(&digest).await {
                return failed(session, ctx, &access, &digest, error).await;
            }
            access.granted(&digest, generation);
            opened = Some(origin);
        }
        Verdict::Absent(answer) | Verdict::Refused(answer) => {
            let response = refusal(&answer.response, ErrorCode::BlobUnknown);
            send(session, ctx, response).await?;
            return Ok(Next::Answered);
        }
        Verdict::Unanswered(why) => return stale(front, session, ctx, &access, &digest, why.clone()).await,
    }
    if let Some(content) = front.cache.get(&digest).await {
        // What was opened for the permission is not read: kept, it would hold its peer for as long as the client reads.
        drop(opened);
        let (used, content) = match content.bytes().is_some() {
            true => (CacheUse::Memory, content),
            // A corrupt file heals from the peers, in this very answer.
            false => (CacheUse::Disk, content.with_origin(origin(session, ctx, cluster, &digest))),
        };
        ctx.cache = used;
        return blob(session, ctx, &digest, content).await;
    }
    if !get {
        return head(front, session, ctx, cluster, &access, &digest, verdict).await;
    }
    if cluster.config().redirects == Redirects::Pass
        && redirects(front, session, ctx, cluster, &access, &digest, &verdict).await
    {
        ctx.cache = CacheUse::Bypass;
        return Ok(Next::Pass);
    }
    let origin = opened.unwrap_or_else(|| origin(session, ctx, cluster, &digest));
    fill(front, session, ctx, &access, &digest, origin).await
}

/// Downloads, or joins who does.
async fn fill(
    front: &Front,
    session: &mut Session,
    ctx: &mut RequestContext,
    access: &Access,
    digest: &Digest,
    origin: Arc<ClusterOrigin>,
) -> Result<Next> {
    match front.cache.get_or_fill(digest, origin.clone()).await {
        Ok((content, source)) => {
            ctx.cache = match source {
                Source::Memory => CacheUse::Memory,
                Source::Disk => CacheUse::Disk,
                Source::Miss => CacheUse::Miss,
                Source::Collapsed => CacheUse::Collapsed,
            };
            if ctx.cache == CacheUse::Miss {
                ctx.peer = origin.gave();
            } else {
                // Somebody else's download is read: what was opened for the permission would only hold a peer.
                origin.close();
            }
            blob(session, ctx, digest, content).await
        }
        Err(FillError::Refused(refusal)) => failed(session, ctx, access, digest, OriginError::Refused(refusal)).await,
        Err(FillError::Unavailable(why)) => {
            failed(session, ctx, access, digest, OriginError::Unavailable(why.to_string())).await
        }
        Err(error @ (FillError::Broken(_) | FillError::Mismatched)) => {
            ctx.problem = Some(error.to_string());
            let message = "the registries behind this proxy gave no usable content";
            send(session, ctx, respond::problem_with_status(StatusCode::BAD_GATEWAY, ErrorCode::Unknown, message))
                .await?;
            Ok(Next::Answered)
        }
    }
}

async fn blob(session: &mut Session, ctx: &mut RequestContext, digest: &Digest, content: Content) -> Result<Next> {
    serve(
        session,
        ctx,
        Served {
            digest,
            content: Stored::Cached(content),
            media_type: media_type::OCTET_STREAM,
            by_tag: false,
            extra: None,
        },
    )
    .await?;
    Ok(Next::Answered)
}

/// Asks the peers, with the client's own credentials, whether it may read the blob and whether they hold it.
async fn permission(
    front: &Front,
    session: &Session,
    ctx: &mut RequestContext,
    cluster: &Arc<Cluster>,
    access: &Access,
    digest: &Digest,
) -> Verdict {
    let key = (front.changes(), access.scope, access.credential, access.repository.clone(), *digest);
    let question = Question {
        method: Method::HEAD,
        target: target(session),
        headers: ctx.asking(session, None),
        body: Bytes::new(),
        hash: digest.hash().to_vec(),
        check: any_answer(),
    };
    let (cluster, access, digest) = (cluster.clone(), access.clone(), *digest);
    let answer = front.blob_questions.ask(key, || async move {
        let generation = access.generation();
        let answer = ask(&cluster, &question).await?;
        match answer.response.status() {
            StatusCode::OK | StatusCode::TEMPORARY_REDIRECT => access.granted(&digest, generation),
            status => access.refused(status, Some(&digest)),
        }
        Ok(answer)
    });
    let answer = match answer.await.unwrap_or(Err(Unanswered::NoPeer)) {
        Ok(answer) => answer,
        Err(why) => return Verdict::Unanswered(why),
    };
    ctx.answered_by(&answer.peer, answer.took);
    match answer.response.status() {
        StatusCode::OK | StatusCode::TEMPORARY_REDIRECT => Verdict::Granted(answer),
        StatusCode::NOT_FOUND => Verdict::Absent(answer),
        _ => Verdict::Refused(answer),
    }
}

/// No peer answers: what was known to be good is served, with a warning.
async fn stale(
    front: &Front,
    session: &mut Session,
    ctx: &mut RequestContext,
    access: &Access,
    digest: &Digest,
    why: Unanswered,
) -> Result<Next> {
    if why.is_silence()
        && access.known_good(digest)
        && let Some(content) = front.cache.get(digest).await
    {
        ctx.cache = CacheUse::Stale;
        return blob(session, ctx, digest, content).await;
    }
    send(session, ctx, respond::unanswered(why)).await?;
    Ok(Next::Answered)
}

/// A HEAD of what is not in the cache: the peer's own answer; nothing is downloaded for it.
async fn head(
    front: &Front,
    session: &mut Session,
    ctx: &mut RequestContext,
    cluster: &Arc<Cluster>,
    access: &Access,
    digest: &Digest,
    verdict: Verdict,
) -> Result<Next> {
    let verdict = match verdict {
        Verdict::Remembered => permission(front, session, ctx, cluster, access, digest).await,
        asked => asked,
    };
    ctx.cache = CacheUse::Bypass;
    let response = match verdict {
        Verdict::Granted(answer) if answer.response.status() == StatusCode::OK => held(&answer.response, digest),
        Verdict::Granted(answer) => match cluster.config().redirects {
            Redirects::Pass => respond::relayed(&answer.response),
            Redirects::Follow => followed_head(session, ctx, cluster, digest).await,
        },
        Verdict::Absent(answer) | Verdict::Refused(answer) => refusal(&answer.response, ErrorCode::BlobUnknown),
        Verdict::Unanswered(why) => respond::unanswered(why),
        Verdict::Remembered => problem(ErrorCode::Unknown, "no answer"),
    };
    send(session, ctx, response).await?;
    Ok(Next::Answered)
}

/// A HEAD that the peers redirect: an object store's signed addresses are for GET, so its answer is begun and dropped.
async fn followed_head(
    session: &Session,
    ctx: &RequestContext,
    cluster: &Arc<Cluster>,
    digest: &Digest,
) -> Response<Bytes> {
    match origin(session, ctx, cluster, digest).open(0).await {
        Ok(stream) => {
            let mut answer = Response::new(Bytes::new());
            if let Some(total) = stream.total {
                answer.headers_mut().insert(CONTENT_LENGTH, total.into());
            }
            held(&answer, digest)
        }
        Err(OriginError::Refused(answer)) => refusal(answer.response(), ErrorCode::BlobUnknown),
        Err(_) => respond::unanswered(Unanswered::NoPeer),
    }
}

fn held(answer: &Response<Bytes>, digest: &Digest) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    if let Some(length) = answer.headers().get(CONTENT_LENGTH) {
        headers.insert(CONTENT_LENGTH, length.clone());
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type::OCTET_STREAM));
    headers.insert(http::header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    for (name, value) in [(CONTENT_DIGEST, digest.to_string()), (http::header::ETAG, format!("\"{digest}\""))] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    if let Some(status) = CacheUse::Bypass.field(true) {
        headers.insert(CACHE_STATUS, status);
    }
    response
}

/// `redirects = "pass"`: whether the peers would send this client to their object store.
async fn redirects(
    front: &Front,
    session: &Session,
    ctx: &mut RequestContext,
    cluster: &Arc<Cluster>,
    access: &Access,
    digest: &Digest,
    verdict: &Verdict,
) -> bool {
    let status = match verdict {
        Verdict::Granted(answer) => answer.response.status(),
        _ => match permission(front, session, ctx, cluster, access, digest).await {
            Verdict::Granted(answer) => answer.response.status(),
            _ => return false,
        },
    };
    status.is_redirection()
}

/// The download did not begin, or no peer could end it.
async fn failed(
    session: &mut Session,
    ctx: &mut RequestContext,
    access: &Access,
    digest: &Digest,
    error: OriginError,
) -> Result<Next> {
    let response = match error {
        OriginError::Refused(answer) => {
            access.refused(answer.status(), Some(digest));
            refusal(answer.response(), ErrorCode::BlobUnknown)
        }
        OriginError::Unavailable(why) | OriginError::Broken(why) => {
            ctx.problem = Some(why);
            respond::unanswered(Unanswered::NoPeer)
        }
    };
    send(session, ctx, response).await?;
    Ok(Next::Answered)
}

fn target(session: &Session) -> String {
    let uri = &session.req_header().uri;
    uri.path_and_query().map_or_else(|| uri.path().to_owned(), |target| target.as_str().to_owned())
}

fn origin(session: &Session, ctx: &RequestContext, cluster: &Arc<Cluster>, digest: &Digest) -> Arc<ClusterOrigin> {
    let headers = ctx.asking(session, None);
    Arc::new(ClusterOrigin::new(cluster.clone(), target(session), headers, digest.hash().to_vec()))
}
