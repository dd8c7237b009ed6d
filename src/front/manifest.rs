//! Pulling a manifest, by tag or by digest.
//!
//! A tag is asked of the peers each time, and so is every HEAD: pushing clients leave out what it says is there (issue 9,
//! A.1). A digest's GET is asked only when nothing is remembered of this client and this manifest. Manifests are small: they are taken whole, verified, and then kept by digest. What cannot be verified
//! (schema 1, whose digest is not that of its body) is handed on and never kept.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use pingora::prelude::Result;
use pingora::proxy::Session;

use super::ask::{Answer, Check, Question, Unanswered, ask, refuses_head};
use super::standing::{Standing, refusal};
use super::unanswered::unanswered;
use super::{Front, Next, odd};
use crate::cache::Content;
use crate::cluster::Cluster;
use crate::exchange::content::{Served, Stored, serve};
use crate::exchange::respond::{self, CACHE_STATUS, CONTENT_DIGEST, send};
use crate::exchange::{CacheUse, RequestContext};
use crate::oci::media_type::{self, AcceptClass, accept_class, is_schema1};
use crate::oci::{Algorithm, Digest, ErrorCode, Reference};
use crate::verdicts::TagAnswer;

/// Key of a question that simultaneous askers share.
pub type Key = (
    u64,
    crate::verdicts::Jurisdiction,
    crate::verdicts::Credential,
    crate::oci::RepositoryName,
    Reference,
    AcceptClass,
    Method,
);

/// What is asked for.
struct Wanted<'a> {
    reference: &'a Reference,
    accept: AcceptClass,
    accept_field: Option<HeaderValue>,
}

/// Answers a GET or HEAD of a manifest.
pub async fn pull(
    front: &Front,
    session: &mut Session,
    ctx: &mut RequestContext,
    standing: Standing,
    reference: Reference,
) -> Result<Next> {
    let cluster = &standing.cluster().clone();
    let (accept, accept_field) = accepted(session);
    let wanted = Wanted { reference: &reference, accept, accept_field };
    let mut method = session.req_header().method.clone();
    let get = method == Method::GET;
    if let Reference::Digest(digest) = &reference
        && get
        && standing.remembered(digest)
        && let Some(content) = front.cache.get(digest).await
    {
        ctx.cache = CacheUse::Memory;
        return manifest(session, ctx, digest, content, None, false).await;
    }
    if let Reference::Digest(digest) = &reference
        && front.cache.get(digest).await.is_some()
    {
        // The bytes are here already, only the permission is missing.
        method = Method::HEAD;
    }
    let mut answer = question(front, session, ctx, cluster, &standing, &wanted, method.clone()).await;
    if method == Method::HEAD && refuses_head(&answer) {
        answer = question(front, session, ctx, cluster, &standing, &wanted, Method::GET).await;
    } else if let Reference::Digest(digest) = &reference
        && get
        && method == Method::HEAD
        && answer.as_ref().is_ok_and(|answer| answer.response.status() == StatusCode::OK)
        && front.cache.get(digest).await.is_none()
    {
        // They went while we asked.
        answer = question(front, session, ctx, cluster, &standing, &wanted, Method::GET).await;
    }
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => return stale(front, session, ctx, &standing, &wanted, why).await,
    };
    answer.note_in(ctx);
    if answer.response.status() != StatusCode::OK {
        match &reference {
            Reference::Digest(digest) => standing.refused(answer.response.status(), Some(digest)),
            Reference::Tag(tag) => standing.refused_tag(answer.response.status(), tag, accept),
        }
        send(session, ctx, refusal(&answer.response, ErrorCode::ManifestUnknown)).await?;
        return Ok(Next::Answered);
    }
    answered(front, session, ctx, &reference, &answer.response).await
}

/// A peer gave the manifest, or its head.
async fn answered(
    front: &Front,
    session: &mut Session,
    ctx: &mut RequestContext,
    reference: &Reference,
    response: &Response<Bytes>,
) -> Result<Next> {
    let get = session.req_header().method == Method::GET;
    let by_tag = matches!(reference, Reference::Tag(_));
    if let Some(digest) = verified_digest(reference, response)
        && let Some(content) = front.cache.get(&digest).await
    {
        ctx.cache = if by_tag || get { CacheUse::Miss } else { CacheUse::Memory };
        return manifest(session, ctx, &digest, content, kind_of(response), by_tag).await;
    }
    // A HEAD of what is not kept, or what cannot be verified: the peer's own words.
    ctx.cache = CacheUse::Bypass;
    let mut relayed = respond::relayed(response);
    if !get && let Some(length) = response.headers().get(CONTENT_LENGTH) {
        relayed.headers_mut().insert(CONTENT_LENGTH, length.clone());
    }
    if let Some(status) = ctx.cache.field(true) {
        relayed.headers_mut().insert(CACHE_STATUS, status);
    }
    send(session, ctx, relayed).await?;
    Ok(Next::Answered)
}

/// Asks the peers; simultaneous askers of the same credential and Accept share one question, and its answer is
/// recorded once. A GET's answer is verified before it counts.
async fn question(
    front: &Front,
    session: &Session,
    ctx: &RequestContext,
    cluster: &Arc<Cluster>,
    standing: &Standing,
    wanted: &Wanted<'_>,
    method: Method,
) -> Result<Answer, Unanswered> {
    let reference = wanted.reference.clone();
    let key = (
        front.changes(),
        standing.jurisdiction,
        standing.credential,
        standing.repository.clone(),
        reference.clone(),
        wanted.accept,
        method.clone(),
    );
    let question = Question {
        check: if method == Method::GET { verification(reference.clone()) } else { Arc::new(head_of_manifest) },
        method,
        target: ctx.target.as_str().to_owned(),
        headers: ctx.asking(session, accept_for(wanted)),
        body: Bytes::new(),
        hash: standing.repository.as_str().as_bytes().to_vec(),
    };
    let (cluster, standing, cache, accept) = (cluster.clone(), standing.clone(), front.cache.clone(), wanted.accept);
    let answer = front.manifest_questions.ask(key, || async move {
        let generation = standing.generation();
        let answer = ask(&cluster, &question).await?;
        if answer.response.status() == StatusCode::OK
            && let Some(digest) = verified_digest(&reference, &answer.response)
        {
            standing.granted(&digest, generation);
            if let Reference::Tag(tag) = &reference {
                let known = TagAnswer {
                    digest,
                    media_type: kind_of(&answer.response).unwrap_or_default().to_owned(),
                    size: length_of(&answer.response).unwrap_or_default(),
                };
                standing.verdicts().record_tag(
                    &standing.jurisdiction,
                    &standing.repository,
                    tag,
                    &accept,
                    known,
                    generation,
                );
            }
            if question.method == Method::GET
                && let Err(error) =
                    cache.insert(&digest, kind_of(&answer.response), answer.response.body().clone()).await
            {
                tracing::warn!(%digest, %error, "a verified manifest was not kept");
            }
        }
        Ok(answer)
    });
    answer.await.unwrap_or(Err(Unanswered::NoPeer))
}

/// No peer answers: what was known to be good is served, with a warning.
async fn stale(
    front: &Front,
    session: &mut Session,
    ctx: &mut RequestContext,
    standing: &Standing,
    wanted: &Wanted<'_>,
    why: Unanswered,
) -> Result<Next> {
    let known = match wanted.reference {
        Reference::Digest(digest) => Some((*digest, None)),
        Reference::Tag(tag) => standing.known_tag(tag, wanted.accept).map(|tag| (tag.digest, Some(tag.media_type))),
    };
    if let Some((digest, kind)) = known
        && why.is_silence()
        && standing.known_good(&digest)
        && let Some(content) = front.cache.get(&digest).await
    {
        ctx.cache = CacheUse::Stale;
        let by_tag = matches!(wanted.reference, Reference::Tag(_));
        return manifest(session, ctx, &digest, content, kind.as_deref(), by_tag).await;
    }
    send(session, ctx, unanswered(why)).await?;
    Ok(Next::Answered)
}

async fn manifest(
    session: &mut Session,
    ctx: &mut RequestContext,
    digest: &Digest,
    content: Content,
    kind: Option<&str>,
    by_tag: bool,
) -> Result<Next> {
    let kind = match kind.or_else(|| content.media_type()).filter(|kind| media_type::is_manifest(kind)) {
        Some(kind) => kind.to_owned(),
        None => sniffed(&content).await,
    };
    serve(session, ctx, Served { digest, content: Stored::Cached(content), media_type: &kind, by_tag, extra: None })
        .await?;
    Ok(Next::Answered)
}

/// The media type that a manifest names itself; it may have come into the cache as a blob.
async fn sniffed(content: &Content) -> String {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let mut body = Vec::new();
    let mut reader = content.clone().read(0, None);
    while let Some(Ok(chunk)) = reader.next().await {
        if body.len() + chunk.len() > super::ask::MAX_ANSWER {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    match serde_json::from_slice::<Named>(&body) {
        Ok(Named { media_type: Some(kind), .. }) if media_type::is_manifest(&kind) => kind,
        Ok(Named { manifests: Some(_), .. }) => media_type::OCI_INDEX.to_owned(),
        _ => media_type::OCI_MANIFEST.to_owned(),
    }
}

/// Whether an answer to the HEAD of a manifest can be one.
fn head_of_manifest(response: &Response<Bytes>) -> Result<(), String> {
    odd::no_content(response.status())?;
    match response.status() == StatusCode::OK && odd::is_page(response.headers()) {
        true => Err("it answered with a page for people".to_owned()),
        false => Ok(()),
    }
}

/// Says whether a manifest's bytes are what they are said to be.
fn verification(reference: Reference) -> Check {
    Arc::new(move |response| {
        odd::no_content(response.status())?;
        if response.status() == StatusCode::OK && !odd::is_manifest(response) {
            return Err("what it gave is no manifest".to_owned());
        }
        if response.status() != StatusCode::OK || is_unverifiable(&reference, response) {
            return Ok(());
        }
        let said = match &reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(_) => match said_digest(response) {
                Some(digest) => digest,
                None => return Ok(()),
            },
        };
        match Digest::of(said.algorithm(), response.body()) == said {
            true => Ok(()),
            false => Err(format!("the manifest's bytes are not {said}")),
        }
    })
}

/// Schema 1: its digest is that of a part of the body. By digest only what really is schema 1 passes for it.
fn is_unverifiable(reference: &Reference, response: &Response<Bytes>) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Versioned {
        schema_version: u32,
    }
    let said = kind_of(response).is_some_and(is_schema1);
    let is_schema1 = || serde_json::from_slice::<Versioned>(response.body()).is_ok_and(|body| body.schema_version == 1);
    said && (matches!(reference, Reference::Tag(_)) || is_schema1())
}

/// The digest of what a peer answered with, when it can be relied on: GETs have been checked by [`verification`];
/// a HEAD is the peer's word, and only used to find bytes that were verified.
fn verified_digest(reference: &Reference, response: &Response<Bytes>) -> Option<Digest> {
    if kind_of(response).is_some_and(is_schema1) {
        return None;
    }
    match reference {
        Reference::Digest(digest) => Some(*digest),
        Reference::Tag(_) => said_digest(response).or_else(|| {
            let body = response.body();
            (!body.is_empty()).then(|| Digest::of(Algorithm::Sha256, body))
        }),
    }
}

fn said_digest(response: &Response<Bytes>) -> Option<Digest> {
    response.headers().get(CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}

fn kind_of(response: &Response<Bytes>) -> Option<&str> {
    response.headers().get(CONTENT_TYPE)?.to_str().ok().map(media_type::essence)
}

fn length_of(response: &Response<Bytes>) -> Option<u64> {
    if !response.body().is_empty() {
        return Some(response.body().len() as u64);
    }
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The client's Accept fields, joined; and their class, which tags are remembered by.
fn accepted(session: &Session) -> (AcceptClass, Option<HeaderValue>) {
    let fields: Vec<&str> =
        session.req_header().headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let joined = (!fields.is_empty()).then(|| fields.join(", "));
    (accept_class(&fields), joined.and_then(|joined| HeaderValue::from_str(&joined).ok()))
}

/// What a peer is asked to accept. By digest there is only one answer, so every type is asked for: distribution says
/// 404 to a client that does not list the type that it stores.
fn accept_for(wanted: &Wanted<'_>) -> Option<HeaderValue> {
    const EVERY: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
        application/vnd.docker.distribution.manifest.v2+json, \
        application/vnd.docker.distribution.manifest.list.v2+json, */*";
    match wanted.reference {
        Reference::Digest(_) => Some(HeaderValue::from_static(EVERY)),
        Reference::Tag(_) => wanted.accept_field.clone(),
    }
}
