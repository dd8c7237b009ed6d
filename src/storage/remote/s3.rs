//! Copies within S3 that the library lacks: parts of other objects (UploadPartCopy), hence objects beyond 5 GiB, and
//! CopyObject whose errors may come with status 200.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use object_store::aws::AmazonS3;
use object_store::client::{HttpErrorKind, HttpRequest, HttpRequestBody, HttpService as _};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::timeout;

use super::errors::{status_error, store_error};
use super::http::Client;
use crate::storage::Error;
use crate::storage::config::Config;
use crate::storage::driver::{Part, too_slow};

const COPY_SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");
const COPY_RANGE: HeaderName = HeaderName::from_static("x-amz-copy-source-range");
const ENCRYPTION: HeaderName = HeaderName::from_static("x-amz-server-side-encryption");
const KMS_KEY: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-aws-kms-key-id");
const CLASS: HeaderName = HeaderName::from_static("x-amz-storage-class");

/// Objects larger than this are copied by parts: a store works on one copy in silence, and silence is bounded.
const WHOLE: u64 = 64 << 20;
/// Bytes of a part; more where there would be more than [`PARTS`].
const PART: u64 = 128 << 20;
/// S3's own limit.
const PARTS: u64 = 10_000;
/// How long a signature counts.
const VALID: Duration = Duration::from_secs(300);
/// For ending what failed, best effort.
pub(super) const ABORT: Duration = Duration::from_secs(2);

/// Everything but a path's own characters.
const SOURCE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) struct Copier {
    store: Arc<AmazonS3>,
    client: Client,
    bucket: String,
    /// How the store keeps what is copied whole; parts are kept as their upload was begun.
    kept: Vec<(HeaderName, String)>,
    /// For what makes a signature.
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
            kept: kept(config),
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

    /// Whether an object of so many bytes is copied in one request.
    pub(super) fn copies_whole(&self, size: u64) -> bool {
        size <= self.whole
    }

    /// The parts in which an object of so many bytes is copied.
    pub(super) fn ranges(&self, size: u64) -> Vec<Range<u64>> {
        ranges(size, self.part)
    }

    pub(super) async fn whole(&self, from: &Path, to: &Path) -> Result<(), Error> {
        self.ask(to, &[], from, None, "CopyObjectResult").await.map(drop)
    }

    pub(super) async fn part(
        &self,
        to: &Path,
        id: &str,
        index: usize,
        from: &Path,
        range: &Range<u64>,
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

    /// One PUT that copies, once; the answer's body, which has to be a `result`.
    async fn ask(
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
        } else {
            for (name, value) in &self.kept {
                let value = HeaderValue::from_str(value).map_err(|error| impossible(&error))?;
                options = options.with_signed_header(name.clone(), value);
            }
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

/// What a copy does not take over from what it is a copy of.
fn kept(config: &Config) -> Vec<(HeaderName, String)> {
    let encryption = config.encryption.map(|kind| (ENCRYPTION, kind.word().to_owned()));
    let key = config.kms_key.clone().map(|key| (KMS_KEY, key));
    let class = config.storage_class.clone().map(|class| (CLASS, class));
    [encryption, key, class].into_iter().flatten().collect()
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
