use std::path::PathBuf;

use bytes::Bytes;
use http::{HeaderMap, Method};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

use super::super::SendError;
use super::super::config::{Tls, TlsSettings};
use super::super::error::Error;
use super::*;

/// An authority with a folder for its files.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

struct Pair {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Authority { issuer, folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn ca(&self) -> PathBuf {
        self.file("ca.pem", &self.issuer.pem())
    }

    fn issue(&self, name: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.file("client.pem", &certificate.pem());
        self.file("client.key", &key.serialize_pem());
        Pair { certificate: certificate.der().clone(), key }
    }

    fn server(&self, name: &str, ask_client: bool) -> ServerConfig {
        let Pair { certificate, key } = self.issue(name);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let builder = if ask_client {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(self.issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        builder.with_single_cert(vec![certificate], key).unwrap()
    }
}

async fn ask(fixture: &Fixture, settings: TlsSettings) -> Result<u16, SendError> {
    let mut config = config(&[peer(fixture.address)], "");
    config.tls = Tls::Settings(settings);
    let in_flight = start(&config).await.pick(None, &[]).await.unwrap();
    let answer = in_flight.peer().send(Method::GET, "/v2/", HeaderMap::new(), Bytes::new()).await?;
    Ok(answer.status().as_u16())
}

#[tokio::test]
async fn a_private_authority_and_the_servers_name_are_verified() {
    let authority = Authority::new();
    let fixture = Fixture::tls(Answer::Status(200, ""), authority.server("registry.internal", false)).await;
    let with = |server_name: Option<&str>, ca: Option<PathBuf>| TlsSettings {
        ca,
        server_name: server_name.map(str::to_owned),
        ..TlsSettings::default()
    };
    let answer = ask(&fixture, with(Some("registry.internal"), Some(authority.ca()))).await;
    assert_eq!(answer, Ok(200));
    let stranger = Authority::new();
    for (name, ca, why) in [
        (Some("other.internal"), Some(authority.ca()), "another name"),
        (None, Some(authority.ca()), "the address is not in the certificate"),
        (Some("registry.internal"), None, "the system does not know the authority"),
        (Some("registry.internal"), Some(stranger.ca()), "another authority"),
    ] {
        let answer = ask(&fixture, with(name, ca)).await;
        assert!(matches!(answer, Err(SendError::Connect(_))), "{why}: {answer:?}");
    }
}

#[tokio::test]
async fn an_address_in_the_certificate_is_verified_as_such() {
    let authority = Authority::new();
    let fixture = Fixture::tls(Answer::Status(200, ""), authority.server("127.0.0.1", false)).await;
    assert_eq!(ask(&fixture, TlsSettings { ca: Some(authority.ca()), ..TlsSettings::default() }).await, Ok(200));
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_peers_and_to_nobody_else() {
    let authority = Authority::new();
    let fixture = Fixture::tls(Answer::Status(200, ""), authority.server("localhost", true)).await;
    authority.issue("entrepot");
    let settings = TlsSettings {
        ca: Some(authority.ca()),
        server_name: Some("localhost".into()),
        client_certificate: Some(authority.folder.path().join("client.pem")),
        client_key: Some(authority.folder.path().join("client.key")),
    };
    assert_eq!(ask(&fixture, settings.clone()).await, Ok(200));
    let anonymous = TlsSettings { client_certificate: None, client_key: None, ..settings.clone() };
    assert!(ask(&fixture, anonymous).await.is_err());

    let mut config = config(&[peer(fixture.address)], "");
    config.tls = Tls::Settings(settings);
    let cluster = start(&config).await;
    let url = format!("https://localhost:{}/", fixture.address.port());
    assert!(cluster.direct().send_url(&url, HeaderMap::new()).await.is_err());
    let in_flight = cluster.pick(None, &[]).await.unwrap();
    let tls = in_flight.peer().tls().unwrap();
    assert_eq!(tls.server_name(), "localhost");
    assert_eq!(tls.authorities().unwrap().len(), 1);
    assert_eq!(tls.identity().unwrap().chain.len(), 1);
}

#[tokio::test]
async fn object_stores_under_the_private_authority_are_trusted() {
    let authority = Authority::new();
    let fixture = Fixture::tls(Answer::Status(206, "x"), authority.server("localhost", false)).await;
    let mut config = config(&imaginary(1), "");
    config.tls = Tls::Settings(TlsSettings { ca: Some(authority.ca()), ..TlsSettings::default() });
    let url = format!("https://localhost:{}/blob", fixture.address.port());
    let answer = start(&config).await.direct().send_url(&url, HeaderMap::new()).await.unwrap();
    assert_eq!(answer.status(), 206);
}

#[tokio::test]
async fn checks_speak_tls_too() {
    let authority = Authority::new();
    let fixture = Fixture::tls(Answer::Status(200, ""), authority.server("registry.internal", false)).await;
    let mut config = config(&[peer(fixture.address)], "");
    config.health = toml::from_str("interval = \"20ms\"\nfall = 1").unwrap();
    config.tls = Tls::Settings(TlsSettings {
        ca: Some(authority.ca()),
        server_name: Some("registry.internal".into()),
        ..TlsSettings::default()
    });
    let cluster = start(&config).await;
    eventually("checks", || fixture.hits() >= 3).await;
    assert!(cluster.available());
    config.tls = Tls::Settings(TlsSettings { ca: Some(authority.ca()), ..TlsSettings::default() });
    let cluster = start(&config).await;
    eventually("the name is not the address", || !cluster.available()).await;
}

#[tokio::test]
async fn bad_files_and_names_are_errors_at_the_start() {
    let authority = Authority::new();
    authority.issue("entrepot");
    let file = |name: &str| Some(authority.folder.path().join(name));
    authority.file("empty.pem", "");
    authority.file("other.key", &KeyPair::generate().unwrap().serialize_pem());
    let settings =
        |ca, client_certificate, client_key| TlsSettings { ca, client_certificate, client_key, server_name: None };
    let named = TlsSettings { server_name: Some("127.0.0.1".into()), ..TlsSettings::default() };
    for (settings, expected) in [
        (settings(file("absent.pem"), None, None), "absent.pem"),
        (settings(file("empty.pem"), None, None), "holds no certificate"),
        (settings(file("client.key"), None, None), "holds no certificate"),
        (settings(None, file("client.pem"), None), "go together"),
        (settings(None, file("client.pem"), file("empty.pem")), "empty.pem"),
        (settings(None, file("client.pem"), file("other.key")), "TLS settings"),
        (named, "not a DNS name"),
    ] {
        let mut config = config(&imaginary(1), "");
        config.tls = Tls::Settings(settings);
        let error: Error = Cluster::start("main", &config, &PeerTable::default(), metrics()).await.err().unwrap();
        assert!(error.to_string().contains(expected), "{error} is not about {expected}");
    }
}
