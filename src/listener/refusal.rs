//! Requests that we refuse before they become a session, and what the client is told.

use std::time::SystemTime;

use super::fields::AnswerFields;

/// A refusal: its status, its OCI error code, and why, in words for the client and the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub code: &'static str,
    pub reason: &'static str,
}

impl Refusal {
    /// Framing or syntax that we do not trust.
    pub(super) const fn malformed(reason: &'static str) -> Refusal {
        Refusal { status: 400, code: "UNSUPPORTED", reason }
    }

    pub(super) const fn method(reason: &'static str) -> Refusal {
        Refusal { status: 405, code: "UNSUPPORTED", reason }
    }

    pub(super) const fn too_slow() -> Refusal {
        Refusal { status: 408, code: "UNSUPPORTED", reason: "the request head took too long" }
    }

    pub(super) const fn too_large(reason: &'static str) -> Refusal {
        Refusal { status: 431, code: "SIZE_INVALID", reason }
    }

    /// The process, or this connection, holds as much of requests as it may.
    pub(super) const fn overloaded() -> Refusal {
        Refusal { status: 503, code: "UNAVAILABLE", reason: "too many requests are under way" }
    }

    pub(super) const fn too_long() -> Refusal {
        Refusal { status: 414, code: "UNSUPPORTED", reason: "the request line is too long" }
    }

    pub(super) const fn coding() -> Refusal {
        Refusal { status: 501, code: "UNSUPPORTED", reason: "the only transfer coding understood is chunked" }
    }

    pub(super) const fn version() -> Refusal {
        Refusal {
            status: 505,
            code: "UNSUPPORTED",
            reason: "the only versions understood are HTTP/1.0, HTTP/1.1 and h2",
        }
    }

    /// OCI's error. Reasons are our own constants, free of `"` and `\`.
    pub(super) fn to_json(self) -> String {
        let Refusal { code, reason, .. } = self;
        format!("{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"{reason}\",\"detail\":null}}]}}")
    }

    /// The answer as HTTP/1.1 bytes.
    pub(super) fn to_bytes(self, with_body: bool, fields: &AnswerFields) -> Vec<u8> {
        let status = self.status;
        let phrase = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("");
        let date = httpdate::fmt_http_date(SystemTime::now());
        let body = self.to_json();
        let allow = match status {
            405 => "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n",
            503 => "Retry-After: 5\r\n",
            _ => "",
        };
        let answer = format!(
            "HTTP/1.1 {status} {phrase}\r\nDate: {date}\r\n{allow}Content-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let mut answer = answer.into_bytes();
        fields.extend(&mut answer);
        if with_body {
            answer.extend_from_slice(body.as_bytes());
        }
        answer
    }
}
