//! Certificates of clients: which are believed, and what name they give.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use sha2::{Digest as _, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::config::Config;
use super::error::Error;

/// Longest name that is taken from a certificate, in bytes.
const MAX_NAME: usize = 255;

/// Whose certificates a listener believes, and whether it wants one. `None` in it: it asks for none.
pub(super) struct Believed {
    /// Of the file and of what is demanded: another one makes another configuration of TLS.
    pub(super) fingerprint: Option<[u8; 32]>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Believed {
    /// What a configuration says. Blocks on the disk.
    pub(super) fn load(config: &Config, provider: &Arc<CryptoProvider>) -> Result<Believed, Error> {
        let Some(path) = &config.client_ca else {
            return Ok(Believed { fingerprint: None, verifier: WebPkiClientVerifier::no_client_auth() });
        };
        let refused = |reason: String| Error::Certificate { path: path.clone(), reason };
        let bytes = read(path)?;
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(&bytes) {
            let root = root.map_err(|error| refused(format!("not a PEM file: {error}")))?;
            roots.add(root).map_err(|error| refused(format!("not a certificate: {error}")))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let builder = match config.client_certificate_required {
            true => builder,
            false => builder.allow_unauthenticated(),
        };
        let revoked = config.client_crl.as_deref().map(Revoked::load).transpose()?;
        let bytes = [&bytes[..], revoked.as_ref().map_or(&[][..], |revoked| &revoked.bytes[..])];
        let fingerprint = Some(fingerprint(path, bytes, config.client_certificate_required));
        let builder = match revoked {
            // As OpenSSL and so nginx have it: who is of an authority without a list, or with one that is too old, is not believed.
            Some(revoked) => builder.with_crls(revoked.lists).enforce_revocation_expiration(),
            None => builder,
        };
        let verifier = builder.build().map_err(|error| refused(error.to_string()))?;
        Ok(Believed { fingerprint, verifier })
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        self.verifier.clone()
    }
}

/// Lists of certificates that count no more.
struct Revoked {
    bytes: Vec<u8>,
    lists: Vec<CertificateRevocationListDer<'static>>,
}

impl Revoked {
    fn load(path: &Path) -> Result<Revoked, Error> {
        let bytes = read(path)?;
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
        let refused = |reason: String| Error::Certificate { path: path.to_owned(), reason };
        let lists = lists.map_err(|error| refused(format!("not a PEM file: {error}")))?;
        if lists.is_empty() {
            return Err(refused("holds no list of revoked certificates".into()));
        }
        Ok(Revoked { bytes, lists })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })
}

fn fingerprint(path: &Path, files: [&[u8]; 2], required: bool) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(path.as_os_str().as_encoded_bytes());
    hash.update([0, u8::from(required)]);
    for bytes in files {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    hash.finalize().into()
}

/// The user that a certificate names, and when it ends: the common name of its subject, or else the first address of mail or host
/// in it. `None`: none that a user could have.
pub(super) fn user(certificate: &CertificateDer<'_>) -> Option<(Box<str>, SystemTime)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let end = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    let common = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let name = match common {
        Some(name) => name,
        None => other_name(&parsed)?,
    };
    is_user(name).then(|| (name.into(), UNIX_EPOCH + Duration::from_secs(end)))
}

fn other_name<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    let extension = certificate.subject_alternative_name().ok().flatten()?;
    extension.value.general_names.iter().find_map(|name| match name {
        GeneralName::RFC822Name(name) | GeneralName::DNSName(name) => Some(*name),
        _ => None,
    })
}

/// A ':' would make it the name of another kind of subject.
fn is_user(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(|c| c == ':' || c.is_control() || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn named(common: Option<&str>, others: &[&str]) -> Option<Box<str>> {
        let others: Vec<String> = others.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(others).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(common) = common {
            params.distinguished_name.push(DnType::CommonName, common);
        }
        let key = KeyPair::generate().unwrap();
        user(params.self_signed(&key).unwrap().der()).map(|(name, _)| name)
    }

    #[test]
    fn a_certificate_names_a_user() {
        assert_eq!(named(Some("ci"), &["other.example"]).as_deref(), Some("ci"));
        assert_eq!(named(None, &["node-1.example"]).as_deref(), Some("node-1.example"));
        for odd in ["user:admin", "spiffe://a/b", "two words", "line\nfeed", ""] {
            assert_eq!(named(Some(odd), &[]), None, "{odd:?}");
        }
        assert_eq!(named(Some(&"a".repeat(MAX_NAME + 1)), &[]), None);
        assert_eq!(named(None, &[]), None);
    }

    #[test]
    fn it_is_told_when_it_ends() {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "ci");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        let key = KeyPair::generate().unwrap();
        let (_, until) = user(params.self_signed(&key).unwrap().der()).unwrap();
        assert!(until < SystemTime::now());
    }
}
