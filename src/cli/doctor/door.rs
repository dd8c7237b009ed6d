//! One listener of ours, asked as a client asks it: by its name, at the address that the configuration has, whoever that name leads to.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use parking_lot::Mutex;
use reqwest::{Client, Response, Url};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::names::without_port;
use crate::cli::access::Access;
use crate::cli::client::{MAX_ANSWER, Prover, body};
use crate::listener::{Config as Listener, Prefix};
use crate::outbound::{self, causes, tls};

/// A connection to ourselves.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// One answer, with its body: a probe is some hundred bytes.
const ANSWER_TIME: Duration = Duration::from_secs(20);

/// Who is at the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum There {
    Nobody,
    /// It answers as we do, with a certificate of the configuration where it speaks TLS.
    Entrepot,
    /// It does not, and why we think so.
    Somebody(String),
}

/// The way in.
pub struct Door {
    client: Client,
    base: Url,
    /// Of the listener.
    prefix: Prefix,
    address: SocketAddr,
    access: Option<Access>,
    /// What was given last for the present scope.
    shown: Mutex<Option<HeaderValue>>,
}

impl Door {
    /// `address`: where it is reached from here; `name`: as clients call it, perhaps with a port. Blocking.
    pub fn new(
        (listener, address): (&Listener, SocketAddr),
        name: &str,
        trusted: RootCertStore,
        access: Option<Access>,
    ) -> Result<Self, String> {
        let scheme = if listener.tls.is_empty() { "http" } else { "https" };
        let host = without_port(name);
        let shown =
            if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) { format!("[{host}]") } else { host.to_owned() };
        let base = Url::parse(&format!("{scheme}://{shown}:{}", address.port()));
        let base = base.map_err(|_| format!("'{name}' is no name or address"))?;
        let mut own = Vec::new();
        for file in listener.tls.iter().filter_map(|pair| pair.certificate.as_ref()) {
            own.extend(tls::certificates(file).unwrap_or_default().into_iter().take(1));
        }
        let config = trusting(own, trusted).map_err(|error| error.to_string())?;
        let client = outbound::client(config).connect_timeout(CONNECT_TIME).timeout(ANSWER_TIME);
        let client = client.resolve(host, address).build().map_err(|error| causes(&error))?;
        let prefix = listener.prefix.clone();
        Ok(Door { client, base, prefix, address, access, shown: Mutex::default() })
    }

    pub fn has_access(&self) -> bool {
        self.access.is_some()
    }

    /// Whether an answer asked for a proof, and one was given: without a login, a token that everybody gets.
    pub fn has_shown(&self) -> bool {
        self.shown.lock().is_some()
    }

    pub async fn who_is_there(&self) -> There {
        match tokio::time::timeout(CONNECT_TIME, tokio::net::TcpStream::connect(self.address)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => return There::Nobody,
            Ok(Err(error)) => return There::Somebody(error.to_string()),
            Err(_) => return There::Somebody("takes no connection".into()),
        }
        let answer = match self.ask(Method::GET, "/healthz", HeaderMap::new(), Vec::new()).await {
            Ok(answer) => answer,
            Err(why) => return There::Somebody(why),
        };
        let status = answer.status();
        match body(answer, MAX_ANSWER).await {
            Ok(body) if status == StatusCode::OK && body == b"ok\n" => There::Entrepot,
            Ok(_) => There::Somebody(format!("/healthz is answered with {}, as Entrepot does not", status.as_u16())),
            Err(why) => There::Somebody(why),
        }
    }

    /// One request. A path, or what an answer's `Location` says. Shows what the answers before it wanted to see.
    pub async fn ask(&self, method: Method, to: &str, headers: HeaderMap, body: Vec<u8>) -> Result<Response, String> {
        let is_outside = to.starts_with('/') && self.prefix.take_off(to).is_none();
        let to = if is_outside { Cow::Owned(format!("{}{to}", self.prefix.as_str())) } else { Cow::Borrowed(to) };
        let url = self.base.join(&to).map_err(|_| "it leads to what is no address".to_owned())?;
        // What we show is for ourselves alone.
        if url.origin() != self.base.origin() {
            return Err(format!("it leads away, to {}", url.host_str().unwrap_or_default()));
        }
        let answer = self.send(method.clone(), url.clone(), headers.clone(), body.clone()).await?;
        if answer.status() != StatusCode::UNAUTHORIZED || !answer.headers().contains_key(WWW_AUTHENTICATE) {
            return Ok(answer);
        }
        // A wrong password is told by the token's endpoint, or by the second answer.
        let prover = Prover { client: &self.client, base: &self.base, access: self.access.as_ref() };
        match prover.proof(answer.headers()).await? {
            None => Ok(answer),
            Some(proof) => {
                *self.shown.lock() = Some(proof);
                self.send(method, url, headers, body).await
            }
        }
    }

    async fn send(&self, method: Method, url: Url, headers: HeaderMap, body: Vec<u8>) -> Result<Response, String> {
        let mut request = self.client.request(method, url).headers(headers).body(body);
        let shown = self.shown.lock().clone();
        if let Some(shown) = shown {
            request = request.header(AUTHORIZATION, shown);
        }
        request.send().await.map_err(|error| causes(&error))
    }
}

fn trusting(own: Vec<CertificateDer<'static>>, trusted: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // Where nobody is trusted, there is nobody to ask.
    let others = WebPkiServerVerifier::builder_with_provider(Arc::new(trusted), Arc::clone(&provider)).build().ok();
    let verifier = Arc::new(OursOrTrusted { own, others, provider: Arc::clone(&provider) });
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Believes the certificates that the configuration names, to the byte, whoever signed them and whatever names they have: this is
/// judged by `certificates`, and what is asked here is whether it is us. All others have to be those that the system trusts.
#[derive(Debug)]
struct OursOrTrusted {
    own: Vec<CertificateDer<'static>>,
    others: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OursOrTrusted {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.own.iter().any(|own| own == leaf) {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.others {
            Some(others) => others.verify_server_cert(leaf, between, name, ocsp, now),
            None => Err(rustls::CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
