//! A small token server, as registries with `auth.token` have beside them: it knows users and what they may do, and
//! signs short tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::json;

use super::http::basic;
use super::{FaultProxy, Reply, scratch};

const ISSUER: &str = "the tests' token server";
const SERVICE: &str = "the tests' registry";

pub struct TokenServer {
    server: FaultProxy,
    mint: Arc<Mint>,
    folder: tempfile::TempDir,
}

struct Mint {
    key: EcdsaKeyPair,
    certificate: Vec<u8>,
    users: BTreeMap<String, String>,
    /// User and repository of what may be pulled and pushed.
    grants: BTreeSet<(String, String)>,
    serial: AtomicU64,
}

impl TokenServer {
    /// Knows these users (name, password), and which repositories each may use.
    pub fn start(users: &[(&str, &str)], grants: &[(&str, &str)]) -> Self {
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::default().self_signed(&key).expect("a certificate");
        let folder = scratch();
        std::fs::write(folder.path().join("bundle.pem"), certificate.pem()).expect("the bundle");
        let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::from_pkcs8(signing, &key.serialize_der(), &SystemRandom::new()).expect("a P-256 key");
        let own = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        let mint = Arc::new(Mint {
            key,
            certificate: certificate.der().to_vec(),
            users: users.iter().map(own).collect(),
            grants: grants.iter().map(own).collect(),
            serial: AtomicU64::new(0),
        });
        let minting = Arc::clone(&mint);
        let server = FaultProxy::scripted(move |seen| minting.answer(&seen.target, seen.header("authorization")));
        TokenServer { server, mint, folder }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// How many tokens it was asked for.
    pub fn asked(&self) -> usize {
        self.server.count("GET", "/token")
    }

    /// A token that nobody has seen before, for `user` to `actions` (`pull,push`) on `repository`.
    pub fn token(&self, user: &str, repository: &str, actions: &str) -> String {
        self.token_for(user, repository, actions, Duration::from_secs(300))
    }

    pub fn token_for(&self, user: &str, repository: &str, actions: &str, life: Duration) -> String {
        self.mint.token(user, &[format!("repository:{repository}:{actions}")], life)
    }

    /// `auth.token` of distribution's configuration, for this server.
    pub fn registry_settings(&self) -> String {
        format!(
            "{{realm: \"http://{}/token\", service: \"{SERVICE}\", issuer: \"{ISSUER}\", rootcertbundle: {}}}",
            self.address(),
            self.folder.path().join("bundle.pem").display()
        )
    }
}

impl Mint {
    fn answer(&self, target: &str, authorization: Option<&str>) -> Reply {
        let user = match authorization {
            None => "",
            Some(value) => match self.users.iter().find(|(user, password)| basic(user, password) == value) {
                Some((user, _)) => user,
                None => return Reply::new(401),
            },
        };
        let url = url::Url::parse(&format!("http://token{target}")).expect("a request target");
        let scopes: Vec<String> =
            url.query_pairs().filter(|(key, _)| key == "scope").map(|(_, v)| v.into_owned()).collect();
        let token = self.token(user, &scopes, Duration::from_secs(300));
        Reply::new(200).header("Content-Type", "application/json").body(json!({ "token": token }).to_string())
    }

    /// Grants of the scopes what the user may have, as token servers do: less than asked for is no error.
    fn token(&self, user: &str, scopes: &[String], life: Duration) -> String {
        let access: Vec<_> = scopes.iter().filter_map(|scope| self.granted(user, scope)).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(&self.certificate)]});
        let claims = json!({
            "iss": ISSUER, "sub": user, "aud": SERVICE, "iat": now, "nbf": now.saturating_sub(5),
            "exp": now + life.as_secs(), "access": access,
            "jti": self.serial.fetch_add(1, Ordering::Relaxed).to_string(),
        });
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    fn granted(&self, user: &str, scope: &str) -> Option<serde_json::Value> {
        let (kind, rest) = scope.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let allowed = kind == "repository" && self.grants.contains(&(user.to_owned(), name.to_owned()));
        let actions: Vec<&str> = actions.split(',').collect();
        allowed.then(|| json!({"type": kind, "name": name, "actions": actions}))
    }
}
