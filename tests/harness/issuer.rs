//! An issuer of tokens, as CI services and clusters have one: a discovery document, keys that it can change, and tokens that it
//! signs; also what it would never sign.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::KeyPair;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};

use super::{FaultProxy, Reply};

/// Of 2,048 bits; ring makes none.
const RSA: &str = include_str!("../keys/rsa-2048.pk8.b64");

/// A private key with a name.
pub struct Key {
    kid: String,
    pair: Pair,
}

enum Pair {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
}

impl Key {
    pub fn es256(kid: &str) -> Self {
        let made = KeyPair::generate().expect("a key");
        Key::of(kid, &made)
    }

    pub fn of(kid: &str, key: &KeyPair) -> Self {
        let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(signing, &key.serialize_der(), &SystemRandom::new()).expect("a P-256 key");
        Key { kid: kid.into(), pair: Pair::Es256(pair) }
    }

    pub fn rs256(kid: &str) -> Self {
        let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(RSA.trim()).expect("base64")).expect("an RSA key");
        Key { kid: kid.into(), pair: Pair::Rs256(pair) }
    }

    pub fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.pair {
            Pair::Es256(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (text(&point[1..33]), text(&point[33..]));
                json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid, "x": x, "y": y})
            }
            Pair::Rs256(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "use": "sig", "kid": self.kid, "n": text(&public.n), "e": text(&public.e)})
            }
        }
    }

    /// Signs a token; `header` adds to what stands in its head or takes its place.
    pub fn sign(&self, header: Value, claims: &Value) -> String {
        let algorithm = if matches!(self.pair, Pair::Es256(_)) { "ES256" } else { "RS256" };
        let mut head = json!({"alg": algorithm, "typ": "JWT", "kid": self.kid});
        for (name, value) in header.as_object().expect("an object") {
            head[name] = value.clone();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&head), part(claims));
        let signature = match &self.pair {
            Pair::Es256(pair) => {
                pair.sign(&SystemRandom::new(), message.as_bytes()).expect("a signature").as_ref().to_vec()
            }
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
                    .expect("a signature");
                signature
            }
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A server with a discovery document and keys.
pub struct Issuer {
    pub server: FaultProxy,
    keys: Arc<Mutex<Vec<Key>>>,
    /// In place of the discovery document.
    discovery: Arc<Mutex<Option<Reply>>>,
}

impl Issuer {
    /// With one key of each kind: `es-1`, `rs-1`.
    pub fn start() -> Self {
        let keys = Arc::new(Mutex::new(vec![Key::es256("es-1"), Key::rs256("rs-1")]));
        let discovery: Arc<Mutex<Option<Reply>>> = Arc::default();
        let (served, instead) = (keys.clone(), discovery.clone());
        let server = FaultProxy::scripted(move |seen| {
            let url = format!("http://{}", seen.header("host").unwrap_or_default());
            let json =
                |value: Value| Reply::new(200).header("Content-Type", "application/json").body(value.to_string());
            match seen.target.as_str() {
                "/.well-known/openid-configuration" => match instead.lock().expect("no panic").clone() {
                    Some(reply) => reply,
                    None => json(json!({"issuer": url, "jwks_uri": format!("{url}/keys")})),
                },
                "/keys" => {
                    let keys: Vec<Value> = served.lock().expect("no panic").iter().map(Key::jwk).collect();
                    json(json!({ "keys": keys }))
                }
                _ => Reply::new(404),
            }
        });
        Issuer { server, keys, discovery }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// What its tokens say, good for ten minutes, for these tests' audience.
    pub fn claims(&self) -> Value {
        let now = now();
        json!({
            "iss": self.url(), "aud": "registry.test", "sub": "repo:team/app", "repository_id": "7", "ref": "main",
            "iat": now, "nbf": now, "exp": now + 600,
        })
    }

    /// With these claims changed.
    pub fn claims_but(&self, changes: Value) -> Value {
        let mut claims = self.claims();
        for (name, value) in changes.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        claims
    }

    /// A token that nobody has seen before.
    pub fn token(&self) -> String {
        self.token_but(json!({}))
    }

    pub fn token_but(&self, changes: Value) -> String {
        self.sign(0, &self.claims_but(changes))
    }

    /// Signed by the key at this place of its document.
    pub fn sign(&self, key: usize, claims: &Value) -> String {
        self.keys.lock().expect("no panic")[key].sign(json!({}), claims)
    }

    /// Its keys from now on.
    pub fn publish(&self, keys: Vec<Key>) {
        *self.keys.lock().expect("no panic") = keys;
    }

    /// Answers this to who asks for its discovery document; `None`: the document.
    pub fn discovery(&self, reply: Option<Reply>) {
        *self.discovery.lock().expect("no panic") = reply;
    }

    /// How often its keys were asked for.
    pub fn asked(&self) -> usize {
        self.server.count("GET", "/keys")
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}
