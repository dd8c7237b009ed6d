//! The token endpoint and the keys of its tokens, as HTTP. Queries and forms hold passwords: nothing of them is logged.

use bytes::{Bytes, BytesMut};
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::json;

use super::Next;
use super::gate::{KEYS_PATH, TOKEN_PATH, unproven};
use super::names::scoped;
use crate::auth::{Answer, Ask, Authenticator, Credential, MAX_FORM, Shown, TurnedAway, Unproven};
use crate::exchange::RequestContext;
use crate::exchange::request_body::RequestBody;
use crate::exchange::respond::{not_allowed, problem, send};
use crate::listener::{Exchange, Result};
use crate::oci::{ErrorCode, RepositoryName};
use crate::storage::Body as _;

/// How long others may keep our keys: they are published so long before they sign.
const KEYS_MAX_AGE: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// Whether this path is ours where the host has rules.
pub fn is_ours(path: &str) -> bool {
    path == TOKEN_PATH || path == KEYS_PATH
}

/// Answers a request for one of them.
pub async fn answer(authenticator: &Authenticator, exchange: &mut Exchange, ctx: &mut RequestContext) -> Result<Next> {
    let method = exchange.head().method.clone();
    let response = match (ctx.target.path(), method) {
        (KEYS_PATH, Method::GET | Method::HEAD) => keys(authenticator).await,
        (KEYS_PATH, Method::OPTIONS) => options("GET, HEAD, OPTIONS"),
        (KEYS_PATH, _) => not_allowed("GET, HEAD, OPTIONS", "the keys can only be read"),
        (_, Method::GET | Method::POST) => return token(authenticator, exchange, ctx).await,
        (_, Method::OPTIONS) => options("GET, POST, OPTIONS"),
        _ => not_allowed("GET, POST, OPTIONS", "the token endpoint takes GET and POST"),
    };
    send(exchange, ctx, response).await?;
    Ok(Next::Answered)
}

async fn token(authenticator: &Authenticator, exchange: &mut Exchange, ctx: &mut RequestContext) -> Result<Next> {
    let posted = exchange.head().method == Method::POST;
    let credential = Credential::read(exchange.headers().get(AUTHORIZATION));
    let form = match posted {
        true => {
            let mut body = RequestBody::new(exchange);
            let form = form(&mut body).await;
            body.settle().await?;
            form
        }
        false => Some(String::new()),
    };
    let response = match (form, credential) {
        (None, _) => oauth_error("invalid_request"),
        (_, Err(_)) => {
            ctx.turned_away = Some(TurnedAway::unproven(&Unproven::Wrong, None));
            refused(&Unproven::Wrong)
        }
        (Some(form), Ok(credential)) => {
            let query = ctx.target.query().unwrap_or_default();
            let shown = Shown { address: ctx.address(), limits: ctx.site.limits.as_deref() };
            let canonical = &|name: &RepositoryName| scoped(&ctx.site.table, &ctx.host, name);
            let ask = Ask { credential, parameters: &[query, &form], form: posted, host: &ctx.host, shown, canonical };
            match authenticator.give(&ask).await {
                Answer::Token { body, identity } => {
                    ctx.identity = identity;
                    given(body)
                }
                Answer::Refused(error) => oauth_error(error),
                Answer::NotExchanged(why) => {
                    ctx.turned_away = Some(Ask::not_exchanged(&why));
                    oauth_error("invalid_request")
                }
                Answer::Unproven(why) => {
                    ctx.turned_away = Some(ask.turned_away(&why));
                    refused(&why)
                }
            }
        }
    };
    send(exchange, ctx, response).await?;
    Ok(Next::Answered)
}

/// The form, if it is short enough and text.
async fn form(body: &mut RequestBody<'_>) -> Option<String> {
    if body.length().is_some_and(|length| length > MAX_FORM as u64) {
        return None;
    }
    let mut form = BytesMut::new();
    while let Some(Ok(piece)) = body.next().await {
        if form.len() + piece.len() > MAX_FORM {
            return None;
        }
        form.extend_from_slice(&piece);
    }
    String::from_utf8(form.to_vec()).ok()
}

fn given(body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// RFC 6749 §5.2. Some clients go on with GET when they see it.
fn oauth_error(error: &str) -> Response<Bytes> {
    let mut response = given(json!({ "error": error }).to_string());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

fn refused(why: &Unproven) -> Response<Bytes> {
    let mut response = unproven(why);
    if response.status() == StatusCode::UNAUTHORIZED {
        // RFC 9110 §11.6.1: a 401 names a way. No client of the token protocol looks at it.
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"token\""));
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn keys(authenticator: &Authenticator) -> Response<Bytes> {
    match authenticator.jwks().await {
        Ok(Some(document)) => {
            let mut response = Response::new(Bytes::from(document));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
            response.headers_mut().insert(CACHE_CONTROL, KEYS_MAX_AGE);
            response
        }
        Ok(None) => problem(ErrorCode::Unsupported, "no tokens are given here"),
        Err(error) => {
            tracing::warn!(error, "the keys of tokens cannot be told");
            problem(ErrorCode::Unavailable, "the keys cannot be read now")
        }
    }
}

fn options(allow: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}
