//! TLS towards clients: 1.2 and 1.3 by rustls and ring, with resumption and ALPN.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ResolvesServerCert, ServerSessionMemoryCache};
use rustls::version::{TLS12, TLS13};
use tokio_rustls::TlsAcceptor;

use super::client_certificates::{self, Believed};
use super::connection::TlsInfo;
use super::error::Error;
use super::socket::Socket;

/// Sessions of clients without tickets (some TLS 1.2) that may be resumed; a few hundred bytes each.
const CACHED_SESSIONS: usize = 4_096;

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

pub(super) fn server_config(
    certificates: Arc<dyn ResolvesServerCert>,
    believed: &Believed,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_client_cert_verifier(believed.verifier())
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = ring::Ticketer::new()?;
    config.session_storage = ServerSessionMemoryCache::new(CACHED_SESSIONS);
    Ok(Arc::new(config))
}

/// A finished handshake.
pub(super) struct Secured {
    pub(super) stream: Box<tokio_rustls::server::TlsStream<Socket>>,
    pub(super) info: TlsInfo,
    /// HTTP/2 was agreed on.
    pub(super) h2: bool,
}

/// The server's side of a handshake; its deadline is the sweeper's.
pub(super) async fn handshake(config: Arc<ServerConfig>, socket: Socket) -> io::Result<Secured> {
    let stream = TlsAcceptor::from(config).accept(socket).await?;
    let session = stream.get_ref().1;
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    };
    let certificate = session.peer_certificates().and_then(|chain| chain.first());
    let user = certificate.and_then(client_certificates::user);
    let info = TlsInfo { version, sni: session.server_name().map(Box::from), user };
    let h2 = session.alpn_protocol() == Some(b"h2");
    Ok(Secured { stream: Box::new(stream), info, h2 })
}
