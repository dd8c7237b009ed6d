//! Why a remote gave no content, by what the mirror can do about it.

use std::time::Duration;

use http::StatusCode;

/// Begins what is said of a connection that did not come about.
pub(super) const NO_CONNECTION: &str = "no connection: ";

/// Texts name hosts and statuses, never a signed URL or a credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// It answered that there is no such thing (404, or as it refuses names that do not exist).
    #[error("the remote says that it is not there ({0})")]
    Absent(StatusCode),
    /// It refused who asks: 401 or 403 in the end.
    #[error("the remote refuses us ({0})")]
    Denied(StatusCode),
    #[error("the remote throttles us")]
    Throttled(Throttle),
    /// No budget is left, so it was not asked.
    #[error("no pulls are left at the remote")]
    Exhausted { retry_after: Option<Duration> },
    /// No connection, no answer in time, or a 5xx.
    #[error("the remote does not answer: {0}")]
    Down(String),
    /// The breaker is open, so it was not asked.
    #[error("the remote did not answer a moment ago and is not asked now")]
    Resting { retry_after: Duration },
    /// It answered something that is no answer, or led where we may not go.
    #[error("the remote's answer is of no use: {0}")]
    Useless(String),
    /// The remote cannot do this (405, 501, a redirect of referrers).
    #[error("the remote does not support this ({0})")]
    Unsupported(StatusCode),
}

/// The two kinds of 429.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// Pulls are used up: manifests only.
    Pulls { retry_after: Option<Duration> },
    /// Too many requests of any kind: nothing is asked for a while.
    Abuse { retry_after: Option<Duration> },
}

impl RemoteError {
    /// Why there was not even a connection, if that is what it is.
    pub fn unreachable(&self) -> Option<&str> {
        match self {
            RemoteError::Down(why) => why.strip_prefix(NO_CONNECTION),
            _ => None,
        }
    }

    /// Whether what is kept may be served instead.
    pub fn lets_kept_speak(&self) -> bool {
        !matches!(self, RemoteError::Absent(_) | RemoteError::Denied(_) | RemoteError::Unsupported(_))
    }
}
