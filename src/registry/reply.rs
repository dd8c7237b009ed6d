//! How answers are written, and how what went wrong becomes one. 5xx bodies tell nothing of our insides: those go to the
//! operator's log.

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::{Content, Reply, ReplyBody};
use crate::fleet::Unreachable;
use crate::oci::action::QueryError;
use crate::oci::{ErrorCode, PageError, error_body, media_type};
use crate::storage::Error;
use crate::uploads::UploadError;

/// Seconds after which a client should try again when storage does not answer: the interval of our own probes.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

pub(super) const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
pub(super) const DOCKER_UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
pub(super) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
pub(super) const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
pub(super) const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// What every verb gives back. A refusal is an answer too; it travels as an error so that `?` ends the verb.
pub(super) type Answer = Result<Reply, Refusal>;

/// A finished refusal.
pub(super) struct Refusal(Box<Reply>);

impl Reply {
    /// Without a body.
    pub(super) fn empty(status: StatusCode) -> Self {
        Reply { status, headers: HeaderMap::new(), body: ReplyBody::Bytes(Bytes::new()) }
    }

    pub(super) fn json(body: impl Into<Bytes>) -> Self {
        Reply { body: ReplyBody::Bytes(body.into()), ..Reply::empty(StatusCode::OK) }
            .with(header::CONTENT_TYPE, media_type::JSON)
    }

    /// Its media type and digest are in `content` and not repeated among the headers.
    pub(super) fn content(content: Content) -> Self {
        Reply { body: ReplyBody::Content(content), ..Reply::empty(StatusCode::OK) }
    }

    pub(super) fn error(status: StatusCode, code: ErrorCode, message: &str) -> Self {
        Reply { status, ..Reply::json(error_body(code, message, None)) }
    }

    /// Adds a field. All that we send is visible ASCII by its grammar; what is not is left out rather than sent broken.
    pub(super) fn with(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.headers.append(name, value);
        }
        self
    }
}

impl Refusal {
    /// With the code's own status.
    pub(super) fn new(code: ErrorCode, message: impl AsRef<str>) -> Self {
        Refusal::status(code.status(), code, message)
    }

    pub(super) fn status(status: StatusCode, code: ErrorCode, message: impl AsRef<str>) -> Self {
        Refusal(Box::new(Reply::error(status, code, message.as_ref())))
    }

    /// With the code's own status, and what programs can make use of.
    pub(super) fn detailed(code: ErrorCode, message: &str, detail: Value) -> Self {
        let body = error_body(code, message, Some(detail));
        Refusal(Box::new(Reply { status: code.status(), ..Reply::json(body) }))
    }

    /// With the code's own status and message.
    pub(super) fn of(code: ErrorCode) -> Self {
        Refusal::new(code, code.message())
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.0.headers.append(name, value);
        }
        self
    }

    pub(super) fn into_reply(self) -> Reply {
        *self.0
    }

    pub(super) fn later(message: &str) -> Self {
        Refusal::new(ErrorCode::Unavailable, message).with(header::RETRY_AFTER, RETRY_AFTER)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let told = error.told();
        match &error {
            Error::Unavailable(_) | Error::Conflict => {
                tracing::warn!(%error, "storage did not do it");
                Refusal::later(told)
            }
            Error::Full(_) => {
                tracing::error!(%error, "storage has no space left: nothing can be pushed");
                Refusal::status(StatusCode::INSUFFICIENT_STORAGE, ErrorCode::Unavailable, told)
            }
            Error::Refused(_) => {
                tracing::error!(%error, "storage refuses it: see [storage]");
                Refusal::later(told)
            }
            Error::Closed(_) => Refusal::later(told),
            Error::Newer { .. } => {
                tracing::error!(%error, "storage holds what a newer version has written");
                Refusal::later(told)
            }
            Error::Damaged(_) => {
                tracing::error!(%error, "storage holds what was never written so");
                Refusal::new(ErrorCode::Unknown, told)
            }
            Error::TooLarge(_) => {
                tracing::error!(%error, "storage holds more than is read");
                Refusal::new(ErrorCode::Unknown, told)
            }
            Error::Failed(_) => {
                tracing::error!(%error, "storage failed");
                Refusal::later(told)
            }
        }
    }
}

impl From<PageError> for Refusal {
    fn from(error: PageError) -> Self {
        Refusal::new(ErrorCode::PaginationNumberInvalid, error.to_string())
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        let (status, code) = match error {
            QueryError::Tag(_) => (ErrorCode::TagInvalid.status(), ErrorCode::TagInvalid),
            QueryError::TooManyTags => (StatusCode::URI_TOO_LONG, ErrorCode::TagInvalid),
            QueryError::Algorithm => (StatusCode::BAD_REQUEST, ErrorCode::Unsupported),
        };
        Refusal::status(status, code, error.to_string())
    }
}

impl From<UploadError> for Refusal {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Storage(Error::TooLarge(_)) => {
                let message = "the blob is larger than this registry's storage can take";
                Refusal::status(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::SizeInvalid, message)
            }
            UploadError::Storage(error) => error.into(),
            UploadError::Body(error) => {
                let message = format!("{error}; what arrived is kept, and the upload can go on");
                Refusal::status(StatusCode::BAD_REQUEST, ErrorCode::BlobUploadInvalid, message)
            }
            UploadError::Mismatch { .. } => Refusal::new(ErrorCode::DigestInvalid, error.to_string()),
            UploadError::Busy => Refusal::status(StatusCode::CONFLICT, ErrorCode::BlobUploadInvalid, error.to_string())
                .with(header::RETRY_AFTER, "1"),
            UploadError::Gone => Refusal::of(ErrorCode::BlobUploadUnknown),
        }
    }
}

impl From<Unreachable> for Refusal {
    fn from(error: Unreachable) -> Self {
        tracing::warn!(%error, "nothing is deleted");
        Refusal::later("nothing can be deleted now, because the other instances cannot be told: try again")
    }
}

/// 405 for what the configuration switches off.
pub(super) fn unsupported(what: &str) -> Refusal {
    Refusal::new(ErrorCode::Unsupported, what)
}

/// The answer to OPTIONS: no credentials and no CORS are ours, so only the methods are told.
pub(super) fn options(allow: &'static str) -> Reply {
    Reply::empty(StatusCode::NO_CONTENT).with(header::ALLOW, allow)
}
