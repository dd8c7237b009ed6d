//! Why a request is answered without asking anyone.

use http::{Method, StatusCode};

use super::MAX_UPLOAD_ID;
use super::parse::is_about_referrers;
use crate::oci::digest::DigestError;
use crate::oci::error_code::ErrorCode;
use crate::oci::name::NameError;
use crate::oci::reference::ReferenceError;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    #[error(
        "the path holds what no path of a registry has: empty or dotted parts, backslashes, control or encoded characters"
    )]
    Path,
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Digest(#[from] DigestError),
    #[error("an upload id has 1 to {MAX_UPLOAD_ID} characters: letters, digits, '-', '.', '_', '~' and '='")]
    UploadId,
    #[error("the closing PUT of an upload names the digest of its content: ?digest=")]
    DigestMissing,
    #[error("no such path")]
    NotFound,
    /// Asked for, or to be deleted: by its grammar it cannot exist.
    #[error("{why}")]
    CannotBe {
        /// Of what is not there.
        code: ErrorCode,
        why: String,
    },
    #[error("the method is not allowed here: {allow}")]
    Method {
        /// The value for `Allow`.
        allow: &'static str,
    },
}

impl ActionError {
    /// What cannot exist is not there: whoever asks for it, or wants it deleted, gets 404 (distribution-spec 1.1.1, "Pulling
    /// manifests", "Pulling blobs", "Content Management": *MUST be 404*; distribution). Who pushes to it is told
    /// what is wrong with it, by 400; so is who asks for referrers of what is no digest ("Listing Referrers").
    pub(super) fn of(self, method: &Method, path: &str) -> Self {
        if !matches!(*method, Method::GET | Method::HEAD | Method::DELETE) {
            return self;
        }
        let code = match &self {
            ActionError::Path | ActionError::Name(_) => ErrorCode::NameUnknown,
            ActionError::Reference(_) => ErrorCode::ManifestUnknown,
            ActionError::Digest(_) if is_about_referrers(path) => return self,
            ActionError::Digest(_) => ErrorCode::BlobUnknown,
            ActionError::UploadId => ErrorCode::BlobUploadUnknown,
            ActionError::NotFound
            | ActionError::DigestMissing
            | ActionError::CannotBe { .. }
            | ActionError::Method { .. } => {
                return self;
            }
        };
        ActionError::CannotBe { code, why: self.to_string() }
    }

    pub fn code(&self) -> ErrorCode {
        match self {
            ActionError::CannotBe { code, .. } => *code,
            ActionError::Path | ActionError::Name(_) => ErrorCode::NameInvalid,
            ActionError::Reference(ReferenceError::Tag) => ErrorCode::TagInvalid,
            ActionError::Reference(ReferenceError::Digest(_)) | ActionError::Digest(_) | ActionError::DigestMissing => {
                ErrorCode::DigestInvalid
            }
            ActionError::UploadId => ErrorCode::BlobUploadInvalid,
            ActionError::NotFound => ErrorCode::NameUnknown,
            ActionError::Method { .. } => ErrorCode::Unsupported,
        }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            // Distribution means "this upload cannot go on" by the code's 404; an id that is none is a bad request.
            ActionError::UploadId => StatusCode::BAD_REQUEST,
            other => other.code().status(),
        }
    }

    /// The value for `Allow`, with 405.
    pub fn allow(&self) -> Option<&'static str> {
        match self {
            ActionError::Method { allow } => Some(allow),
            _ => None,
        }
    }
}
