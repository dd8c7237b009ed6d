//! What can go wrong in this room, typed by who can act on it. They become HTTP only in `front` and `http`.

use std::path::PathBuf;

pub(super) use crate::outbound::causes;

/// A cluster that cannot be built: the configuration or a file that it names is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("peer '{0}' is not \"host:port\"")]
    Address(String),
    #[error("{path}: {reason}", path = path.display())]
    File { path: PathBuf, reason: String },
    #[error("client_certificate and client_key go together; one of them is missing")]
    HalfIdentity,
    #[error("server_name '{0}' is not a DNS name")]
    ServerName(String),
    #[error("TLS settings: {0}")]
    Tls(#[from] rustls::Error),
    #[error("client of peer '{peer}': {reason}")]
    Client { peer: String, reason: String },
}

/// Why nobody could be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// Nobody is well, or everybody was tried.
    #[error("no peer is available")]
    NoPeer,
    /// Somebody is well, but stayed at `max_connections` for `queue_timeout`, or too many wait already.
    #[error("every peer is busy")]
    Busy,
}

/// Why an exchange brought no answer. The texts name no URL: one may be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No connection, so nothing was sent: any request may be tried elsewhere.
    #[error("no connection: {0}")]
    Connect(String),
    /// No first byte of an answer within `timeouts.first_byte`.
    #[error("no answer in time")]
    Timeout,
    /// The connection ended, or what came was not HTTP, before the head of the answer was read.
    #[error("connection broken: {0}")]
    Broken(String),
    /// The target is not one that may be asked. Not the peer's fault; trying elsewhere does not help.
    #[error("bad target: {0}")]
    Invalid(&'static str),
    /// A URL that somebody else named, and that we do not follow: says why.
    #[error("not followed: {0}")]
    NoWay(String),
}

impl SendError {
    /// True when the peer has certainly not seen the request.
    pub fn unsent(&self) -> bool {
        matches!(self, SendError::Connect(_) | SendError::Invalid(_) | SendError::NoWay(_))
    }

    /// True when it speaks against the peer (passive health).
    pub fn is_peers_fault(&self) -> bool {
        !matches!(self, SendError::Invalid(_) | SendError::NoWay(_))
    }
}

impl From<reqwest::Error> for SendError {
    fn from(error: reqwest::Error) -> Self {
        if error.is_connect() {
            SendError::Connect(causes(&error))
        } else if error.is_timeout() {
            SendError::Timeout
        } else if error.is_builder() {
            SendError::Invalid("the request cannot be built")
        } else {
            SendError::Broken(causes(&error))
        }
    }
}
