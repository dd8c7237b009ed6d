//! What one client may ask for, as HTTP: how much a request counts, and how it is refused. Before anything is looked up.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Method, Response};

use super::gate::TOKEN_PATH;
use crate::exchange::RequestContext;
use crate::exchange::respond::problem;
use crate::limits::{Limited, Limits, Source, Subject, weight};
use crate::listener::Exchange;
use crate::oci::{Action, ErrorCode, Resource};

type Outcome = Result<(), Box<Response<Bytes>>>;

/// Counts a request for its client's address, whatever it asks for.
///
/// # Errors
/// The refusal.
pub async fn by_address(exchange: &Exchange, ctx: &mut RequestContext) -> Outcome {
    let Some(limits) = ctx.site.limits.clone() else { return Ok(()) };
    let path = ctx.target.path();
    if path == "/healthz" {
        return Ok(());
    }
    let weight = match exchange.head().method {
        Method::HEAD | Method::OPTIONS => weight::CHEAP,
        _ if matches!(path, "/v2/" | "/v2" | "/") => weight::CHEAP,
        _ if path == TOKEN_PATH => weight::TOKEN,
        _ => weight::REQUEST,
    };
    let subject = Subject::Address(Source::of(ctx.address()));
    count(&limits, subject, weight, ctx).await
}

/// Counts a request for who asks, once that is known, and takes a place for an upload.
///
/// # Errors
/// The refusal.
pub async fn by_identity(exchange: &Exchange, ctx: &mut RequestContext, action: &Action) -> Outcome {
    let Some(limits) = ctx.site.limits.clone() else { return Ok(()) };
    let identity = (!ctx.identity.is_anonymous()).then(|| ctx.identity.subject());
    if let Some(identity) = &identity {
        let cheap = action.method == Method::HEAD || matches!(action.resource, Resource::Base);
        let weight = if cheap { weight::CHEAP } else { weight::REQUEST };
        count(&limits, Subject::Identity(identity), weight, ctx).await?;
    }
    let uploads = matches!(action.resource, Resource::UploadStart { .. } | Resource::Upload { .. });
    if uploads && !exchange.body_done() {
        let address = Source::of(ctx.address());
        let subject = identity.as_deref().map_or(Subject::Address(address), Subject::Identity);
        match limits.upload(subject) {
            Ok(place) => ctx.upload = place,
            Err(limited) => return Err(Box::new(refused(&limited, ctx))),
        }
    }
    Ok(())
}

async fn count(limits: &Arc<Limits>, subject: Subject<'_>, weight: u32, ctx: &mut RequestContext) -> Outcome {
    let mut counted = limits.request_here(subject, weight);
    if counted.is_ok() && limits.is_shared() {
        // Boxed, so that a request that does not wait for it does not carry it.
        counted = Box::pin(limits.request_together(subject, weight)).await;
    }
    counted.map_err(|limited| Box::new(refused(&limited, ctx)))
}

fn refused(limited: &Limited, ctx: &mut RequestContext) -> Response<Bytes> {
    tracing::info!(client = %ctx.address(), limit = limited.kind.word(), "a client comes too often");
    ctx.problem = Some(limited.to_string());
    response(limited)
}

/// 429, with when to come again in whole seconds.
pub fn response(limited: &Limited) -> Response<Bytes> {
    let mut response = problem(ErrorCode::TooManyRequests, &limited.to_string());
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds(limited.wait)));
    response
}

/// Rounded up: who comes a moment too early is refused again.
fn seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_told_in_whole_seconds() {
        for (milliseconds, told) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (3_600_000, 3600)] {
            assert_eq!(seconds(Duration::from_millis(milliseconds)), told);
        }
    }
}
