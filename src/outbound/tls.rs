//! What TLS towards others trusts and shows: clusters, the object store and Redis speak it the same way, by ring.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, Error, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A client certificate and its key. Has no `Debug`, so that the key cannot end in a log.
pub struct ClientCertificate {
    /// The leaf first; never empty.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// The system's authorities. A machine without any is no error here: who does not speak TLS needs none, and with TLS every
/// handshake will say what is missing.
pub fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "an authority of the system cannot be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    roots
}

/// The certificates of a PEM file, perhaps none. Blocking.
pub fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    read.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())
}

/// The certificates of a PEM file, at least one; or why there are none. Blocking.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = read(path)?;
    if certificates.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(certificates) }
}

/// These authorities and no others; or why one of them is none.
pub fn roots(authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(|error| error.to_string())?;
    }
    Ok(roots)
}

/// A client that trusts these.
pub fn client(roots: RootCertStore, certificate: Option<&ClientCertificate>) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    match certificate {
        Some(own) => builder.with_client_auth_cert(own.chain.clone(), own.key.clone_key()),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// The same for HTTP/1.1, which is what we ask peers and stores in.
pub fn http_client(roots: RootCertStore, certificate: Option<&ClientCertificate>) -> Result<ClientConfig, Error> {
    let mut config = client(roots, certificate)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
