//! Public keys of others: a JWKS document (RFC 7517), of which only what signatures can be checked with is taken. Which algorithms
//! a key is good for is the key's to say and never a token's.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// Keys of one document: more are refused, since a token's is looked for among all of them.
pub const MAX_KEYS: usize = 64;
/// Of a key's name, in bytes.
const MAX_KID: usize = 256;
/// Of a modulus: below, RSA is broken; above, one check takes long.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

const RSA: [Algorithm; 6] =
    [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

/// A key and what it is good for.
#[derive(Debug)]
pub struct PublicKey {
    pub kid: String,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
    /// RFC 7638.
    thumbprint: String,
}

/// The keys of a document that can be used; never none.
#[derive(Debug)]
pub struct PublicKeys(Vec<Arc<PublicKey>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoKeys {
    #[error("it is no JWKS document")]
    Document,
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
    #[error("it has no key that signatures can be checked with")]
    Unusable,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// What of a key is looked at (RFC 7517 §4, RFC 7518 §6).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: String,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl PublicKeys {
    /// Reads a document. Keys of other kinds and for other uses are passed over: issuers have them beside those that sign.
    pub fn read(document: &[u8]) -> Result<Self, NoKeys> {
        let Document { keys } = serde_json::from_slice(document).map_err(|_| NoKeys::Document)?;
        if keys.len() > MAX_KEYS {
            return Err(NoKeys::TooMany);
        }
        let usable = keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok()?.read());
        let usable: Vec<_> = usable.map(Arc::new).collect();
        if usable.is_empty() { Err(NoKeys::Unusable) } else { Ok(PublicKeys(usable)) }
    }

    /// The key of this name that is good for this algorithm.
    pub fn find(&self, kid: &str, algorithm: Algorithm) -> Option<Arc<PublicKey>> {
        self.0.iter().find(|key| key.kid == kid && key.allows(algorithm)).cloned()
    }
}

impl Jwk {
    fn read(self) -> Option<PublicKey> {
        let signs = self.r#use.as_deref().is_none_or(|used| used == "sig")
            && self.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|word| word == "verify"));
        if !signs || self.kid.len() > MAX_KID {
            return None;
        }
        let bytes = |member: &Option<String>| URL_SAFE_NO_PAD.decode(member.as_deref()?).ok();
        let mut key = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => PublicKey::rsa(&bytes(&self.n)?, &bytes(&self.e)?),
            ("EC", Some("P-256")) => PublicKey::p256(&bytes(&self.x)?, &bytes(&self.y)?),
            ("EC", Some("P-384")) => PublicKey::p384(&bytes(&self.x)?, &bytes(&self.y)?),
            ("OKP", Some("Ed25519")) => PublicKey::ed25519(&bytes(&self.x)?),
            _ => None,
        }?;
        key.kid = self.kid;
        if let Some(named) = self.alg {
            // A key that names its algorithm is good for no other.
            let named: Algorithm = named.parse().ok()?;
            key.algorithms.retain(|algorithm| *algorithm == named);
        }
        (!key.algorithms.is_empty()).then_some(key)
    }
}

impl PublicKey {
    pub fn allows(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    pub fn key(&self) -> &DecodingKey {
        &self.key
    }

    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Modulus and exponent.
    pub fn rsa(n: &[u8], e: &[u8]) -> Option<Self> {
        let (n, e) = (plain(n), plain(e));
        let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
        if !RSA_BITS.contains(&bits) || e.is_empty() || e.len() > 8 {
            return None;
        }
        let members = format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, base64url(e), base64url(n));
        Some(PublicKey::new(RSA.to_vec(), DecodingKey::from_rsa_raw_components(n, e), &members))
    }

    pub fn p256(x: &[u8], y: &[u8]) -> Option<Self> {
        PublicKey::point(("P-256", 32, Algorithm::ES256), x, y)
    }

    pub fn p384(x: &[u8], y: &[u8]) -> Option<Self> {
        PublicKey::point(("P-384", 48, Algorithm::ES384), x, y)
    }

    pub fn ed25519(x: &[u8]) -> Option<Self> {
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, base64url(x));
        (x.len() == 32).then(|| PublicKey::new(vec![Algorithm::EdDSA], DecodingKey::from_ed_der(x), &members))
    }

    fn point((curve, size, algorithm): (&str, usize, Algorithm), x: &[u8], y: &[u8]) -> Option<Self> {
        if x.len() != size || y.len() != size {
            return None;
        }
        let members = format!(r#"{{"crv":"{curve}","kty":"EC","x":"{}","y":"{}"}}"#, base64url(x), base64url(y));
        let point = [&[4], x, y].concat();
        Some(PublicKey::new(vec![algorithm], DecodingKey::from_ec_der(&point), &members))
    }

    fn new(algorithms: Vec<Algorithm>, key: DecodingKey, members: &str) -> Self {
        let thumbprint = base64url(&Sha256::digest(members));
        PublicKey { kid: String::new(), algorithms, key, thumbprint }
    }
}

/// A number without the zeros before it.
fn plain(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(keys: Value) -> Result<PublicKeys, NoKeys> {
        PublicKeys::read(json!({ "keys": keys }).to_string().as_bytes())
    }

    fn rsa(bytes: usize) -> Value {
        json!({ "kty": "RSA", "kid": "r", "n": base64url(&vec![0xc1; bytes]), "e": "AQAB" })
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    #[test]
    fn a_key_is_good_for_what_it_says_and_no_more() {
        let ec = json!({ "kty": "EC", "crv": "P-256", "kid": "e", "x": base64url(&[1; 32]), "y": base64url(&[2; 32]) });
        let keys = read(json!([rsa(256), ec])).unwrap();
        for algorithm in RSA {
            assert!(keys.find("r", algorithm).is_some(), "{algorithm:?}");
            assert!(keys.find("e", algorithm).is_none(), "{algorithm:?}");
        }
        assert!(keys.find("e", Algorithm::ES256).is_some() && keys.find("e", Algorithm::ES384).is_none());
        assert!(keys.find("", Algorithm::ES256).is_none() && keys.find("r", Algorithm::HS256).is_none());
        let pinned = read(json!([with(rsa(256), "alg", "PS256".into())])).unwrap();
        assert!(pinned.find("r", Algorithm::PS256).is_some() && pinned.find("r", Algorithm::RS256).is_none());
    }

    #[test]
    fn keys_that_cannot_be_used_are_passed_over() {
        let short =
            json!({ "kty": "EC", "crv": "P-256", "kid": "e", "x": base64url(&[1; 31]), "y": base64url(&[2; 32]) });
        for key in [
            rsa(128),
            rsa(255),
            rsa(1025),
            with(rsa(256), "use", "enc".into()),
            with(rsa(256), "key_ops", json!(["encrypt"])),
            with(rsa(256), "alg", "HS256".into()),
            with(rsa(256), "alg", "ES256".into()),
            with(rsa(256), "alg", "none".into()),
            with(rsa(256), "kty", "oct".into()),
            with(rsa(256), "kid", 7.into()),
            with(rsa(256), "kid", "k".repeat(MAX_KID + 1).into()),
            with(rsa(256), "n", "+/".into()),
            short.clone(),
            with(short, "crv", "P-521".into()),
            json!({ "kty": "oct", "k": "AAAA", "kid": "o", "alg": "HS256" }),
            json!({ "kty": "OKP", "crv": "X25519", "kid": "x", "x": base64url(&[1; 32]) }),
            json!("key"),
        ] {
            assert_eq!(read(json!([key])).err(), Some(NoKeys::Unusable), "{key}");
            assert!(read(json!([key, with(rsa(256), "use", "sig".into())])).is_ok(), "{key}");
        }
    }

    #[test]
    fn a_document_is_one_and_bounded() {
        for text in ["", "{}", "[]", r#"{"keys":{}}"#, r#"{"keys":[]} x"#, r#"{"keys":[],"keys":[]}"#] {
            assert_eq!(PublicKeys::read(text.as_bytes()).err(), Some(NoKeys::Document), "{text}");
        }
        assert_eq!(read(json!([])).err(), Some(NoKeys::Unusable));
        assert_eq!(read(vec![rsa(256); MAX_KEYS + 1].into()).err(), Some(NoKeys::TooMany));
    }

    #[test]
    fn thumbprints_are_those_of_the_rfc() {
        // RFC 7638 §3.1.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs\
                 tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpb\
                 ISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let key = PublicKey::rsa(&URL_SAFE_NO_PAD.decode(n).unwrap(), &[1, 0, 1]).unwrap();
        assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }
}
