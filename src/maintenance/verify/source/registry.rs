//! Another registry, asked as any client asks it: by repository and digest. An Entrepot that still has what is lost here is one.

use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use futures::stream::{StreamExt as _, TryStreamExt as _};
use http::HeaderValue;
use http::header::CONTENT_LENGTH;
use prometheus::Registry as Prometheus;
use url::Url;

use super::{Access, Coming, SourceError};
use crate::cluster::config::TlsSettings;
use crate::fleet::Fleet;
use crate::maintenance::verify::named::MOST_MANIFEST;
use crate::oci::{Algorithm, Digest, Reference, RepositoryName, Tag};
use crate::outbound::OwnAddresses;
use crate::remote::config::{AskedAs, OnExhausted, Stale, Timeouts};
use crate::remote::{self, Answer, Asker, Question, Remote, RemoteError, Surroundings, Throttle, What};
use crate::units::{Size, seconds};

/// Longest file of a login, in bytes.
const MAX_LOGIN: u64 = 64 << 10;
/// How long the head of an answer may take, with everything that leads to it.
const WITHIN: Duration = Duration::from_secs(30);
/// How often a question is put that got no answer, and how long after.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_secs(2);
/// Longest time that a registry may want us to wait.
const LONGEST: Duration = Duration::from_secs(120);

/// `user:password`, as it is shown to the registry and its token service.
#[derive(Clone)]
pub struct Login(HeaderValue);

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(login)")
    }
}

impl Login {
    /// From the first line of a file. Blocking.
    pub fn read(path: &Path) -> Result<Self, SourceError> {
        let failed = |why: String| SourceError::Credentials { path: path.to_owned(), why };
        let mut text = String::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(MAX_LOGIN).read_to_string(&mut text));
        read.map_err(|error| failed(error.to_string()))?;
        let line = text.lines().next().unwrap_or_default();
        match line.split_once(':') {
            Some((user, password)) if !user.is_empty() && !password.is_empty() => {}
            _ => return Err(failed("its first line is not USER:PASSWORD".to_owned())),
        }
        // Base64 is always a field's value.
        let field = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(line)));
        let mut field = field.map_err(|error| failed(error.to_string()))?;
        field.set_sensitive(true);
        Ok(Login(field))
    }
}

/// The registry.
pub struct Elsewhere {
    remote: Arc<Remote>,
    asker: Asker,
    address: String,
    /// It has answered once, whatever: who is not heard afterwards is waited for.
    heard: AtomicBool,
    /// Why it is not asked any more: there was never so much as a connection.
    dead: OnceLock<String>,
}

impl Elsewhere {
    /// Asks nothing yet.
    pub(super) async fn open(address: &str, access: &Access, fleet: Arc<Fleet>) -> Result<Self, SourceError> {
        let failed = |why: String| SourceError::Registry { address: address.to_owned(), why };
        let config = config(address, access).map_err(failed)?;
        let metrics = remote::Metrics::new(&Prometheus::new()).map_err(|error| failed(error.to_string()))?;
        let surroundings = Surroundings { fleet, own: OwnAddresses::default(), metrics: Arc::new(metrics) };
        let made = tokio::task::spawn_blocking(move || Remote::new("repair", &config, surroundings, None)).await;
        let made = made.map_err(|error| failed(error.to_string()))?;
        let remote = made.map_err(|error| failed(error.to_string()))?;
        let asker = Asker::Caller(access.login.as_ref().map(|login| login.0.clone()));
        let (heard, dead) = (AtomicBool::new(false), OnceLock::new());
        Ok(Elsewhere { remote, asker, address: address.to_owned(), heard, dead })
    }

    pub(super) fn shown(&self) -> &str {
        &self.address
    }

    /// The bytes of a digest in one repository, as a manifest or as a blob; `None`: it is not there.
    pub(in crate::maintenance::verify) async fn content(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        manifest: bool,
    ) -> Result<Option<Coming>, String> {
        let reference = Reference::Digest(*digest);
        let what = if manifest { What::Manifest(&reference) } else { What::Blob(digest) };
        let Some(answer) = self.ask(name, what).await? else { return Ok(None) };
        let length = answer.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Some(Coming { length, body: answer.body.map_err(|error| error.to_string()).boxed() }))
    }

    /// What a tag leads to: the digest of what is given for it.
    pub(super) async fn tag(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<Digest>, String> {
        let reference = Reference::Tag(tag.clone());
        let Some(answer) = self.ask(name, What::Manifest(&reference)).await? else { return Ok(None) };
        let (mut bytes, mut body) = (BytesMut::new(), answer.body);
        while let Some(piece) = body.try_next().await.map_err(|error| error.to_string())? {
            if bytes.len() as u64 + piece.len() as u64 > MOST_MANIFEST {
                return Err(format!("it gives more than {MOST_MANIFEST} bytes as a manifest"));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Some(Digest::of(Algorithm::Sha256, &bytes)))
    }

    /// By the name that a repository would have if this is where its mirror gets it from, then by its own.
    async fn ask(&self, name: &RepositoryName, what: What<'_>) -> Result<Option<Answer>, String> {
        if let Some(there) = self.remote.names().at_remote(name)
            && let Some(answer) = self.ask_patiently(&there, what).await?
        {
            return Ok(Some(answer));
        }
        self.ask_patiently(name, what).await
    }

    async fn ask_patiently(&self, name: &RepositoryName, what: What<'_>) -> Result<Option<Answer>, String> {
        let mut tries = TRIES;
        loop {
            if let Some(why) = self.dead.get() {
                return Err(why.clone());
            }
            tries -= 1;
            let question = Question {
                repository: Some(name),
                what,
                head: false,
                accept: &[],
                range: None,
                asker: &self.asker,
                within: WITHIN,
            };
            let error = match self.remote.ask(question).await {
                Ok(answer) => {
                    self.heard.store(true, Ordering::Relaxed);
                    return Ok(Some(answer));
                }
                Err(RemoteError::Absent(_)) => {
                    self.heard.store(true, Ordering::Relaxed);
                    return Ok(None);
                }
                Err(error) => error,
            };
            self.mind_silence(&error)?;
            match wait(&error).filter(|wait| tries > 0 && *wait <= LONGEST) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error.to_string()),
            }
        }
    }

    /// An address at which nobody is, is not asked again for each of a thousand blobs.
    fn mind_silence(&self, error: &RemoteError) -> Result<(), String> {
        match error.unreachable() {
            Some(why) if !self.heard.load(Ordering::Relaxed) => {
                let told = || format!("it cannot be reached, so that nothing more is asked of it: {why}");
                Err(self.dead.get_or_init(told).clone())
            }
            Some(_) => Ok(()),
            None => {
                if !matches!(error, RemoteError::Resting { .. }) {
                    self.heard.store(true, Ordering::Relaxed);
                }
                Ok(())
            }
        }
    }
}

/// How long to wait until it is worth asking again.
fn wait(error: &RemoteError) -> Option<Duration> {
    match error {
        RemoteError::Resting { retry_after } => Some(*retry_after),
        RemoteError::Exhausted { retry_after }
        | RemoteError::Throttled(Throttle::Pulls { retry_after } | Throttle::Abuse { retry_after }) => {
            Some(retry_after.unwrap_or(PAUSE))
        }
        RemoteError::Down(_) => Some(PAUSE),
        _ => None,
    }
}

fn config(address: &str, access: &Access) -> Result<remote::Config, String> {
    let url = Url::parse(address).map_err(|error| format!("is no address: {error}"))?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("names no host")?;
    let registry = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    // Where Docker Hub's registry really is, its name does not say.
    let hub = matches!(host, "docker.io" | "index.docker.io" | "hub.docker.com");
    let tls = access.ca.as_ref().map(|ca| TlsSettings { ca: Some(ca.clone()), ..TlsSettings::default() });
    Ok(remote::Config {
        registry: if hub { "docker.io".to_owned() } else { registry },
        path: None,
        url: (!hub).then(|| address.to_owned()),
        credentials: Vec::new(),
        realms: Vec::new(),
        allow_private: false,
        tag_ttl: seconds(0),
        stale: Stale::Always,
        on_exhausted: OnExhausted::Unavailable,
        prefetch: Size(0),
        keep: None,
        identity: AskedAs::Caller,
        timeouts: Timeouts::default(),
        proxy: None,
        redirects: Vec::new(),
        tls,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_registry_s() {
        let of = |address: &str| config(address, &Access::default());
        let plain = of("https://registry.example.com:5443/docker").unwrap();
        assert_eq!(plain.registry, "registry.example.com:5443");
        assert_eq!(plain.url.as_deref(), Some("https://registry.example.com:5443/docker"));
        let hub = of("https://docker.io").unwrap();
        assert_eq!((hub.registry.as_str(), hub.url), ("docker.io", None));
        assert!(of("https://").is_err() && of("nonsense").is_err());
    }

    #[tokio::test]
    async fn who_cannot_be_reached_is_asked_once_and_that_is_said() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let metrics = crate::fleet::Metrics::new(&Prometheus::new()).unwrap();
        let fleet = Fleet::open(None, false, Arc::new(metrics)).await;
        let address = format!("http://{closed}");
        let elsewhere = Elsewhere::open(&address, &Access::default(), fleet).await.unwrap();
        let began = std::time::Instant::now();
        let name: RepositoryName = "a".parse().unwrap();
        for text in ["x", "y", "z"] {
            let digest = Digest::of(Algorithm::Sha256, text.as_bytes());
            let why = elsewhere.content(&name, &digest, false).await.err().unwrap();
            assert!(why.starts_with("it cannot be reached, so that nothing more is asked of it: "), "{why}");
        }
        assert!(began.elapsed() < PAUSE, "{:?}", began.elapsed());
    }

    #[test]
    fn a_login_is_a_line_and_nobody_sees_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("login");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Login::read(&path)
        };
        let login = read("alice:hu:sh\n").unwrap();
        assert_eq!(login.0, "Basic YWxpY2U6aHU6c2g=");
        assert!(login.0.is_sensitive() && !format!("{login:?}").contains("YWxp"));
        for text in ["", "alice", ":hush", "alice:", "\nalice:hush"] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains("USER:PASSWORD") && !error.contains("hush"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(Login::read(&path).is_err());
    }
}
