//! Through a proxy, and over TLS.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::PrivateKeyDer;

use super::*;

/// A proxy for plain HTTP that answers by itself, as if it had asked.
async fn proxy(leads_to: &'static str) -> Server {
    Server::new(move |seen| match seen.target.starts_with("http://registry.test/v2/") {
        true => Some(says(307, "").with("Location", leads_to)),
        false => Some(says(200, seen.target.clone())),
    })
    .await
}

async fn by(proxy: &Server, keys: &str) -> Arc<Remote> {
    remote("http://registry.test", &format!("proxy = \"{}\"\n{keys}", proxy.url())).await
}

#[tokio::test]
async fn a_proxy_is_asked_for_names_that_we_need_not_know() {
    let near = proxy("http://store.registry.test/blob").await;
    assert_eq!(blob().body(&*by(&near, "").await).await.unwrap(), "http://store.registry.test/blob");
    let named = proxy("http://eu.cdn.example/blob").await;
    let remote = by(&named, "redirects = [\"*.cdn.example\"]").await;
    assert_eq!(blob().body(&remote).await.unwrap(), "http://eu.cdn.example/blob");
}

#[tokio::test]
async fn by_a_proxy_only_named_hosts_are_led_to_and_addresses_are_judged() {
    for location in ["http://other.example/blob", "http://169.254.169.254/", "http://10.0.0.1/", "http://127.0.0.1/"] {
        let proxy = proxy(location).await;
        let remote = by(&proxy, "").await;
        assert!(matches!(blob().body(&remote).await, Err(RemoteError::Useless(_))), "{location}");
        assert_eq!(proxy.seen().len(), 1, "{location}");
    }
}

#[tokio::test]
async fn a_remote_is_believed_by_its_own_authority_and_name() {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["inner.test".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let tls = tls.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let server = Server::with_tls(|seen| Some(says(200, seen.header("host").unwrap())), Some(acceptor)).await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, issuer.pem()).unwrap();
    let url = format!("https://{}", server.address);
    let trusting = remote(&url, &format!("tls = {{ ca = {ca:?}, server_name = \"inner.test\" }}")).await;
    assert_eq!(blob().body(&trusting).await.unwrap(), server.address.to_string());
    for keys in [String::new(), format!("tls = {{ ca = {ca:?} }}"), "tls = { server_name = \"inner.test\" }".into()] {
        let remote = remote(&url, &keys).await;
        assert!(matches!(blob().body(&remote).await, Err(RemoteError::Down(_))), "{keys}");
    }
}
