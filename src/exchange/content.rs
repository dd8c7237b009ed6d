//! Content by digest as HTTP: conditions, ranges, and the bytes themselves.

pub mod at_hand;
mod piece;
mod stored;

use std::ops::Range;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE,
    WARNING,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::timeout;

use super::context::RequestContext;
use super::fields::REQUEST_ID;
use super::respond::{API_VERSION, CACHE_STATUS, CONTENT_DIGEST, STALE_WARNING};
use crate::listener::{Broken, Exchange, Result};
use crate::oci::conditional::{if_range_holds, none_match_lists};
use crate::oci::range::{self, Multipart, RangeRequest};
use crate::oci::{Digest, media_type};

pub use piece::{Piece, serve_piece};
use stored::Reader;
pub use stored::Stored;

/// A client that has not taken a piece within this is one that waits.
const PATIENCE: Duration = Duration::from_secs(1);
/// What a digest names never changes.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("max-age=31536000, immutable");
const BYTES: HeaderValue = HeaderValue::from_static("bytes");
const REGISTRY_2: HeaderValue = HeaderValue::from_static("registry/2.0");
const OCTET_STREAM: HeaderValue = HeaderValue::from_static(media_type::OCTET_STREAM);

/// What is served, and how it was come by.
pub struct Served<'a> {
    pub digest: &'a Digest,
    pub content: Stored,
    pub media_type: &'a str,
    /// Asked for by tag: the answer may change, so it is not marked immutable.
    pub by_tag: bool,
    /// Fields that whoever knows the content wants to see besides those that are made here.
    pub extra: Option<&'a HeaderMap>,
}

/// What a request wants of a content of known size.
enum Wanted {
    NotModified,
    Bytes(RangeRequest),
}

fn wanted(exchange: &Exchange, digest: &str, total: u64) -> Wanted {
    let field = |name| exchange.head().headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    if field(IF_NONE_MATCH).is_some_and(|listed| none_match_lists(listed, digest)) {
        return Wanted::NotModified;
    }
    // Ranges are defined for GET only (RFC 9110 §14.2).
    let get = exchange.head().method == Method::GET;
    Wanted::Bytes(match field(RANGE).filter(|_| get) {
        Some(asked) if field(IF_RANGE).is_none_or(|tag| if_range_holds(tag, digest)) => range::parse(asked, total),
        _ => RangeRequest::Whole,
    })
}

/// Whether the answer will hold bytes of the content: nothing is fetched for one that does not.
pub fn needs_bytes(exchange: &Exchange, digest: &Digest, total: u64) -> bool {
    let head = exchange.head().method == Method::HEAD;
    !head
        && match wanted(exchange, &digest.text(), total) {
            Wanted::NotModified => false,
            Wanted::Bytes(range) => range != RangeRequest::Unsatisfiable,
        }
}

/// Answers a GET or HEAD with content.
pub async fn serve(exchange: &mut Exchange, ctx: &mut RequestContext, served: Served<'_>) -> Result<()> {
    ctx.content = Some(*served.digest);
    let digest = served.digest.text();
    let total = served.content.total();
    let range = match wanted(exchange, &digest, total.unwrap_or_default()) {
        Wanted::NotModified => return not_modified(exchange, ctx, &served, &digest).await,
        Wanted::Bytes(range) => range,
    };
    let Some(total) = total else {
        return unknown_length(exchange, ctx, served, &digest).await;
    };
    match range {
        RangeRequest::Whole => whole(exchange, ctx, served, &digest, total).await,
        RangeRequest::Unsatisfiable => unsatisfiable(exchange, ctx, &served, &digest, total).await,
        RangeRequest::Ranges(ranges) => match ranges.as_slice() {
            [range] => single(exchange, ctx, served, &digest, total, range.clone()).await,
            _ => multipart(exchange, ctx, served, &digest, total, &ranges).await,
        },
    }
}

async fn whole(
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    served: Served<'_>,
    digest: &str,
    total: u64,
) -> Result<()> {
    let begun = first_piece(exchange, &served.content, &(0..total)).await?;
    let mut header = fields(ctx, &served, digest, true)?;
    header.insert(CONTENT_LENGTH, HeaderValue::from(total));
    let end = begin(exchange, ctx, StatusCode::OK, header, total == 0).await?;
    if end {
        return Ok(());
    }
    if let Some(bytes) = served.content.bytes() {
        // One write for head and body together.
        return exchange.write_body(bytes.clone(), true).await;
    }
    stream(exchange, (served.content, begun), 0..total, true).await
}

/// Of a download, so that it can be told of as a failure while nothing else was told: a small blob may be proven wrong, or never
/// come, before a byte of it could be shown.
async fn first_piece(exchange: &Exchange, content: &Stored, range: &Range<u64>) -> Result<Option<(Reader, Bytes)>> {
    // A range further on may come much later than any client waits for a head.
    if content.proven() || range.start > 0 || range.is_empty() || exchange.head().method == Method::HEAD {
        return Ok(None);
    }
    let mut reader = content.clone().read(range.start, Some(range.end));
    match reader.next().await {
        Some(Ok(first)) => Ok(Some((reader, first))),
        Some(Err(error)) => Err(broken(&error)),
        None => Err(broken(&"the content ended early")),
    }
}

async fn single(
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    served: Served<'_>,
    digest: &str,
    total: u64,
    range: Range<u64>,
) -> Result<()> {
    let begun = first_piece(exchange, &served.content, &range).await?;
    let proven = served.content.proven() || range.end == total;
    let mut header = fields(ctx, &served, digest, proven)?;
    header.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    header.insert(CONTENT_RANGE, value(&range::content_range(&range, total))?);
    if begin(exchange, ctx, StatusCode::PARTIAL_CONTENT, header, false).await? {
        return Ok(());
    }
    stream(exchange, (served.content, begun), range, true).await
}

async fn multipart(
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    served: Served<'_>,
    digest: &str,
    total: u64,
    ranges: &[Range<u64>],
) -> Result<()> {
    let proven = served.content.proven() || ranges.iter().any(|range| range.end == total);
    let multipart = Multipart::new(ctx.id.as_str().to_owned(), served.media_type, ranges, total);
    let mut header = fields(ctx, &served, digest, proven)?;
    header.insert(CONTENT_TYPE, value(&multipart.content_type())?);
    header.insert(CONTENT_LENGTH, HeaderValue::from(multipart.content_length()));
    if begin(exchange, ctx, StatusCode::PARTIAL_CONTENT, header, false).await? {
        return Ok(());
    }
    for (head, range) in multipart.heads().iter().zip(ranges) {
        exchange.write_body(Bytes::from(head.clone()), false).await?;
        stream(exchange, (served.content.clone(), None), range.clone(), false).await?;
    }
    exchange.write_body(Bytes::from(multipart.tail()), true).await
}

/// A peer that does not say how long its content is: chunked on HTTP/1.1, and no ranges.
async fn unknown_length(
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    served: Served<'_>,
    digest: &str,
) -> Result<()> {
    if exchange.head().version == http::Version::HTTP_10 {
        return unknown_length_for_10(exchange, ctx, served, digest).await;
    }
    let header = fields(ctx, &served, digest, true)?;
    if begin(exchange, ctx, StatusCode::OK, header, false).await? {
        return Ok(());
    }
    let mut reader = served.content.read(0, None);
    while let Some(chunk) = reader.next().await {
        exchange.write_body(chunk.map_err(|e| broken(&e))?, false).await?;
    }
    exchange.write_body(Bytes::new(), true).await
}

/// HTTP/1.0 cannot tell the end of such content from a break, so it is proven before it leaves.
async fn unknown_length_for_10(
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    served: Served<'_>,
    digest: &str,
) -> Result<()> {
    let mut reader = served.content.clone().read(0, None);
    while let Some(chunk) = reader.next().await {
        chunk.map_err(|e| broken(&e))?;
    }
    match served.content.total() {
        Some(total) => whole(exchange, ctx, served, digest, total).await,
        None => Err(broken(&"a length that the peer does not say, for HTTP/1.0")),
    }
}

/// Streams a range, of which the first piece may have been read. Ends the response cleanly only when every byte of it was good.
async fn stream(
    exchange: &mut Exchange,
    (content, begun): (Stored, Option<(Reader, Bytes)>),
    range: Range<u64>,
    ends_response: bool,
) -> Result<()> {
    let mut left = range.end - range.start;
    if let Some(bytes) = content.bytes()
        && let (Ok(start), Ok(end)) = (usize::try_from(range.start), usize::try_from(range.end))
        && end <= bytes.len()
    {
        return exchange.write_body(bytes.slice(start..end), ends_response).await;
    }
    let (mut reader, mut first) = match begun {
        Some((reader, first)) => (reader, Some(first)),
        None => (content.read(range.start, Some(range.end)), None),
    };
    let mut straight = exchange.takes_files();
    while left > 0 {
        if straight && let Some(piece) = reader.in_file() {
            match timeout(PATIENCE, exchange.send_file(&piece.file, piece.offset, piece.count)).await {
                Ok(sent) => {
                    let sent = sent?;
                    reader.skip(sent);
                    left = left.checked_sub(sent as u64).ok_or_else(|| broken(&"the content did not end"))?;
                }
                // Who waits gets the rest by pieces, between which the file can be closed.
                Err(_) => straight = false,
            }
            continue;
        }
        patiently(&mut reader, exchange.room()).await?;
        let chunk = match first.take() {
            Some(first) => first,
            None => match reader.next().await {
                Some(chunk) => chunk.map_err(|e| broken(&e))?,
                None => return Err(broken(&"the content ended early")),
            },
        };
        left = left.checked_sub(chunk.len() as u64).ok_or_else(|| broken(&"the content did not end"))?;
        patiently(&mut reader, exchange.write_body(chunk, ends_response && left == 0)).await?;
    }
    Ok(())
}

/// Waits for the client. One that takes nothing, perhaps for ever, holds no file while these are scarce.
async fn patiently(reader: &mut Reader, client: impl Future<Output = Result<()>>) -> Result<()> {
    let mut client = pin!(client);
    match timeout(PATIENCE, &mut client).await {
        Ok(done) => done,
        Err(_) => {
            reader.rest();
            client.await
        }
    }
}

async fn not_modified(
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    served: &Served<'_>,
    digest: &str,
) -> Result<()> {
    let mut header = fields(ctx, served, digest, true)?;
    header.remove(CONTENT_TYPE);
    ctx.answer_begins();
    exchange.write_head(StatusCode::NOT_MODIFIED, header, true).await
}

async fn unsatisfiable(
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    served: &Served<'_>,
    digest: &str,
    total: u64,
) -> Result<()> {
    let message = format!("the content has {total} bytes");
    let body = crate::oci::error_body(crate::oci::ErrorCode::RangeInvalid, &message, None);
    let mut header = fields(ctx, served, digest, true)?;
    header.insert(CONTENT_RANGE, value(&range::unsatisfied_range(total))?);
    header.insert(CONTENT_TYPE, HeaderValue::from_static(media_type::JSON));
    header.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    header.remove(CACHE_CONTROL);
    if begin(exchange, ctx, StatusCode::RANGE_NOT_SATISFIABLE, header, false).await? {
        return Ok(());
    }
    exchange.write_body(body.into(), true).await
}

/// Sends the head; true when nothing follows it.
async fn begin(
    exchange: &mut Exchange,
    ctx: &mut RequestContext,
    status: StatusCode,
    header: HeaderMap,
    empty: bool,
) -> Result<bool> {
    let end = empty || exchange.head().method == Method::HEAD;
    ctx.answer_begins();
    exchange.write_head(status, header, end).await?;
    Ok(end)
}

/// A field's value that we made ourselves.
fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|_| broken(&"a field of ours has bytes that no field may have"))
}

fn fields(ctx: &RequestContext, served: &Served<'_>, digest: &str, proven: bool) -> Result<HeaderMap> {
    let mut header = HeaderMap::with_capacity(16);
    match served.media_type {
        media_type::OCTET_STREAM => header.insert(CONTENT_TYPE, OCTET_STREAM),
        other => header.insert(CONTENT_TYPE, value(other)?),
    };
    // The digest is the entity tag without its quotes: one allocation for both.
    let etag = Bytes::from(format!("\"{digest}\""));
    let bare = etag.slice(1..etag.len() - 1);
    header.insert(CONTENT_DIGEST, HeaderValue::from_maybe_shared(bare).map_err(|_| broken(&"a digest"))?);
    header.insert(ETAG, HeaderValue::from_maybe_shared(etag).map_err(|_| broken(&"a digest"))?);
    header.insert(ACCEPT_RANGES, BYTES);
    header.insert(API_VERSION, REGISTRY_2);
    if !served.by_tag {
        header.insert(CACHE_CONTROL, IMMUTABLE);
    }
    if let Some(status) = ctx.cache.field(proven) {
        header.insert(CACHE_STATUS, status);
    }
    if ctx.speaks_for_silent_peers() {
        header.insert(WARNING, HeaderValue::from_static(STALE_WARNING));
    }
    for more in served.extra.into_iter().chain(&ctx.peer_fields) {
        for name in more.keys() {
            // Warnings are lists: the peers' stand beside ours.
            if *name == WARNING || !header.contains_key(name) {
                for value in more.get_all(name) {
                    header.append(name, value.clone());
                }
            }
        }
    }
    header.insert(REQUEST_ID, value(ctx.id.as_str())?);
    Ok(header)
}

/// The response cannot end cleanly any more: the connection (or the stream) is cut instead.
fn broken(why: &dyn std::fmt::Display) -> Broken {
    Broken::Content(why.to_string())
}
