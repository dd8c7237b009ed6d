//! Who the bearers of an OIDC issuer's tokens are here.

use std::sync::Arc;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::claims::{self, Refused};
use super::config::Workload;
use super::source::{KeySource, NoKey, Place};
use super::template::Template;
use crate::auth::identity::Identity;
use crate::auth::jwt::strict::Parts;
use crate::auth::jwt::verify;

/// One `[[auth.workload]]`.
pub struct Mapping {
    pub config: Workload,
    template: Template,
    /// What ties our tokens to this entry as it is now.
    version: String,
    pub source: Arc<KeySource>,
}

impl Workload {
    /// Where its issuer's keys are.
    pub fn place(&self) -> Result<Place, &'static str> {
        match &self.jwks {
            Some(jwks) => Place::of(jwks),
            None => Ok(Place::Discovered { issuer: self.issuer.clone() }),
        }
    }

    /// Changes with everything that decides who somebody is. No secret is in it.
    fn version(&self) -> String {
        let text = serde_json::json!([self.issuer, self.audience, self.require, self.user, self.groups, self.jwks]);
        hex::encode(Sha256::digest(text.to_string()).get(..12).unwrap_or_default())
    }
}

impl Mapping {
    pub fn new(config: &Workload, source: Arc<KeySource>) -> Result<Self, String> {
        let template = config.user.parse::<Template>().map_err(|error| error.to_string())?;
        Ok(Mapping { config: config.clone(), template, version: config.version(), source })
    }

    /// Who these claims are of, if this entry is about them.
    pub fn identity(&self, payload: &Map<String, Value>) -> Result<Identity, Refused> {
        if !claims::is_for(payload, &self.config.audience) {
            return Err(Refused::Audience);
        }
        if !self.config.require.iter().all(|(name, wanted)| claims::is(payload, name, wanted)) {
            return Err(Refused::Required);
        }
        Ok(self.identity_of(&self.template.name(payload)?))
    }

    /// Who had this name by an entry of that version, if this is it.
    pub fn standing(&self, version: &str, name: &str) -> Option<Identity> {
        (self.version == version).then(|| self.identity_of(name))
    }

    fn identity_of(&self, name: &str) -> Identity {
        Identity::workload(name, Some(&self.version), &self.config.groups)
    }
}

/// Whom a configuration could mean by a name, for explanations.
pub fn named(config: &[Workload], name: &str) -> Vec<Identity> {
    let fits = |entry: &&Workload| entry.user.parse::<Template>().is_ok_and(|template| template.fits(name));
    config.iter().filter(fits).map(|entry| Identity::workload(name, None, &entry.groups)).collect()
}

/// Checks that a token is signed by a key of this source.
///
/// # Errors
/// It is not, or there are no keys now: `Ok(Err(…))` is the token's fault.
pub async fn signed(token: &str, parts: &Parts, source: &Arc<KeySource>) -> Result<Result<(), Refused>, Unavailable> {
    let Some(algorithm) = verify::algorithm(parts) else { return Ok(Err(Refused::Forged)) };
    let Some(kid) = parts.header.get("kid").and_then(Value::as_str) else { return Ok(Err(Refused::NoKey)) };
    match source.find(kid, algorithm).await {
        Ok(key) => Ok(verify::signed(token, parts, &key).map_err(Refused::from)),
        Err(NoKey::Unknown) => Ok(Err(Refused::UnknownKey)),
        Err(NoKey::Unavailable) => Err(Unavailable),
    }
}

/// There are no keys to check a token with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;
