//! How it is answered when the remote gives no content: the one place where a [`RemoteError`] becomes a [`Reply`].
//!
//! Clients go on to the next registry at any refusal, but for 429, which containerd tries again at once and five times: it is only said
//! where the operator wants it. What hangs is worse than all of them.

use std::time::Duration;

use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};

use super::Reply;
use crate::oci::ErrorCode;
use crate::remote::config::{AskedAs, OnExhausted};
use crate::remote::{Config, RemoteError, Throttle};

/// After how long somebody may come again where the remote does not say.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Of pulls that are used up, where the remote does not say.
const PULLS_RETRY_AFTER: Duration = Duration::from_secs(60);

/// What was asked for, for the code of what is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Manifest,
    Blob,
    /// Tags, referrers, the catalog.
    List,
}

impl Asked {
    fn unknown(self) -> ErrorCode {
        match self {
            Asked::Manifest => ErrorCode::ManifestUnknown,
            Asked::Blob => ErrorCode::BlobUnknown,
            Asked::List => ErrorCode::NameUnknown,
        }
    }
}

/// What a client is told, and why in the access log.
pub(super) fn reply(error: &RemoteError, asked: Asked, config: &Config) -> Reply {
    let mut reply = match error {
        RemoteError::Absent(_) => absent(asked),
        RemoteError::Denied(status) => denied(*status, asked, config),
        RemoteError::Throttled(Throttle::Pulls { retry_after }) | RemoteError::Exhausted { retry_after } => {
            exhausted(*retry_after, asked, config)
        }
        RemoteError::Throttled(Throttle::Abuse { retry_after }) => {
            later("the remote registry has no time for us now", retry_after.unwrap_or(RETRY_AFTER))
        }
        RemoteError::Down(_) => later("the remote registry does not answer", RETRY_AFTER),
        RemoteError::Resting { retry_after } => later("the remote registry does not answer", *retry_after),
        RemoteError::Useless(_) | RemoteError::Unsupported(_) => {
            let message = "the remote registry's answer is of no use";
            Reply::refusal(StatusCode::BAD_GATEWAY, ErrorCode::Unknown, message, None)
        }
    };
    reply.problem = Some(error.to_string());
    reply
}

fn absent(asked: Asked) -> Reply {
    Reply::problem(asked.unknown(), asked.unknown().message())
}

/// Somebody else's credentials are no business of our clients: to them, it is not there.
fn denied(status: StatusCode, asked: Asked, config: &Config) -> Reply {
    let code = match (config.identity, status) {
        (AskedAs::Mirror, _) => return absent(asked),
        (AskedAs::Caller, StatusCode::UNAUTHORIZED) => ErrorCode::Unauthorized,
        (AskedAs::Caller, _) => ErrorCode::Denied,
    };
    let mut reply = Reply::problem(code, "the remote registry refuses these credentials");
    // Without a challenge, clients do not show what they have.
    if code == ErrorCode::Unauthorized
        && let Ok(challenge) =
            HeaderValue::from_str(&format!("Basic realm=\"{}\"", config.registry.replace(['"', '\\'], "")))
    {
        reply.headers.insert(WWW_AUTHENTICATE, challenge);
    }
    reply
}

fn exhausted(retry_after: Option<Duration>, asked: Asked, config: &Config) -> Reply {
    let after = retry_after.unwrap_or(PULLS_RETRY_AFTER);
    let message = "no pulls are left at the remote registry, and nothing is kept of it";
    match config.on_exhausted {
        OnExhausted::Unavailable => later(message, after),
        OnExhausted::TooMany => {
            Reply::refusal(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message, Some(after))
        }
        OnExhausted::Absent => absent(asked),
    }
}

fn later(message: &str, after: Duration) -> Reply {
    Reply::refusal(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, message, Some(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Config {
        toml::from_str(&format!("registry = \"docker.io\"\n{more}")).unwrap()
    }

    fn told(error: &RemoteError, asked: Asked, config: &Config) -> (u16, String, Option<String>) {
        let reply = super::reply(error, asked, config);
        let crate::mirror::Body::Bytes(body) = &reply.body else { panic!("a small body") };
        let json: serde_json::Value = serde_json::from_slice(body).unwrap();
        let after = reply.headers.get("retry-after").map(|after| after.to_str().unwrap().to_owned());
        (reply.status.as_u16(), json["errors"][0]["code"].as_str().unwrap().to_owned(), after)
    }

    #[test]
    fn each_failure_has_its_status() {
        let (mirror, seconds) = (config(""), Duration::from_secs);
        let refused = StatusCode::FORBIDDEN;
        for (error, status, code, after) in [
            (RemoteError::Absent(StatusCode::NOT_FOUND), 404, "MANIFEST_UNKNOWN", None),
            (RemoteError::Denied(refused), 404, "MANIFEST_UNKNOWN", None),
            (RemoteError::Throttled(Throttle::Pulls { retry_after: None }), 503, "UNAVAILABLE", Some("60")),
            (RemoteError::Throttled(Throttle::Abuse { retry_after: Some(seconds(9)) }), 503, "UNAVAILABLE", Some("9")),
            (RemoteError::Exhausted { retry_after: Some(seconds(30)) }, 503, "UNAVAILABLE", Some("30")),
            (RemoteError::Down("x".into()), 503, "UNAVAILABLE", Some("5")),
            (RemoteError::Resting { retry_after: seconds(7) }, 503, "UNAVAILABLE", Some("7")),
            (RemoteError::Useless("x".into()), 502, "UNKNOWN", None),
            (RemoteError::Unsupported(StatusCode::METHOD_NOT_ALLOWED), 502, "UNKNOWN", None),
        ] {
            assert_eq!(
                told(&error, Asked::Manifest, &mirror),
                (status, code.into(), after.map(str::to_owned)),
                "{error:?}"
            );
        }
        assert_eq!(told(&RemoteError::Absent(StatusCode::NOT_FOUND), Asked::Blob, &mirror).1, "BLOB_UNKNOWN");
        assert_eq!(told(&RemoteError::Absent(StatusCode::NOT_FOUND), Asked::List, &mirror).1, "NAME_UNKNOWN");
    }

    #[test]
    fn the_operator_says_what_is_answered_when_no_pulls_are_left() {
        let error = RemoteError::Exhausted { retry_after: None };
        for (text, status) in [("503", 503), ("429", 429), ("404", 404)] {
            let config = config(&format!("on_exhausted = \"{text}\""));
            assert_eq!(told(&error, Asked::Manifest, &config).0, status);
        }
    }

    #[test]
    fn a_caller_is_told_what_the_remote_says_and_is_asked_for_credentials() {
        let caller = config("identity = \"caller\"");
        for (status, code) in [(401, "UNAUTHORIZED"), (403, "DENIED")] {
            let error = RemoteError::Denied(StatusCode::from_u16(status).unwrap());
            assert_eq!(told(&error, Asked::Blob, &caller), (status, code.into(), None));
            let reply = super::reply(&error, Asked::Blob, &caller);
            assert_eq!(reply.headers.contains_key(WWW_AUTHENTICATE), status == 401);
        }
    }

    #[test]
    fn clients_are_not_told_of_addresses() {
        let reply = super::reply(&RemoteError::Down("10.0.0.1: refused".into()), Asked::Blob, &config(""));
        let crate::mirror::Body::Bytes(body) = &reply.body else { panic!("a small body") };
        assert!(!String::from_utf8_lossy(body).contains("10.0.0.1"));
        assert!(reply.problem.is_some_and(|why| why.contains("10.0.0.1")));
    }
}
