//! HTTP clients for URLs that others name.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use reqwest::{Client, ClientBuilder, Url};
use url::Host;

use super::reach::{Forbidden, Reach};
use super::resolver::{Lookup, Resolver};

/// The longest URL that is asked, in bytes. Signed URLs with session tokens come near 4 KiB.
const MAX_URL: usize = 16 << 10;

/// Why a URL is not asked. The texts name no URL: one may be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoWay {
    #[error("{0}")]
    Url(&'static str),
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error("a client cannot be made")]
    Client,
}

/// Clients that connect only where [`Reach`] allows.
///
/// - An address in a URL is judged as it stands: the client connects to it without asking a resolver. However it is
///   written (decimal, octal, hexadecimal, in fewer parts), the URL's rules make one address of it.
/// - A name is resolved once for each connection; what is judged is what is connected to.
/// - Redirects are not followed: each hop comes here again.
pub struct Way {
    build: Box<dyn Fn(usize) -> ClientBuilder + Send + Sync>,
    reach: Arc<Reach>,
    lookup: Lookup,
    /// Keeps connections.
    pooled: Client,
    /// Never does.
    fresh: Client,
    /// For names with a port of ours, by port: a resolver is not told it. As many as we have ports.
    wary: Mutex<HashMap<u16, Client>>,
}

impl Way {
    /// `build` makes a client that keeps so many idle connections to a host, and follows no redirects.
    pub fn new(
        build: impl Fn(usize) -> ClientBuilder + Send + Sync + 'static,
        keep: usize,
        reach: Reach,
        lookup: Lookup,
    ) -> Result<Self, reqwest::Error> {
        let reach = Arc::new(reach);
        let resolver = Arc::new(Resolver { lookup: lookup.clone(), reach: reach.clone(), port: None });
        let pooled = build(keep).dns_resolver(resolver.clone()).build()?;
        let fresh = build(0).dns_resolver(resolver).build()?;
        Ok(Way { build: Box::new(build), reach, lookup, pooled, fresh, wary: Mutex::default() })
    }

    /// An absolute URL that may be asked, as far as can be told before a name in it is resolved.
    pub fn url(&self, text: &str) -> Result<Url, NoWay> {
        if text.len() > MAX_URL {
            return Err(NoWay::Url("the URL is too long"));
        }
        let url = Url::parse(text).map_err(|_| NoWay::Url("not an absolute URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(NoWay::Url("neither http nor https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(NoWay::Url("a user or password in the URL"));
        }
        let port = url.port_or_known_default();
        match url.host() {
            None => return Err(NoWay::Url("no host")),
            Some(Host::Ipv4(address)) => self.reach.judge(address.into(), port)?,
            Some(Host::Ipv6(address)) => self.reach.judge(address.into(), port)?,
            Some(Host::Domain(_)) => {}
        }
        Ok(url)
    }

    /// The client for a URL that [`Way::url`] let through; `fresh`: one that uses no kept connection.
    pub fn client(&self, url: &Url, fresh: bool) -> Result<Client, NoWay> {
        match url.port_or_known_default() {
            Some(port) if matches!(url.host(), Some(Host::Domain(_))) && self.reach.is_port_of_ours(port) => {
                self.wary(port)
            }
            _ if fresh => Ok(self.fresh.clone()),
            _ => Ok(self.pooled.clone()),
        }
    }

    fn wary(&self, port: u16) -> Result<Client, NoWay> {
        let mut wary = self.wary.lock();
        if let Some(client) = wary.get(&port) {
            return Ok(client.clone());
        }
        let resolver = Resolver { lookup: self.lookup.clone(), reach: self.reach.clone(), port: Some(port) };
        let client = (self.build)(0).dns_resolver(Arc::new(resolver)).build().map_err(|_| NoWay::Client)?;
        wary.insert(port, client.clone());
        Ok(client)
    }
}
