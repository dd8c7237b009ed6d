//! Keys by certificates: a bundle that is trusted, and what a token brings along. A chain in its head (`x5c`) counts only if a
//! certificate of the bundle has signed it, or its leaf is one; without one, `kid` names a certificate of the bundle.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey as Parsed;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::claims::Refused;
use crate::auth::jwt::keys::PublicKey;
use crate::outbound::tls;

/// Certificates of a bundle.
const MAX_BUNDLE: usize = 64;
/// Certificates that a token brings along.
const MAX_CHAIN: usize = 6;
/// Of libtrust's key id: so many bytes of the digest, written in groups of so many letters.
const LIBTRUST: (usize, usize) = (30, 4);

/// Trusted certificates.
pub struct Certificates(Vec<Trusted>);

struct Trusted {
    der: CertificateDer<'static>,
    /// Good as the end of a chain.
    anchor: Option<TrustAnchor<'static>>,
    /// Of its own key; `None`: of a kind that signs no tokens.
    key: Option<Arc<PublicKey>>,
    libtrust: String,
    /// Seconds since 1970, first and last.
    valid: (i64, i64),
}

impl Certificates {
    /// Those of a PEM file, or why it cannot be used. Blocking.
    pub fn read(file: &Path) -> Result<Self, String> {
        let bundle = tls::certificates(file)?;
        if bundle.len() > MAX_BUNDLE {
            return Err(format!("holds more than {MAX_BUNDLE} certificates"));
        }
        let trusted = bundle.into_iter().map(Trusted::of).collect::<Option<Vec<_>>>();
        let trusted = trusted.ok_or("holds a certificate that does not parse")?;
        Ok(Certificates(trusted))
    }

    /// The key that a token with this head is to be signed with.
    pub fn find(&self, header: &Map<String, Value>, now: u64) -> Result<Arc<PublicKey>, Refused> {
        match (header.get("x5c"), header.get("kid").and_then(Value::as_str)) {
            (Some(chain), _) => self.by_chain(&chain_of(chain).ok_or(Refused::Shape)?, now),
            (None, Some(kid)) => {
                let named = |trusted: &&Trusted| {
                    trusted.libtrust == kid || trusted.key.as_ref().is_some_and(|key| key.thumbprint() == kid)
                };
                let found = self.0.iter().filter(|trusted| trusted.is_valid(now)).find(named);
                found.and_then(|trusted| trusted.key.clone()).ok_or(Refused::UnknownKey)
            }
            (None, None) => Err(Refused::NoKey),
        }
    }

    /// Both names of a certificate's key.
    #[cfg(test)]
    pub fn names_of(&self, der: &CertificateDer<'_>) -> Option<(String, String)> {
        let found = self.0.iter().find(|trusted| trusted.der == *der)?;
        Some((found.libtrust.clone(), found.key.as_ref()?.thumbprint().to_owned()))
    }

    fn by_chain(&self, chain: &[CertificateDer<'_>], now: u64) -> Result<Arc<PublicKey>, Refused> {
        let (leaf, between) = chain.split_first().ok_or(Refused::Shape)?;
        let valid = || self.0.iter().filter(|trusted| trusted.is_valid(now));
        if let Some(same) = valid().find(|trusted| trusted.der.as_ref() == leaf.as_ref()) {
            return same.key.clone().ok_or(Refused::UnknownKey);
        }
        let anchors: Vec<TrustAnchor<'_>> = valid().filter_map(|trusted| trusted.anchor.clone()).collect();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let end = EndEntityCert::try_from(leaf).map_err(|_| Refused::UnknownKey)?;
        end.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, between, time, AnyUse, None, None)
            .map_err(|_| Refused::UnknownKey)?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| Refused::UnknownKey)?;
        key_of(parsed.public_key()).map(Arc::new).ok_or(Refused::UnknownKey)
    }
}

impl Trusted {
    fn of(der: CertificateDer<'static>) -> Option<Self> {
        let anchor = webpki::anchor_from_trusted_cert(&der).ok().map(|anchor| anchor.to_owned());
        let (_, parsed) = X509Certificate::from_der(&der).ok()?;
        let key = key_of(parsed.public_key()).map(Arc::new);
        let libtrust = libtrust(parsed.public_key().raw);
        let validity = parsed.validity();
        let valid = (validity.not_before.timestamp(), validity.not_after.timestamp());
        Some(Trusted { anchor, key, libtrust, valid, der })
    }

    fn is_valid(&self, now: u64) -> bool {
        i64::try_from(now).is_ok_and(|now| (self.valid.0..=self.valid.1).contains(&now))
    }
}

/// Tokens have no use of their own among those that certificates can be limited to.
struct AnyUse;

impl ExtendedKeyUsageValidator for AnyUse {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

/// RFC 7515 §4.1.6: DER in base64, the leaf first.
fn chain_of(value: &Value) -> Option<Vec<CertificateDer<'static>>> {
    let chain = value.as_array().filter(|chain| (1..=MAX_CHAIN).contains(&chain.len()))?;
    chain.iter().map(|one| Some(CertificateDer::from(STANDARD.decode(one.as_str()?).ok()?))).collect()
}

fn key_of(info: &SubjectPublicKeyInfo<'_>) -> Option<PublicKey> {
    const ED25519: &str = "1.3.101.112";
    match info.parsed().ok()? {
        Parsed::RSA(rsa) => PublicKey::rsa(rsa.modulus, rsa.exponent),
        Parsed::EC(point) => {
            let coordinates = point.data().strip_prefix(&[4])?;
            let (x, y) = coordinates.split_at_checked(coordinates.len() / 2)?;
            // The sizes of the two curves differ, and no other curve's key is as large as either.
            match curve(info)?.as_str() {
                "1.2.840.10045.3.1.7" => PublicKey::p256(x, y),
                "1.3.132.0.34" => PublicKey::p384(x, y),
                _ => None,
            }
        }
        _ if info.algorithm.algorithm.to_id_string() == ED25519 => PublicKey::ed25519(&info.subject_public_key.data),
        _ => None,
    }
}

fn curve(info: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    Some(info.algorithm.parameters.as_ref()?.as_oid().ok()?.to_id_string())
}

/// How docker's libtrust names a key: the digest of its SubjectPublicKeyInfo in base32, cut and in groups.
fn libtrust(info: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digest = Sha256::digest(info);
    let mut letters = String::new();
    let (mut bits, mut count) = (0u32, 0);
    for byte in digest.iter().take(LIBTRUST.0) {
        bits = (bits << 8) | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            letters.push(char::from(ALPHABET[(bits >> count) as usize & 31]));
        }
        bits &= (1 << count) - 1;
    }
    let groups: Vec<&str> =
        (0..letters.len()).step_by(LIBTRUST.1).filter_map(|at| letters.get(at..at + LIBTRUST.1)).collect();
    groups.join(":")
}
