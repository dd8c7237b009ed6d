//! What the audit is told of requests: those that may change the registry before they begin and when they end, refusals and pushes
//! to peers when they have ended. What the fields are is the `audit` room's.

use std::sync::Arc;

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{Method, Response};

use super::Shared;
use crate::audit::{self, Actor, Client, Deed, Ending, Origin, Outcome, Trail, reason};
use crate::auth::{Asked, Permission, Permit, TurnedAway};
use crate::exchange::RequestContext;
use crate::exchange::respond::problem;
use crate::listener::Exchange;
use crate::oci::{Action, ErrorCode, Resource};

/// Why a login was not looked at, in the word of `auth`: see `Unproven::word`.
const LIMITED: &str = "limited";

/// The trail of a request to the registry; `None`: it changes nothing, or nothing is recorded.
///
/// # Errors
/// The refusal of what cannot be recorded, where it has to be.
pub async fn begin(
    shared: &Shared,
    exchange: &Exchange,
    ctx: &mut RequestContext,
    action: &Action,
) -> Result<Option<Arc<Trail>>, Box<Response<Bytes>>> {
    if !shared.audit.is_on() || !audit::changes(action) {
        return Ok(None);
    }
    ctx.recorded = true;
    let origin = origin(exchange, ctx, Actor::of(&ctx.permit, ctx.proof));
    match Trail::begin(&shared.audit, origin, ctx.permit.clone(), action.clone()).await {
        Ok(trail) => Ok(Some(trail)),
        Err(unrecorded) => {
            tracing::error!(%unrecorded, "a write is refused: see [audit]");
            ctx.problem = Some(format!("the audit: {unrecorded}"));
            Err(Box::new(problem(
                ErrorCode::Unavailable,
                "what is done here cannot be recorded now, so nothing is done",
            )))
        }
    }
}

/// A request that has ended, if it is one that the audit should hear of and has not.
pub fn ended(shared: &Shared, exchange: &Exchange, ctx: &RequestContext, status: u16) {
    if !shared.audit.is_on() || ctx.recorded {
        return;
    }
    let status = Some(status).filter(|status| *status != 0);
    match &ctx.turned_away {
        Some(turned) => turned_away(shared, exchange, ctx, status, turned),
        None => passed(shared, exchange, ctx, status),
    }
}

fn turned_away(shared: &Shared, exchange: &Exchange, ctx: &RequestContext, status: Option<u16>, turned: &TurnedAway) {
    let asked = ctx.action.as_ref().map(Deed::asked).unwrap_or_default();
    let (actor, deed, outcome, reason) = match turned {
        TurnedAway::Unproven { why, claimed, proof } => {
            let actor = Actor::claimed(claimed.clone(), *proof);
            (actor, Deed { action: "login", ..asked }, Outcome::Failed, (*why).to_owned())
        }
        TurnedAway::Refused { permit, refused } => {
            (Actor::of(permit, ctx.proof), asked, Outcome::Denied, reason(Err(*refused)))
        }
    };
    let ending = Ending { outcome, status, reason: Some(reason) };
    let origin = origin(exchange, ctx, actor);
    match turned {
        TurnedAway::Unproven { why, .. } if *why == LIMITED => shared.audit.limited(&origin, &deed, &ending),
        _ => shared.audit.refused(&origin, &deed, &ending),
    }
}

/// What the gate has let in, or never saw.
fn passed(shared: &Shared, exchange: &Exchange, ctx: &RequestContext, status: Option<u16>) {
    let Some(action) = &ctx.action else { return };
    let outcome = status.map_or(Outcome::Failed, Outcome::of);
    let refused = outcome == Outcome::Denied && ctx.permit.is_ruled();
    // What the peers refuse of reads is theirs to record.
    let sent_to_peers = ctx.cluster.is_some() && audit::changes(action);
    if !refused && !sent_to_peers {
        return;
    }
    let mut actor = Actor::of(&ctx.permit, ctx.proof);
    if !ctx.permit.is_ruled() {
        (actor.kind, actor.proof) = ("peers", "none");
    }
    let by_peers = ctx.cluster.is_some().then_some(ctx.peer.is_some());
    let why = if refused { decided(&ctx.permit, action, by_peers) } else { "peers".to_owned() };
    let ending = Ending { outcome, status, reason: Some(why) };
    let (origin, deed) = (origin(exchange, ctx, actor), Deed::asked(action));
    match outcome {
        Outcome::Ok => shared.audit.note(&origin, &deed, &ending),
        _ => shared.audit.refused(&origin, &deed, &ending),
    }
}

/// Who refused what the rules had let in. `by_peers`: whether a peer has answered, where there are peers.
fn decided(permit: &Permit, action: &Action, by_peers: Option<bool>) -> String {
    let Some(answered) = by_peers else {
        // Whose an upload is, the registry knows.
        return "token".to_owned();
    };
    match &action.resource {
        // A manifest that no peer has answered is refused here for one reason: a tag would be moved.
        Resource::Manifest { name, .. } if !answered && action.method == Method::PUT => {
            let refused = permit.decide(Permission::Overwrite, Asked::In(name)).err();
            refused.map_or_else(|| "peers".to_owned(), |refused| format!("overwrite: {}", reason(Err(refused))))
        }
        _ => "peers".to_owned(),
    }
}

fn origin(exchange: &Exchange, ctx: &RequestContext, actor: Actor) -> Origin {
    let nearest = ctx.connection.client().ip().to_canonical();
    let ip = ctx.address();
    let client = Client {
        ip,
        forwarded: Some(nearest).filter(|nearest| *nearest != ip),
        user_agent: exchange.headers().get(USER_AGENT).map(|agent| agent.as_bytes().to_vec()),
        tls: ctx.connection.tls().map(|tls| tls.version),
    };
    Origin { id: ctx.id.clone(), actor, client: Some(client), host: ctx.host.clone(), began: ctx.started }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_who_refused() {
        let action = |method: &str, path: &str| Action::parse(&method.parse().unwrap(), path, None).unwrap();
        let put = action("PUT", "/v2/a/manifests/v1");
        let may = Permit::open();
        assert_eq!(decided(&may, &put, Some(true)), "peers");
        assert_eq!(decided(&may, &put, Some(false)), "peers", "the rules had nothing against it");
        assert_eq!(
            decided(&may, &action("GET", "/v2/a/manifests/v1"), Some(false)),
            "peers",
            "an answer that is remembered"
        );
        assert_eq!(decided(&may, &put, None), "token");
    }
}
