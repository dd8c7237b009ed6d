//! Those whom others vouch for: workloads with tokens of OIDC issuers, and bearers of tokens of another token service. What they
//! may do is what our rules say; a foreign key counts only if the configuration says whose it is.
//!
//! - `claims`: what any such token has to say; `template`: the name that comes of it
//! - `source`: the keys of an issuer, kept; `fetch`: how they are asked for; `certificates`: keys by certificates
//! - `mapping`: who the bearers of an issuer's tokens are; `verifier`: what another token service's tokens say

mod certificates;
mod claims;
pub mod config;
mod fetch;
mod mapping;
mod source;
mod template;
#[cfg(test)]
mod tests;
mod verifier;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use super::authenticator::{Caller, Proof, Unproven};
use super::config::Config;
use super::identity::Identity;
use super::jwt::strict::{self, Parts};
use super::metrics::Metrics;
use super::token::Grants;
use crate::outbound::OwnAddresses;
use certificates::Certificates;
use claims::Refused;
use mapping::{Mapping, signed};
use serde_json::Value;
use source::{KeySource, Place};
use verifier::{Keys, Verifier};

pub use certificates::Certificates as Bundle;
pub use fetch::is_safe;
pub use mapping::named;
pub use source::{Place as KeyPlace, check as check_keys};
pub use template::Template;

/// The user whose password is a workload's token.
pub const USER: &str = "oidc";
/// Tokens whose signature was checked: in bytes of them, with what was read of them about twice as much.
const SEEN: u64 = 8 << 20;
/// … and not longer than this.
const SEEN_TIME: Duration = Duration::from_secs(60);

/// Whose word a configuration takes. Replaced on reload; keys that were read go on.
pub struct Outside {
    mappings: Vec<Mapping>,
    verifiers: Vec<Verifier>,
    seen: Cache<Arc<str>, Arc<Seen>>,
}

/// A token whose signature is good.
struct Seen {
    identity: Identity,
    grants: Option<Arc<Grants>>,
    end: u64,
}

impl Outside {
    /// What a configuration says, with the keys that `before` has read. Nobody is waited for: only files are read.
    pub async fn prepare(
        config: &Config,
        before: Option<&Outside>,
        own: &OwnAddresses,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, String> {
        let old: Vec<Arc<KeySource>> = before.map(|before| before.sources().cloned().collect()).unwrap_or_default();
        let mut sources: Vec<Arc<KeySource>> = Vec::new();
        let mut mappings = Vec::new();
        for (index, entry) in config.workload.iter().enumerate() {
            let failed = |what: String| format!("auth.workload.{index}: {what}");
            let place = entry.place().map_err(|what| failed(format!("jwks {what}")))?;
            let source = source(&mut sources, (place, entry.ca.as_deref()), &old, (own, metrics)).await;
            mappings.push(Mapping::new(entry, source.map_err(failed)?).map_err(failed)?);
        }
        let mut verifiers = Vec::new();
        for (index, entry) in config.verifier.iter().enumerate() {
            let failed = |what: String| format!("auth.verifier.{index}: {what}");
            let keys = match (entry.place(), entry.certificates.clone()) {
                (Some(place), None) => {
                    let place = place.map_err(|what| failed(format!("jwks {what}")))?;
                    let source = source(&mut sources, (place, entry.ca.as_deref()), &old, (own, metrics)).await;
                    Keys::Source(source.map_err(failed)?)
                }
                (None, Some(file)) => {
                    let read = tokio::task::spawn_blocking(move || Certificates::read(&file)).await;
                    let read = read.map_err(|error| failed(error.to_string()))?;
                    Keys::Certificates(Box::new(read.map_err(|what| failed(format!("certificates {what}")))?))
                }
                _ => return Err(failed("needs one of jwks and certificates".into())),
            };
            verifiers.push(Verifier::new(entry, keys).map_err(failed)?);
        }
        let seen = Cache::builder()
            .weigher(|token: &Arc<str>, _: &Arc<Seen>| u32::try_from(token.len()).unwrap_or(u32::MAX))
            .max_capacity(SEEN)
            .time_to_live(SEEN_TIME)
            .build();
        Ok(Outside { mappings, verifiers, seen })
    }

    /// Looks for keys that it is time to read again; waits for nobody.
    pub fn refresh(&self) {
        self.sources().for_each(KeySource::refresh);
    }

    fn sources(&self) -> impl Iterator<Item = &Arc<KeySource>> {
        let of_verifiers = self.verifiers.iter().filter_map(|verifier| match &verifier.keys {
            Keys::Source(source) => Some(source),
            Keys::Certificates(_) => None,
        });
        self.mappings.iter().map(|mapping| &mapping.source).chain(of_verifiers)
    }

    /// Whether a login of this name is a workload's.
    pub fn is_workload(&self, user: &str) -> bool {
        user == USER && !self.mappings.is_empty()
    }

    /// Who shows this token of an OIDC issuer.
    pub async fn workload(&self, token: &str, now: u64) -> Result<Identity, Unproven> {
        if let Some(seen) = self.seen.get(token).filter(|seen| seen.grants.is_none()) {
            return match claims::has_ended(seen.end, now) {
                true => Err(refused(Refused::Expired)),
                false => Ok(seen.identity.clone()),
            };
        }
        let parts = strict::read(token).map_err(|error| refused(error.into()))?;
        let issuer = parts.payload.get("iss").and_then(Value::as_str).unwrap_or_default();
        // The entries of one issuer have one source.
        let first = self.mappings.iter().find(|mapping| mapping.config.issuer == issuer);
        let source = first.map(|mapping| &mapping.source).ok_or_else(|| refused(Refused::Issuer))?;
        let checked = signed(token, &parts, source).await.map_err(|_| unavailable(issuer))?;
        checked.map_err(refused)?;
        let end = claims::end(&parts.payload, now).map_err(refused)?;
        if claims::has_ended(end, now) {
            return Err(refused(Refused::Expired));
        }
        // What is told is what the entry said that came nearest: the last.
        let mut found = Err(Refused::Audience);
        for mapping in self.mappings.iter().filter(|mapping| mapping.config.issuer == issuer) {
            match mapping.identity(&parts.payload) {
                Ok(identity) => {
                    found = Ok(identity);
                    break;
                }
                Err(Refused::Audience) => {}
                Err(nearer) => found = Err(nearer),
            }
        }
        let identity = found.map_err(refused)?;
        self.seen.insert(token.into(), Arc::new(Seen { identity: identity.clone(), grants: None, end }));
        Ok(identity)
    }

    /// Who had this name by an entry of that version, while there is such an entry.
    pub fn standing(&self, version: &str, name: &str) -> Option<Identity> {
        self.mappings.iter().find_map(|mapping| mapping.standing(version, name))
    }

    /// Who shows this token of another token service; `None`: it does not say that it is one. `late`: how long after its end it is
    /// still good for uploads.
    pub async fn bearer(&self, token: &str, now: u64, late: u64) -> Option<Result<Caller, Unproven>> {
        if self.verifiers.is_empty() {
            return None;
        }
        if let Some(seen) = self.seen.get(token).filter(|seen| seen.grants.is_some()) {
            return Some(caller(&seen, now, late));
        }
        // What cannot be read is refused as one of ours.
        let parts = strict::read(token).ok()?;
        let verifier = match self.verifier(&parts)? {
            Ok(verifier) => verifier,
            Err(why) => return Some(Err(refused(why))),
        };
        let seen = self.verified(verifier, token, &parts, now).await;
        Some(seen.and_then(|seen| caller(&seen, now, late)))
    }

    /// Whose a token says that it is; `None`: nobody's of these.
    fn verifier(&self, parts: &Parts) -> Option<Result<&Verifier, Refused>> {
        let about = || self.verifiers.iter().filter(|verifier| verifier.claims(&parts.payload));
        about().next()?;
        let is_for = |verifier: &&Verifier| claims::is_for(&parts.payload, &verifier.config.service);
        Some(about().find(is_for).ok_or(Refused::Audience))
    }

    async fn verified(&self, verifier: &Verifier, token: &str, parts: &Parts, now: u64) -> Result<Arc<Seen>, Unproven> {
        let checked = verifier.check(token, parts, now).await.map_err(|_| unavailable(&verifier.config.issuer))?;
        let granted = checked.map_err(refused)?;
        let grants = Some(Arc::new(granted.grants));
        let seen = Arc::new(Seen { identity: granted.identity, grants, end: granted.end });
        self.seen.insert(token.into(), seen.clone());
        Ok(seen)
    }

    /// Where another service gives tokens for us, and what it is to be asked for.
    pub fn realm(&self) -> Option<(&str, &str)> {
        let of = |verifier: &Verifier| verifier.config.realm.is_some();
        let found = self.verifiers.iter().find(|verifier| of(verifier))?;
        Some((found.config.realm.as_deref()?, &found.config.service))
    }
}

/// One source for all that have their keys in one place.
async fn source(
    sources: &mut Vec<Arc<KeySource>>,
    (place, ca): (Place, Option<&Path>),
    old: &[Arc<KeySource>],
    (own, metrics): (&OwnAddresses, &Arc<Metrics>),
) -> Result<Arc<KeySource>, String> {
    if let Some(known) = sources.iter().find(|known| known.is_of(&place, ca)) {
        return Ok(known.clone());
    }
    let before = old.iter().find(|known| known.is_of(&place, ca));
    let opened = KeySource::open(place, ca, own, before.map(|before| &**before), metrics.clone()).await?;
    let opened = Arc::new(opened);
    sources.push(opened.clone());
    Ok(opened)
}

fn caller(seen: &Seen, now: u64, late: u64) -> Result<Caller, Unproven> {
    let ended = claims::has_ended(seen.end, now);
    if ended && seen.end.saturating_add(late) <= now {
        return Err(refused(Refused::Expired));
    }
    Ok(Caller { identity: seen.identity.clone(), proof: Proof::Bearer, grants: seen.grants.clone(), late: ended })
}

fn refused(why: Refused) -> Unproven {
    Unproven::Token(why.to_string())
}

fn unavailable(issuer: &str) -> Unproven {
    Unproven::Unavailable(format!("there are no keys of {issuer}"))
}
