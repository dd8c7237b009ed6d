//! The certificates of a listener: by name, and renewed when their files change.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::config::Certificate;
use super::error::Error;
use super::metrics::ListenerMetrics;

/// One certificate with its key, as loaded.
#[derive(Clone)]
pub(super) struct Pair {
    config: Certificate,
    /// Of the files when last looked at, even if they were refused; `None`: not readable.
    seen: Option<[u8; 32]>,
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    /// Seconds of Unix time.
    expiry: i64,
}

#[derive(Default)]
struct ByName {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// `*.example.com` as `example.com`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    first: Option<Arc<CertifiedKey>>,
}

/// Answers rustls's question for the certificate of a name.
pub(super) struct Certificates {
    by_name: ArcSwap<ByName>,
    pairs: Mutex<Vec<Pair>>,
    provider: Arc<CryptoProvider>,
    metrics: Arc<ListenerMetrics>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificates")
    }
}

impl Certificates {
    pub(super) fn new(pairs: Vec<Pair>, provider: Arc<CryptoProvider>, metrics: Arc<ListenerMetrics>) -> Certificates {
        let certificates =
            Certificates { by_name: ArcSwap::default(), pairs: Mutex::new(Vec::new()), provider, metrics };
        certificates.replace(pairs);
        certificates
    }

    /// All certificates of a configuration, or why one cannot be used.
    pub(super) fn load(configs: &[Certificate], provider: &CryptoProvider) -> Result<Vec<Pair>, Error> {
        configs.iter().map(|config| Pair::load(config, provider)).collect()
    }

    pub(super) fn replace(&self, pairs: Vec<Pair>) {
        let mut present = self.pairs.lock();
        present.iter().flat_map(|pair| &pair.names).for_each(|name| self.metrics.forget_certificate(name));
        *present = pairs;
        self.publish(&present);
    }

    /// Looks at the files again, and takes those that changed and hold a good pair. Blocks on the
    /// disk. Returns how many were renewed.
    pub(super) fn refresh(&self) -> usize {
        let mut pairs = self.pairs.lock();
        let names: Vec<String> = pairs.iter().flat_map(|pair| pair.names.clone()).collect();
        let renewed = pairs.iter_mut().map(|pair| pair.refresh(&self.provider)).filter(|renewed| *renewed).count();
        if renewed > 0 {
            names.iter().for_each(|name| self.metrics.forget_certificate(name));
            self.publish(&pairs);
        }
        renewed
    }

    fn publish(&self, pairs: &[Pair]) {
        let mut by_name = ByName { first: pairs.first().map(|pair| Arc::clone(&pair.key)), ..ByName::default() };
        for pair in pairs {
            for name in &pair.names {
                let (map, key) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut by_name.wildcard, parent),
                    None => (&mut by_name.exact, name.as_str()),
                };
                map.entry(key.to_owned()).or_insert_with(|| Arc::clone(&pair.key));
                self.metrics.certificate(name, pair.expiry);
            }
        }
        self.by_name.store(Arc::new(by_name));
    }

    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let by_name = self.by_name.load();
        let named = name.and_then(|name| {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let wildcard = || name.split_once('.').and_then(|(_, parent)| by_name.wildcard.get(parent));
            by_name.exact.get(&name).or_else(wildcard)
        });
        named.or(by_name.first.as_ref()).cloned()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name())
    }
}

impl Pair {
    fn load(config: &Certificate, provider: &CryptoProvider) -> Result<Pair, Error> {
        let files = Files::read(config)?;
        Pair::parse(config, &files, provider)
    }

    fn parse(config: &Certificate, files: &Files, provider: &CryptoProvider) -> Result<Pair, Error> {
        let refused = |path: &Path, reason: String| Error::Certificate { path: path.to_owned(), reason };
        let chain = CertificateDer::pem_slice_iter(&files.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| refused(&config.certificate, format!("not a PEM file: {error}")))?;
        let Some(leaf) = chain.first() else {
            return Err(refused(&config.certificate, "no certificate in it".into()));
        };
        let (_, parsed) = X509Certificate::from_der(leaf)
            .map_err(|error| refused(&config.certificate, format!("not a certificate: {error}")))?;
        let expiry = parsed.validity().not_after.timestamp();
        let names = match config.names.is_empty() {
            true => names_of(&parsed),
            false => config.names.iter().map(|name| name.to_ascii_lowercase()).collect(),
        };
        let key = PrivateKeyDer::from_pem_slice(&files.key)
            .map_err(|error| refused(&config.key, format!("no private key in it: {error}")))?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| {
            refused(&config.key, format!("not the key of {}: {error}", config.certificate.display()))
        })?;
        Ok(Pair { config: config.clone(), seen: Some(files.hash()), key: Arc::new(key), names, expiry })
    }

    /// True if the files changed and hold a good pair, which is now this one.
    fn refresh(&mut self, provider: &CryptoProvider) -> bool {
        let files = Files::read(&self.config);
        let seen = files.as_ref().ok().map(Files::hash);
        if seen == self.seen {
            return false;
        }
        self.seen = seen;
        match files.and_then(|files| Pair::parse(&self.config, &files, provider)) {
            Ok(pair) => {
                tracing::info!(certificate = %self.config.certificate.display(), names = ?pair.names, expiry = pair.expiry, "certificate renewed");
                *self = pair;
                true
            }
            Err(error) => {
                tracing::warn!(%error, "changed certificate refused, the old one stays");
                false
            }
        }
    }
}

/// The bytes of a pair's files.
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(config: &Certificate) -> Result<Files, Error> {
        let read =
            |path: &Path| std::fs::read(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source });
        Ok(Files { certificate: read(&config.certificate)?, key: read(&config.key)? })
    }

    fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update((self.certificate.len() as u64).to_le_bytes());
        hash.update(&self.certificate);
        hash.update(&self.key);
        hash.finalize().into()
    }
}

/// The DNS names that a certificate is for.
fn names_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    extension.value.general_names.iter().filter_map(dns).collect()
}
