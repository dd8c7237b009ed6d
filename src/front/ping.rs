//! `GET /v2/`: whether the peers know the client, and what they challenge it with.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Response, StatusCode};

use super::ask::{Question, any_answer, ask};
use super::unanswered::unanswered;
use super::{Front, Next};
use crate::cluster::Cluster;
use crate::exchange::fields;
use crate::exchange::respond::{self, is_refusal, send};
use crate::exchange::{CacheUse, RequestContext};
use crate::listener::{Exchange, Result};
use crate::oci::{ErrorCode, media_type};
use crate::verdicts::{Credential, Jurisdiction, PingAnswer};

/// Key of a ping that simultaneous askers share.
pub type Key = (Jurisdiction, Credential);

/// Answers a GET or HEAD of `/v2/`.
pub async fn ping(
    front: &Front,
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    cluster: &Arc<Cluster>,
) -> Result<Next> {
    let credential = front.credential(ctx, cluster, exchange.headers().get(AUTHORIZATION));
    let jurisdiction = front.jurisdiction(ctx, cluster);
    let question = Question {
        method: Method::GET,
        target: "/v2/".into(),
        headers: ctx.asking(exchange.headers(), None),
        body: Bytes::new(),
        hash: Vec::new(),
        check: any_answer(),
    };
    let (asked, verdicts) = (cluster.clone(), front.verdicts.clone());
    let key = (jurisdiction, credential);
    let (own_scope, own_credential) = key;
    let answer = front.pings.ask(key, || async move {
        let generation = verdicts.generation();
        let answer = ask(&asked, &question).await?;
        let status = answer.response.status();
        if status == StatusCode::OK || is_refusal(status) || status.is_server_error() {
            verdicts.record_ping(&own_scope, &own_credential, remembered(&answer.response), generation);
        }
        Ok(answer)
    });
    let response = match answer.await.unwrap_or(Err(super::ask::Unanswered::NoPeer)) {
        Ok(answer) => {
            answer.note_in(ctx);
            fields::relayed(&answer.response)
        }
        Err(why) => match front.verdicts.ping(&jurisdiction, &credential, cluster.config().stale.0) {
            Some(known) => {
                ctx.cache = CacheUse::Stale;
                from_memory(&known)
            }
            None => unanswered(why),
        },
    };
    send(exchange, ctx, response).await?;
    Ok(Next::Answered)
}

fn remembered(answer: &Response<Bytes>) -> PingAnswer {
    let challenges = answer.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    PingAnswer { status: answer.status().as_u16(), www_authenticate: challenges.map(str::to_owned).collect() }
}

/// The answer to a known client is always `{}`; to an unknown one, OCI's error with the peers' challenge.
fn from_memory(known: &PingAnswer) -> Response<Bytes> {
    let mut response = match StatusCode::from_u16(known.status) {
        Ok(StatusCode::OK) => {
            let mut response = Response::new(Bytes::from_static(b"{}"));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type::JSON));
            response
        }
        _ => respond::problem(ErrorCode::Unauthorized, "authentication required"),
    };
    for challenge in &known.www_authenticate {
        if let Ok(challenge) = HeaderValue::from_str(challenge) {
            response.headers_mut().append(WWW_AUTHENTICATE, challenge);
        }
    }
    respond::warn_stale(&mut response);
    response
}
