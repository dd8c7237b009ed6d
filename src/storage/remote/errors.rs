//! What object stores say, by who can act on it. Their errors are text with a status in it; the library keeps its types.

use object_store::Error as StoreError;

use crate::storage::Error;

/// Of a store's own words, that many characters are passed on: behind a long address, its code is still among them.
const WORDS: usize = 1000;

pub(super) fn store_error(error: StoreError) -> Error {
    // Its words first: a quota is told with 403.
    match generic(&error.to_string()) {
        Error::Failed(text) => match error {
            StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => Error::Refused(text),
            _ => Error::Failed(text),
        },
        known => known,
    }
}

/// The status of an answer, with the store's words.
pub(super) fn status_error(status: http::StatusCode, body: &str) -> Error {
    generic(&format!("status code: {status}: {body}"))
}

fn generic(text: &str) -> Error {
    let kind = if says_full(text) {
        Error::Full
    } else if says_refused(text) {
        Error::Refused
    } else if is_passing(text) {
        Error::Unavailable
    } else {
        Error::Failed
    };
    kind(words(text))
}

/// A code as stores write it (XML, all of them). The bare word could be part of a key: a tag may be called `NoSuchBucket`.
fn says_code(text: &str, codes: &[&str]) -> bool {
    codes.iter().any(|code| text.contains(&format!("<Code>{code}</Code>")))
}

/// A missing bucket is not a missing object.
pub(super) fn is_about_bucket(error: &StoreError) -> bool {
    says_no_bucket(&error.to_string())
}

pub(super) fn says_no_bucket(text: &str) -> bool {
    says_code(text, &["NoSuchBucket", "ContainerNotFound"])
}

/// A conditional write at the same time as another one: S3 decides neither, and wants the loser to ask again (409).
pub(super) fn is_undecided(error: &StoreError) -> bool {
    says_undecided(&error.to_string())
}

fn says_undecided(text: &str) -> bool {
    says_code(text, &["ConditionalRequestConflict", "OperationAborted"])
}

/// Azure has no names for uploads: blocks that are gone were made part of the object, by us or by another.
pub(super) fn is_unknown_upload(error: &StoreError) -> bool {
    let text = error.to_string();
    says_code(&text, &["NoSuchUpload", "InvalidBlockList"])
}

/// MinIO's full disk, quotas of MinIO and Ceph.
fn says_full(text: &str) -> bool {
    let codes = ["XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded", "InsufficientCapacity"];
    text.contains("status code: 507") || says_code(text, &codes)
}

/// Of lists the library keeps no more than the text. What the operator must change: keys, permissions, the bucket, its name,
/// its region, or the endpoint (which sends us elsewhere).
fn says_refused(text: &str) -> bool {
    let statuses = ["status code: 401", "status code: 403", "status code: 301", "status code: 307", "without LOCATION"];
    let codes = [
        "NoSuchBucket",
        "ContainerNotFound",
        "InvalidBucketName",
        "InvalidResourceName",
        "OutOfRangeInput",
        "AuthorizationHeaderMalformed",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "AuthenticationFailed",
        "ExpiredToken",
        "InvalidToken",
    ];
    statuses.iter().any(|sign| text.contains(sign)) || says_code(text, &codes)
}

fn is_passing(text: &str) -> bool {
    // 501 stays as it is: the store does not know what we ask for.
    let fails = text.contains("status code: 5") && !text.contains("status code: 501");
    let statuses = ["status code: 429", "status code: 408"];
    // An answer that broke off, or that another program gave in the store's place.
    let broken = ["HTTP error", "Got invalid", "Error getting"];
    let codes = ["SlowDown", "InternalError"];
    fails || statuses.iter().chain(&broken).chain(&codes).any(|sign| text.contains(sign)) || says_undecided(text)
}

fn words(text: &str) -> String {
    let mut text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if let Some((end, _)) = text.char_indices().nth(WORDS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_called_like_a_code_is_not_taken_for_one() {
        for code in ["NoSuchBucket", "OperationAborted", "QuotaExceeded", "InvalidToken", "NoSuchUpload"] {
            let key = format!("docker/registry/v2/repositories/a/_manifests/tags/{code}/current/link");
            let text =
                format!("Object at location {key} not found: <Error><Code>NoSuchKey</Code><Key>{key}</Key></Error>");
            assert!(
                !says_no_bucket(&text) && !says_undecided(&text) && !says_full(&text) && !says_refused(&text),
                "{code}"
            );
        }
        assert!(says_no_bucket("status code: 404: <Error><Code>NoSuchBucket</Code></Error>"));
        assert!(says_undecided("status code: 409: <Error><Code>OperationAborted</Code></Error>"));
        assert!(says_full("status code: 403: <Error><Code>QuotaExceeded</Code></Error>"));
        assert!(says_refused("status code: 400: <Error><Code>InvalidToken</Code></Error>"));
    }
}
