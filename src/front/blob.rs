//! Pulling a blob: permission first, then the cache, then one download for everybody who waits.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use pingora::prelude::Result;
use pingora::proxy::Session;

use super::ask::{Answer, Check, Question, Unanswered, ask, refuses_head};
use super::odd;
use super::origin::{ClusterOrigin, Proof};
use super::standing::{Standing, refusal};
use super::unanswered::unanswered;
use super::{Front, Next};
use crate::cache::{Content, FillError, Origin as _, OriginError};
use crate::cluster::Cluster;
use crate::cluster::config::Redirects;
use crate::exchange::content::{Served, Stored, serve};
use crate::exchange::respond::{self, CACHE_STATUS, CONTENT_DIGEST, problem, send};
use crate::exchange::{CacheUse, RequestContext};
use crate::oci::{Digest, ErrorCode, media_type};

/// Key of a question that simultaneous askers share: latest change, jurisdiction, credential, repository, digest.
pub type Key = (u64, crate::verdicts::Jurisdiction, crate::verdicts::Credential, crate::oci::RepositoryName, Digest);

/// What the peers say of this client and this blob.
enum Verdict {
    /// Remembered from an earlier answer.
    Remembered,
    Granted(Answer),
    /// Not there, says HEAD. Where a peer fetches on GET only (Harbor's proxy projects), the GET is the answer.
    Absent(Answer),
    Refused(Answer),
    /// They take no HEAD: the answer to a GET counts, as far as it can.
    HeadRefused,
    Unanswered(Unanswered),
}

/// Answers a GET or HEAD of a blob.
///
/// A HEAD is how clients ask whether they need to push, so its answer is always the peers' own: a remembered yes would make
/// them leave out a layer that was collected meanwhile, for good (issue 9, A.1). Memory speaks only while no peer does.
pub async fn pull(
    front: &Front,
    session: &mut Session,
    ctx: &mut RequestContext,
    standing: Standing,
    digest: Digest,
) -> Result<Next> {
    let get = session.req_header().method == Method::GET;
    let cluster = &standing.cluster().clone();
    let generation = standing.generation();
    let verdict = match get && standing.remembered(&digest) {
        true => Verdict::Remembered,
        false => permission(front, session, ctx, cluster, &standing, &digest).await,
    };
    let mut opened = None;
    let mut promised = None;
    match &verdict {
        Verdict::Remembered | Verdict::Granted(_) => {}
        // Opened for this very client: only a peer's yes makes it join the others.
        Verdict::Absent(answer) | Verdict::Refused(answer) if get && is_worth_a_get(answer.response.status()) => {
            let origin = origin(session, ctx, cluster, &digest);
            if let Err(error) = origin.open_as_permission(Proof::Named(digest)).await {
                return failed(session, ctx, &standing, &digest, error).await;
            }
            standing.granted(&digest, generation);
            opened = Some(origin);
        }
        Verdict::HeadRefused => {
            let origin = origin(session, ctx, cluster, &digest);
            match origin.open_as_permission(Proof::Sized).await {
                Ok(total) => promised = total,
                Err(error) => return failed(session, ctx, &standing, &digest, error).await,
            }
            if !get {
                send(session, ctx, sized(promised, &digest)).await?;
                return Ok(Next::Answered);
            }
            // Nothing is remembered of such a yes: it does not name what it is a yes to.
            opened = Some(origin);
        }
        Verdict::Absent(answer) | Verdict::Refused(answer) => {
            let response = refusal(&answer.response, ErrorCode::BlobUnknown);
            send(session, ctx, response).await?;
            return Ok(Next::Answered);
        }
        Verdict::Unanswered(why) => return stale(front, session, ctx, &standing, &digest, why.clone()).await,
    }
    if let Some(content) = front.cache.get(&digest).await {
        // What was opened for the permission is not read: kept, it would hold its peer for as long as the client reads.
        drop(opened);
        if !is_promised(&content, promised) {
            return other_content(session, ctx).await;
        }
        let (used, content) = match content.bytes().is_some() {
            true => (CacheUse::Memory, content),
            // A corrupt file heals from the peers, in this very answer.
            false => (CacheUse::Disk, content.with_origin(origin(session, ctx, cluster, &digest))),
        };
        ctx.cache = used;
        return blob(session, ctx, &digest, content).await;
    }
    if !get {
        return head(session, ctx, cluster, &digest, verdict).await;
    }
    if cluster.config().redirects == Redirects::Pass
        && redirects(front, session, ctx, cluster, &standing, &digest, &verdict).await
    {
        ctx.cache = CacheUse::Bypass;
        return Ok(Next::Pass);
    }
    let origin = opened.unwrap_or_else(|| origin(session, ctx, cluster, &digest));
    fill(front, session, ctx, &standing, &digest, (origin, promised)).await
}

/// Whether the content is what a peer's GET promised this client, as far as its length tells.
fn is_promised(content: &Content, promised: Option<u64>) -> bool {
    promised.is_none_or(|promised| content.total() == Some(promised))
}

async fn other_content(session: &mut Session, ctx: &mut RequestContext) -> Result<Next> {
    let why = "it has another content there";
    send(session, ctx, unanswered(Unanswered::Useless(why.into()))).await?;
    Ok(Next::Answered)
}

/// Whether a refusal of the HEAD is asked for once more as the GET that the client sent: it may be no refusal then, and
/// its body says why it is one. Not for 401, whose challenge says all that clients read, nor for 429, which each further
/// request makes worse.
fn is_worth_a_get(status: StatusCode) -> bool {
    status.is_client_error() && !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS)
}

/// Downloads, or joins who does.
async fn fill(
    front: &Front,
    session: &mut Session,
    ctx: &mut RequestContext,
    standing: &Standing,
    digest: &Digest,
    (origin, promised): (Arc<ClusterOrigin>, Option<u64>),
) -> Result<Next> {
    match front.cache.get_or_fill(digest, origin.clone()).await {
        Ok((content, _)) if !is_promised(&content, promised) => other_content(session, ctx).await,
        Ok((content, source)) => {
            ctx.cache = source.into();
            if ctx.cache == CacheUse::Miss {
                ctx.peer = origin.gave();
            } else {
                // Somebody else's download is read: what was opened for the permission would only hold a peer.
                origin.close();
            }
            blob(session, ctx, digest, content).await
        }
        Err(FillError::Refused(refusal)) => failed(session, ctx, standing, digest, OriginError::Refused(refusal)).await,
        Err(FillError::Unavailable(why)) => {
            failed(session, ctx, standing, digest, OriginError::Unavailable(why.to_string())).await
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
    standing: &Standing,
    digest: &Digest,
) -> Verdict {
    let key = (front.changes(), standing.jurisdiction, standing.credential, standing.repository.clone(), *digest);
    let question = Question {
        method: Method::HEAD,
        target: ctx.target.as_str().to_owned(),
        headers: ctx.asking(session, None),
        body: Bytes::new(),
        hash: digest.hash().to_vec(),
        check: head_of_blob(digest),
    };
    let (cluster, standing, digest) = (cluster.clone(), standing.clone(), *digest);
    let answer = front.blob_questions.ask(key, || async move {
        let generation = standing.generation();
        let answer = ask(&cluster, &question).await?;
        match answer.response.status() {
            StatusCode::OK | StatusCode::TEMPORARY_REDIRECT => standing.granted(&digest, generation),
            status => standing.refused(status, Some(&digest)),
        }
        Ok(answer)
    });
    let answer = match answer.await.unwrap_or(Err(Unanswered::NoPeer)) {
        answer if refuses_head(&answer) => return Verdict::HeadRefused,
        Ok(answer) => answer,
        Err(why) => return Verdict::Unanswered(why),
    };
    answer.note_in(ctx);
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
    standing: &Standing,
    digest: &Digest,
    why: Unanswered,
) -> Result<Next> {
    if why.is_silence()
        && standing.known_good(digest)
        && let Some(content) = front.cache.get(digest).await
    {
        ctx.cache = CacheUse::Stale;
        return blob(session, ctx, digest, content).await;
    }
    send(session, ctx, unanswered(why)).await?;
    Ok(Next::Answered)
}

/// Whether an answer to the HEAD of a blob can be one. A page for people is a yes only if it names the digest.
pub fn head_of_blob(digest: &Digest) -> Check {
    let digest = digest.text();
    Arc::new(move |response| {
        odd::no_content(response.status())?;
        let headers = response.headers();
        if response.status() == StatusCode::OK && odd::is_coded(headers) {
            // Its length would be that of another form of the content.
            return Err("its content is compressed, though none was asked for".to_owned());
        }
        let named = headers.get(CONTENT_DIGEST).and_then(|value| value.to_str().ok()).is_some_and(|v| v == digest);
        match response.status() == StatusCode::OK && odd::is_page(headers) && !named {
            true => Err("it answered with a page for people".to_owned()),
            false => Ok(()),
        }
    })
}

/// A HEAD of what is not in the cache: the peer's own answer; nothing is downloaded for it.
async fn head(
    session: &mut Session,
    ctx: &mut RequestContext,
    cluster: &Arc<Cluster>,
    digest: &Digest,
    verdict: Verdict,
) -> Result<Next> {
    ctx.cache = CacheUse::Bypass;
    let response = match verdict {
        Verdict::Granted(answer) if answer.response.status() == StatusCode::OK => held(&answer.response, digest),
        Verdict::Granted(answer) => match cluster.config().redirects {
            Redirects::Pass => respond::relayed(&answer.response),
            Redirects::Follow => followed_head(session, ctx, cluster, digest).await,
        },
        Verdict::Absent(answer) | Verdict::Refused(answer) => refusal(&answer.response, ErrorCode::BlobUnknown),
        Verdict::Unanswered(why) => unanswered(why),
        // Answered before.
        Verdict::Remembered | Verdict::HeadRefused => problem(ErrorCode::Unknown, "no answer"),
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
        Ok(stream) => sized(stream.total, digest),
        Err(OriginError::Refused(answer)) => refusal(answer.response(), ErrorCode::BlobUnknown),
        Err(OriginError::Useless(why)) => unanswered(Unanswered::Useless(why.into())),
        Err(_) => unanswered(Unanswered::NoPeer),
    }
}

/// The head of a blob of which no more than the length is known.
fn sized(total: Option<u64>, digest: &Digest) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::new());
    if let Some(total) = total {
        answer.headers_mut().insert(CONTENT_LENGTH, total.into());
    }
    held(&answer, digest)
}

fn held(answer: &Response<Bytes>, digest: &Digest) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.headers_mut() = respond::said(answer.headers());
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
    standing: &Standing,
    digest: &Digest,
    verdict: &Verdict,
) -> bool {
    let status = match verdict {
        Verdict::Granted(answer) => answer.response.status(),
        _ => match permission(front, session, ctx, cluster, standing, digest).await {
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
    standing: &Standing,
    digest: &Digest,
    error: OriginError,
) -> Result<Next> {
    let response = match error {
        OriginError::Refused(answer) => {
            standing.refused(answer.status(), Some(digest));
            refusal(answer.response(), ErrorCode::BlobUnknown)
        }
        OriginError::Unavailable(why) => {
            ctx.problem = Some(why);
            unanswered(Unanswered::NoPeer)
        }
        OriginError::Useless(why) | OriginError::Broken(why) => unanswered(Unanswered::Useless(why.into())),
    };
    send(session, ctx, response).await?;
    Ok(Next::Answered)
}

fn origin(session: &Session, ctx: &RequestContext, cluster: &Arc<Cluster>, digest: &Digest) -> Arc<ClusterOrigin> {
    let headers = ctx.asking(session, None);
    Arc::new(ClusterOrigin::new(cluster.clone(), ctx.target.as_str().to_owned(), headers, digest.hash().to_vec()))
}
