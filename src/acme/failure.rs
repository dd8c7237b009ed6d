//! Why there is no certificate, by who can do something about it.

use std::time::Duration;

use instant_acme::{Error, Problem};

use super::shelf::ShelfError;

/// What is told of a sentence of others, in characters: it goes into the log and the status.
const TOLD: usize = 500;
/// How each of the authority's own words for a failure begins (RFC 8555 §6.7).
const PREFIX: &str = "urn:ietf:params:acme:error:";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It does not answer, or says that it is its own fault. It will get better without anybody's doing.
    Away,
    /// It said no to what was asked.
    Refused,
    /// It looked, and a name did not lead here.
    Unproven,
    /// It does not know our account any more.
    NoAccount,
    /// Our own storage, program or lease.
    Ours,
}

#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    pub cause: Cause,
    pub what: String,
    /// Names that were not proven: the authority counts them.
    pub names: Vec<String>,
    /// It wants to be left alone for so long.
    pub wait: Option<Duration>,
}

impl Failure {
    pub fn new(cause: Cause, what: impl Into<String>) -> Self {
        Failure { cause, what: shown(&what.into()), names: Vec::new(), wait: None }
    }

    pub fn ours(what: impl Into<String>) -> Self {
        Failure::new(Cause::Ours, what)
    }

    pub fn unproven(name: &str, what: &str) -> Self {
        Failure { names: vec![name.to_owned()], ..Failure::new(Cause::Unproven, format!("{name}: {what}")) }
    }
}

impl From<ShelfError> for Failure {
    fn from(error: ShelfError) -> Self {
        Failure::ours(format!("what is kept cannot be read or written: {error}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(problem) => Failure::new(cause(&problem), format!("the authority says: {}", sentence(&problem))),
            Error::Timeout(_) => Failure::new(Cause::Away, "the authority did not come to an end in time"),
            Error::Crypto | Error::KeyRejected => Failure::ours("the key of the account cannot be used"),
            error => Failure::new(Cause::Away, error.to_string()),
        }
    }
}

fn cause(problem: &Problem) -> Cause {
    match word(problem) {
        "accountDoesNotExist" => Cause::NoAccount,
        "serverInternal" | "badNonce" => Cause::Away,
        _ if problem.status.is_some_and(|status| status >= 500) => Cause::Away,
        _ => Cause::Refused,
    }
}

/// The authority's own word for it.
pub fn word(problem: &Problem) -> &str {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.strip_prefix(PREFIX).unwrap_or(kind)
}

/// What it says, with its word for it.
pub fn sentence(problem: &Problem) -> String {
    let mut text = problem.detail.clone().unwrap_or_else(|| "it does not say why".to_owned());
    for part in &problem.subproblems {
        text.push_str("; ");
        text.push_str(part.detail.as_deref().unwrap_or_default());
    }
    match word(problem) {
        "" => text,
        word => format!("{text} ({word})"),
    }
}

/// Without what would break a log's line, and not longer than one reads.
fn shown(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = text.chars().map(plain).take(TOLD).collect();
    if text.chars().nth(TOLD).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, status: u16) -> Failure {
        let text = format!(r#"{{"type":"{PREFIX}{kind}","detail":"a\nb","status":{status}}}"#);
        Error::Api(serde_json::from_str(&text).unwrap()).into()
    }

    #[test]
    fn failures_are_told_by_who_can_act() {
        for (kind, status, cause) in [
            ("accountDoesNotExist", 400, Cause::NoAccount),
            ("serverInternal", 500, Cause::Away),
            ("badNonce", 400, Cause::Away),
            ("rateLimited", 429, Cause::Refused),
            ("rejectedIdentifier", 403, Cause::Refused),
            ("caa", 403, Cause::Refused),
            ("malformed", 502, Cause::Away),
        ] {
            assert_eq!(problem(kind, status).cause, cause, "{kind}");
        }
        assert_eq!(problem("caa", 403).what, "the authority says: a b (caa)");
        assert_eq!(Failure::unproven("a.example", "no").names, ["a.example"]);
    }

    #[test]
    fn a_long_sentence_is_cut() {
        assert_eq!(Failure::ours("x".repeat(TOLD)).what.chars().count(), TOLD);
        assert_eq!(Failure::ours("é".repeat(2 * TOLD)).what.chars().count(), TOLD + 1);
    }
}
