//! Checking a token of others with a key that is known to be theirs.

use jsonwebtoken::{Algorithm, Validation};
use serde::de::IgnoredAny;

use super::keys::PublicKey;
use super::provider;
use super::strict::Parts;

/// It is not signed with that key in the way that it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forged;

/// The algorithm that a token names, if it is one of those that there are.
pub fn algorithm(parts: &Parts) -> Option<Algorithm> {
    parts.header.get("alg")?.as_str()?.parse().ok()
}

/// Whether this key signed the token whose parts these are; then what was read of it is its signer's word.
pub fn signed(token: &str, parts: &Parts, key: &PublicKey) -> Result<(), Forged> {
    provider::install();
    let named = algorithm(parts).filter(|named| key.allows(*named)).ok_or(Forged)?;
    let mut validation = Validation::new(named);
    // What it says is looked at by who asks, and by our own clock.
    (validation.validate_exp, validation.validate_aud) = (false, false);
    validation.required_spec_claims.clear();
    jsonwebtoken::decode::<IgnoredAny>(token, key.key(), &validation).map(drop).map_err(|_| Forged)
}
