//! TLS towards clients: 1.2 and 1.3 by rustls and ring, with resumption and ALPN. An authority that looks whether a name leads here
//! (tls-alpn-01, RFC 8737) speaks nothing else, and is known by its first message.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use super::certificates::Certificates;
use super::client_certificates::{self, Believed};
use super::config::Config;
use super::connection::TlsInfo;
use super::error::Error;
use super::issued::Issuer;
use super::socket::Socket;
use super::tls_rules;

/// Sessions of clients without tickets (some TLS 1.2) that may be resumed; a few hundred bytes each.
const CACHED_SESSIONS: usize = 4_096;
/// What an authority speaks that looks whether a name leads here, and nothing beside it.
const CHALLENGE: &[u8] = b"acme-tls/1";

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

pub(super) fn server_config(
    certificates: Arc<dyn ResolvesServerCert>,
    believed: &Believed,
    settings: &Config,
) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(tls_rules::provider(&settings.tls_ciphers)))
        .with_protocol_versions(settings.tls_min_version.versions())?
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

/// The server's side of a handshake; its deadline is the sweeper's. `None`: an authority has seen what it came for, and the
/// connection is over.
pub(super) async fn handshake(
    config: Arc<ServerConfig>,
    certificates: &Certificates,
    issuer: Option<&dyn Issuer>,
    socket: Socket,
) -> io::Result<Option<Secured>> {
    let local = socket.local_ip();
    let start = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
    if let Some(issuer) = issuer.filter(|_| is_challenge(&start.client_hello())) {
        return Box::pin(prove(issuer, start)).await.map(|()| None);
    }
    let named = start.client_hello().server_name().is_some();
    let config = if named { config } else { for_an_address(config, certificates, local) };
    let stream = start.into_stream(config).await?;
    let session = stream.get_ref().1;
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    };
    let certificate = session.peer_certificates().and_then(|chain| chain.first());
    let user = certificate.and_then(client_certificates::user);
    let info = TlsInfo { version, sni: session.server_name().map(Box::from), user };
    let h2 = session.alpn_protocol() == Some(b"h2");
    Ok(Some(Secured { stream: Box::new(stream), info, h2 }))
}

/// Who asks for no name has come by an address: where a certificate names that one, it is shown.
fn for_an_address(config: Arc<ServerConfig>, certificates: &Certificates, local: Option<IpAddr>) -> Arc<ServerConfig> {
    let Some(key) = local.and_then(|local| certificates.of_address(local)) else { return config };
    let mut config = (*config).clone();
    config.cert_resolver = Arc::new(Only(key));
    Arc::new(config)
}

fn is_challenge(hello: &ClientHello<'_>) -> bool {
    let Some(mut protocols) = hello.alpn() else { return false };
    protocols.next() == Some(CHALLENGE) && protocols.next().is_none()
}

/// Shows the certificate of a challenge, and nothing else: no client's certificate is asked for, no request is read.
async fn prove(issuer: &dyn Issuer, start: StartHandshake<Socket>) -> io::Result<()> {
    let name = start.client_hello().server_name().map(str::to_owned).unwrap_or_default();
    let key = issuer.proof(&name).await.ok_or_else(|| io::Error::other("a challenge that nobody here has ordered"))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Only(key)));
    config.alpn_protocols = vec![CHALLENGE.to_vec()];
    config.send_tls13_tickets = 0;
    let mut stream = start.into_stream(Arc::new(config)).await?;
    // It may have left already: it has seen the certificate.
    let _ = stream.shutdown().await;
    Ok(())
}

#[derive(Debug)]
struct Only(Arc<CertifiedKey>);

impl ResolvesServerCert for Only {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
