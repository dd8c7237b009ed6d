//! A remote is made of its configuration, and of what the one before it knew.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwapOption;
use moka::sync::Cache;
use parking_lot::Mutex;
use reqwest::Url;

use super::breaker::Breaker;
use super::budget::Budget;
use super::config::Config;
use super::credentials::{self, CredentialError, Source};
use super::net::Net;
use super::tokens::Tokens;
use super::trust::{Named, Trust};
use super::{Remote, RemoteNames, Surroundings};
use crate::cluster::Material;
use crate::outbound::{Lookup, causes, system_lookup};

/// Where Docker Hub's registry is.
const HUB: &str = "https://registry-1.docker.io";
/// Repositories whose scopes are remembered, where a remote names them in a way of its own.
const WIDER: u64 = 4096;

/// A remote that cannot be made: the configuration or a file that it names is wrong.
#[derive(Debug, thiserror::Error)]
pub enum RemoteSetupError {
    #[error("url {0}")]
    Url(&'static str),
    #[error("'{0}' in {1} is not \"host\" or \"host:port\"")]
    Host(String, &'static str),
    #[error("proxy is not \"http://host:port\"")]
    Proxy,
    #[error("tls.server_name cannot be used with a proxy, which is told the name of the host")]
    ServerNameByProxy,
    #[error("tls is for https, and the url is http")]
    TlsOfPlain,
    #[error("credentials: {0}")]
    Credentials(#[from] CredentialError),
    #[error(transparent)]
    Tls(#[from] crate::cluster::Error),
    #[error("its client cannot be made: {0}")]
    Client(String),
}

impl From<reqwest::Error> for RemoteSetupError {
    fn from(error: reqwest::Error) -> Self {
        RemoteSetupError::Client(causes(&error))
    }
}

impl Remote {
    /// `name`: that of `[remote.NAME]`. Reads files, so it is blocking, but needs a runtime. What `previous` knew is taken over:
    /// budgets and the breaker, and, where the URL is the same, tokens.
    pub fn new(
        name: &str,
        config: &Config,
        surroundings: Surroundings,
        previous: Option<&Remote>,
    ) -> Result<Arc<Self>, RemoteSetupError> {
        Self::with_lookup(name, config, surroundings, previous, system_lookup())
    }

    /// With a resolver of one's own.
    pub(super) fn with_lookup(
        name: &str,
        config: &Config,
        surroundings: Surroundings,
        previous: Option<&Remote>,
        lookup: Lookup,
    ) -> Result<Arc<Self>, RemoteSetupError> {
        let names = RemoteNames::new(&config.registry, config.path.as_deref());
        let url = url(config, &names)?;
        if config.tls.is_some() && url.scheme() != "https" {
            return Err(RemoteSetupError::TlsOfPlain);
        }
        let material = Material::load(config.tls.as_ref())?;
        let realms = named(&config.realms, "realms")?;
        let trust = Trust::new(url, realms, named(&config.redirects, "redirects")?);
        let load = |one| Source::load(one, &config.registry);
        let sources = config.credentials.iter().map(load).collect::<Result<Vec<_>, _>>()?;
        let called = config.credentials.iter().map(credentials::name).collect();
        let before = previous.map(|previous| &*previous.budget);
        let budget = Budget::new(&config.registry, called, surroundings.fleet, before);
        let same = previous.filter(|previous| previous.net.trust().base() == trust.base());
        let breaker = Arc::new(Breaker::default());
        // What did not answer was that address.
        if let Some(same) = same {
            breaker.take_over(&same.breaker);
        }
        surroundings.metrics.watch(name, &breaker, &budget);
        Ok(Arc::new(Remote {
            name: name.to_owned(),
            config: config.clone(),
            names,
            net: Arc::new(Net::new(config, trust, &material, surroundings.own, lookup)?),
            scheme: ArcSwapOption::new(same.and_then(|same| same.scheme.load_full())),
            tokens: match same {
                Some(same) => same.tokens.clone(),
                None => Tokens::new(name, surroundings.metrics.clone()),
            },
            wider: same.map_or_else(|| Cache::new(WIDER), |same| same.wider.clone()),
            sources,
            budget,
            breaker,
            heard: Mutex::new(same.and_then(|same| *same.heard.lock())),
            complained: AtomicBool::new(false),
            metrics: surroundings.metrics,
        }))
    }
}

/// Where it is, without a slash at the end that would be doubled.
fn url(config: &Config, names: &RemoteNames) -> Result<Url, RemoteSetupError> {
    let text = match &config.url {
        Some(url) => url.clone(),
        None if names.library => HUB.to_owned(),
        None => format!("https://{}", config.registry),
    };
    let url = Url::parse(&text).map_err(|_| RemoteSetupError::Url("is no URL"))?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    match url.scheme() {
        "http" | "https" if url.has_host() && plain && url.fragment().is_none() => Ok(url),
        "http" | "https" => Err(RemoteSetupError::Url("has a user, a query or no host")),
        _ => Err(RemoteSetupError::Url("is neither http nor https")),
    }
}

fn named(hosts: &[String], key: &'static str) -> Result<Vec<Named>, RemoteSetupError> {
    let parse =
        |host: &String| Named::parse(host, key == "redirects").ok_or_else(|| RemoteSetupError::Host(host.clone(), key));
    hosts.iter().map(parse).collect()
}
