//! Pebble, an ACME authority for tests, and the DNS that it asks: real programs, built from their Go module by `scripts/install`.
//!
//! It rejects a part of all nonces on purpose, keeps everything in memory, and asks names at the ports that it is told.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, BodyWrapper, BytesResponse, Error, HttpClient, RevocationReason, RevocationRequest,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use super::http::Request;
use super::process::{Ending, Process, command};
use super::tools::run;
use super::{Authority, Setup, ports, registry, scratch};

/// Of one account elsewhere, in base64: what an authority hands out.
pub const KID: &str = "kid-1";
pub const HMAC: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// Of a hundred nonces, those that it rejects.
const BAD_NONCES: &str = "5";

pub struct Pebble {
    /// Where its directory is.
    pub address: SocketAddr,
    management: SocketAddr,
    /// Where it asks names over HTTP, and by handshakes.
    pub http: SocketAddr,
    pub tls: SocketAddr,
    config: PathBuf,
    pub dns: Dns,
    authority: Authority,
    process: Option<Process>,
    folder: tempfile::TempDir,
}

/// What it asks for addresses and records: every name is this machine.
pub struct Dns {
    address: SocketAddr,
    management: SocketAddr,
    _process: Process,
    _folder: tempfile::TempDir,
}

fn program(name: &str) -> String {
    let path = registry::tools_folder().join("bin").join(name);
    assert!(path.exists(), "{} is missing: `make install` puts it there", path.display());
    path.display().to_string()
}

impl Dns {
    fn start() -> Self {
        let folder = scratch();
        for _ in 0..5 {
            let (address, management) = (ports::free(), ports::free());
            let mut command = command(&program("pebble-challtestsrv"));
            command.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv6", ""]);
            command.arg("-dnsserver").arg(address.to_string()).arg("-management").arg(management.to_string());
            let mut process = Process::start("challtestsrv", command, &folder.path().join("log"), Ending::Kill);
            let listens = |at: SocketAddr| TcpStream::connect(at).is_ok();
            if process.wait_ready(|| listens(management) && listens(address)) {
                return Dns { address, management, _process: process, _folder: folder };
            }
        }
        panic!("no ports for challtestsrv");
    }

    /// A program that sets and takes away TXT records there, as users write them; `before`: what it does first.
    pub fn hook(&self, folder: &Path, before: &str) -> PathBuf {
        let file = folder.join("set-txt");
        let text = format!(
            "#!/bin/sh\nset -e\n{before}\ncase \"$1\" in\n\
             present) curl -sSf -d \"{{\\\"host\\\":\\\"$2\\\",\\\"value\\\":\\\"$3\\\"}}\" http://{0}/set-txt ;;\n\
             cleanup) curl -sSf -d \"{{\\\"host\\\":\\\"$2\\\"}}\" http://{0}/clear-txt ;;\n\
             *) exit 2 ;;\nesac\n",
            self.management
        );
        std::fs::write(&file, text).expect("the hook");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&file, mode).expect("its mode");
        file
    }

    /// How often it was asked for a TXT record of this name.
    pub fn asked(&self, name: &str) -> usize {
        let body = json!({ "host": name.trim_end_matches('.') }).to_string();
        let answer = Request::new("POST", "/dns-request-history").body(body).send(self.management);
        serde_json::from_slice::<serde_json::Value>(&answer.body)
            .ok()
            .and_then(|list| Some(list.as_array()?.len()))
            .unwrap_or(0)
    }
}

/// One to be started.
#[derive(Clone, Default)]
pub struct Settings {
    /// It takes nobody without an account elsewhere.
    pub eab: bool,
    /// Seconds that its certificates last; 0: 90 days.
    pub validity: u64,
    /// Names that it does not give certificates for.
    pub blocked: Vec<String>,
}

impl Pebble {
    pub fn start() -> Self {
        Pebble::with(&Settings::default())
    }

    pub fn with(settings: &Settings) -> Self {
        let authority = Authority::new();
        let folder = scratch();
        let dns = Dns::start();
        let (address, management) = (ports::free(), ports::free());
        let (http, tls) = (ports::free(), ports::free());
        let issued = authority.issue("pebble", &["localhost", "127.0.0.1"]);
        let validity = if settings.validity == 0 { 90 * 86_400 } else { settings.validity };
        let keys = if settings.eab { json!({ KID: HMAC }) } else { json!({}) };
        let text = json!({ "pebble": {
            "listenAddress": address.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": issued.certificate,
            "privateKey": issued.key,
            "httpPort": http.port(),
            "tlsPort": tls.port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": settings.eab,
            "externalAccountMACKeys": keys,
            "domainBlocklist": settings.blocked,
            "retryAfter": { "authz": 1, "order": 1 },
            "keyAlgorithm": "ecdsa",
            "profiles": { "default": { "description": "the tests' own", "validityPeriod": validity } },
        }});
        let config = folder.path().join("pebble.json");
        std::fs::write(&config, text.to_string()).expect("pebble's configuration");
        let mut pebble = Pebble { address, management, http, tls, config, dns, authority, process: None, folder };
        assert!(pebble.launch(), "pebble does not start:\n{}", pebble.log());
        pebble
    }

    fn launch(&mut self) -> bool {
        let mut command = command(&program("pebble"));
        command.arg("-config").arg(&self.config).arg("-dnsserver").arg(self.dns.address.to_string());
        command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", BAD_NONCES);
        let mut process = Process::start("pebble", command, &self.folder.path().join("log"), Ending::Kill);
        let (address, management) = (self.address, self.management);
        let up = process.wait_ready(|| [address, management].iter().all(|at| TcpStream::connect(at).is_ok()));
        self.process = up.then_some(process);
        up
    }

    /// Nobody answers until [`Pebble::restart`].
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// The same, with all that it knew forgotten, and other roots.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.launch(), "pebble does not start again:\n{}", self.log());
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Certificates that it gave.
    pub fn issued(&self) -> usize {
        self.log().matches("Issued certificate serial").count()
    }

    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// What its own address is checked by.
    pub fn authority_path(&self) -> PathBuf {
        self.authority.path()
    }

    /// It as `[acme]` of Entrepot, quick to try again and to ask.
    pub fn set(&self, setup: Setup) -> Setup {
        setup
            .set("acme.directory", &format!("\"{}\"", self.directory()))
            .set("acme.ca", &format!("{:?}", self.authority.path().display().to_string()))
            .set("acme.retry", "\"1s\"")
            .set("acme.renewal_check", "\"1s\"")
    }

    fn management(&self, arguments: &[&str], path: &str) -> String {
        let mut command = Command::new("curl");
        command.args(["-sSf", "--cacert"]).arg(self.authority.path()).args(arguments);
        run(command.arg(format!("https://{}{path}", self.management)))
    }

    /// The root of its certificates, which is another one after each start.
    pub fn root(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.management(&[], "/roots/0").as_bytes()).expect("a root")
    }

    /// A client's TLS that trusts what it issues. No session is resumed: each handshake shows the certificate.
    pub fn client(&self, protocols: &[&str]) -> Arc<rustls::ClientConfig> {
        self.client_of(protocols, rustls::ALL_VERSIONS, false)
    }

    /// The same for some versions; it may keep sessions and resume them.
    pub fn client_of(
        &self,
        protocols: &[&str],
        versions: &[&'static rustls::SupportedProtocolVersion],
        resumes: bool,
    ) -> Arc<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.root()).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(versions).expect("versions of TLS");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        if !resumes {
            config.resumption = rustls::client::Resumption::disabled();
        }
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// It wants the certificate renewed in a window that is over.
    pub fn wants_renewed(&self, certificate: &str) {
        let window = json!({
            "suggestedWindow": { "start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z" },
            "explanationURL": "https://ca.example/incident-7",
        });
        let body = json!({ "Certificate": certificate, "ARIResponse": window.to_string() }).to_string();
        self.management(&["-d", &body], "/set-renewal-info/");
    }

    /// Revokes a certificate by the account that ordered it, whose credentials Entrepot keeps.
    pub fn revoke(&self, credentials: &serde_json::Value, certificate: &str) {
        let credentials: AccountCredentials = serde_json::from_value(credentials.clone()).expect("credentials");
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate");
        let client = Client(self.plain_client());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let builder = Account::builder_with_http(Box::new(client));
            let account = builder.from_credentials(credentials).await.expect("the account");
            let request = RevocationRequest { certificate: &der, reason: Some(RevocationReason::KeyCompromise) };
            // It rejects nonces more often than the library tries again.
            for _ in 0..20 {
                match account.revoke(&request).await {
                    Ok(()) => return,
                    Err(Error::Api(problem))
                        if problem.r#type.as_deref().is_some_and(|kind| kind.ends_with("badNonce")) => {}
                    Err(error) => panic!("not revoked: {error}"),
                }
            }
            panic!("no nonce was good");
        });
    }

    fn plain_client(&self) -> reqwest::Client {
        let tls = (*self.authority.client(&["http/1.1"])).clone();
        let builder =
            reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(Duration::from_secs(20));
        builder.build().expect("a client")
    }
}

struct Client(reqwest::Client);

impl HttpClient for Client {
    fn request(
        &self,
        request: http::Request<BodyWrapper<bytes::Bytes>>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        use http_body_util::BodyExt as _;
        let client = self.0.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.expect("a body in memory").to_bytes();
            let other = |error: reqwest::Error| Error::Other(Box::new(error));
            let request = client.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body);
            let mut response = request.send().await.map_err(other)?;
            let mut parts = http::Response::new(()).into_parts().0;
            (parts.status, parts.headers) = (response.status(), std::mem::take(response.headers_mut()));
            Ok(BytesResponse { parts, body: Box::new(response.bytes().await.map_err(other)?) })
        })
    }
}
