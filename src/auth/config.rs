//! `[auth]`: users, rules, tokens.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

use super::permission::Permission;
use super::workload::config::{Verifier, Workload};
use crate::units::{Secret, Span, seconds};

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the token endpoint as clients see it. Left out: `/token` at the scheme and host that the request came by.
    pub realm: Option<String>,
    /// File of users, as Apache's `htpasswd -B` writes it.
    pub htpasswd: Option<PathBuf>,
    /// A user of the configuration itself, beside those of the file.
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub token: Token,
    /// Clients that ask for it may keep a secret of their own instead of the password. Needs storage.
    pub refresh_tokens: bool,
    /// Who may do what. None at all: who has logged in may do everything but `admin`.
    pub rule: Vec<Rule>,
    /// By name: users (`alice`), workloads, or `robot:NAME`.
    pub groups: BTreeMap<String, Vec<String>>,
    /// Whose tokens programs may log in with.
    pub workload: Vec<Workload>,
    /// Whose tokens count as ours do.
    pub verifier: Vec<Verifier>,
}

/// `[auth] token = { … }`: tokens that we give.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Token {
    /// How long one is good.
    pub ttl: Span,
    /// `"memory"`, `"storage"`, or a folder.
    pub keys: Keys,
    /// Who they are for, and from: audience and issuer.
    pub service: String,
    /// How often a new signing key is made.
    pub rotate: Span,
    /// Whether a token carries the certificate of its key: distribution 2.8 finds keys in no other way, and v3 looks for none
    /// in its `jwks` where there is one.
    pub x5c: bool,
}

impl Default for Token {
    fn default() -> Self {
        Token {
            ttl: seconds(600),
            keys: Keys::Memory,
            service: "entrepot".into(),
            rotate: seconds(30 * 86_400),
            x5c: true,
        }
    }
}

/// Where signing keys are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Keys {
    /// In this process: its tokens end with it, and are nobody else's.
    #[default]
    Memory,
    /// In the registry's storage, sealed with the fleet's secret.
    Storage,
    /// In a file of this folder.
    Folder(PathBuf),
}

impl From<String> for Keys {
    fn from(text: String) -> Self {
        match text.as_str() {
            "memory" => Keys::Memory,
            "storage" => Keys::Storage,
            _ => Keys::Folder(text.into()),
        }
    }
}

/// `[[auth.rule]]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Glob on the repository name: `*` within a part, `**` over parts.
    #[serde(default = "everything")]
    pub repositories: String,
    /// `anonymous`, `authenticated`, `user:NAME`, `group:NAME`, `robot:NAME`, `workload:NAME`, `*`
    pub who: Vec<String>,
    #[serde(default)]
    pub allow: Vec<Permission>,
    /// Wins over every `allow`.
    #[serde(default)]
    pub deny: Vec<Permission>,
    /// The rule counts only on these hosts; `*.example.com` stands for one label. Left out: on any.
    pub hosts: Option<Vec<String>>,
    /// The rule counts only for clients of these networks. Left out: for any.
    pub from: Option<Vec<IpNet>>,
}

fn everything() -> String {
    "**".into()
}
