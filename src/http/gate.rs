//! The gate: who asks, and whether they may, before anything is looked up. What is refused here looks the same whether the thing
//! that was asked for exists or not.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::json;

use super::Shared;
use super::admitted::Reader;
use super::limit;
use crate::auth::{
    Asked, Asker, Authenticator, Caller, Challenge, ChallengeError, Credential, Permission, Policy, Proof, Refused,
    Shown, TurnedAway, Unproven, challenge,
};
use crate::exchange::RequestContext;
use crate::exchange::respond::{problem, with_detail};
use crate::listener::Exchange;
use crate::oci::{Action, ErrorCode, Resource};

/// Where tokens are given, and where the keys are that they can be checked with.
pub const TOKEN_PATH: &str = "/token";
pub const KEYS_PATH: &str = "/.well-known/jwks.json";

/// Finds out who asks and whether they may, by the rules of the site. Afterwards the context holds what they may do, and the
/// credential, which was for us, is gone from the request.
///
/// # Errors
/// The refusal.
pub async fn admit(
    shared: &Shared,
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    action: &Action,
) -> Result<(), Box<Response<Bytes>>> {
    let Some(policy) = ctx.site.policy.clone() else { return Ok(()) };
    let authenticator = &*shared.authenticator;
    if recalled(shared, exchange, ctx, action, &policy) {
        return Ok(());
    }
    let caller = who(authenticator, exchange, ctx, action).await?;
    let address = ctx.address();
    let permit = caller.permit(&policy, &ctx.host, address);
    ctx.proof = caller.proof;
    let asker = Asker { identity: &caller.identity, host: &ctx.host, address };
    let is_asked = match caller.proof {
        Proof::None => policy.needs_login(),
        // Who has one that no rule knows could never log in otherwise: clients are asked here or nowhere.
        Proof::Certificate => policy.needs_login() && !policy.favours(&asker),
        Proof::Basic | Proof::Bearer => false,
    };
    if matches!(action.resource, Resource::Base) && is_asked {
        return Err(Gate { authenticator, exchange, ctx, action }.challenge(None));
    }
    if let Some(permission) = Permission::needed(action) {
        let asked = action.resource.repository().map_or(Asked::Anywhere, Asked::In);
        if let Err(refused) = permit.decide(permission, asked) {
            ctx.identity = caller.identity.clone();
            ctx.turned_away = Some(TurnedAway::Refused { permit, refused });
            let gate = Gate { authenticator, exchange, ctx, action };
            return Err(gate.denied(&caller, refused));
        }
    }
    ctx.identity = caller.identity;
    ctx.permit = permit;
    let shown = exchange.take_field(&AUTHORIZATION);
    if let Some(repository) = action.resource.repository().filter(|_| action.is_read() && !caller.late) {
        let authorization = shown.as_ref().map(HeaderValue::as_bytes);
        let certificate = ctx.connection.certified_user();
        let reader = Reader { authorization, certificate, host: &ctx.host, address, repository };
        shared.admitted.note(&reader, &policy, (&ctx.identity, &ctx.permit, ctx.proof), ctx.started);
    }
    Ok(())
}

/// Who asks, by what the request shows or else by the connection's certificate.
///
/// # Errors
/// The refusal: what was shown is nobody's, or good for something else only.
async fn who(
    authenticator: &Authenticator,
    exchange: &Exchange,
    ctx: &mut RequestContext,
    action: &Action,
) -> Result<Caller, Box<Response<Bytes>>> {
    let credential = match action.method {
        // Browsers ask it without any, before they show one.
        Method::OPTIONS => Ok(Credential::None),
        _ => Credential::read(exchange.headers().get(AUTHORIZATION)),
    };
    let shown = Shown { address: ctx.address(), limits: ctx.site.limits.as_deref() };
    let found = match &credential {
        Ok(credential) => authenticator.identify(credential, &shown).await,
        Err(_) => Err(Unproven::Wrong),
    };
    // Good for nothing but uploads.
    let found = match found {
        Ok(caller) if caller.late && !matches!(action.resource, Resource::Upload { .. }) => Err(Unproven::expired()),
        found => found,
    };
    let caller = match found {
        Ok(caller) => caller,
        Err(why) => {
            ctx.turned_away = Some(TurnedAway::unproven(&why, credential.as_ref().ok()));
            return Err(Gate { authenticator, exchange, ctx, action }.unproven(&why));
        }
    };
    // What is shown by the request says more than what the connection began with.
    Ok(match ctx.connection.certified_user() {
        Some(user) if caller.identity.is_anonymous() => Caller::certified(user),
        _ => caller,
    })
}

/// Whether the same client was admitted to read here a moment ago.
fn recalled(
    shared: &Shared,
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    action: &Action,
    policy: &Arc<Policy>,
) -> bool {
    let Some(repository) = action.resource.repository().filter(|_| action.is_read()) else { return false };
    let reader = Reader {
        authorization: exchange.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes),
        certificate: ctx.connection.certified_user(),
        host: &ctx.host,
        address: ctx.address(),
        repository,
    };
    let Some(admission) = shared.admitted.recall(&reader, policy, ctx.started, Clone::clone) else { return false };
    (ctx.identity, ctx.permit, ctx.proof) = (admission.identity, admission.permit, admission.proof);
    exchange.take_field(&AUTHORIZATION);
    true
}

/// Tells the peers who asks, by a token of ours.
///
/// # Errors
/// It cannot be made now.
pub async fn vouch(
    authenticator: &Authenticator,
    exchange: &mut Exchange,
    ctx: &RequestContext,
    action: &Action,
) -> Result<(), Box<Response<Bytes>>> {
    match authenticator.vouch(&ctx.identity, &ctx.permit, action).await {
        Ok(token) => {
            exchange.put_field(AUTHORIZATION, token);
            Ok(())
        }
        Err(why) => Err(Box::new(unproven(&why))),
    }
}

/// The token that was shown has ended.
pub fn ended(
    authenticator: &Authenticator,
    exchange: &Exchange,
    ctx: &mut RequestContext,
    action: &Action,
) -> Response<Bytes> {
    let (why, claimed, proof) = (Unproven::expired().word(), None, ctx.proof);
    ctx.turned_away = Some(TurnedAway::Unproven { why, claimed, proof });
    *Gate { authenticator, exchange, ctx, action }.unproven(&Unproven::expired())
}

struct Gate<'a> {
    authenticator: &'a Authenticator,
    exchange: &'a Exchange,
    ctx: &'a RequestContext,
    action: &'a Action,
}

impl Gate<'_> {
    /// A credential was shown, and it is no good.
    fn unproven(&self, why: &Unproven) -> Box<Response<Bytes>> {
        let mut response = unproven(why);
        if response.status() == StatusCode::UNAUTHORIZED {
            let error = matches!(why, Unproven::Token(_)).then_some(ChallengeError::InvalidToken);
            self.add_challenge(&mut response, error);
        }
        Box::new(response)
    }

    /// Nothing was shown, and something is needed.
    fn challenge(&self, error: Option<ChallengeError>) -> Box<Response<Bytes>> {
        let mut response = with_detail(ErrorCode::Unauthorized, "authentication required", self.detail());
        self.add_challenge(&mut response, error);
        Box::new(response)
    }

    /// Who asks is known, and may not.
    fn denied(&self, caller: &Caller, refused: Refused) -> Box<Response<Bytes>> {
        self.authenticator.denied(refused, caller.identity.is_anonymous());
        match caller.proof {
            Proof::None | Proof::Certificate => self.challenge(None),
            Proof::Bearer => self.challenge(Some(ChallengeError::InsufficientScope)),
            Proof::Basic => {
                let message = "requested access to the resource is denied";
                Box::new(with_detail(ErrorCode::Denied, message, self.detail()))
            }
        }
    }

    fn add_challenge(&self, response: &mut Response<Bytes>, error: Option<ChallengeError>) {
        if let Some(header) = challenge_header(self.authenticator, self.exchange, self.ctx, Some(self.action), error) {
            response.headers_mut().insert(WWW_AUTHENTICATE, header);
        }
    }

    /// What was asked for, as distribution tells it.
    fn detail(&self) -> Option<serde_json::Value> {
        let scope = challenge::scope(self.action)?;
        let (kind, rest) = scope.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let one = |action: &str| json!({ "Type": kind, "Name": name, "Action": action });
        Some(actions.split(',').map(one).collect())
    }
}

/// Where a client is sent for a token: as the configuration says, or the way that it came.
fn challenge_header(
    authenticator: &Authenticator,
    exchange: &Exchange,
    ctx: &RequestContext,
    action: Option<&Action>,
    error: Option<ChallengeError>,
) -> Option<HeaderValue> {
    let service = authenticator.service()?;
    let own = || ctx.outside(exchange.headers()).map(|outside| outside.address(TOKEN_PATH));
    let realm = authenticator.realm().or_else(own)?;
    let scope = action.and_then(challenge::scope);
    Challenge { realm: &realm, service: &service, scope, error }.header()
}

/// The challenge of an upload whose token has ended and whose subject is another's.
pub fn late(authenticator: &Authenticator, exchange: &Exchange, ctx: &RequestContext) -> Option<HeaderValue> {
    let error = Some(ChallengeError::InvalidToken);
    challenge_header(authenticator, exchange, ctx, ctx.action.as_ref(), error)
}

/// Why a credential does not count, without a challenge.
pub fn unproven(why: &Unproven) -> Response<Bytes> {
    let mut response = match why {
        Unproven::TooOften(limited) => limit::response(limited),
        Unproven::Wrong | Unproven::Token(_) => problem(ErrorCode::Unauthorized, &why.to_string()),
        Unproven::Busy => problem(ErrorCode::TooManyRequests, &why.to_string()),
        // What is behind it is the operator's to know.
        Unproven::Unavailable(_) => {
            problem(ErrorCode::Unavailable, "it cannot be found out now who you are: try again")
        }
    };
    if matches!(why, Unproven::Busy) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if let Unproven::Unavailable(reason) = why {
        tracing::warn!(reason, "a credential could not be checked");
    }
    response
}
