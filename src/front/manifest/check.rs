//! Whether what a peer gave is the manifest that was asked for, and what its answer tells of it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Response, StatusCode};

use crate::exchange::respond::CONTENT_DIGEST;
use crate::front::ask::Check;
use crate::front::odd;
use crate::oci::media_type::{self, is_schema1};
use crate::oci::{Algorithm, Digest, Reference};

/// Whether an answer to the HEAD of a manifest can be one.
pub(super) fn head_of_manifest(response: &Response<Bytes>) -> Result<(), String> {
    odd::no_content(response.status())?;
    match response.status() == StatusCode::OK && odd::is_page(response.headers()) {
        true => Err("it answered with a page for people".to_owned()),
        false => Ok(()),
    }
}

/// Says whether a manifest's bytes are what they are said to be.
pub(super) fn verification(reference: Reference) -> Check {
    Arc::new(move |response| {
        odd::no_content(response.status())?;
        if response.status() == StatusCode::OK && !odd::is_manifest(response) {
            return Err("what it gave is no manifest".to_owned());
        }
        if response.status() != StatusCode::OK || is_unverifiable(&reference, response) {
            return Ok(());
        }
        let said = match &reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(_) => match said_digest(response) {
                Some(digest) => digest,
                None => return Ok(()),
            },
        };
        match Digest::of(said.algorithm(), response.body()) == said {
            true => Ok(()),
            false => Err(format!("the manifest's bytes are not {said}")),
        }
    })
}

/// Schema 1: its digest is that of a part of the body. By digest only what really is schema 1 passes for it.
fn is_unverifiable(reference: &Reference, response: &Response<Bytes>) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Versioned {
        schema_version: u32,
    }
    let said = kind_of(response).is_some_and(is_schema1);
    let is_schema1 = || serde_json::from_slice::<Versioned>(response.body()).is_ok_and(|body| body.schema_version == 1);
    said && (matches!(reference, Reference::Tag(_)) || is_schema1())
}

/// The digest of what a peer answered with, when it can be relied on: GETs have been checked by [`verification`];
/// a HEAD is the peer's word, and only used to find bytes that were verified.
pub(super) fn verified_digest(reference: &Reference, response: &Response<Bytes>) -> Option<Digest> {
    if kind_of(response).is_some_and(is_schema1) {
        return None;
    }
    match reference {
        Reference::Digest(digest) => Some(*digest),
        Reference::Tag(_) => said_digest(response).or_else(|| {
            let body = response.body();
            (!body.is_empty()).then(|| Digest::of(Algorithm::Sha256, body))
        }),
    }
}

fn said_digest(response: &Response<Bytes>) -> Option<Digest> {
    response.headers().get(CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}

pub(super) fn kind_of(response: &Response<Bytes>) -> Option<&str> {
    response.headers().get(CONTENT_TYPE)?.to_str().ok().map(media_type::essence)
}

pub(super) fn length_of(response: &Response<Bytes>) -> Option<u64> {
    if !response.body().is_empty() {
        return Some(response.body().len() as u64);
    }
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
