//! Certificates by name, their renewal, and both protocols over TLS.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::client::TlsStream;

use super::*;

/// Writes a fresh self-signed pair `name.pem`, `name.key`; its PEM, and a `tls` setting with it.
pub(super) fn certificate(folder: &Path, file: &str, names: &[&str]) -> (String, String) {
    let made =
        rcgen::generate_simple_self_signed(names.iter().map(|name| name.to_string()).collect::<Vec<_>>()).unwrap();
    let pem = made.cert.pem();
    let (certificate, key) = (folder.join(format!("{file}.pem")), folder.join(format!("{file}.key")));
    std::fs::write(&certificate, &pem).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let config = format!("[[tls]]\ncertificate = {certificate:?}\nkey = {key:?}\n");
    (pem, config)
}

pub(super) async fn connect(server: &Server, roots: &[String], name: &str, alpn: &[&[u8]]) -> TlsStream<TcpStream> {
    try_connect(server, roots, name, alpn).await.unwrap()
}

async fn try_connect(
    server: &Server,
    roots: &[String],
    name: &str,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut store = rustls::RootCertStore::empty();
    for root in roots {
        store.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    }
    let mut config = rustls::ClientConfig::builder_with_provider(super::super::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(ServerName::try_from(name.to_owned()).unwrap(), server.connect().await).await
}

fn leaf(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_are_served_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let (pem, config) = certificate(folder.path(), "a", &["localhost"]);
    let server = Server::start(&config).await;
    let roots = [pem];
    let mut stream = connect(&server, &roots, "localhost", &[]).await;
    for size in [0, 10, 20_000, 2 << 20] {
        stream.write_all(get(&format!("/size/{size}")).as_bytes()).await.unwrap();
        assert_eq!(read_response(&mut stream).await.1.len(), size);
    }
    stream.write_all(get("/who").as_bytes()).await.unwrap();
    assert!(read_response(&mut stream).await.1.ends_with("TLSv1.3 Some(\"localhost\")"));
    let stream = connect(&server, &roots, "localhost", &[b"h2", b"http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let body = Bytes::from(vec![b'y'; 3 << 20]);
    let answers = protocols::h2_request(stream, &[("/count", body), ("/size/4000000", Bytes::new())]).await;
    assert_eq!(answers[0].1, (3 << 20).to_string());
    assert_eq!(answers[1].1.len(), 4_000_000);
    assert_eq!(server.metric("entrepot_tls_handshakes_total", "completed"), 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_chosen_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (first, a) = certificate(folder.path(), "a", &["one.example.com", "two.example.com"]);
    let (wild, b) = certificate(folder.path(), "b", &["*.example.org"]);
    let (named, c) = certificate(folder.path(), "c", &["unused.example.net"]);
    let server = Server::start(&format!("{a}{b}{c}names = [\"Three.example.org\"]\n")).await;
    let roots = [first.clone(), wild.clone(), named.clone()];
    for (name, expected) in [("two.example.com", &first), ("x.example.org", &wild)] {
        assert_eq!(leaf(&connect(&server, &roots, name, &[]).await), der(expected), "{name}");
    }
    // The first certificate answers what no certificate names: the client then refuses it.
    for name in ["a.b.example.org", "unused.example.net", "three.example.org"] {
        assert!(try_connect(&server, &roots, name, &[]).await.is_err(), "{name}");
    }
    let without_name = connect_any(&server, ServerName::try_from("127.0.0.1").unwrap()).await;
    assert_eq!(without_name, der(&first));
    let renamed = connect_any(&server, ServerName::try_from("three.example.org").unwrap()).await;
    assert_eq!(renamed, der(&named));
    assert!(server.metric("entrepot_certificate_expiry_seconds", "*.example.org") > 1e9);
    assert!(server.metric("entrepot_certificate_expiry_seconds", "three.example.org") > 1e9);
}

/// The certificate that the server shows, whatever it is.
async fn connect_any(server: &Server, name: ServerName<'static>) -> Vec<u8> {
    let shown = Arc::new(Shown::default());
    let config = rustls::ClientConfig::builder_with_provider(super::super::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&shown) as _)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let _ = connector.connect(name, server.connect().await).await;
    shown.0.lock().clone()
}

#[derive(Debug, Default)]
struct Shown(Mutex<Vec<u8>>);

impl rustls::client::danger::ServerCertVerifier for Shown {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        *self.0.lock() = end_entity.to_vec();
        Err(rustls::Error::General("seen enough".into()))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("unused".into()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("unused".into()))
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        super::super::tls::provider().signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_is_renewed_when_its_symlink_moves_and_kept_when_the_new_one_is_bad() {
    let folder = tempfile::tempdir().unwrap();
    let versions = ["1", "2", "3"].map(|version| folder.path().join(version));
    let pems = versions.each_ref().map(|version| {
        std::fs::create_dir(version).unwrap();
        certificate(version, "tls", &["localhost"]).0
    });
    let link = folder.path().join("current");
    let point = |version: &Path| {
        let fresh = folder.path().join("fresh");
        std::os::unix::fs::symlink(version, &fresh).unwrap();
        std::fs::rename(&fresh, &link).unwrap();
    };
    point(&versions[0]);
    let (certificate, key) = (link.join("tls.pem"), link.join("tls.key"));
    let server = Server::start(&format!("[[tls]]\ncertificate = {certificate:?}\nkey = {key:?}\n")).await;
    let shown = || connect_any(&server, ServerName::try_from("localhost").unwrap());
    assert_eq!(shown().await, der(&pems[0]));
    assert_eq!(server.handle.renew_now(), 0);

    // The third version has the second's key.
    std::fs::copy(versions[1].join("tls.key"), versions[2].join("tls.key")).unwrap();
    point(&versions[2]);
    assert_eq!(server.handle.renew_now(), 0);
    assert_eq!(shown().await, der(&pems[0]));

    point(&versions[1]);
    assert_eq!(server.handle.renew_now(), 1);
    assert_eq!(shown().await, der(&pems[1]));

    std::fs::remove_file(&link).unwrap();
    assert_eq!(server.handle.renew_now(), 0);
    assert_eq!(shown().await, der(&pems[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_pair_is_refused_at_the_start_and_on_reload() {
    let folder = tempfile::tempdir().unwrap();
    let (_, good) = certificate(folder.path(), "a", &["localhost"]);
    certificate(folder.path(), "b", &["localhost"]);
    let bad = good.replace("a.key", "b.key");
    let server = Server::start(&good).await;
    let config = |tls: &str| toml::from_str::<Config>(&format!("address = \"127.0.0.1:0\"\n{tls}")).unwrap();
    assert!(server.handle.reload(&config(&bad)).is_err());
    assert!(server.handle.reload(&config(&good.replace("a.pem", "missing.pem"))).is_err());
    let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
    assert!(Listener::bind(&config(&bad), metrics, None).await.is_err());
    assert!(server.handle.reload(&config(&good)).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_resumed_and_tls_1_2_is_spoken() {
    let folder = tempfile::tempdir().unwrap();
    let (pem, config) = certificate(folder.path(), "a", &["localhost"]);
    let server = Server::start(&config).await;
    let mut store = rustls::RootCertStore::empty();
    store.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = rustls::ClientConfig::builder_with_provider(super::super::tls::provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(store.clone())
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = connector.connect(name, server.connect().await).await.unwrap();
            stream.write_all(get("/").as_bytes()).await.unwrap();
            read_response(&mut stream).await;
            kinds.push(stream.get_ref().1.handshake_kind());
        }
        assert_eq!(kinds, [Some(rustls::HandshakeKind::Full), Some(rustls::HandshakeKind::Resumed)], "{version:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_protocol_comes_before_tls() {
    let folder = tempfile::tempdir().unwrap();
    let (_, config) = certificate(folder.path(), "a", &["localhost"]);
    let server = Server::start(&format!("proxy_protocol = true\ntrusted_proxies = [\"127.0.0.1/32\"]\n{config}")).await;
    let mut tcp = server.connect().await;
    tcp.write_all(b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n").await.unwrap();
    let mut store = rustls::RootCertStore::empty();
    let pem = std::fs::read(folder.path().join("a.pem")).unwrap();
    store.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(super::super::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap();
    stream.write_all(get("/who").as_bytes()).await.unwrap();
    assert!(read_response(&mut stream).await.1.starts_with("192.0.2.7:4711 false TLSv1.3"));
}
