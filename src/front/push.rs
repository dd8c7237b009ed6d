//! Pushing a manifest, and deleting: taken whole (they are small), so that they can be sent again, to another peer when one
//! dies under them.
//!
//! Uploads of blobs are streamed instead: see `pass`.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, LOCATION};
use http::{HeaderValue, Method, Response};
use serde::Deserialize;

use super::ask::{Answer, Question, Unanswered, any_answer, ask};
use super::changes::{self, Changed};
use super::unanswered::unanswered;
use super::upload::relative;
use super::{Front, Next, ruled};
use crate::auth::Permission;
use crate::cluster::Cluster;
use crate::exchange::RequestContext;
use crate::exchange::fields;
use crate::exchange::respond::{self, problem, send};
use crate::listener::{Exchange, Result};
use crate::oci::action::QueryError;
use crate::oci::{ErrorCode, Reference, RepositoryName, Tag};

/// Largest manifest that is taken into memory; distribution's own limit. A larger one is streamed to one peer, which
/// then says what it thinks of it.
const MAX_MANIFEST: usize = 4 << 20;

/// Answers a PUT of a manifest, or leaves it to the streaming proxy.
pub async fn manifest(
    front: &Front,
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    cluster: &Arc<Cluster>,
    put: &Put<'_>,
) -> Result<Next> {
    let name = put.name;
    // Whether a tag is moved is found out with the manifest in hand.
    let judged = ctx.permit.is_ruled() && !ctx.permit.may(Permission::Overwrite, name);
    if !judged && !fits(exchange) {
        return Ok(Next::Pass);
    }
    // Anybody may send a body before a peer has said who may: all of them together are bounded.
    let Ok(_room) = front.push_memory.clone().try_acquire_many_owned(expected_kib(exchange)) else {
        if judged {
            exchange.close_after();
            send(exchange, ctx, problem(ErrorCode::Unavailable, "too many manifests are being pushed")).await?;
            return Ok(Next::Answered);
        }
        return Ok(Next::Pass);
    };
    let Some(body) = whole(exchange).await? else {
        let message = format!("a manifest has at most {MAX_MANIFEST} bytes");
        let response =
            respond::problem_with_status(http::StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::SizeInvalid, &message);
        // What is still on its way would be read as the next request.
        exchange.close_after();
        send(exchange, ctx, response).await?;
        return Ok(Next::Answered);
    };
    if judged && let Err(refusal) = may_lead(exchange, ctx, cluster, put, &body).await {
        send(exchange, ctx, *refusal).await?;
        return Ok(Next::Answered);
    }
    let mut headers = ctx.asking(exchange.headers(), None);
    if let Some(kind) = exchange.headers().get(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, kind.clone());
    }
    let question = Question {
        method: Method::PUT,
        // Said anew where it was judged: a peer may read more in the client's own words than we do.
        target: if judged { ruled::target_of_put(ctx, put) } else { ctx.target.as_str().to_owned() },
        headers,
        body,
        hash: name.as_str().as_bytes().to_vec(),
        check: any_answer(),
    };
    let answer = ask(cluster, &question).await;
    if let Ok(answer) = &answer
        && lacks_content(&answer.response)
    {
        // What we said was there is not: it must be asked anew, or the client would leave it out again.
        front.forget(&ctx.site, name, &Changed::Repository);
    }
    answered(front, exchange, ctx, answer).await
}

/// A manifest that is put.
pub struct Put<'a> {
    pub name: &'a RepositoryName,
    pub reference: &'a Reference,
    /// Tags that are set too.
    pub tags: &'a std::result::Result<Vec<Tag>, QueryError>,
}

/// Whether all tags that are named may lead to the manifest.
async fn may_lead(
    exchange: &Exchange,
    ctx: &RequestContext,
    cluster: &Cluster,
    put: &Put<'_>,
    body: &[u8],
) -> std::result::Result<(), Box<Response<Bytes>>> {
    let others = put.tags.as_ref().map_err(|error| {
        let message = error.to_string();
        Box::new(respond::problem_with_status(http::StatusCode::BAD_REQUEST, ErrorCode::TagInvalid, &message))
    })?;
    let own = match put.reference {
        Reference::Tag(tag) => Some(tag),
        Reference::Digest(_) => None,
    };
    let tags: Vec<&Tag> = own.into_iter().chain(others).collect();
    ruled::may_lead(exchange, ctx, cluster, (put.name, &tags), body).await
}

/// Answers a DELETE of a manifest, tag or blob: small, and sent again when its peer's connection breaks.
pub async fn delete(
    front: &Front,
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    cluster: &Arc<Cluster>,
    name: &RepositoryName,
) -> Result<Next> {
    let question = Question {
        method: Method::DELETE,
        target: ctx.target.as_str().to_owned(),
        headers: ctx.asking(exchange.headers(), None),
        body: Bytes::new(),
        hash: name.as_str().as_bytes().to_vec(),
        check: any_answer(),
    };
    let answer = ask(cluster, &question).await;
    answered(front, exchange, ctx, answer).await
}

async fn answered(
    front: &Front,
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    answer: std::result::Result<Answer, Unanswered>,
) -> Result<Next> {
    let may_have_changed = match &answer {
        Ok(answer) => changes::may_have_changed(answer.response.status()),
        Err(Unanswered::NoPeer | Unanswered::Busy) => false,
        Err(_) => true,
    };
    if may_have_changed {
        changes::changed(front, ctx);
    }
    let response = match answer {
        Ok(answer) => {
            answer.note_in(ctx);
            let mut response = fields::relayed(&answer.response);
            if let Some(location) = response.headers().get(LOCATION).and_then(|value| value.to_str().ok())
                && let Ok(location) = HeaderValue::from_str(relative(location))
            {
                response.headers_mut().insert(LOCATION, location);
            }
            response
        }
        Err(why) => unanswered(why),
    };
    send(exchange, ctx, response).await?;
    Ok(Next::Answered)
}

/// Whether a manifest was refused because the repository lacks what it names (distribution-spec, "Error Codes").
fn lacks_content(answer: &Response<Bytes>) -> bool {
    #[derive(Deserialize)]
    struct Refusal {
        errors: Vec<Reason>,
    }
    #[derive(Deserialize)]
    struct Reason {
        code: String,
    }
    let lacking = [ErrorCode::ManifestBlobUnknown, ErrorCode::BlobUnknown, ErrorCode::ManifestUnknown];
    answer.status().is_client_error()
        && serde_json::from_slice::<Refusal>(answer.body())
            .is_ok_and(|refusal| refusal.errors.iter().any(|e| lacking.iter().any(|code| code.as_str() == e.code)))
}

/// Whether the body may be taken whole. With `Expect` the peer has to say yes before the body is sent.
fn fits(exchange: &Exchange) -> bool {
    let headers = &exchange.headers();
    let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok());
    !headers.contains_key(EXPECT) && length.is_none_or(|length| length <= MAX_MANIFEST)
}

/// What the body will take, in KiB; the most that it may when the client does not say.
fn expected_kib(exchange: &Exchange) -> u32 {
    let length = exchange.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    let length = length.and_then(|v| v.parse::<usize>().ok()).unwrap_or(MAX_MANIFEST).min(MAX_MANIFEST);
    u32::try_from(length.div_ceil(1 << 10)).unwrap_or(u32::MAX)
}

/// The body, or `None` when it is too long.
async fn whole(exchange: &mut Exchange) -> Result<Option<Bytes>> {
    let mut body = BytesMut::new();
    while let Some(chunk) = exchange.read_body().await? {
        if body.len() + chunk.len() > MAX_MANIFEST {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.freeze()))
}
