//! Parameters of a request's query.

use super::{Mount, UploadStart, hostile};
use crate::oci::digest::{Algorithm, Digest, DigestError};
use crate::oci::reference::{ReferenceError, Tag};

/// Tags that one PUT may set (distribution-spec: at least 10).
pub(super) const MAX_TAGS: usize = 50;

/// A parameter that the integrated registry cannot follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error(transparent)]
    Tag(ReferenceError),
    #[error("one request sets at most {MAX_TAGS} tags")]
    TooManyTags,
    #[error("digest-algorithm: sha256 and sha512 are known")]
    Algorithm,
}

/// The decoded value of `key` in a query; `None` if it is not there exactly once, or is no text.
pub fn query_value(query: &str, key: &str) -> Option<String> {
    let mut values = query_values(query, key);
    let value = values.next()?;
    if values.next().is_some() { None } else { value }
}

/// The decoded values of `key`, in order; `None` for one that is no text.
///
/// Keys are decoded too: what a peer reads as `digest` must not escape us as `%64igest`.
pub fn query_values<'a>(query: &'a str, key: &'a str) -> impl Iterator<Item = Option<String>> + 'a {
    let text = |part: &str| String::from_utf8(hostile::decode(&part.replace('+', " "))).ok();
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(move |(name, _)| text(name).as_deref() == Some(key)).map(move |(_, value)| text(value))
}

/// `digest` of a push, if it is there. Of two, a peer might take the other one.
pub(super) fn digest(query: &str) -> Result<Option<Digest>, DigestError> {
    let mut digests = query_values(query, "digest");
    match (digests.next(), digests.next()) {
        (None, _) => Ok(None),
        (Some(Some(digest)), None) => digest.parse().map(Some),
        _ => Err(DigestError::Shape),
    }
}

/// Tags named by `?tag=`, each once.
pub(super) fn tags(query: &str) -> Result<Vec<Tag>, QueryError> {
    let mut tags: Vec<Tag> = Vec::new();
    for text in query_values(query, "tag") {
        let tag: Tag = text.as_deref().unwrap_or_default().parse().map_err(QueryError::Tag)?;
        if tags.contains(&tag) {
            continue;
        }
        if tags.len() == MAX_TAGS {
            return Err(QueryError::TooManyTags);
        }
        tags.push(tag);
    }
    Ok(tags)
}

/// What a POST says besides its digest.
pub(super) fn start(query: &str, digest: Option<Digest>) -> UploadStart {
    let algorithm = match query_value(query, "digest-algorithm") {
        Some(text) => text.parse().map_err(|_| QueryError::Algorithm),
        None => Ok(Algorithm::Sha256),
    };
    UploadStart { mount: mount(query), digest, algorithm }
}

/// A mount is only a wish: one whose digest or repository is none is no wish (distribution-spec, "Mounting a blob from another
/// repository"). Of two `from`, none: which of them was meant is nobody's to guess.
fn mount(query: &str) -> Option<Mount> {
    let digest = query_value(query, "mount")?.parse().ok()?;
    let from = match query_values(query, "from").next() {
        Some(_) => Some(query_value(query, "from")?.parse().ok()?),
        None => None,
    };
    Some(Mount { digest, from })
}

/// What a list of referrers is filtered by, sorted: a referrer is of one of these types. No type has a blank: whoever wrote '+'
/// as it is (`application/spdx+json`) meant it, although a query has it for a blank.
pub(super) fn artifact_types(query: &str) -> Vec<String> {
    let mut wanted: Vec<String> =
        query_values(query, "artifactType").flatten().map(|own| own.replace(' ', "+")).collect();
    wanted.retain(|own| !own.is_empty());
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}
