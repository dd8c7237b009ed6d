//! How a client is told to get a token: one Bearer challenge (RFC 6750 §3, distribution's token protocol), which is the only form
//! that lets every client pull without a login and push with one.
//!
//! Parameters stand in the order that all clients parse, none is empty (docker and skopeo end there), no space around `=`.

use std::fmt::Write as _;

use http::HeaderValue;

use crate::oci::{Action, Resource};

/// What stands in `WWW-Authenticate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge<'a> {
    /// Where tokens are given.
    pub realm: &'a str,
    pub service: &'a str,
    /// What for; `None`: nothing but to log in.
    pub scope: Option<String>,
    pub error: Option<ChallengeError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeError {
    /// containerd gets another token only if it is told this.
    InvalidToken,
    InsufficientScope,
}

impl Challenge<'_> {
    pub fn header(&self) -> Option<HeaderValue> {
        let mut text = format!("Bearer realm=\"{}\",service=\"{}\"", self.realm, self.service);
        // Writing to a String cannot fail.
        if let Some(scope) = self.scope.as_deref().filter(|scope| !scope.is_empty()) {
            let _ = write!(text, ",scope=\"{scope}\"");
        }
        match self.error {
            Some(ChallengeError::InvalidToken) => text.push_str(",error=\"invalid_token\""),
            Some(ChallengeError::InsufficientScope) => text.push_str(",error=\"insufficient_scope\""),
            None => {}
        }
        HeaderValue::from_str(&text).ok()
    }
}

/// The scope that a request needs. One: some clients read no more than one.
pub fn scope(action: &Action) -> Option<String> {
    use http::Method;
    let (repository, words) = match &action.resource {
        Resource::Base | Resource::Outside => return None,
        Resource::Catalog { .. } => return Some("registry:catalog:*".to_owned()),
        Resource::Tags { name, .. } | Resource::Referrers { name, .. } => (name, "pull"),
        Resource::UploadStart { name, .. } | Resource::Upload { name, .. } => (name, "pull,push"),
        Resource::Manifest { name, .. } | Resource::Blob { name, .. } => match action.method {
            Method::GET | Method::HEAD => (name, "pull"),
            Method::DELETE => (name, "delete"),
            _ => (name, "pull,push"),
        },
    };
    Some(format!("repository:{repository}:{words}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_written_as_clients_read_it() {
        let mut challenge = Challenge { realm: "https://r.example/token", service: "r", scope: None, error: None };
        let text = |challenge: &Challenge<'_>| challenge.header().unwrap().to_str().unwrap().to_owned();
        assert_eq!(text(&challenge), "Bearer realm=\"https://r.example/token\",service=\"r\"");
        challenge.scope = Some("repository:a/b:pull".into());
        challenge.error = Some(ChallengeError::InvalidToken);
        assert_eq!(
            text(&challenge),
            "Bearer realm=\"https://r.example/token\",service=\"r\",scope=\"repository:a/b:pull\",error=\"invalid_token\""
        );
    }

    #[test]
    fn a_request_names_the_scope_that_it_needs() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (method, path, expected) in [
            ("GET", "/v2/".to_owned(), None),
            ("GET", "/v2/_catalog".into(), Some("registry:catalog:*")),
            ("GET", "/v2/a/b/tags/list".into(), Some("repository:a/b:pull")),
            ("HEAD", "/v2/a/manifests/v1".into(), Some("repository:a:pull")),
            ("PUT", "/v2/a/manifests/v1".into(), Some("repository:a:pull,push")),
            ("DELETE", "/v2/a/manifests/v1".into(), Some("repository:a:delete")),
            ("DELETE", format!("/v2/a/blobs/{digest}"), Some("repository:a:delete")),
            ("POST", "/v2/a/blobs/uploads/".into(), Some("repository:a:pull,push")),
            ("DELETE", "/v2/a/blobs/uploads/1".into(), Some("repository:a:pull,push")),
        ] {
            let action = Action::parse(&method.parse().unwrap(), &path, None).unwrap();
            assert_eq!(scope(&action).as_deref(), expected, "{method} {path}");
        }
    }
}
