//! The keys of an issuer: where they come from, and when they are asked for again.
//!
//! - They are read anew every few minutes, and once when a token names one that is not among them, but for that at most once a
//!   minute, whatever tokens are shown. One question is under way at a time; who needs its answer waits for it.
//! - While they cannot be read, those that were read last stay good: an issuer that is down gives no new tokens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use jsonwebtoken::Algorithm;
use parking_lot::Mutex;
use reqwest::Url;
use serde::Deserialize;
use tokio::sync::watch;

use super::fetch::{Fetcher, is_safe};
use crate::auth::jwt::keys::{PublicKey, PublicKeys};
use crate::auth::metrics::Metrics;
use crate::outbound::{OwnAddresses, tls};

/// How often keys are read anew.
const FRESH: Duration = Duration::from_secs(300);
/// … from a file.
const FRESH_FILE: Duration = Duration::from_secs(2);
/// … after that has failed, and there are some.
const AFTER_FAILURE: Duration = Duration::from_secs(30);
/// How often they are asked for because a token names a key that is not among them.
const UNKNOWN_KEY: Duration = Duration::from_secs(60);
/// How often while there are none at all.
const NO_KEYS: Duration = Duration::from_secs(3);
/// For everything that one question takes.
const QUESTION: Duration = Duration::from_secs(10);
/// How long a request waits for its answer.
const PATIENCE: Duration = Duration::from_secs(6);
/// A file of keys, in bytes.
const MAX_FILE: u64 = 256 << 10;

/// Where keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where the issuer's discovery document says.
    Discovered {
        issuer: String,
    },
    Address(Url),
    File(PathBuf),
}

/// Why a key is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoKey {
    /// The issuer has none of this name.
    Unknown,
    /// No keys could be read so far.
    Unavailable,
}

pub struct KeySource {
    place: Place,
    ca: Option<PathBuf>,
    /// Of what is not a file.
    fetcher: Option<Fetcher>,
    keys: ArcSwapOption<PublicKeys>,
    times: Mutex<Times>,
    /// Counts the questions that are over.
    over: watch::Sender<u64>,
    metrics: Arc<Metrics>,
}

#[derive(Clone, Debug, Default)]
struct Times {
    running: bool,
    asked: Option<Instant>,
    read: Option<Instant>,
    unknown: Option<Instant>,
    /// What was wrong last, so that it is not told every time.
    fault: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// It is time again.
    Age,
    /// A token names a key that is not there.
    UnknownKey,
}

impl Place {
    /// Of `jwks` in the configuration.
    pub fn of(text: &str) -> Result<Self, &'static str> {
        if !text.contains("://") {
            return if text.is_empty() { Err("is empty") } else { Ok(Place::File(text.into())) };
        }
        let url = Url::parse(text).map_err(|_| "is neither a file nor an address")?;
        match is_safe(&url) && url.username().is_empty() && url.password().is_none() {
            true => Ok(Place::Address(url)),
            false => {
                Err("is an address that is not https, or has a password in it; http is taken from this machine only")
            }
        }
    }

    fn is_file(&self) -> bool {
        matches!(self, Place::File(_))
    }
}

impl KeySource {
    /// With what `before` has, which was for the same place. A file is read now, and has to be good.
    pub async fn open(
        place: Place,
        ca: Option<&Path>,
        own: &OwnAddresses,
        before: Option<&KeySource>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, String> {
        let first = match &place {
            Place::Discovered { issuer } => Some(Url::parse(issuer).map_err(|error| error.to_string())?),
            Place::Address(url) => Some(url.clone()),
            Place::File(_) => None,
        };
        let authorities = match ca.map(Path::to_owned) {
            Some(file) => Some(blocking(move || tls::certificates(&file)).await?),
            None => None,
        };
        let fetcher = first.map(|first| Fetcher::new(first, authorities.as_deref(), own.clone())).transpose()?;
        let keys = ArcSwapOption::new(before.and_then(|before| before.keys.load_full()));
        let times = before.map(|before| Times { running: false, ..before.times.lock().clone() }).unwrap_or_default();
        let ca = ca.map(Path::to_owned);
        let source =
            KeySource { place, ca, fetcher, keys, times: Mutex::new(times), over: watch::Sender::new(0), metrics };
        if source.place.is_file() {
            source.keys.store(Some(Arc::new(source.ask().await?)));
        }
        Ok(source)
    }

    pub fn is_of(&self, place: &Place, ca: Option<&Path>) -> bool {
        self.place == *place && self.ca.as_deref() == ca
    }

    /// The issuer's key of this name that is good for this algorithm.
    pub async fn find(self: &Arc<Self>, kid: &str, algorithm: Algorithm) -> Result<Arc<PublicKey>, NoKey> {
        if let Some(key) = self.known(kid, algorithm) {
            return Ok(key);
        }
        let mut over = self.over.subscribe();
        if self.begin(Reason::UnknownKey) {
            let _ = tokio::time::timeout(PATIENCE, over.changed()).await;
        }
        let missing = if self.keys.load().is_none() { NoKey::Unavailable } else { NoKey::Unknown };
        self.known(kid, algorithm).ok_or(missing)
    }

    fn known(&self, kid: &str, algorithm: Algorithm) -> Option<Arc<PublicKey>> {
        self.keys.load().as_ref()?.find(kid, algorithm)
    }

    /// Asks again if it is time to.
    pub fn refresh(self: &Arc<Self>) {
        self.begin(Reason::Age);
    }

    /// Begins to ask, unless that is to wait. Whether somebody asks now.
    fn begin(self: &Arc<Self>, reason: Reason) -> bool {
        let mut times = self.times.lock();
        if times.running {
            return true;
        }
        let none = self.keys.load().is_none();
        let since = |then: Option<Instant>| then.map_or(Duration::MAX, |then| then.elapsed());
        let may = match reason {
            _ if none => since(times.asked) >= NO_KEYS,
            Reason::UnknownKey => since(times.unknown) >= UNKNOWN_KEY,
            Reason::Age if self.place.is_file() => since(times.asked) >= FRESH_FILE,
            Reason::Age => since(times.read) >= FRESH && since(times.asked) >= AFTER_FAILURE,
        };
        if may {
            let now = Some(Instant::now());
            times.asked = now;
            if reason == Reason::UnknownKey && !none {
                times.unknown = now;
            }
            times.running = true;
            // A request that goes away does not end what others wait for.
            tokio::spawn(run(Over(self.clone())));
        }
        may
    }

    async fn ask(&self) -> Result<PublicKeys, String> {
        let document = match (&self.place, &self.fetcher) {
            (Place::File(file), _) => {
                let file = file.clone();
                blocking(move || read(&file)).await?
            }
            (Place::Discovered { issuer }, Some(fetcher)) => discovered(issuer, fetcher).await?,
            (Place::Address(url), Some(fetcher)) => {
                let keys = |what| format!("the keys: {what}");
                fetcher.locate().await.map_err(keys)?;
                fetcher.get(url.as_str()).await.map_err(keys)?.to_vec()
            }
            (_, None) => return Err("there is no way to it".into()),
        };
        PublicKeys::read(&document).map_err(|error| format!("the keys: {error}"))
    }

    fn take(&self, found: Result<PublicKeys, String>) {
        if !self.place.is_file() {
            self.metrics.fetched(found.is_ok());
        }
        let mut times = self.times.lock();
        match found {
            Ok(keys) => {
                if times.fault.take().is_some() {
                    tracing::info!(keys = %self.place, "the keys of an issuer can be read again");
                }
                times.read = Some(Instant::now());
                self.keys.store(Some(Arc::new(keys)));
            }
            Err(fault) => {
                let kept = self.keys.load().is_some();
                if times.fault.as_ref() != Some(&fault) {
                    tracing::warn!(keys = %self.place, fault, kept, "the keys of an issuer cannot be read");
                }
                times.fault = Some(fault);
            }
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Discovered { issuer } => f.write_str(issuer),
            // A query may be a secret.
            Place::Address(url) => write!(f, "{}", url.as_str().split(['?', '#']).next().unwrap_or_default()),
            Place::File(file) => write!(f, "{}", file.display()),
        }
    }
}

/// A question under way; however it ends, the next may begin.
struct Over(Arc<KeySource>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.times.lock().running = false;
        self.0.over.send_modify(|count| *count += 1);
    }
}

async fn run(over: Over) {
    let source = &over.0;
    let found = tokio::time::timeout(QUESTION, source.ask()).await;
    source.take(found.unwrap_or_else(|_| Err(format!("no answer within {} s", QUESTION.as_secs()))));
}

/// OpenID Connect Discovery 1.0, §4: what it says of itself has to be what it was asked as.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

async fn discovered(issuer: &str, fetcher: &Fetcher) -> Result<Vec<u8>, String> {
    let of_document = |what: String| format!("the discovery document: {what}");
    fetcher.locate().await.map_err(|error| of_document(error.to_string()))?;
    let address = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let document = fetcher.get(&address).await.map_err(|error| of_document(error.to_string()))?;
    let found: Discovery =
        serde_json::from_slice(&document).map_err(|_| of_document("it does not name an issuer and its keys".into()))?;
    if found.issuer != issuer {
        return Err(of_document("it is another issuer's".into()));
    }
    let keys = fetcher.get(&found.jwks_uri).await;
    Ok(keys.map_err(|error| format!("the keys: {error}"))?.to_vec())
}

/// A file of keys, or why it cannot be used. Blocking.
pub fn check(file: &Path) -> Result<(), String> {
    PublicKeys::read(&read(file)?).map(drop).map_err(|error| format!("{} cannot be used: {error}", file.display()))
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let mut document = Vec::new();
    let opened = std::fs::File::open(file).and_then(|opened| opened.take(MAX_FILE + 1).read_to_end(&mut document));
    opened.map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    if document.len() as u64 > MAX_FILE {
        return Err(format!("{} is larger than {MAX_FILE} bytes", file.display()));
    }
    Ok(document)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}
