//! What another instance of the fleet asks: a blob that comes here, from where it is now on. Answered before anything else is looked at,
//! and only if it is proven; what is not looks like any path that is not here.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::timeout;

use super::{Next, Shared};
use crate::cache::Content;
use crate::exchange::RequestContext;
use crate::exchange::respond::{problem, send};
use crate::listener::{Broken, Exchange, Result};
use crate::mirror::{Asked, PROOF, TOTAL};
use crate::oci::{ErrorCode, media_type};

/// A fill whose remote has said nothing for so long is not waited for any longer: who asks comes again.
const HEAD_WAIT: Duration = Duration::from_secs(10);

/// What one of the fleet asks; `None`: this is something else, or comes from somebody else.
pub fn asked(shared: &Shared, exchange: &Exchange, ctx: &RequestContext) -> Option<Asked> {
    let request = exchange.head();
    if request.method != Method::GET {
        return None;
    }
    let asked = Asked::read(ctx.target.path(), ctx.target.query())?;
    let proof = request.headers.get(&PROOF)?;
    shared.fetching.peers.is_proven(&asked, proof).then_some(asked)
}

/// Gives what comes or is here. Never begins to fetch: whoever asks would wait for us, and we for the next.
pub async fn answer(shared: &Shared, exchange: &mut Exchange, ctx: &mut RequestContext, asked: Asked) -> Result<Next> {
    let coming = timeout(HEAD_WAIT, shared.front.cache().coming(&asked.digest)).await;
    match coming {
        Ok(Ok(Some((content, source)))) if content.total().is_none_or(|total| asked.from <= total) => {
            ctx.cache = source.into();
            give(exchange, ctx, content, asked.from).await?;
        }
        _ => send(exchange, ctx, problem(ErrorCode::BlobUnknown, "it is not here")).await?,
    }
    Ok(Next::Answered)
}

async fn give(exchange: &mut Exchange, ctx: &mut RequestContext, content: Content, from: u64) -> Result<()> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type::OCTET_STREAM));
    let left = content.total().map(|total| total.saturating_sub(from));
    if let (Some(total), Some(left)) = (content.total(), left) {
        headers.insert(TOTAL, HeaderValue::from(total));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(left));
    }
    ctx.answer_begins();
    exchange.write_head(StatusCode::OK, headers, left == Some(0)).await?;
    if left == Some(0) {
        return Ok(());
    }
    let (mut reader, mut left) = (content.read(from, None), left);
    while let Some(bytes) = reader.next().await {
        let bytes = bytes.map_err(|error| Broken::Content(error.to_string()))?;
        left = left.map(|left| left.saturating_sub(bytes.len() as u64));
        exchange.write_body(bytes, left == Some(0)).await?;
    }
    match left {
        Some(0) => Ok(()),
        Some(_) => Err(Broken::Content("the content ended early".into())),
        None => exchange.write_body(Bytes::new(), true).await,
    }
}
