//! Addresses, passwords, TLS, and what is wrong with a configuration.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::super::config::{Address, AddressError};
use super::*;

#[test]
fn addresses_are_read_as_they_are_shown() {
    for (text, shown) in [
        ("redis://localhost", "redis://localhost:6379/0"),
        ("redis://127.0.0.1:7000/3", "redis://127.0.0.1:7000/3"),
        ("rediss://[::1]:7000/", "rediss://[::1]:7000/0"),
    ] {
        let address: Address = text.parse().unwrap();
        assert_eq!(address.to_string(), shown);
        assert_eq!(shown.parse(), Ok(address));
    }
    for text in ["", "localhost:6379", "http://localhost", "redis://", "redis://h/x", "redis://h/0?a=b", "redis:///0"] {
        assert_eq!(text.parse::<Address>(), Err(AddressError::Shape), "{text}");
    }
    for text in ["redis://:hunter2@h", "redis://ann:hunter2@h", "redis://ann@h"] {
        assert_eq!(text.parse::<Address>(), Err(AddressError::Password), "{text}");
    }
}

#[test]
fn a_configuration_shows_no_password() {
    let config: Config = toml::from_str("url = \"redis://h\"\npassword = \"hunter2\"").unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let refused = toml::from_str::<Config>("url = \"redis://:hunter2@h\"").unwrap_err();
    assert!(refused.message().contains("password_file") && !refused.message().contains("hunter2"), "{refused}");
}

#[test]
fn a_configuration_is_checked() {
    let findings = |text: &str| {
        let config: Config = toml::from_str(&format!("url = \"redis://h\"\n{text}")).unwrap();
        config.check().into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(findings(""), Vec::<&str>::new());
    assert_eq!(findings("username = \"ann\"\npassword = \"x\""), Vec::<&str>::new());
    for (text, key) in [
        ("connections = 0", "connections"),
        ("connections = 65", "connections"),
        ("connect_timeout = \"0s\"", "connect_timeout"),
        ("command_timeout = \"6s\"", "command_timeout"),
        ("ttl = \"999ms\"", "ttl"),
        ("prefix = \"\"", "prefix"),
        ("prefix = \"{a}\"", "prefix"),
        ("username = \"ann\"", "username"),
        ("tls_ca = \"/a\"", "tls_ca"),
    ] {
        assert_eq!(findings(text), [key], "{text}");
    }
}

#[tokio::test]
async fn a_password_is_given_and_a_wrong_one_only_costs_hits_and_deletions() {
    let server = Server::start(&["--requirepass", "hunter2"]);
    let mut config = server.config();
    config.password = Some(Secret::from("hunter2"));
    let state = open(&config).await;
    pull_until_held(&state, &name("a/b"), &digest("x")).await;
    for password in [None, Some(Secret::from("wrong"))] {
        config.password = password;
        let state = open(&config).await;
        assert!(!pull(&state, &name("a/b"), &digest("x")).await);
        let refused = state.deleting(&name("a/b")).await.err().unwrap();
        assert!(!refused.to_string().contains("wrong"));
    }
}

#[tokio::test]
async fn a_user_needs_no_more_than_these_commands() {
    let rights = "on >hunter2 ~entrepot:* +mget +get +set +eval +evalsha +script|load +del +info +select +time";
    let server = Server::start(&[&["--user", "ann"], rights.split(' ').collect::<Vec<_>>().as_slice()].concat());
    let mut config = server.config();
    config.username = Some("ann".into());
    config.password = Some(Secret::from("hunter2"));
    config.url.database = 2;
    let state = open(&config).await;
    pull_until_held(&state, &name("a/b"), &digest("x")).await;
    state.deleting(&name("a/b")).await.unwrap().done().await;
    assert_eq!(held(&state, &name("a/b"), &digest("x")).await, None);
    drop(state.lease("purge", Duration::from_secs(1)).await.unwrap());
    assert_eq!(super::counts::count(&state, "requests:a", seconds(1).0, seconds(1).0).await, Ok(()));
}

#[tokio::test]
async fn tls_trusts_the_authority_that_it_was_given_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap().signed_by(&key, &issuer).unwrap();
    let write = |file: &str, text: String| {
        let path = folder.path().join(file);
        std::fs::write(&path, text).unwrap();
        path
    };
    let ca = write("ca.pem", issuer.pem());
    let certificate = write("cert.pem", certificate.pem());
    let key = write("key.pem", key.serialize_pem());
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let server = Server::start(&["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-auth-clients", "no"]);
    let mut config = server.config();
    config.url.tls = true;
    config.tls_ca = Some(ca);
    let state = open(&config).await;
    pull_until_held(&state, &name("a/b"), &digest("x")).await;

    config.tls_ca = None;
    let state = open(&config).await;
    assert!(!pull(&state, &name("a/b"), &digest("x")).await);
    config.tls_ca = Some(folder.path().join("nowhere.pem"));
    let state = open(&config).await;
    assert!(!pull(&state, &name("a/b"), &digest("x")).await);
    assert!(state.deleting(&name("a/b")).await.err().unwrap().to_string().contains("nowhere.pem"));
}
