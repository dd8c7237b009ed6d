//! A piece of a content that is not here: cut already by whoever gives it, and not proven by its digest.

use std::ops::Range;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{Served, Stored, begin, broken, fields, value};
use crate::exchange::context::RequestContext;
use crate::listener::{Exchange, Result};
use crate::oci::{Digest, media_type, range};

/// What a piece is of.
pub struct Piece<'a> {
    pub digest: &'a Digest,
    /// Not empty.
    pub range: Range<u64>,
    /// Of the whole content, in bytes.
    pub total: u64,
    pub extra: &'a HeaderMap,
}

/// Answers a GET of one range with the bytes of `stream`, which ends with it. More or fewer bytes break the answer off.
///
/// # Errors
/// The client has gone, or the bytes do not come.
pub async fn serve_piece(
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    piece: Piece<'_>,
    mut stream: BoxStream<'static, std::result::Result<Bytes, String>>,
) -> Result<()> {
    let Piece { digest, range, total, extra } = piece;
    let content = Stored::Absent(total);
    let served = Served { digest, content, media_type: media_type::OCTET_STREAM, by_tag: false, extra: Some(extra) };
    let mut header = fields(ctx, &served, &digest.text(), false)?;
    let mut left = range.end.saturating_sub(range.start);
    header.insert(CONTENT_LENGTH, HeaderValue::from(left));
    header.insert(CONTENT_RANGE, value(&range::content_range(&range, total))?);
    if begin(exchange, ctx, StatusCode::PARTIAL_CONTENT, header, left == 0).await? {
        return Ok(());
    }
    while left > 0 {
        let chunk = match stream.next().await {
            Some(chunk) => chunk.map_err(|error| broken(&error))?,
            None => return Err(broken(&"the piece ended early")),
        };
        if chunk.is_empty() {
            continue;
        }
        left = left.checked_sub(chunk.len() as u64).ok_or_else(|| broken(&"the piece did not end"))?;
        exchange.write_body(chunk, left == 0).await?;
    }
    Ok(())
}
