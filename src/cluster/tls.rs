//! What TLS towards peers trusts and shows: authorities, client certificate, the name that is verified.
//! Reads the files once, when a cluster is built; a reload reads them again.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, DnsName, PrivateKeyDer};
use tracing::warn;

use super::config::TlsSettings;
use super::error::Error;

/// How one peer is spoken to over TLS, for clients other than [`Peer::send`](super::Peer::send).
#[derive(Clone)]
pub struct PeerTls {
    server_name: Arc<str>,
    material: Arc<Material>,
}

impl PeerTls {
    pub(super) fn new(server_name: &str, material: &Arc<Material>) -> Self {
        PeerTls { server_name: server_name.into(), material: Arc::clone(material) }
    }

    /// The name or address that the certificate must carry. Never empty: an empty one switches verification off in
    /// some libraries.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// Trusted instead of the system's authorities; `None`: the system's.
    pub fn authorities(&self) -> Option<&[CertificateDer<'static>]> {
        self.material.authorities.as_deref()
    }

    /// The client certificate, if one is configured.
    pub fn identity(&self) -> Option<&Identity> {
        self.material.identity.as_ref()
    }
}

/// A client certificate and its key. Has no `Debug`, so that the key cannot end in a log.
pub struct Identity {
    /// The leaf first; never empty.
    pub certificates: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// The cluster's files, read.
pub(super) struct Material {
    authorities: Option<Vec<CertificateDer<'static>>>,
    identity: Option<Identity>,
    server_name: Option<String>,
    /// For the peers: verifies against `authorities` or the system's, shows `identity`.
    pub(super) peers: ClientConfig,
    /// For object stores that peers redirect to: `authorities` *and* the system's, shows nothing.
    pub(super) elsewhere: ClientConfig,
}

impl Material {
    /// Reads the files. Blocking.
    pub(super) fn load(settings: Option<&TlsSettings>) -> Result<Self, Error> {
        let none = TlsSettings::default();
        let settings = settings.unwrap_or(&none);
        let authorities = settings.ca.as_deref().map(certificates).transpose()?;
        let identity = match (settings.client_certificate.as_deref(), settings.client_key.as_deref()) {
            (Some(certificate), Some(key)) => {
                Some(Identity { certificates: certificates(certificate)?, key: private_key(key)? })
            }
            (None, None) => None,
            _ => return Err(Error::HalfIdentity),
        };
        if let Some(name) = &settings.server_name {
            DnsName::try_from(name.as_str()).map_err(|_| Error::ServerName(name.clone()))?;
        }
        let system = system_roots();
        let private = authorities.as_deref().map(|authorities| roots(settings, authorities)).transpose()?;
        let elsewhere = match &private {
            Some(private) => {
                let mut both = system.clone();
                both.extend(private.roots.iter().cloned());
                both
            }
            None => system.clone(),
        };
        Ok(Material {
            peers: client_config(private.unwrap_or(system), identity.as_ref())?,
            elsewhere: client_config(elsewhere, None)?,
            authorities,
            identity,
            server_name: settings.server_name.clone(),
        })
    }

    /// What certificates must carry when it is not the host of the peer's address.
    pub(super) fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }
}

fn client_config(roots: RootCertStore, identity: Option<&Identity>) -> Result<ClientConfig, Error> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(identity) => builder.with_client_auth_cert(identity.certificates.clone(), identity.key.clone_key())?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(settings: &TlsSettings, authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for authority in authorities {
        store
            .add(authority.clone())
            .map_err(|error| file_error(settings.ca.as_deref().unwrap_or(Path::new("ca")), error))?;
    }
    Ok(store)
}

/// The system's authorities. A machine without any is no error here: a cluster without TLS does not need them, and
/// with TLS every handshake will say what is missing.
fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        warn!(%error, "an authority of the system cannot be read");
    }
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    store
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| file_error(path, error))?;
    let certificates = read.collect::<Result<Vec<_>, _>>().map_err(|error| file_error(path, error))?;
    if certificates.is_empty() {
        return Err(file_error(path, "holds no certificate"));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| file_error(path, error))
}

fn file_error(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::File { path: path.to_owned(), reason: reason.to_string() }
}
