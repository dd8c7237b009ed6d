//! `[remote.NAME]`: another registry that is mirrored. SIGHUP reads it again.

use std::path::PathBuf;

use serde::Deserialize;

use crate::units::{Secret, Size, Span, gibibytes, seconds};

/// One remote.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Its name in `?ns=` and in references: `host` or `host:port`.
    pub registry: String,
    /// First component(s) of the names by which it is also asked. Left out: `registry` without its port.
    pub path: Option<String>,
    /// Where it is. Left out: `https://` and `registry` (Docker Hub: where its registry really is).
    pub url: Option<String>,
    /// Whose right it is asked by; several are spread by what is left of their budgets. Empty: nobody's.
    #[serde(default)]
    pub credentials: Vec<Credentials>,
    /// Hosts beside its own registrable domain whose token services may be sent credentials: `host` or `host:port`.
    #[serde(default)]
    pub realms: Vec<String>,
    /// Whether it may lead us to addresses more private than its own.
    #[serde(default)]
    pub allow_private: bool,
    /// How long a tag is served without asking; "0s": it is always asked.
    #[serde(default = "one_minute")]
    pub tag_ttl: Span,
    #[serde(default)]
    pub stale: Stale,
    /// The answer where nothing is kept and no budget is left.
    #[serde(default)]
    pub on_exhausted: OnExhausted,
    /// Most bytes that are fetched for one image beside what clients ask for; 0: none.
    #[serde(default = "one_gibibyte")]
    pub prefetch: Size,
    /// Where content stays. Left out: in the registry's storage, if routes use it, and else in the cache.
    pub keep: Option<KeepIn>,
    /// Whose right a client's request is asked by.
    #[serde(default)]
    pub identity: AskedAs,
    #[serde(default)]
    pub timeouts: Timeouts,
    /// `http://HOST:PORT` of a proxy that it is asked through; then redirects lead only to `redirects`.
    pub proxy: Option<String>,
    /// Hosts that may be redirected to where a proxy resolves names: `host`, or `*.example.com`.
    #[serde(default)]
    pub redirects: Vec<String>,
    /// As of clusters: authorities to trust, a client certificate.
    #[serde(default)]
    pub tls: Option<crate::cluster::config::TlsSettings>,
}

/// One credential of ours at the remote.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    untagged,
    expecting = "a credential is { username = \"…\", password_file = \"…\" } or { exec = [\"program\", \"argument\"] }"
)]
pub enum Credentials {
    Password(Password),
    /// A program that speaks docker's credential-helper protocol.
    Exec(Exec),
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Password {
    pub username: String,
    /// The file that holds the password.
    pub password_file: Option<PathBuf>,
    /// Or the password itself.
    pub password: Option<Secret>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// The program and its arguments; `get` is added, and the registry's name is written to it.
    pub exec: Vec<String>,
}

/// How old what is kept may be while the remote is down, refuses or throttles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "StaleText")]
pub enum Stale {
    #[default]
    Always,
    For(Span),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "stale is \"always\" or a span of time such as \"7d\"")]
enum StaleText {
    Word(Always),
    Span(Span),
}

#[derive(Deserialize)]
enum Always {
    #[serde(rename = "always")]
    Always,
}

impl From<StaleText> for Stale {
    fn from(text: StaleText) -> Self {
        match text {
            StaleText::Word(Always::Always) => Stale::Always,
            StaleText::Span(span) => Stale::For(span),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum OnExhausted {
    #[default]
    #[serde(rename = "503")]
    Unavailable,
    #[serde(rename = "429")]
    TooMany,
    #[serde(rename = "404")]
    Absent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeepIn {
    Storage,
    Cache,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AskedAs {
    /// By our own credentials.
    #[default]
    Mirror,
    /// By the caller's, which are passed, and asked again for what is kept.
    Caller,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Until it is known what to answer to a request for a manifest; then what is kept, else 503.
    pub manifest: Span,
    /// Until the first byte of a blob; then 503.
    pub first_byte: Span,
    pub connect: Span,
    /// Between two reads of a body.
    pub read: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { manifest: seconds(5), first_byte: seconds(20), connect: seconds(3), read: seconds(30) }
    }
}

fn one_minute() -> Span {
    seconds(60)
}

fn one_gibibyte() -> Size {
    gibibytes(1)
}
