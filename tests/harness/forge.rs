//! Tokens of Entrepot taken apart and made anew: with its own key, which lies in a folder of the test's, or with a stranger's.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::Value;

/// What a token says, before it is signed.
#[derive(Clone, Debug)]
pub struct Token {
    pub header: Value,
    pub claims: Value,
}

impl Token {
    /// Whatever its signature is.
    pub fn read(text: &str) -> Self {
        let mut parts = text.split('.').map(|part| {
            let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64url");
            serde_json::from_slice(&bytes).expect("JSON")
        });
        Token { header: parts.next().expect("a header"), claims: parts.next().expect("claims") }
    }

    /// The same with another claim.
    pub fn with(mut self, claim: &str, value: impl Into<Value>) -> Self {
        self.claims[claim] = value.into();
        self
    }

    /// The same with another field of the header.
    pub fn headed(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.header[field] = value.into();
        self
    }

    /// The same as if it had been given long ago: it ended so many seconds before now.
    pub fn ended(self, seconds: u64) -> Self {
        let end = now() - seconds;
        self.with("exp", end).with("iat", end - 600).with("nbf", end - 610)
    }

    /// What is signed.
    pub fn unsigned(&self) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}", encode(&self.header), encode(&self.claims))
    }
}

/// A key that signs.
pub struct Signer {
    key: EcdsaKeyPair,
    /// DER in base64, as `x5c` has it.
    pub certificate: String,
}

impl Signer {
    /// The first key of the folder where Entrepot keeps them: `[auth] token = { keys = "FOLDER" }`.
    pub fn of_folder(folder: &Path) -> Self {
        let text = std::fs::read(folder.join("token-keys.json")).expect("the keys of tokens");
        let set: Value = serde_json::from_slice(&text).expect("JSON");
        let field = |name: &str| set["keys"][0][name].as_str().expect("a key").to_owned();
        Signer::new(&STANDARD.decode(field("private")).expect("base64"), field("certificate"))
    }

    /// A key that nobody has heard of, with a certificate of its own.
    pub fn stranger() -> Self {
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::default().self_signed(&key).expect("a certificate");
        Signer::new(&key.serialize_der(), STANDARD.encode(certificate.der()))
    }

    fn new(pkcs8: &[u8], certificate: String) -> Self {
        let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
        Signer {
            key: EcdsaKeyPair::from_pkcs8(signing, pkcs8, &SystemRandom::new()).expect("a P-256 key"),
            certificate,
        }
    }

    pub fn sign(&self, token: &Token) -> String {
        let signed = token.unsigned();
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}
