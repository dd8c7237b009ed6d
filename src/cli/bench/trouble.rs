//! What a registry does that it should not.

use http::{Method, StatusCode};

#[derive(Clone, Debug, thiserror::Error)]
pub enum Trouble {
    #[error("{address} does not answer: {why}{}", hint(why))]
    Silent { address: String, why: String },
    #[error("{address} answers {method} {path} with {}: {reason}{}", .status.as_u16(), advice(*.status, *.known))]
    Refused {
        address: String,
        method: Method,
        path: String,
        status: StatusCode,
        reason: String,
        /// We have a login for it.
        known: bool,
    },
    /// It answers, and not as a registry does.
    #[error("{address}: {what}")]
    Odd { address: String, what: String },
    #[error("cannot start: {0}")]
    Start(String),
    /// So much went wrong that what is measured means nothing.
    #[error("given up after {failed} failures; the last one: {last}")]
    TooMuch { failed: u64, last: Box<Trouble> },
}

impl Trouble {
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Trouble::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// What is asked is not to be had there, or not by us; how the registry is has nothing to do with it.
    pub fn is_no(&self) -> bool {
        let no = [
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
            StatusCode::NOT_FOUND,
            StatusCode::METHOD_NOT_ALLOWED,
            StatusCode::NOT_IMPLEMENTED,
        ];
        self.status().is_some_and(|status| no.contains(&status))
    }
}

/// What to do about it, where the cause is told in words that do not say it.
fn hint(why: &str) -> &'static str {
    match why {
        _ if why.contains("invalid HTTP version") => " (it may speak https: write https:// before the address)",
        _ if why.contains("InvalidContentType") => " (it may speak http: write http:// before the address)",
        _ if why.contains("UnknownIssuer") => " (--ca FILE names the authority that its certificate comes from)",
        _ => "",
    }
}

fn advice(status: StatusCode, known: bool) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED if known => {
            " (the user or the password is wrong, or this user may not: --repository names another repository)"
        }
        StatusCode::UNAUTHORIZED => {
            " (--user NAME and --password-file FILE say who asks, --vs-user and --vs-password-file of the second address)"
        }
        StatusCode::FORBIDDEN => " (--repository names another repository)",
        StatusCode::TOO_MANY_REQUESTS => " (its limits hold for whoever measures it too)",
        _ => "",
    }
}
