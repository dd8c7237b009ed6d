//! What TLS towards peers trusts and shows: authorities, client certificate, the name that is verified.
//! Reads the files once, when a cluster is built; a reload reads them again.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, DnsName, PrivateKeyDer};

use super::config::TlsSettings;
use super::error::Error;
use crate::outbound::tls::{self, ClientCertificate};

/// How one peer is spoken to over TLS, for clients other than `Peer::send`.
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
    pub fn identity(&self) -> Option<&ClientCertificate> {
        self.material.identity.as_ref()
    }
}

/// The files of `tls`, read: a cluster's, or another registry's.
pub struct Material {
    authorities: Option<Vec<CertificateDer<'static>>>,
    identity: Option<ClientCertificate>,
    server_name: Option<String>,
    /// For the peers themselves: verifies against `authorities` or the system's, shows `identity`.
    pub peers: ClientConfig,
    /// For object stores that peers redirect to: `authorities` *and* the system's, shows nothing.
    pub elsewhere: ClientConfig,
}

impl Material {
    /// Reads the files. Blocking.
    pub fn load(settings: Option<&TlsSettings>) -> Result<Self, Error> {
        let none = TlsSettings::default();
        let settings = settings.unwrap_or(&none);
        let authorities = settings.ca.as_deref().map(certificates).transpose()?;
        let identity = match (settings.client_certificate.as_deref(), settings.client_key.as_deref()) {
            (Some(certificate), Some(key)) => {
                Some(ClientCertificate { chain: certificates(certificate)?, key: private_key(key)? })
            }
            (None, None) => None,
            _ => return Err(Error::HalfIdentity),
        };
        if let Some(name) = &settings.server_name {
            DnsName::try_from(name.as_str()).map_err(|_| Error::ServerName(name.clone()))?;
        }
        let system = tls::system_roots();
        let of_file = |reason| file_error(settings.ca.as_deref().unwrap_or(Path::new("ca")), reason);
        let private = authorities.as_deref().map(tls::roots).transpose().map_err(of_file)?;
        let elsewhere = match &private {
            Some(private) => {
                let mut both = system.clone();
                both.extend(private.roots.iter().cloned());
                both
            }
            None => system.clone(),
        };
        Ok(Material {
            peers: tls::http_client(private.unwrap_or(system), identity.as_ref())?,
            elsewhere: tls::http_client(elsewhere, None)?,
            authorities,
            identity,
            server_name: settings.server_name.clone(),
        })
    }

    /// What certificates must carry when it is not the host of the peer's address.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    tls::certificates(path).map_err(|reason| file_error(path, reason))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| file_error(path, error))
}

fn file_error(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::File { path: path.to_owned(), reason: reason.to_string() }
}
