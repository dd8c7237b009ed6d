//! One registry, asked as its clients ask it: over connections that stay open, with what its challenges wanted to see.

use std::path::Path;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use parking_lot::Mutex;
use reqwest::{Client, Response, Url};
use tokio::time::timeout;

use super::address::Address;
use super::image::Blob;
use super::trouble::Trouble;
use crate::cli::access::Access;
use crate::cli::client::{Prover, reason};
use crate::oci::{Algorithm, Digest, Hasher};
use crate::outbound::{self, causes, tls};

/// A connection, with TLS.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// An answer's head. A layer has as long as the whole run: how fast it goes is what is asked.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// A body of which nothing comes for so long comes no more.
const SILENCE: Duration = Duration::from_secs(30);
/// Redirects that lead to a blob.
const MAX_HOPS: usize = 5;
/// Bytes of a manifest, a list of tags, a page of the catalog.
const MAX_DOCUMENT: u64 = 8 << 20;

/// What a token is for: each has one of its own, so that none takes another's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Base,
    Repository,
    Catalog,
}

/// One request.
pub struct Question<'a> {
    pub method: Method,
    /// Below `/v2/`, or what an answer's `Location` says.
    pub to: Target<'a>,
    pub headers: HeaderMap,
    pub payload: Payload<'a>,
    pub scope: Scope,
}

#[derive(Clone, Copy)]
pub enum Target<'a> {
    Path(&'a str),
    Location(&'a str),
}

/// Made anew for each try.
#[derive(Clone, Copy)]
pub enum Payload<'a> {
    Nothing,
    Manifest(&'a bytes::Bytes),
    Blob(&'a Blob),
}

impl<'a> Question<'a> {
    pub fn new(method: Method, path: &'a str) -> Self {
        let (to, payload) = (Target::Path(path), Payload::Nothing);
        Question { method, to, headers: HeaderMap::new(), payload, scope: Scope::Repository }
    }

    pub fn of(self, scope: Scope) -> Self {
        Question { scope, ..self }
    }

    pub fn with(self, payload: Payload<'a>, media_type: &'static str) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media_type))]);
        Question { payload, headers, ..self }
    }
}

pub struct Registry {
    client: Client,
    pub address: Address,
    access: Option<Access>,
    /// What was given last, by scope.
    shown: [Mutex<Option<HeaderValue>>; 3],
}

impl Registry {
    /// `connections`: how many are kept open. Blocking.
    ///
    /// # Errors
    /// For people: the file of `--ca` is none.
    pub fn new(
        address: Address,
        access: Option<Access>,
        ca: Option<&Path>,
        connections: usize,
    ) -> Result<Self, String> {
        let mut roots = tls::system_roots();
        if let Some(ca) = ca {
            let named = |why: String| format!("--ca {}: {why}", ca.display());
            roots.extend(tls::roots(&tls::certificates(ca).map_err(named)?).map_err(named)?.roots);
        }
        let config = tls::http_client(roots, None).map_err(|error| format!("cannot start: {error}"))?;
        let client = outbound::client(config).connect_timeout(CONNECT_TIME).pool_max_idle_per_host(connections);
        let client = client.build().map_err(|error| format!("cannot start: {}", causes(&error)))?;
        Ok(Registry { client, address, access, shown: Default::default() })
    }

    /// Asks, and wants that status.
    ///
    /// # Errors
    /// It does not answer, or with another one.
    pub async fn expect(&self, question: Question<'_>, expected: StatusCode) -> Result<Response, Trouble> {
        let url = self.url(question.to)?;
        let (method, path) = (question.method.clone(), url.path().to_owned());
        let answer = self.ask(question, url).await?;
        match answer.status() == expected {
            true => Ok(answer),
            false => Err(self.refused(method, path, answer).await),
        }
    }

    /// A document, whole; what digest its bytes have is the caller's question.
    ///
    /// # Errors
    /// It is not to be had.
    pub async fn document(&self, question: Question<'_>) -> Result<Digest, Trouble> {
        let answer = self.expect(question, StatusCode::OK).await?;
        self.hashed(answer, MAX_DOCUMENT).await.map(|(digest, _)| digest)
    }

    /// All bytes of a blob, wherever it is; they are the right ones when this returns.
    ///
    /// # Errors
    /// It is not to be had, or has other bytes.
    pub async fn blob(&self, path: &str, wanted: &Blob) -> Result<(), Trouble> {
        let question = Question::new(Method::GET, path);
        let mut url = self.url(question.to)?;
        let mut answer = self.ask(question, url.clone()).await?;
        for _ in 0..MAX_HOPS {
            if !answer.status().is_redirection() {
                break;
            }
            url = location(&answer, &url).ok_or_else(|| self.odd(format!("{path} leads to what is no address")))?;
            // Where it leads knows nothing of us: the address itself says what may be read.
            let next = self.client.get(url.clone()).send();
            let next = timeout(ANSWER_TIME, next).await.map_err(|_| self.silent("nothing came".into()))?;
            answer = next.map_err(|error| self.silent(causes(&error)))?;
        }
        if answer.status() != StatusCode::OK {
            return Err(self.refused(Method::GET, path.to_owned(), answer).await);
        }
        let (digest, length) = self.hashed(answer, wanted.size).await?;
        match digest == wanted.digest && length == wanted.size {
            true => Ok(()),
            false => Err(self.odd(format!("{path} has other bytes than were pushed"))),
        }
    }

    /// What a body's bytes make, and how many they are.
    async fn hashed(&self, mut answer: Response, most: u64) -> Result<(Digest, u64), Trouble> {
        let (mut hasher, mut length) = (Hasher::new(Algorithm::Sha256), 0);
        loop {
            let piece = timeout(SILENCE, answer.chunk()).await;
            let piece = piece.map_err(|_| self.silent("a body stands still".into()))?;
            let Some(piece) = piece.map_err(|error| self.silent(causes(&error)))? else {
                return Ok((hasher.finish(), length));
            };
            length += piece.len() as u64;
            if length > most {
                return Err(self.odd(format!("a body is longer than {most} bytes")));
            }
            hasher.update(&piece);
        }
    }

    /// Shows what the answers before it wanted to see, and what this one wants.
    async fn ask(&self, question: Question<'_>, url: Url) -> Result<Response, Trouble> {
        let answer = self.send(&question, url.clone()).await?;
        if answer.status() != StatusCode::UNAUTHORIZED || !answer.headers().contains_key(WWW_AUTHENTICATE) {
            return Ok(answer);
        }
        let prover = Prover { client: &self.client, base: &self.address.base, access: self.access.as_ref() };
        let proof = timeout(ANSWER_TIME, prover.proof(answer.headers())).await;
        match proof.map_err(|_| self.silent("no token came".into()))?.map_err(|why| self.odd(why))? {
            None => Ok(answer),
            Some(proof) => {
                *self.slot(question.scope).lock() = Some(proof);
                self.send(&question, url).await
            }
        }
    }

    async fn send(&self, question: &Question<'_>, url: Url) -> Result<Response, Trouble> {
        let mut request = self.client.request(question.method.clone(), url).headers(question.headers.clone());
        let shown = self.slot(question.scope).lock().clone();
        if let Some(shown) = shown {
            request = request.header(AUTHORIZATION, shown);
        }
        let answer = match question.payload {
            Payload::Blob(blob) => request.body(blob.body()).send().await,
            Payload::Manifest(bytes) => self.in_time(request.body(bytes.clone())).await?,
            // An empty body says that there is none.
            Payload::Nothing if question.method == Method::POST => self.in_time(request.body("")).await?,
            Payload::Nothing => self.in_time(request).await?,
        };
        answer.map_err(|error| self.silent(causes(&error)))
    }

    async fn in_time(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Result<Response>, Trouble> {
        timeout(ANSWER_TIME, request.send()).await.map_err(|_| self.silent("nothing came".into()))
    }

    fn slot(&self, scope: Scope) -> &Mutex<Option<HeaderValue>> {
        let [base, repository, catalog] = &self.shown;
        match scope {
            Scope::Base => base,
            Scope::Repository => repository,
            Scope::Catalog => catalog,
        }
    }

    fn url(&self, to: Target<'_>) -> Result<Url, Trouble> {
        let base = &self.address.base;
        let url = match to {
            Target::Path(path) => base.join(&format!("{}{path}", self.address.prefix)),
            Target::Location(location) => base.join(location),
        };
        let url = url.map_err(|_| self.odd("it leads to what is no address".into()))?;
        // What we show is for itself alone.
        match url.origin() == base.origin() {
            true => Ok(url),
            false => Err(self.odd(format!(
                "it leads away, to {}: an upload goes on where it was begun (behind a proxy, X-Forwarded-Proto and Host tell a registry \
                 how it is called)",
                url.origin().ascii_serialization()
            ))),
        }
    }

    /// The path is shown without its query, where the state of an upload may be.
    async fn refused(&self, method: Method, path: String, answer: Response) -> Trouble {
        let status = answer.status();
        let reason = timeout(SILENCE, reason(answer)).await.unwrap_or_default();
        let (address, known) = (self.address.to_string(), self.access.is_some());
        Trouble::Refused { address, method, path, status, reason, known }
    }

    fn silent(&self, why: String) -> Trouble {
        Trouble::Silent { address: self.address.to_string(), why }
    }

    pub fn odd(&self, what: String) -> Trouble {
        Trouble::Odd { address: self.address.to_string(), what }
    }
}

/// Where an answer leads.
fn location(answer: &Response, from: &Url) -> Option<Url> {
    from.join(answer.headers().get(LOCATION)?.to_str().ok()?).ok()
}
