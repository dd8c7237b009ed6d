//! What is said of a blob without its bytes.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use http::{HeaderValue, Response, StatusCode};

use crate::exchange::CacheUse;
use crate::exchange::fields;
use crate::exchange::respond::{CACHE_STATUS, CONTENT_DIGEST};
use crate::front::ask::Check;
use crate::front::odd;
use crate::oci::{Digest, media_type};

/// Whether an answer to the HEAD of a blob can be one. A page for people is a yes only if it names the digest.
pub fn head_of_blob(digest: &Digest) -> Check {
    let digest = digest.text();
    Arc::new(move |response| {
        odd::no_content(response.status())?;
        let headers = response.headers();
        if response.status() == StatusCode::OK && odd::is_coded(headers) {
            // Its length would be that of another form of the content.
            return Err("its content is compressed, though none was asked for".to_owned());
        }
        let named = headers.get(CONTENT_DIGEST).and_then(|value| value.to_str().ok()).is_some_and(|v| v == digest);
        match response.status() == StatusCode::OK && odd::is_page(headers) && !named {
            true => Err("it answered with a page for people".to_owned()),
            false => Ok(()),
        }
    })
}

/// The head of a blob of which no more than the length is known.
pub(super) fn sized(total: Option<u64>, digest: &Digest) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::new());
    if let Some(total) = total {
        answer.headers_mut().insert(CONTENT_LENGTH, total.into());
    }
    held(&answer, digest)
}

pub(super) fn held(answer: &Response<Bytes>, digest: &Digest) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.headers_mut() = fields::beside_content(answer.headers());
    let headers = response.headers_mut();
    if let Some(length) = answer.headers().get(CONTENT_LENGTH) {
        headers.insert(CONTENT_LENGTH, length.clone());
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type::OCTET_STREAM));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    for (name, value) in [(CONTENT_DIGEST, digest.to_string()), (ETAG, format!("\"{digest}\""))] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    if let Some(status) = CacheUse::Bypass.field(true) {
        headers.insert(CACHE_STATUS, status);
    }
    response
}
