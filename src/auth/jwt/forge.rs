//! For tests: tokens as somebody would write them who is not us.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rcgen::Issuer;
use ring::rand::SystemRandom;
use ring::signature::{self as of, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair};
use serde_json::{Value, json};
use sha2::Sha256;

/// Of 2,048 bits; ring makes none.
const RSA: &str = include_str!("../../../tests/keys/rsa-2048.pk8.b64");

/// Who holds a private key.
pub struct Forger {
    pair: Pair,
    certificate: String,
    pem: String,
}

enum Pair {
    Point(EcdsaKeyPair, &'static str),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Forger {
    pub fn new() -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Forger::certified(&pair, None)
    }

    /// Of a certificate that another has signed.
    pub fn signed_by(issuer: &Issuer<'_, rcgen::KeyPair>) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Forger::certified(&pair, Some(issuer))
    }

    fn certified(pair: &rcgen::KeyPair, issuer: Option<&Issuer<'_, rcgen::KeyPair>>) -> Self {
        let wanted = rcgen::CertificateParams::new(vec!["evil.example".into()]).unwrap();
        let made = match issuer {
            Some(issuer) => wanted.signed_by(pair, issuer),
            None => wanted.self_signed(pair),
        };
        let made = made.unwrap();
        Forger { certificate: STANDARD.encode(made.der()), pem: made.pem(), ..Forger::of(&pair.serialize_der()) }
    }

    pub fn of(pkcs8: &[u8]) -> Self {
        let signing = &of::ECDSA_P256_SHA256_FIXED_SIGNING;
        Forger::with(Pair::Point(EcdsaKeyPair::from_pkcs8(signing, pkcs8, &SystemRandom::new()).unwrap(), "P-256"))
    }

    pub fn p384() -> Self {
        let (signing, random) = (&of::ECDSA_P384_SHA384_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
        Forger::with(Pair::Point(EcdsaKeyPair::from_pkcs8(signing, pkcs8.as_ref(), &random).unwrap(), "P-384"))
    }

    pub fn ed25519() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Forger::with(Pair::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap()))
    }

    pub fn rsa() -> Self {
        Forger::with(Pair::Rsa(RsaKeyPair::from_pkcs8(&STANDARD.decode(RSA.trim()).unwrap()).unwrap()))
    }

    fn with(pair: Pair) -> Self {
        Forger { pair, certificate: String::new(), pem: String::new() }
    }

    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub fn kid(&self) -> &'static str {
        "foreign"
    }

    pub fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.pair {
            Pair::Point(pair, curve) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
                let algorithm = if *curve == "P-256" { "ES256" } else { "ES384" };
                json!({ "kty": "EC", "crv": curve, "alg": algorithm, "use": "sig", "kid": self.kid(), "x": text(x), "y": text(y) })
            }
            Pair::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.kid(), "x": text(pair.public_key().as_ref()) })
            }
            Pair::Rsa(pair) => {
                let public = of::RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({ "kty": "RSA", "use": "sig", "kid": self.kid(), "n": text(&public.n), "e": text(&public.e) })
            }
        }
    }

    /// Signs in the way that the key is for; of RSA, as the header says.
    pub fn sign(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = match &self.pair {
            Pair::Point(pair, _) => pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding(header), &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn padding(header: &str) -> &'static dyn RsaEncoding {
    let named = |name: &str| header.contains(&format!("\"{name}\""));
    match () {
        () if named("RS384") => &of::RSA_PKCS1_SHA384,
        () if named("RS512") => &of::RSA_PKCS1_SHA512,
        () if named("PS256") => &of::RSA_PSS_SHA256,
        () if named("PS384") => &of::RSA_PSS_SHA384,
        () if named("PS512") => &of::RSA_PSS_SHA512,
        () => &of::RSA_PKCS1_SHA256,
    }
}

pub fn hs256(header: &str, payload: &str, secret: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let mac = Hmac::<Sha256>::new_from_slice(secret).unwrap().chain_update(&message).finalize().into_bytes();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac))
}
