//! The ways to a remote: to itself, as the operator said, and to where it leads, as far as that may be gone to; each perhaps through a
//! proxy.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{Client, ClientBuilder, Proxy, Request, Response, Url};
use tokio::time::{Instant, timeout_at};
use url::Host;

use super::RemoteError;
use super::config::{Config, Timeouts};
use super::error::NO_CONNECTION;
use super::setup::RemoteSetupError;
use super::trust::Trust;
use crate::cluster::Material;
use crate::outbound::{self, Forbidden, Home, HomeResolver, Lookup, NoWay, NotFound, OwnAddresses, Reach, Way, causes};

/// Idle connections that are kept to one host, and for how long.
const KEEP: usize = 32;
const IDLE: Duration = Duration::from_secs(50);

const USER_AGENT: &str = concat!("entrepot/", env!("CARGO_PKG_VERSION"));

/// A client that keeps connections and one that never does.
struct Pair {
    pooled: Client,
    fresh: Client,
}

/// The clients of one remote.
pub struct Net {
    trust: Trust,
    home: std::sync::Arc<Home>,
    /// The name that the remote's certificate carries instead of its host's.
    server_name: Option<String>,
    clients: Pair,
    /// To everybody else.
    way: Way,
    proxy: Option<Proxied>,
}

struct Proxied {
    /// Says who is asked through it: `NO_PROXY` names who is not.
    matcher: Matcher,
    home: Pair,
    abroad: Pair,
}

/// One request, before a client is found for it.
#[derive(Clone)]
pub struct Ask {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
}

enum Failure {
    /// A connection broke before there was an answer.
    Broken(String),
    Final(RemoteError),
}

impl Net {
    pub fn new(
        config: &Config,
        trust: Trust,
        material: &Material,
        own: OwnAddresses,
        lookup: Lookup,
    ) -> Result<Self, RemoteSetupError> {
        let url = trust.base();
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(RemoteSetupError::Url("has no host"));
        };
        let home = Home::new(host, port, config.allow_private, lookup.clone());
        let timeouts = config.timeouts;
        let to_home = |keep| client(timeouts, material.peers.clone(), keep);
        let elsewhere = material.elsewhere.clone();
        let abroad = move |keep| client(timeouts, elsewhere.clone(), keep);
        let resolver = std::sync::Arc::new(HomeResolver(home.clone()));
        let clients = Pair::new(|keep| to_home(keep).dns_resolver(resolver.clone()))?;
        let proxy = match &config.proxy {
            Some(_) if material.server_name().is_some() => return Err(RemoteSetupError::ServerNameByProxy),
            Some(proxy) => Some(Proxied::new(proxy, to_home, &abroad)?),
            None => None,
        };
        let known = home.clone();
        let reach = Reach::new(move || known.addresses(), own).allowing_private(config.allow_private);
        let way = Way::new(abroad, KEEP, reach, lookup)?;
        let server_name = material.server_name().map(str::to_owned);
        Ok(Net { trust, home, server_name, clients, way, proxy })
    }

    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Sends, and waits until `deadline` for the head of the answer. A 3xx is an answer. A kept connection that the other side closed
    /// says nothing of it, so then it is asked once more over a new one.
    pub async fn send(&self, ask: Ask, deadline: Instant) -> Result<Response, RemoteError> {
        let sent = async {
            match self.execute(&ask, false).await {
                Err(Failure::Broken(_)) => self.execute(&ask, true).await,
                outcome => outcome,
            }
        };
        match timeout_at(deadline, sent).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(Failure::Broken(why))) => Err(RemoteError::Down(why)),
            Ok(Err(Failure::Final(error))) => Err(error),
            Err(_) => Err(RemoteError::Down("no answer in time".into())),
        }
    }

    async fn execute(&self, ask: &Ask, fresh: bool) -> Result<Response, Failure> {
        let mut request = Request::new(ask.method.clone(), ask.url.clone());
        *request.headers_mut() = ask.headers.clone();
        if !ask.body.is_empty() {
            *request.body_mut() = Some(ask.body.clone().into());
        }
        let client = self.client(&mut request, fresh).await.map_err(Failure::Final)?;
        client.execute(request).await.map_err(|error| failure(&error))
    }

    /// The client for a request, which is changed to what that client needs.
    async fn client(&self, request: &mut Request, fresh: bool) -> Result<Client, RemoteError> {
        let proxy = self.proxy.as_ref().filter(|proxy| proxy.is_for(request.url()));
        if self.trust.is_home(request.url()) {
            if let Some(name) = &self.server_name {
                rename(request, name);
            }
            return Ok(proxy.map_or(&self.clients, |proxy| &proxy.home).get(fresh));
        }
        let url = self.way.url(request.url().as_str()).map_err(refused)?;
        match proxy {
            Some(_) if matches!(url.host(), Some(Host::Domain(_))) && !self.trust.is_known(&url) => {
                let host = url.host_str().unwrap_or_default();
                Err(RemoteError::Useless(format!("it leads to {host}, and by the proxy only to hosts of `redirects`")))
            }
            Some(proxy) => Ok(proxy.abroad.get(fresh)),
            None => {
                // Where it leads is judged by where it is itself.
                if self.home.addresses().is_empty() {
                    self.home.locate().await.map_err(|error| RemoteError::Down(error.to_string()))?;
                }
                self.way.client(&url, fresh).map_err(refused)
            }
        }
    }
}

impl Pair {
    fn new(build: impl Fn(usize) -> ClientBuilder) -> Result<Self, reqwest::Error> {
        Ok(Pair { pooled: build(KEEP).build()?, fresh: build(0).build()? })
    }

    fn get(&self, fresh: bool) -> Client {
        if fresh { self.fresh.clone() } else { self.pooled.clone() }
    }
}

impl Proxied {
    fn new(
        proxy: &str,
        to_home: impl Fn(usize) -> ClientBuilder,
        abroad: impl Fn(usize) -> ClientBuilder,
    ) -> Result<Self, RemoteSetupError> {
        let url = Url::parse(proxy).ok().filter(|url| url.scheme() == "http" && url.host().is_some());
        let url = url.ok_or(RemoteSetupError::Proxy)?;
        let except = ["NO_PROXY", "no_proxy"].into_iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default();
        let matcher = Matcher::builder().all(url.as_str()).no(except).build();
        let through = Proxy::all(url).map_err(|_| RemoteSetupError::Proxy)?;
        let home = Pair::new(|keep| to_home(keep).proxy(through.clone()))?;
        let abroad = Pair::new(|keep| abroad(keep).proxy(through.clone()))?;
        Ok(Proxied { matcher, home, abroad })
    }

    fn is_for(&self, url: &Url) -> bool {
        let origin = url.origin().ascii_serialization();
        origin.parse::<Uri>().is_ok_and(|uri| self.matcher.intercept(&uri).is_some())
    }
}

fn client(timeouts: Timeouts, tls: rustls::ClientConfig, keep: usize) -> ClientBuilder {
    outbound::client(tls)
        .user_agent(USER_AGENT)
        .connect_timeout(timeouts.connect.0)
        .pool_max_idle_per_host(keep)
        .pool_idle_timeout(IDLE)
}

/// Asks for the certificate's name, which the resolver finds at the remote's own addresses; `Host` stays what it is.
fn rename(request: &mut Request, name: &str) {
    let url = request.url();
    let host = url.host_str().unwrap_or_default();
    let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    if let Ok(value) = HeaderValue::from_str(&authority) {
        request.headers_mut().insert(header::HOST, value);
    }
    let _ = request.url_mut().set_host(Some(name)); // a DNS name, as was made sure of
}

fn refused(why: NoWay) -> RemoteError {
    RemoteError::Useless(format!("it leads where we do not go: {why}"))
}

fn failure(error: &reqwest::Error) -> Failure {
    let why = causes(error);
    let mut cause = error.source();
    while let Some(inner) = cause {
        // A name that is resolved to where nobody may lead us looks like any other failed connection.
        let home = inner.downcast_ref::<NotFound>().is_some_and(|found| matches!(found, NotFound::Forbidden(_)));
        if home || inner.is::<Forbidden>() {
            return Failure::Final(RemoteError::Useless(format!("it leads where we do not go: {inner}")));
        }
        cause = inner.source();
    }
    if error.is_builder() {
        Failure::Final(RemoteError::Useless("it leads to what is no URL".into()))
    } else if error.is_connect() || error.is_timeout() {
        Failure::Final(RemoteError::Down(format!("{NO_CONNECTION}{why}")))
    } else {
        Failure::Broken(format!("connection broken: {why}"))
    }
}
