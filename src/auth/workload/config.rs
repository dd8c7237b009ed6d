//! `[[auth.workload]]`, `[[auth.verifier]]`: whose word on who somebody is counts beside our own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[[auth.workload]]`: tokens of an OIDC issuer, which prove that a program runs where it says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// As its tokens say it, letter by letter.
    pub issuer: String,
    /// Its tokens have to be for this audience.
    pub audience: String,
    /// What has to stand in a token: claims, inner ones by `outer/inner`.
    pub require: BTreeMap<String, ClaimValue>,
    /// The name that its bearer has here, such as `gh:{repository_id}`.
    pub user: String,
    /// Groups that its bearer is in.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Its keys, in a file or at an address. Left out: where its discovery document says.
    pub jwks: Option<String>,
    /// PEM file of the authorities to trust for its TLS instead of the system's.
    pub ca: Option<PathBuf>,
}

/// `[[auth.verifier]]`: tokens of another service that speaks the token protocol for us.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verifier {
    /// As its tokens say it.
    pub issuer: String,
    /// Whom its tokens are for: what clients are told to ask it for.
    pub service: String,
    /// Its keys, in a file or at an address.
    pub jwks: Option<String>,
    /// PEM file with certificates of its keys, or of who has signed those.
    pub certificates: Option<PathBuf>,
    /// PEM file of the authorities to trust for the address in `jwks` instead of the system's.
    pub ca: Option<PathBuf>,
    /// The name that a token's subject has here.
    #[serde(default = "subject")]
    pub user: String,
    /// Where it gives tokens: clients are sent there, instead of to us.
    pub realm: Option<String>,
}

/// What a claim has to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be a text, a whole number, true or false")]
pub enum ClaimValue {
    Boolean(bool),
    Number(i64),
    Text(String),
}

fn subject() -> String {
    "{sub}".into()
}
