//! Tokens of another service that speaks the token protocol for us: who it says that somebody is, and what it grants them.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::certificates::Certificates;
use super::claims::{self, Refused};
use super::config::Verifier as Config;
use super::mapping::{Unavailable, signed};
use super::source::{KeySource, Place};
use super::template::Template;
use crate::auth::identity::Identity;
use crate::auth::jwt::strict::Parts;
use crate::auth::jwt::verify;
use crate::auth::token::{Access, Grants};

/// One `[[auth.verifier]]`.
pub struct Verifier {
    pub config: Config,
    template: Template,
    pub keys: Keys,
}

/// How its keys are known.
pub enum Keys {
    Source(Arc<KeySource>),
    Certificates(Box<Certificates>),
}

/// What a token says.
pub struct Granted {
    pub identity: Identity,
    pub grants: Grants,
    /// Seconds since 1970; it may be over.
    pub end: u64,
}

impl Config {
    /// Where its keys are, if not in certificates.
    pub fn place(&self) -> Option<Result<Place, &'static str>> {
        self.jwks.as_deref().map(Place::of)
    }
}

impl Verifier {
    pub fn new(config: &Config, keys: Keys) -> Result<Self, String> {
        let template = config.user.parse::<Template>().map_err(|error| error.to_string())?;
        Ok(Verifier { config: config.clone(), template, keys })
    }

    /// Whether a token says that it is of this service; it is not believed yet.
    pub fn claims(&self, payload: &Map<String, Value>) -> bool {
        payload.get("iss").and_then(Value::as_str) == Some(&self.config.issuer)
    }

    pub async fn check(&self, token: &str, parts: &Parts, now: u64) -> Result<Result<Granted, Refused>, Unavailable> {
        let signed = match &self.keys {
            Keys::Source(source) => signed(token, parts, source).await?,
            Keys::Certificates(certificates) => match certificates.find(&parts.header, now) {
                Ok(key) => verify::signed(token, parts, &key).map_err(Refused::from),
                Err(refused) => Err(refused),
            },
        };
        Ok(signed.and_then(|()| self.granted(&parts.payload, now)))
    }

    fn granted(&self, payload: &Map<String, Value>, now: u64) -> Result<Granted, Refused> {
        if !claims::is_for(payload, &self.config.service) {
            return Err(Refused::Audience);
        }
        let end = claims::end(payload, now)?;
        let identity = match payload.get("sub") {
            None | Some(Value::Null) => Identity::Anonymous,
            Some(Value::String(subject)) if subject.is_empty() => Identity::Anonymous,
            Some(Value::String(_)) => Identity::workload(&self.template.name(payload)?, None, &[]),
            Some(_) => return Err(Refused::Shape),
        };
        let access = match payload.get("access") {
            None | Some(Value::Null) => Vec::new(),
            Some(access) => serde_json::from_value::<Vec<Access>>(access.clone()).map_err(|_| Refused::Shape)?,
        };
        let mut grants = Grants::default();
        for access in &access {
            grants.add(&access.kind, &access.name, &access.actions);
        }
        Ok(Granted { identity, grants, end })
    }
}
