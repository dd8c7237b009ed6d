//! What a mirror is asked and answers: values, before they become HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::cache;
use crate::oci::{Action, Digest, ErrorCode, error_body};
use crate::remote::Asker;
use crate::storage::LocalBlob;

/// A read of a mirrored repository: parsed, authorised, with its canonical name. What the client accepts is not looked at: what a tag
/// names is one thing, as in the registry.
pub struct Request {
    pub action: Action,
    /// The client's `Range`, of a GET of a blob.
    pub range: Option<HeaderValue>,
    pub asker: Asker,
    /// Whether what was pushed here wins over the remote (the route writes to the registry).
    pub overlay: bool,
}

/// An answer, complete but for what concerns the connection.
pub struct Reply {
    pub status: StatusCode,
    /// Beside the content's own: `Warning`, `Link`, `Retry-After`, `Content-Type` of lists.
    pub headers: HeaderMap,
    pub body: Body,
    /// What came of it, for the log and the metrics.
    pub source: Option<cache::Source>,
    /// Why it is not as good as it could be, for the access log.
    pub problem: Option<String>,
}

pub enum Body {
    /// Small and whole.
    Bytes(Bytes),
    /// Content by digest: ranges, conditions and HEAD are done by whoever answers.
    Content { digest: Digest, media_type: String, by_tag: bool, blob: Blob },
    /// A piece of a blob straight from the remote, already cut: 206 with `Content-Range`, of which nothing is proven.
    Piece {
        digest: Digest,
        start: u64,
        end: u64,
        total: u64,
        stream: futures::stream::BoxStream<'static, Result<Bytes, String>>,
    },
}

/// Where the bytes of a content are.
pub enum Blob {
    Whole(Bytes),
    Local(LocalBlob),
    /// In the registry's object store, so many bytes.
    Stored(u64),
    Cached(cache::Content),
    /// So many bytes that this answer does not need (HEAD).
    Absent(u64),
}

impl Reply {
    /// Content that is there.
    pub fn content(body: Body, source: cache::Source) -> Self {
        Reply { status: StatusCode::OK, headers: HeaderMap::new(), body, source: Some(source), problem: None }
    }

    pub fn problem(code: ErrorCode, message: &str) -> Self {
        Reply::refusal(code.status(), code, message, None)
    }

    /// A refusal in the specification's words.
    pub fn refusal(status: StatusCode, code: ErrorCode, message: &str, retry_after: Option<Duration>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(after) = retry_after {
            headers.insert(http::header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        let body = Body::Bytes(error_body(code, message, None).into());
        Reply { status, headers, body, source: None, problem: Some(message.to_owned()) }
    }
}
