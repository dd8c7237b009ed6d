//! What signs and verifies: ring, which the whole process uses. Symmetric algorithms are not there at all, so that no public key
//! is ever taken for a secret.

use std::sync::Once;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::rand::SystemRandom;
use ring::signature::{self as of, EcdsaKeyPair, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};
use signature::{Error, Signer, Verifier};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: |_| unsupported(),
        rsa_pub_components_from_public_key: |_| unsupported(),
        ec_pub_components_from_private_key: |_, _| unsupported(),
        ed_pub_components_from_private_key: |_, _| unsupported(),
        compute_digest: |_, _| unsupported(),
    },
};

/// To be called before anything of the library is: it panics where nothing was installed.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Fails only when there is one, and nobody else installs any.
        let _ = PROVIDER.install_default();
    });
}

fn unsupported<T>() -> Result<T> {
    Err(ErrorKind::UnsupportedAlgorithm.into())
}

/// ES256 only: nothing else is signed here.
struct P256(EcdsaKeyPair);

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    if *algorithm != Algorithm::ES256 || key.family() != AlgorithmFamily::Ec {
        return unsupported();
    }
    let pair = EcdsaKeyPair::from_pkcs8(&of::ECDSA_P256_SHA256_FIXED_SIGNING, key.as_bytes(), &SystemRandom::new());
    Ok(Box::new(P256(pair.map_err(|_| ErrorKind::InvalidEcdsaKey)?)))
}

impl Signer<Vec<u8>> for P256 {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        let signed = self.0.sign(&SystemRandom::new(), message).map_err(|_| Error::new())?;
        Ok(signed.as_ref().to_vec())
    }
}

impl JwtSigner for P256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::ES256
    }
}

/// A public key with the one algorithm that it is used with.
struct Public {
    algorithm: Algorithm,
    key: Key,
}

enum Key {
    /// Of a curve.
    Point(&'static dyn of::VerificationAlgorithm, Vec<u8>),
    Rsa(&'static RsaParameters, RsaPublicKeyComponents<Vec<u8>>),
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    if algorithm.family() != key.family() {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let point = |with: &'static dyn of::VerificationAlgorithm| -> Result<Key> {
        Ok(Key::Point(with, key.try_get_as_bytes()?.to_vec()))
    };
    let rsa = |with: &'static RsaParameters| match key.kind() {
        // Ring refuses moduli below 2,048 bits.
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            Ok(Key::Rsa(with, RsaPublicKeyComponents { n: n.clone(), e: e.clone() }))
        }
        DecodingKeyKind::SecretOrDer(_) => unsupported(),
    };
    let found = match algorithm {
        Algorithm::ES256 => point(&of::ECDSA_P256_SHA256_FIXED)?,
        Algorithm::ES384 => point(&of::ECDSA_P384_SHA384_FIXED)?,
        Algorithm::EdDSA => point(&of::ED25519)?,
        Algorithm::RS256 => rsa(&of::RSA_PKCS1_2048_8192_SHA256)?,
        Algorithm::RS384 => rsa(&of::RSA_PKCS1_2048_8192_SHA384)?,
        Algorithm::RS512 => rsa(&of::RSA_PKCS1_2048_8192_SHA512)?,
        Algorithm::PS256 => rsa(&of::RSA_PSS_2048_8192_SHA256)?,
        Algorithm::PS384 => rsa(&of::RSA_PSS_2048_8192_SHA384)?,
        Algorithm::PS512 => rsa(&of::RSA_PSS_2048_8192_SHA512)?,
        _ => return unsupported(),
    };
    Ok(Box::new(Public { algorithm: *algorithm, key: found }))
}

impl Verifier<Vec<u8>> for Public {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let verified = match &self.key {
            Key::Point(with, point) => UnparsedPublicKey::new(*with, point).verify(message, signature),
            Key::Rsa(with, components) => components.verify(with, message, signature),
        };
        verified.map_err(|_| Error::new())
    }
}

impl JwtVerifier for Public {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
