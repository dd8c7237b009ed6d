//! Signing keys: which are there, which signs now, and what others need to check what they have signed.
//!
//! A new key is published at once and signs one token's life later, so that whoever keeps the public keys has it by then. An old
//! one stays until the last token that it signed is dead, and a day longer for uploads that go on.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, date_time_ymd};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::storage::format::{self, Format};

/// A day more than its last token: an upload may outlive the token that it was begun with.
const AFTER: u64 = 24 * 3600;
/// Keys that a set may have: more are none of ours.
const MOST: usize = 64;
/// Coordinates of a point of P-256, in bytes.
const COORDINATE: usize = 32;

#[derive(Clone, Serialize, Deserialize)]
pub struct KeySet {
    keys: Vec<SigningKey>,
}

/// Has a `Debug` that shows no key.
#[derive(Clone, Serialize, Deserialize)]
pub struct SigningKey {
    /// RFC 7638.
    kid: String,
    /// PKCS #8, in base64.
    private: String,
    /// A certificate of it by itself (DER, base64): distribution 2.8 trusts nothing else.
    certificate: String,
    /// Seconds since 1970, all three.
    created: u64,
    signs_from: u64,
    /// `None`: none has taken its place yet.
    kept_until: Option<u64>,
}

impl Format for KeySet {
    const WHAT: &'static str = "the keys of tokens";
    const VERSION: u32 = 1;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("no key could be made: {0}")]
    Make(String),
    #[error("{0}")]
    Damaged(String),
}

impl KeySet {
    pub fn fresh(now: u64) -> Result<Self, KeyError> {
        Ok(KeySet { keys: vec![SigningKey::make(now, now)?] })
    }

    /// With another key, which signs after `ttl` seconds.
    pub fn with_next(&self, now: u64, ttl: u64) -> Result<Self, KeyError> {
        if self.keys.len() >= MOST {
            // One more, and nobody could read the set.
            return Err(KeyError::Make(format!(
                "there are {MOST} already: wait until the tokens of the oldest are dead"
            )));
        }
        let signs_from = now.saturating_add(ttl);
        let last = signs_from.saturating_add(ttl).saturating_add(AFTER);
        let mut keys = self.keys.clone();
        for key in keys.iter_mut().filter(|key| key.kept_until.is_none()) {
            key.kept_until = Some(last);
        }
        keys.push(SigningKey::make(now, signs_from)?);
        Ok(KeySet { keys })
    }

    /// Without those whose tokens are all dead.
    pub fn pruned(self, now: u64) -> Self {
        let keys = self.keys.into_iter().filter(|key| key.kept_until.is_none_or(|end| end > now)).collect();
        KeySet { keys }
    }

    /// Whether the newest key is so old that the next has to be published.
    pub fn due(&self, now: u64, rotate_every: u64, ttl: u64) -> bool {
        let newest = self.keys.iter().map(|key| key.signs_from).max().unwrap_or(0);
        // One life before, since the new one does not sign at once.
        newest.saturating_add(rotate_every).saturating_sub(ttl) <= now
    }

    /// The key that signs now: the newest of those that may. By a clock that runs behind, the oldest.
    pub fn signer(&self, now: u64) -> Option<&SigningKey> {
        let may = self.keys.iter().filter(|key| key.signs_from <= now).max_by_key(|key| key.signs_from);
        may.or_else(|| self.keys.iter().min_by_key(|key| key.signs_from))
    }

    /// Names of the keys, the newest last.
    pub fn names(&self) -> Vec<&str> {
        self.keys.iter().map(SigningKey::kid).collect()
    }

    pub fn find(&self, kid: &str) -> Option<&SigningKey> {
        self.keys.iter().find(|key| key.kid == kid)
    }

    /// Ties a text to what one key has signed, so that nobody without that key can find the text by trying.
    pub fn bind(&self, kid: &str, text: &[u8]) -> Option<String> {
        let private = STANDARD.decode(&self.find(kid)?.private).ok()?;
        let key = Sha256::new().chain_update(b"entrepot token binding 1\0").chain_update(private).finalize();
        let mac = Hmac::<Sha256>::new_from_slice(&key).ok()?.chain_update(text).finalize().into_bytes();
        Some(hex::encode(mac.get(..8)?))
    }

    /// The public keys as a JWKS document (RFC 7517).
    pub fn jwks(&self) -> String {
        let keys: Vec<_> = self.keys.iter().filter_map(SigningKey::jwk).collect();
        json!({ "keys": keys }).to_string()
    }

    /// The certificates as PEM, one after the other: distribution's `rootcertbundle`.
    pub fn certificates(&self) -> String {
        let mut text = String::new();
        for key in &self.keys {
            text.push_str("-----BEGIN CERTIFICATE-----\n");
            for line in key.certificate.as_bytes().chunks(64) {
                text.push_str(std::str::from_utf8(line).unwrap_or_default());
                text.push('\n');
            }
            text.push_str("-----END CERTIFICATE-----\n");
        }
        text
    }

    pub fn to_json(&self) -> Vec<u8> {
        // What was read or made can be written.
        format::write(self).unwrap_or_default()
    }

    /// # Errors
    /// It is none of our sets, or a key in it is not the one that its name says.
    pub fn from_json(bytes: &[u8]) -> Result<Self, KeyError> {
        let damaged = |what: String| KeyError::Damaged(what);
        let set: KeySet = format::read(bytes).map_err(|error| damaged(error.to_string()))?;
        if set.keys.is_empty() || set.keys.len() > MOST {
            return Err(damaged(format!("a set has 1 to {MOST} keys")));
        }
        for key in &set.keys {
            let public = public(&key.pkcs8()?)?;
            let certified = STANDARD.decode(&key.certificate).ok();
            let certified = certified.is_some_and(|der| der.windows(public.len()).any(|window| window == public));
            if thumbprint(&public) != Some(key.kid.clone()) || !certified {
                return Err(damaged(format!("the key {} is not the one that it says", key.kid)));
            }
        }
        Ok(set)
    }
}

impl SigningKey {
    fn make(now: u64, signs_from: u64) -> Result<Self, KeyError> {
        let failed = |why: String| KeyError::Make(why);
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| failed(error.to_string()))?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, "Entrepot token signing");
        // Longer than the key is used: who was given it checks tokens, not the certificate's age.
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(2120, 1, 1);
        let certificate = parameters.self_signed(&pair).map_err(|error| failed(error.to_string()))?;
        let private = pair.serialize_der();
        let kid = thumbprint(&public(&private)?).ok_or_else(|| failed("it is no point".into()))?;
        Ok(SigningKey {
            kid,
            private: STANDARD.encode(private),
            certificate: STANDARD.encode(certificate.der()),
            created: now,
            signs_from,
            kept_until: None,
        })
    }

    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// DER in base64, for `x5c`.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    pub(super) fn pkcs8(&self) -> Result<Vec<u8>, KeyError> {
        STANDARD.decode(&self.private).map_err(|_| KeyError::Damaged(format!("the key {} is not base64", self.kid)))
    }

    /// The point, uncompressed.
    pub(super) fn public(&self) -> Result<Vec<u8>, KeyError> {
        public(&self.pkcs8()?)
    }

    fn jwk(&self) -> Option<serde_json::Value> {
        let (x, y) = coordinates(&self.public().ok()?)?;
        Some(json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid, "x": x, "y": y }))
    }
}

fn public(pkcs8: &[u8]) -> Result<Vec<u8>, KeyError> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &SystemRandom::new());
    let pair = pair.map_err(|error| KeyError::Damaged(format!("a private key is none: {error}")))?;
    Ok(pair.public_key().as_ref().to_vec())
}

/// In base64url.
fn coordinates(point: &[u8]) -> Option<(String, String)> {
    let (x, y) = point.strip_prefix(&[4])?.split_at_checked(COORDINATE)?;
    (y.len() == COORDINATE).then(|| (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y)))
}

/// RFC 7638, §3: the members that are needed, in order, without a space.
fn thumbprint(point: &[u8]) -> Option<String> {
    let (x, y) = coordinates(point)?;
    let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    Some(URL_SAFE_NO_PAD.encode(Sha256::digest(text)))
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.kid, self.signs_from)
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.keys).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: u64 = 600;

    #[test]
    fn a_set_is_read_back_and_shows_no_private_key() {
        let set = KeySet::fresh(100).unwrap().with_next(200, TTL).unwrap();
        let read = KeySet::from_json(&set.to_json()).unwrap();
        assert_eq!(read.to_json(), set.to_json());
        let shown = format!("{set:?} {} {}", set.jwks(), set.certificates());
        assert!(set.keys.iter().all(|key| !shown.contains(&key.private) && shown.contains(&key.kid)));
        assert_eq!(set.certificates().matches("BEGIN CERTIFICATE").count(), 2);
    }

    #[test]
    fn another_key_under_a_name_is_refused() {
        let (set, other) = (KeySet::fresh(1).unwrap(), KeySet::fresh(1).unwrap());
        for change in [
            |key: &mut SigningKey, other: &SigningKey| key.private = other.private.clone(),
            |key: &mut SigningKey, other: &SigningKey| key.certificate = other.certificate.clone(),
            |key: &mut SigningKey, other: &SigningKey| key.kid = other.kid.clone(),
            |key: &mut SigningKey, _: &SigningKey| key.private = "AAAA".into(),
        ] {
            let mut wrong = set.clone();
            change(&mut wrong.keys[0], &other.keys[0]);
            assert!(KeySet::from_json(&wrong.to_json()).is_err());
        }
        assert!(KeySet::from_json(b"{\"version\":1,\"keys\":[]}").is_err() && KeySet::from_json(b"").is_err());
    }

    #[test]
    fn a_new_key_signs_one_life_later_and_an_old_one_stays_for_its_tokens() {
        let first = KeySet::fresh(1000).unwrap();
        let old = first.signer(1000).unwrap().kid().to_owned();
        assert!(!first.due(1000 + 5000 - TTL - 1, 5000, TTL) && first.due(1000 + 5000 - TTL, 5000, TTL));
        let both = first.with_next(2000, TTL).unwrap();
        assert_eq!(both.signer(2000 + TTL - 1).unwrap().kid(), old);
        let new = both.signer(2000 + TTL).unwrap().kid().to_owned();
        assert_ne!(new, old);
        assert!(!both.due(2000 + TTL, 5000, TTL));
        // The last token of the old key was given just before the new one signed.
        let dead = 2000 + TTL + TTL + AFTER;
        assert!(both.clone().pruned(dead - 1).find(&old).is_some());
        let after = both.pruned(dead);
        assert!(after.find(&old).is_none() && after.find(&new).is_some());
        // A clock that runs behind signs all the same.
        assert!(after.signer(0).is_some());
    }

    #[test]
    fn what_is_bound_is_bound_to_one_key() {
        let set = KeySet::fresh(1).unwrap().with_next(2, TTL).unwrap();
        let (one, two) = (set.keys[0].kid(), set.keys[1].kid());
        assert_eq!(set.bind(one, b"a"), set.bind(one, b"a"));
        assert_ne!(set.bind(one, b"a"), set.bind(one, b"b"));
        assert_ne!(set.bind(one, b"a"), set.bind(two, b"a"));
        assert_eq!(set.bind("x", b"a"), None);
        assert_eq!(set.bind(one, b"a").unwrap().len(), 16);
    }

    #[test]
    fn the_public_document_is_one() {
        let set = KeySet::fresh(1).unwrap();
        let document: serde_json::Value = serde_json::from_str(&set.jwks()).unwrap();
        let key = &document["keys"][0];
        assert_eq!(
            (key["kty"].as_str(), key["crv"].as_str(), key["alg"].as_str()),
            (Some("EC"), Some("P-256"), Some("ES256"))
        );
        assert_eq!(key["kid"].as_str(), Some(set.keys[0].kid()));
        assert!(key.get("d").is_none());
    }
}
