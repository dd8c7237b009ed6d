//! The room as others use it, over real sockets. The fixture: servers whose answers a function makes.

mod answers;
mod proxies;
mod redirects;
mod rights;
mod tokens;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use http::HeaderValue;

use super::*;
use crate::oci::{Algorithm, Digest, Reference, RepositoryName};
use crate::outbound::OwnAddresses;

/// A request as a server saw it.
#[derive(Clone, Debug)]
struct Seen {
    method: String,
    target: String,
    headers: HashMap<String, String>,
    body: String,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn authorization(&self) -> Option<&str> {
        self.header("authorization")
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }
}

/// What a server answers. Of a HEAD the body is left away, not its length.
struct Says {
    status: u16,
    headers: String,
    body: Vec<u8>,
    /// What comes of the body; then nothing more.
    only: Option<usize>,
}

fn says(status: u16, body: impl Into<Vec<u8>>) -> Says {
    Says { status, headers: String::new(), body: body.into(), only: None }
}

impl Says {
    fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    fn bytes(&self, head: bool) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {} X\r\n{}", self.status, self.headers).into_bytes();
        bytes.extend(format!("content-length: {}\r\n\r\n", self.body.len()).into_bytes());
        if !head {
            bytes.extend(&self.body[..self.only.unwrap_or(self.body.len())]);
        }
        bytes
    }
}

/// Makes answers; `None` closes the connection.
type Script = Arc<dyn Fn(&Seen) -> Option<Says> + Send + Sync>;

/// Dropped, it closes its port and every connection.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    async fn new(script: impl Fn(&Seen) -> Option<Says> + Send + Sync + 'static) -> Self {
        Self::with_tls(script, None).await
    }

    async fn with_tls(
        script: impl Fn(&Seen) -> Option<Says> + Send + Sync + 'static,
        tls: Option<tokio_rustls::TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, told): (Script, _) = (Arc::new(script), seen.clone());
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, told, tls) = (script.clone(), told.clone(), tls.clone());
                open.spawn(async move {
                    match tls {
                        None => converse(stream, told, script).await,
                        Some(tls) => converse(tls.accept(stream).await.ok()?, told, script).await,
                    }
                });
            }
        });
        Server { address, seen, _task: AbortOnDropHandle::new(task) }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// How often a path was asked.
    fn count(&self, path: &str) -> usize {
        self.seen.lock().iter().filter(|seen| seen.path() == path).count()
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    told: Arc<Mutex<Vec<Seen>>>,
    script: Script,
) -> Option<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let mut words = lines.next()?.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers: HashMap<String, String> = HashMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            let field = headers.entry(name.to_ascii_lowercase()).or_default();
            *field = if field.is_empty() { value.to_owned() } else { format!("{field}, {value}") };
        }
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let seen = Seen { method, target, headers, body: String::from_utf8(body).unwrap() };
        told.lock().push(seen.clone());
        let says = script(&seen)?;
        stream.write_all(&says.bytes(seen.method == "HEAD")).await.ok()?;
        stream.flush().await.ok()?;
        if says.only.is_some() {
            std::future::pending::<()>().await;
        }
    }
}

/// A registry that wants tokens of `realm` for each repository, and gives its target as content.
fn wants_token(realm: String) -> impl Fn(&Seen) -> Option<Says> + Send + Sync {
    move |seen| {
        if seen.path() == "/token" {
            return Some(says(200, format!("{{\"token\":\"t-{}\"}}", token_scope(&seen.target))));
        }
        let repository = repository(seen);
        let wanted = format!("Bearer t-repository:{repository}:pull");
        match seen.authorization() {
            Some(shown) if shown == wanted => Some(says(200, seen.target.clone())),
            _ => Some(challenge(&realm, &format!("repository:{repository}:pull"))),
        }
    }
}

fn repository(seen: &Seen) -> String {
    let path = seen.path().trim_start_matches("/v2/");
    path.split_once("/manifests/").or(path.split_once("/blobs/")).unwrap().0.to_owned()
}

fn token_scope(target: &str) -> String {
    let url: Url = format!("http://x{target}").parse().unwrap();
    url.query_pairs()
        .filter(|(key, _)| key == "scope")
        .map(|(_, value)| value.into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

fn challenge(realm: &str, scope: &str) -> Says {
    says(401, "").with("WWW-Authenticate", format!("Bearer realm=\"{realm}/token\",service=\"svc\",scope=\"{scope}\""))
}

async fn surroundings() -> Surroundings {
    let registry = prometheus::Registry::new();
    let metrics = Arc::new(crate::fleet::Metrics::new(&registry).unwrap());
    Surroundings {
        fleet: crate::fleet::Fleet::open(None, true, metrics).await,
        own: OwnAddresses::default(),
        metrics: Arc::new(Metrics::new(&registry).unwrap()),
    }
}

fn config(url: &str, keys: &str) -> Config {
    toml::from_str(&format!("registry = \"registry.test\"\nurl = \"{url}\"\n{keys}")).unwrap()
}

/// A remote at `url`, with more keys.
async fn remote(url: &str, keys: &str) -> Arc<Remote> {
    Remote::new("test", &config(url, keys), surroundings().await, None).unwrap()
}

/// A credential of ours, in a file of the folder.
fn alice(folder: &tempfile::TempDir) -> String {
    let path = folder.path().join("password");
    std::fs::write(&path, "hush\n").unwrap();
    format!("credentials = [{{ username = \"alice\", password_file = {path:?} }}]\n")
}

const ALICE: &str = "Basic YWxpY2U6aHVzaA==";

/// One question, in words.
struct Ask {
    repository: RepositoryName,
    reference: Option<Reference>,
    digest: Digest,
    referrers: bool,
    head: bool,
    range: Option<(u64, Option<u64>)>,
    asker: Asker,
}

fn blob() -> Ask {
    Ask {
        repository: "a/b".parse().unwrap(),
        reference: None,
        digest: Digest::of(Algorithm::Sha256, b"x"),
        referrers: false,
        head: false,
        range: None,
        asker: Asker::Mirror,
    }
}

fn manifest(repository: &str) -> Ask {
    Ask { repository: repository.parse().unwrap(), reference: Some("v1".parse().unwrap()), ..blob() }
}

impl Ask {
    async fn head(&self, remote: &Remote) -> Result<Answer, RemoteError> {
        let what = match &self.reference {
            Some(reference) => What::Manifest(reference),
            None if self.referrers => What::Referrers(&self.digest, ""),
            None => What::Blob(&self.digest),
        };
        let question = Question {
            repository: Some(&self.repository),
            what,
            head: self.head,
            accept: &[],
            range: self.range,
            asker: &self.asker,
            within: Duration::from_secs(10),
        };
        remote.ask(question).await
    }

    async fn body(&self, remote: &Remote) -> Result<String, RemoteError> {
        let pieces: Vec<_> = self.head(remote).await?.body.try_collect().await?;
        Ok(String::from_utf8(pieces.concat()).unwrap())
    }
}

#[tokio::test]
async fn a_remote_that_does_not_answer_rests() {
    let server = Server::new(|_| Some(says(503, ""))).await;
    let remote = remote(&server.url(), "").await;
    for _ in 0..5 {
        assert!(matches!(manifest("a").body(&remote).await, Err(RemoteError::Down(_))));
    }
    assert!(matches!(manifest("a").body(&remote).await, Err(RemoteError::Resting { .. })));
    assert_eq!((server.seen().len(), remote.state().breaker), (5, BreakerState::Open));
    let again = Remote::new("test", remote.config(), surroundings().await, Some(&remote)).unwrap();
    assert!(matches!(manifest("a").body(&again).await, Err(RemoteError::Resting { .. })), "a reload lets it rest on");
}

#[tokio::test]
async fn what_cannot_be_used_is_no_remote() {
    for (url, keys) in [
        ("ftp://r.test", ""),
        ("https://u:p@r.test", ""),
        ("https://r.test?x=1", ""),
        ("not a url", ""),
        ("https://r.test", "realms = [\"https://auth.test\"]"),
        ("https://r.test", "redirects = [\"*\"]"),
        ("https://r.test", "proxy = \"socks5://p:1\""),
        ("http://r.test", "tls = { ca = \"ca.pem\" }"),
        ("https://r.test", "tls = { ca = \"/nowhere/ca.pem\" }"),
        ("https://r.test", "proxy = \"http://p:1\"\ntls = { server_name = \"x.test\" }"),
        ("https://r.test", "credentials = [{ username = \"a\", password_file = \"/nowhere\" }]"),
        ("https://r.test", "credentials = [{ exec = [] }]"),
    ] {
        let made = Remote::new("test", &config(url, keys), surroundings().await, None);
        assert!(made.is_err(), "{url} {keys}");
    }
    assert!(Remote::new("test", &config("https://r.test", ""), surroundings().await, None).is_ok());
}

#[tokio::test]
async fn docker_hub_is_where_it_really_is() {
    let config: Config = toml::from_str("registry = \"docker.io\"").unwrap();
    let remote = Remote::new("hub", &config, surroundings().await, None).unwrap();
    assert_eq!(remote.net.trust().base().as_str(), "https://registry-1.docker.io/");
}
