//! Copies within S3 that the library lacks: parts of other objects (UploadPartCopy), hence objects beyond 5 GiB, and
//! CopyObject whose errors may come with status 200.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{StreamExt as _, TryStreamExt as _};
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use object_store::aws::AmazonS3;
use object_store::client::{HttpErrorKind, HttpRequest, HttpRequestBody, HttpService as _};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::{Instant, sleep, timeout};

use super::errors::{status_error, store_error};
use super::http::Client;
use crate::storage::Error;
use crate::storage::config::Config;
use crate::storage::driver::{Part, too_slow};

const COPY_SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");
const COPY_RANGE: HeaderName = HeaderName::from_static("x-amz-copy-source-range");

/// Objects larger than this are copied by parts: a store works on one copy in silence, and silence is bounded.
const WHOLE: u64 = 64 << 20;
/// Bytes of a part; more where there would be more than [`PARTS`].
const PART: u64 = 128 << 20;
/// S3's own limit.
const PARTS: u64 = 10_000;
/// Parts under way at once.
const AT_ONCE: usize = 4;
/// How long a signature counts.
const VALID: Duration = Duration::from_secs(300);
/// For ending what failed, best effort.
const ABORT: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Everything but a path's own characters.
const SOURCE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) struct Copier {
    store: Arc<AmazonS3>,
    client: Client,
    bucket: String,
    retries: u32,
    /// No new try after this.
    limit: Duration,
    whole: u64,
    part: u64,
}

impl Copier {
    pub(super) fn new(store: Arc<AmazonS3>, client: Client, config: &Config) -> Self {
        Copier {
            store,
            client,
            bucket: config.bucket.clone(),
            retries: config.retries,
            limit: config.timeouts.request.0,
            whole: WHOLE,
            part: PART,
        }
    }

    /// For tests: sizes that small objects reach. Parts have at least 5 MiB.
    #[cfg(test)]
    pub(super) fn shrink(&mut self, whole: u64, part: u64) {
        (self.whole, self.part) = (whole, part);
    }

    /// An object of `size` bytes, of any size.
    pub(super) async fn copy(
        &self,
        parts: &dyn MultipartStore,
        from: &Path,
        to: &Path,
        size: u64,
    ) -> Result<(), Error> {
        if size <= self.whole {
            return self.ask(to, &[], from, None, "CopyObjectResult").await.map(drop);
        }
        let id = timeout(self.limit, parts.create_multipart(to)).await.map_err(|_| too_slow(self.limit))?;
        let id = id.map_err(store_error)?;
        let outcome = self.copy_parts(parts, from, to, size, &id).await;
        if outcome.is_err() {
            // If this fails too, the bucket's own rule for unfinished uploads must clean up.
            let _ = timeout(ABORT, parts.abort_multipart(to, &id)).await;
        }
        outcome
    }

    async fn copy_parts(
        &self,
        parts: &dyn MultipartStore,
        from: &Path,
        to: &Path,
        size: u64,
        id: &String,
    ) -> Result<(), Error> {
        let made: Vec<Part> = futures::stream::iter(ranges(size, self.part).into_iter().enumerate())
            .map(|(index, range)| self.part(to, id, index, from, range))
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let made = made.into_iter().map(|part| PartId { content_id: part.0 }).collect();
        let limit = super::LONGEST;
        let done = timeout(limit, parts.complete_multipart(to, id, made)).await.map_err(|_| too_slow(limit))?;
        done.map(drop).map_err(store_error)
    }

    pub(super) async fn part(
        &self,
        to: &Path,
        id: &str,
        index: usize,
        from: &Path,
        range: Range<u64>,
    ) -> Result<Part, Error> {
        if range.is_empty() {
            return Err(Error::Failed("a part of a copy cannot be empty".to_owned()));
        }
        let number = index.saturating_add(1).to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", id)];
        let answer = self.ask(to, &query, from, Some(range), "CopyPartResult").await?;
        let tag = answer.split_once("<ETag>").and_then(|(_, rest)| rest.split_once("</ETag>"));
        let tag = tag.map(|(tag, _)| tag.replace("&quot;", "\"").replace("&#34;", "\""));
        tag.map(Part).ok_or_else(|| Error::Failed("the store did not name the part".to_owned()))
    }

    /// One PUT that copies, with its tries; the answer's body, which has to be a `result`.
    async fn ask(
        &self,
        to: &Path,
        query: &[(&str, &str)],
        from: &Path,
        range: Option<Range<u64>>,
        result: &str,
    ) -> Result<String, Error> {
        let (start, mut pause) = (Instant::now(), FIRST_PAUSE);
        for left in (0..=self.retries).rev() {
            let error = match self.try_once(to, query, from, range.as_ref(), result).await {
                Err(error @ Error::Unavailable(_)) => error,
                outcome => return outcome,
            };
            if left == 0 || start.elapsed() + pause > self.limit {
                return Err(error);
            }
            sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause *= 2;
        }
        Err(Error::Unavailable("no try left".to_owned()))
    }

    async fn try_once(
        &self,
        to: &Path,
        query: &[(&str, &str)],
        from: &Path,
        range: Option<&Range<u64>>,
        result: &str,
    ) -> Result<String, Error> {
        let request = self.signed(to, query, from, range).await?;
        let unavailable = |error: object_store::client::HttpError| match error.kind() {
            HttpErrorKind::Decode => Error::Failed(error.to_string()),
            _ => Error::Unavailable(error.to_string()),
        };
        let response = self.client.call(request).await.map_err(unavailable)?;
        let status = response.status();
        let body = response.into_body().bytes().await.map_err(unavailable)?;
        let body = String::from_utf8_lossy(&body).into_owned();
        if status == StatusCode::NOT_FOUND && !body.contains("NoSuchBucket") {
            return Err(Error::Failed(format!("nothing to copy, or nowhere to copy to: {from}")));
        }
        if !status.is_success() {
            return Err(status_error(status, &body));
        }
        // S3 sends the head before it knows how the copy ends.
        if body.contains("<Error>") || !body.contains(result) {
            let known = body.contains("InternalError") || body.contains("SlowDown") || !body.contains("<Code>");
            let status = if known { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::BAD_REQUEST };
            return Err(status_error(status, &body));
        }
        Ok(body)
    }

    async fn signed(
        &self,
        to: &Path,
        query: &[(&str, &str)],
        from: &Path,
        range: Option<&Range<u64>>,
    ) -> Result<HttpRequest, Error> {
        let impossible = |error: &dyn std::fmt::Display| Error::Failed(error.to_string());
        let source = format!("/{}/{}", self.bucket, utf8_percent_encode(from.as_ref(), SOURCE));
        let source = HeaderValue::from_str(&source).map_err(|error| impossible(&error))?;
        let mut options =
            SignedUrlOptions::new().with_query(query.iter().copied()).with_signed_header(COPY_SOURCE, source);
        if let Some(range) = range {
            let bytes = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
            let bytes = HeaderValue::from_str(&bytes).map_err(|error| impossible(&error))?;
            options = options.with_signed_header(COPY_RANGE, bytes);
        }
        let signing = self.store.signed_url_opts(Method::PUT, to, VALID, &options);
        let url = timeout(self.limit, signing).await.map_err(|_| too_slow(self.limit))?.map_err(store_error)?;
        let mut request = http::Request::put(url.as_str());
        if let Some(headers) = request.headers_mut() {
            *headers = options.signed_headers;
        }
        request.body(HttpRequestBody::empty()).map_err(|error| impossible(&error))
    }
}

/// Parts of about `part` bytes, never more than S3 takes.
fn ranges(size: u64, part: u64) -> Vec<Range<u64>> {
    let part = part.max(size.div_ceil(PARTS)).max(1);
    (0..size.div_ceil(part)).map(|index| index * part..size.min((index + 1) * part)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_whole_and_are_not_too_many() {
        for size in [1, PART - 1, PART, PART + 1, 6 << 30, 5 << 40] {
            let ranges = ranges(size, PART);
            assert!(ranges.len() as u64 <= PARTS);
            assert_eq!(ranges.first().map(|range| range.start), Some(0));
            assert_eq!(ranges.last().map(|range| range.end), Some(size));
            assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(one, next)| one.end == next.start));
        }
    }
}
