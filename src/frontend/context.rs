//! What is known of one request, from its head to its line in the access log.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HOST, HeaderName, USER_AGENT, VIA};
use http::{HeaderMap, HeaderValue, Version};
use pingora::prelude::Result;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;

use super::ask::Answer;
use super::forwarded::{self, Client};
use super::listener::Connection;
use super::pass::Pass;
use super::realm::Outside;
use super::respond::said;
use super::site::Site;
use super::via;
use crate::cluster::Cluster;
use crate::oci::{Host, Route};
use crate::telemetry::{RequestId, TraceParent};

/// How the cache took part in an answer (RFC 9211 for the client, one word for the access log).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheUse {
    /// The cache was not asked.
    #[default]
    None,
    Memory,
    Disk,
    Miss,
    /// Another client's download was joined.
    Collapsed,
    /// No peer answers: what was known to be good is served.
    Stale,
    /// A peer was asked, and its answer not kept.
    Bypass,
}

impl CacheUse {
    /// The word in the access log.
    pub fn as_str(self) -> &'static str {
        match self {
            CacheUse::None => "",
            CacheUse::Memory => "hit_memory",
            CacheUse::Disk => "hit_disk",
            CacheUse::Miss => "miss",
            CacheUse::Collapsed => "collapsed",
            CacheUse::Stale => "stale",
            CacheUse::Bypass => "bypass",
        }
    }

    /// The `Cache-Status` field.
    pub fn field(self, proven: bool) -> Option<HeaderValue> {
        let text = match (self, proven) {
            (CacheUse::None, _) => return None,
            (CacheUse::Memory, _) => "entrepot; hit; detail=memory",
            (CacheUse::Disk, _) => "entrepot; hit; detail=disk",
            (CacheUse::Miss, true) => "entrepot; fwd=uri-miss; stored",
            // A range that ends before the last byte leaves before the digest is proven: house.md, decision 2.
            (CacheUse::Miss, false) => "entrepot; fwd=uri-miss; stored; detail=unproven",
            (CacheUse::Collapsed, true) => "entrepot; fwd=uri-miss; collapsed",
            (CacheUse::Collapsed, false) => "entrepot; fwd=uri-miss; collapsed; detail=unproven",
            (CacheUse::Stale, _) => "entrepot; hit; detail=stale",
            (CacheUse::Bypass, _) => "entrepot; fwd=bypass",
        };
        Some(HeaderValue::from_static(text))
    }
}

/// One request. `ProxyHttp`'s context.
pub struct RequestContext {
    pub connection: Option<Arc<Connection>>,
    shutdown: Option<ShutdownWatch>,
    /// The routes and clusters of the configuration that was in force when the request came.
    pub site: Arc<Site>,
    pub started: Instant,
    pub id: RequestId,
    /// `Host` or `:authority`, as the client wrote it.
    pub authority: String,
    /// The same, lower case and without port.
    pub host: String,
    pub client: Option<Client>,
    /// In which the request came.
    pub version: Version,
    pub route: Option<Route>,
    /// Who answers, once it is known.
    pub cluster: Option<Arc<Cluster>>,
    pub cache: CacheUse,
    /// The peer that answered, if one was asked.
    pub peer: Option<Arc<str>>,
    pub peer_time: Option<Duration>,
    /// What a peer said beside the content when it was asked for this very request: see [`said`].
    pub said: Option<HeaderMap>,
    pub first_byte: Option<Duration>,
    /// Set when the request is proxied by pingora.
    pub pass: Option<Pass>,
    /// A few words on what went wrong, for the access log.
    pub problem: Option<String>,
}

impl RequestContext {
    pub fn new(from: Option<(Arc<Connection>, ShutdownWatch)>, site: Arc<Site>) -> Self {
        let (connection, shutdown) = from.unzip();
        RequestContext {
            connection,
            shutdown,
            site,
            started: Instant::now(),
            id: RequestId::new(),
            authority: String::new(),
            host: String::new(),
            client: None,
            version: Version::HTTP_11,
            route: None,
            cluster: None,
            cache: CacheUse::None,
            peer: None,
            peer_time: None,
            said: None,
            first_byte: None,
            pass: None,
            problem: None,
        }
    }

    /// A peer's part in the answer, for the access log and for the client.
    pub fn answered_by(&mut self, answer: &Answer) {
        self.peer = Some(answer.peer.clone());
        self.peer_time = Some(answer.took);
        let status = answer.response.status();
        self.said = (status.is_success() || status.is_redirection()).then(|| said(answer.response.headers()));
    }

    /// The addresses that the peers are told of: the client's, and that of the proxy of ours that it came through.
    pub fn told_addresses(&self) -> Vec<IpAddr> {
        let client = self.client.as_ref().map(|client| client.address);
        let nearest = self.connection.as_ref().map(|connection| connection.client().ip().to_canonical());
        client.into_iter().chain(nearest).collect()
    }

    /// How the client reaches us, as the peers are told it. `from`: the request's own fields.
    pub fn outside(&self, from: &HeaderMap) -> Option<Outside> {
        let mut told = HeaderMap::new();
        for name in forwarded::CHAIN {
            for value in from.get_all(&name) {
                told.append(name.clone(), value.clone());
            }
        }
        self.tell(&mut told);
        let scheme = if self.client.as_ref()?.https { "https" } else { "http" };
        let authority = told.get(forwarded::X_FORWARDED_HOST)?.to_str().ok()?;
        authority.parse::<Host>().ok()?;
        Some(Outside { scheme, authority: authority.to_owned() })
    }

    /// To be called before the answer's head is sent: stamps the moment, and says `Connection: close` when we stop.
    pub fn answer_begins(&mut self, session: &mut ServerSession) {
        if self.first_byte.is_none() {
            self.first_byte = Some(self.started.elapsed());
        }
        if self.shutdown.as_ref().is_some_and(|shutdown| *shutdown.borrow()) {
            session.set_keepalive(None);
        }
    }

    /// The answer comes from the cache, and the peers that it speaks for are known not to answer.
    pub fn speaks_for_silent_peers(&self) -> bool {
        let hit = matches!(self.cache, CacheUse::Memory | CacheUse::Disk);
        self.cache == CacheUse::Stale || (hit && self.cluster.as_ref().is_some_and(|cluster| cluster.is_silent()))
    }

    /// Writes a piece of the answer's body to the client, at the listener's least pace.
    pub async fn write(&self, session: &mut ServerSession, bytes: Bytes, end: bool) -> Result<()> {
        match &self.connection {
            Some(connection) => connection.pace().write(session, bytes, end).await,
            None => session.write_response_body(bytes, end).await,
        }
    }

    /// The fields that a peer is asked with: who asks, on whose behalf; no conditions, no ranges.
    pub fn asking(&self, session: &ServerSession, accept: Option<HeaderValue>) -> HeaderMap {
        let from = &session.req_header().headers;
        let mut headers = HeaderMap::with_capacity(12);
        let own = from.get(AUTHORIZATION);
        let told = self.cluster.as_ref().map_or(own, |cluster| cluster.authorization(own));
        for (name, value) in [(AUTHORIZATION, told), (USER_AGENT, from.get(USER_AGENT))] {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
        if let Some(accept) = accept {
            headers.insert(ACCEPT, accept);
        }
        // A digest is that of the plain bytes, so no other form of them is of use.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for name in forwarded::CHAIN.into_iter().chain([TRACEPARENT, TRACESTATE, VIA]) {
            for value in from.get_all(&name) {
                headers.append(name.clone(), value.clone());
            }
        }
        if let Ok(host) = HeaderValue::from_str(&self.authority) {
            headers.insert(HOST, host);
        }
        self.tell(&mut headers);
        headers
    }

    /// Sets the fields about the client and the request's identity, on a copy of the client's own fields.
    pub fn tell(&self, headers: &mut HeaderMap) {
        if let (Some(connection), Some(client)) = (&self.connection, &self.client) {
            let trusted = &connection.settings().trusted_proxies;
            forwarded::tell(headers, connection.client(), client, &self.authority, trusted);
        }
        if let Ok(id) = HeaderValue::from_str(self.id.as_str()) {
            headers.insert(REQUEST_ID, id);
        }
        via::add(headers, self.version);
        let (trace, keep_state) = TraceParent::next_hop(headers);
        headers.insert(TRACEPARENT, trace.header());
        if !keep_state {
            headers.remove(TRACESTATE);
        }
    }
}

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
