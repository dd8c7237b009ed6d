//! Giving tokens and checking them. Keys come from our own set and by their name only: what a token's header says of keys
//! (`jwk`, `jku`, `x5u`, `x5c`) is for others.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};

use super::claims::{Access, Claims, Subject};
use super::keys::{KeyError, KeySet};
use crate::auth::config;
use crate::auth::jwt::provider;
use crate::auth::jwt::strict::{self, NotStrict};

/// A token of a moment from now is taken: clocks of a fleet differ. Its end is not moved: clients are told to come earlier.
const LEEWAY: u64 = 60;

/// A token, given.
pub struct Minted {
    pub token: String,
    /// Seconds.
    pub expires_in: u64,
    /// Seconds since 1970.
    pub issued_at: u64,
}

/// A token whose signature is good and which is for us.
#[derive(Debug)]
pub struct Verified {
    pub claims: Claims,
    /// The key that signed it.
    pub kid: String,
}

/// Why a token does not count, as the end of a sentence.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    NotStrict(#[from] NotStrict),
    #[error("is not one of ours")]
    NotOurs,
    /// Another instance may know it by now.
    #[error("is signed with a key that is not known here")]
    UnknownKey,
    #[error("is not signed as it says")]
    Forged,
    #[error("is of another issuer")]
    Issuer,
    #[error("is for another service")]
    Audience,
    #[error("is not good yet")]
    NotYet,
    /// Good but for that.
    #[error("has expired")]
    Expired(Box<Verified>),
}

impl KeySet {
    /// Gives a token as the configuration says; its service is issuer and audience.
    pub fn mint(
        &self,
        now: u64,
        config: &config::Token,
        (name, subject): (&str, Subject),
        access: Vec<Access>,
    ) -> Result<Minted, KeyError> {
        provider::install();
        let failed = |why: String| KeyError::Make(why);
        let key = self.signer(now).ok_or_else(|| failed("there is no key".into()))?;
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(key.kid().to_owned());
        // For distribution 2.8, which finds keys by certificates only.
        header.x5c = config.x5c.then(|| vec![key.certificate().to_owned()]);
        let ttl = config.ttl.0.as_secs();
        let claims = Claims {
            iss: config.service.clone(),
            sub: name.to_owned(),
            aud: config.service.clone(),
            exp: now.saturating_add(ttl),
            // Whoever checks it may be a little behind.
            nbf: now.saturating_sub(10),
            iat: now,
            jti: uuid::Uuid::new_v4().to_string(),
            access,
            ent: subject,
        };
        let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ec_der(&key.pkcs8()?));
        let token = token.map_err(|error| failed(error.to_string()))?;
        Ok(Minted { token, expires_in: ttl, issued_at: now })
    }

    /// Whether a token is ours and good now.
    pub fn verify(&self, now: u64, token: &str, issuer: &str, audience: &str) -> Result<Verified, Refused> {
        provider::install();
        let parts = strict::read(token)?;
        let kid = parts.header.get("kid").and_then(|kid| kid.as_str()).ok_or(Refused::NotOurs)?;
        let key = self.find(kid).ok_or(Refused::UnknownKey)?;
        let point = key.public().map_err(|_| Refused::UnknownKey)?;
        let mut validation = Validation::new(Algorithm::ES256);
        // Times and names are looked at below, by our own clock, so that each has its own refusal.
        (validation.validate_exp, validation.validate_aud) = (false, false);
        validation.required_spec_claims.clear();
        let decoded = jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_ec_der(&point), &validation);
        let claims = decoded.map_err(|error| refused(error.kind()))?.claims;
        if claims.iss != issuer {
            return Err(Refused::Issuer);
        }
        if claims.aud != audience {
            return Err(Refused::Audience);
        }
        if claims.nbf.max(claims.iat) > now.saturating_add(LEEWAY) {
            return Err(Refused::NotYet);
        }
        let verified = Verified { claims, kid: kid.to_owned() };
        match verified.claims.exp > now {
            true => Ok(verified),
            false => Err(Refused::Expired(Box::new(verified))),
        }
    }
}

/// What stands in a token that is written as ours are, and the key that it names: nothing of it is believed.
pub fn read_claims(token: &str) -> Result<(String, Claims), Refused> {
    let parts = strict::read(token)?;
    let kid = parts.header.get("kid").and_then(|kid| kid.as_str()).ok_or(Refused::NotOurs)?;
    let claims = serde_json::from_value(parts.payload.into()).map_err(|_| Refused::NotOurs)?;
    Ok((kid.to_owned(), claims))
}

fn refused(error: &jsonwebtoken::errors::ErrorKind) -> Refused {
    use jsonwebtoken::errors::ErrorKind;
    match error {
        ErrorKind::InvalidSignature => Refused::Forged,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => Refused::NotStrict(NotStrict::Algorithm),
        // The signature is checked before the claims are read.
        _ => Refused::NotOurs,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::auth::jwt::forge::{Forger, hs256};

    const NOW: u64 = 1_800_000_000;
    const TTL: u64 = 600;

    fn access() -> Vec<Access> {
        vec![Access { kind: "repository".into(), name: "a/b".into(), actions: vec!["pull".into()] }]
    }

    fn minted(keys: &KeySet) -> String {
        let subject = Subject::User { version: "v".into() };
        let config = config::Token { service: "svc".into(), ..config::Token::default() };
        keys.mint(NOW, &config, ("alice", subject), access()).unwrap().token
    }

    fn verify(keys: &KeySet, now: u64, token: &str) -> Result<Verified, Refused> {
        keys.verify(now, token, "svc", "svc")
    }

    #[test]
    fn a_token_is_good_for_its_life() {
        let keys = KeySet::fresh(NOW).unwrap();
        let token = minted(&keys);
        let verified = verify(&keys, NOW, &token).unwrap();
        assert_eq!((verified.claims.sub.as_str(), &verified.claims.access), ("alice", &access()));
        assert!(verify(&keys, NOW + TTL - 1, &token).is_ok());
        assert!(matches!(verify(&keys, NOW + TTL, &token), Err(Refused::Expired(old)) if old.claims.sub == "alice"));
        assert!(verify(&keys, NOW - LEEWAY, &token).is_ok());
        assert!(matches!(verify(&keys, NOW - LEEWAY - 1, &token), Err(Refused::NotYet)));
        assert!(matches!(keys.verify(NOW, &token, "other", "svc"), Err(Refused::Issuer)));
        assert!(matches!(keys.verify(NOW, &token, "svc", "other"), Err(Refused::Audience)));
    }

    #[test]
    fn a_token_carries_the_certificate_of_its_key_unless_it_shall_not() {
        let keys = KeySet::fresh(NOW).unwrap();
        for x5c in [true, false] {
            let config = config::Token { service: "svc".into(), x5c, ..config::Token::default() };
            let token = keys.mint(NOW, &config, ("", Subject::Anonymous), access()).unwrap().token;
            assert_eq!(strict::read(&token).unwrap().header.contains_key("x5c"), x5c);
            assert!(verify(&keys, NOW, &token).is_ok());
        }
    }

    #[test]
    fn another_sets_token_is_of_an_unknown_key() {
        let (ours, theirs) = (KeySet::fresh(NOW).unwrap(), KeySet::fresh(NOW).unwrap());
        assert!(matches!(verify(&ours, NOW, &minted(&theirs)), Err(Refused::UnknownKey)));
        let rotated = ours.with_next(NOW, TTL).unwrap();
        assert!(verify(&rotated, NOW, &minted(&ours)).is_ok() && verify(&ours, NOW, &minted(&rotated)).is_ok());
    }

    /// A token like ours, but for what is changed in its header and claims, signed by whoever holds the key given.
    fn forged(keys: &KeySet, by: &Forger, header: Value, claims: Value) -> String {
        let parts = strict::read(&minted(keys)).unwrap();
        let (mut head, mut payload) = (Value::from(parts.header), Value::from(parts.payload));
        for (target, changes) in [(&mut head, header), (&mut payload, claims)] {
            for (name, value) in changes.as_object().unwrap() {
                match value {
                    Value::Null => drop(target.as_object_mut().unwrap().remove(name)),
                    _ => target[name] = value.clone(),
                }
            }
        }
        by.sign(&head.to_string(), &payload.to_string())
    }

    #[test]
    fn every_forgery_is_refused() {
        let keys = KeySet::fresh(NOW).unwrap();
        let signer = keys.signer(NOW).unwrap();
        let (own, foreign) = (Forger::of(&signer.pkcs8().unwrap()), Forger::new());
        let none = json!({});
        // The way of forging works: unchanged and signed with our key it is good.
        assert!(verify(&keys, NOW, &forged(&keys, &own, none.clone(), none.clone())).is_ok());
        let jwk = foreign.jwk();
        let signed_by_others = [
            none.clone(),
            json!({ "jwk": jwk }),
            json!({ "jku": "https://evil.example/jwks.json" }),
            json!({ "x5u": "https://evil.example/chain.pem" }),
            json!({ "x5c": [foreign.certificate()] }),
        ];
        for header in signed_by_others {
            let token = forged(&keys, &foreign, header.clone(), none.clone());
            assert!(matches!(verify(&keys, NOW, &token), Err(Refused::Forged)), "{header}");
        }
        for (header, expected) in [
            (json!({ "kid": foreign.kid(), "jwk": jwk, "x5c": [foreign.certificate()] }), "UnknownKey"),
            (json!({ "kid": "../../etc/passwd" }), "UnknownKey"),
            (json!({ "kid": Value::Null }), "NotOurs"),
            (json!({ "alg": "none" }), "NotStrict"),
            (json!({ "alg": "ES384" }), "NotStrict"),
            (json!({ "alg": "RS256" }), "NotStrict"),
            (json!({ "alg": "EdDSA" }), "NotStrict"),
            (json!({ "alg": "ES257" }), "NotOurs"),
            (json!({ "crit": ["exp"] }), "NotStrict"),
        ] {
            for by in [&own, &foreign] {
                let found = verify(&keys, NOW, &forged(&keys, by, header.clone(), none.clone())).err().unwrap();
                assert!(format!("{found:?}").starts_with(expected), "{header}: {found:?}");
            }
        }
    }

    #[test]
    fn a_public_key_is_no_secret() {
        let keys = KeySet::fresh(NOW).unwrap();
        let signer = keys.signer(NOW).unwrap();
        let parts = strict::read(&minted(&keys)).unwrap();
        let header = json!({ "alg": "HS256", "typ": "JWT", "kid": signer.kid() }).to_string();
        let payload = Value::from(parts.payload).to_string();
        for secret in [signer.public().unwrap(), keys.certificates().into_bytes(), keys.jwks().into_bytes(), Vec::new()]
        {
            let token = hs256(&header, &payload, &secret);
            assert!(matches!(verify(&keys, NOW, &token), Err(Refused::NotStrict(NotStrict::Algorithm))));
        }
    }

    #[test]
    fn claims_that_are_not_as_ours_are_refused() {
        let keys = KeySet::fresh(NOW).unwrap();
        let own = Forger::of(&keys.signer(NOW).unwrap().pkcs8().unwrap());
        for (claims, expected) in [
            (json!({ "iss": "other" }), "Issuer"),
            (json!({ "iss": ["svc"] }), "NotOurs"),
            (json!({ "aud": "other" }), "Audience"),
            (json!({ "aud": ["svc"] }), "NotOurs"),
            (json!({ "aud": "SVC" }), "Audience"),
            (json!({ "exp": NOW }), "Expired"),
            (json!({ "exp": NOW - 1, "iat": NOW - 700, "nbf": NOW - 700 }), "Expired"),
            (json!({ "nbf": NOW + 61, "exp": NOW + 700 }), "NotYet"),
            (json!({ "iat": NOW + 61, "exp": NOW + 700 }), "NotYet"),
            (json!({ "exp": NOW + 25 * 3600 }), "NotStrict"),
            (json!({ "exp": Value::Null }), "NotStrict"),
            (json!({ "ent": Value::Null }), "NotOurs"),
            (json!({ "ent": { "k": "root" } }), "NotOurs"),
            (json!({ "sub": 7 }), "NotOurs"),
            (json!({ "access": "all" }), "NotOurs"),
        ] {
            let found = verify(&keys, NOW, &forged(&keys, &own, json!({}), claims.clone())).err();
            assert!(
                found.as_ref().is_some_and(|found| format!("{found:?}").starts_with(expected)),
                "{claims}: {found:?}"
            );
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let keys = KeySet::fresh(NOW).unwrap();
        let token = minted(&keys);
        for index in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(verify(&keys, NOW, &changed).is_err(), "{index}");
        }
        for wrong in [format!("{token}."), format!("{token}="), format!("{token} "), token.replace('.', "..")] {
            assert!(verify(&keys, NOW, &wrong).is_err());
        }
    }
}
