//! The error codes that registries answer with, and the JSON body that carries them
//! (distribution-spec, "Error Codes"; the last ones are distribution's own). No HTTP responses here.

use std::fmt;

use http::StatusCode;
use serde_json::{Value, json};

/// An error code of the distribution specification, or one that distribution adds where the specification has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    Unauthorized,
    Denied,
    Unsupported,
    TooManyRequests,
    ManifestUnverified,
    TagInvalid,
    RangeInvalid,
    PaginationNumberInvalid,
    Unavailable,
    Unknown,
}

impl ErrorCode {
    /// Every code, for tables and tests.
    pub const ALL: [ErrorCode; 20] = [
        ErrorCode::BlobUnknown,
        ErrorCode::BlobUploadInvalid,
        ErrorCode::BlobUploadUnknown,
        ErrorCode::DigestInvalid,
        ErrorCode::ManifestBlobUnknown,
        ErrorCode::ManifestInvalid,
        ErrorCode::ManifestUnknown,
        ErrorCode::NameInvalid,
        ErrorCode::NameUnknown,
        ErrorCode::SizeInvalid,
        ErrorCode::Unauthorized,
        ErrorCode::Denied,
        ErrorCode::Unsupported,
        ErrorCode::TooManyRequests,
        ErrorCode::ManifestUnverified,
        ErrorCode::TagInvalid,
        ErrorCode::RangeInvalid,
        ErrorCode::PaginationNumberInvalid,
        ErrorCode::Unavailable,
        ErrorCode::Unknown,
    ];

    /// The code as clients read it.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The status that distribution answers this code with.
    pub const fn status(self) -> StatusCode {
        self.row().1
    }

    /// What to say when there is nothing more exact to say.
    pub const fn message(self) -> &'static str {
        self.row().2
    }

    const fn row(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            ErrorCode::BlobUnknown => ("BLOB_UNKNOWN", S::NOT_FOUND, "the repository has no such blob"),
            ErrorCode::BlobUploadInvalid => ("BLOB_UPLOAD_INVALID", S::NOT_FOUND, "the upload cannot go on"),
            ErrorCode::BlobUploadUnknown => ("BLOB_UPLOAD_UNKNOWN", S::NOT_FOUND, "the repository has no such upload"),
            ErrorCode::DigestInvalid => {
                ("DIGEST_INVALID", S::BAD_REQUEST, "the digest is not one, or not the content's")
            }
            ErrorCode::ManifestBlobUnknown => {
                ("MANIFEST_BLOB_UNKNOWN", S::BAD_REQUEST, "the manifest names content that the repository lacks")
            }
            ErrorCode::ManifestInvalid => ("MANIFEST_INVALID", S::BAD_REQUEST, "the manifest is not valid"),
            ErrorCode::ManifestUnknown => ("MANIFEST_UNKNOWN", S::NOT_FOUND, "the repository has no such manifest"),
            ErrorCode::NameInvalid => ("NAME_INVALID", S::BAD_REQUEST, "the repository name is not valid"),
            ErrorCode::NameUnknown => ("NAME_UNKNOWN", S::NOT_FOUND, "no such repository"),
            ErrorCode::SizeInvalid => ("SIZE_INVALID", S::BAD_REQUEST, "the size is not the content's"),
            ErrorCode::Unauthorized => ("UNAUTHORIZED", S::UNAUTHORIZED, "credentials are needed"),
            ErrorCode::Denied => ("DENIED", S::FORBIDDEN, "these credentials do not allow it"),
            ErrorCode::Unsupported => ("UNSUPPORTED", S::METHOD_NOT_ALLOWED, "the operation is not supported here"),
            ErrorCode::TooManyRequests => ("TOOMANYREQUESTS", S::TOO_MANY_REQUESTS, "too many requests: wait a while"),
            ErrorCode::ManifestUnverified => ("MANIFEST_UNVERIFIED", S::BAD_REQUEST, "the signature does not verify"),
            ErrorCode::TagInvalid => ("TAG_INVALID", S::BAD_REQUEST, "the tag is not valid"),
            ErrorCode::RangeInvalid => ("RANGE_INVALID", S::RANGE_NOT_SATISFIABLE, "the content has no such range"),
            ErrorCode::PaginationNumberInvalid => {
                ("PAGINATION_NUMBER_INVALID", S::BAD_REQUEST, "the number of results asked for is not valid")
            }
            ErrorCode::Unavailable => ("UNAVAILABLE", S::SERVICE_UNAVAILABLE, "the service is not available now"),
            ErrorCode::Unknown => ("UNKNOWN", S::INTERNAL_SERVER_ERROR, "something went wrong inside the service"),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The body of an error response: one error, as `application/json`.
pub fn error_body(code: ErrorCode, message: &str, detail: Option<Value>) -> String {
    let mut error = json!({ "code": code.as_str(), "message": message });
    if let (Some(detail), Some(fields)) = (detail, error.as_object_mut()) {
        fields.insert("detail".to_owned(), detail);
    }
    json!({ "errors": [error] }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_those_of_distribution() {
        for (code, text, status) in [
            (ErrorCode::Unknown, "UNKNOWN", 500),
            (ErrorCode::Unsupported, "UNSUPPORTED", 405),
            (ErrorCode::Unauthorized, "UNAUTHORIZED", 401),
            (ErrorCode::Denied, "DENIED", 403),
            (ErrorCode::Unavailable, "UNAVAILABLE", 503),
            (ErrorCode::TooManyRequests, "TOOMANYREQUESTS", 429),
            (ErrorCode::PaginationNumberInvalid, "PAGINATION_NUMBER_INVALID", 400),
            (ErrorCode::RangeInvalid, "RANGE_INVALID", 416),
            (ErrorCode::ManifestBlobUnknown, "MANIFEST_BLOB_UNKNOWN", 400),
            (ErrorCode::BlobUploadInvalid, "BLOB_UPLOAD_INVALID", 404),
        ] {
            assert_eq!((code.as_str(), code.status().as_u16()), (text, status));
        }
    }

    #[test]
    fn every_code_has_its_own_text() {
        let mut texts: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), ErrorCode::ALL.len());
    }

    #[test]
    fn a_body_survives_hostile_messages() {
        let body = error_body(ErrorCode::NameInvalid, "a\"b\n\u{0}", Some(json!({ "name": "x\"" })));
        let parsed: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(parsed["errors"][0]["code"], "NAME_INVALID");
        assert_eq!(parsed["errors"][0]["message"], "a\"b\n\u{0}");
        assert_eq!(parsed["errors"][0]["detail"]["name"], "x\"");
        assert!(!error_body(ErrorCode::Unknown, "m", None).contains("detail"));
    }
}
