//! What is known of one request, from its head to its line in the access log.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HOST, USER_AGENT, VIA};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Response, Version};

use super::cache_use::CacheUse;
use super::fields::{REQUEST_ID, TRACEPARENT, TRACESTATE, beside_content};
use super::forwarded::{self, Client};
use super::via;
use crate::auth::{Identity, Permit, Proof, TurnedAway};
use crate::cluster::Cluster;
use crate::limits::Place;
use crate::listener::Connection;
use crate::oci::{Action, Digest, Host, Resource};
use crate::routing::Site;
use crate::telemetry::{RequestId, Trace, UnderWay};

/// How a client reaches us: `https` or `http`, the authority that it knows us by, and the listener's prefix.
pub struct Outside {
    pub scheme: &'static str,
    pub authority: String,
    pub prefix: String,
}

impl Outside {
    /// The whole address of a path of ours.
    pub fn address(&self, path: &str) -> String {
        format!("{}://{}{}{path}", self.scheme, self.authority, self.prefix)
    }
}

/// One request.
pub struct RequestContext {
    pub connection: Arc<Connection>,
    /// The routes and clusters of the configuration that was in force when the request came.
    pub site: Arc<Site>,
    pub started: Instant,
    pub id: RequestId,
    /// Its place in a trace.
    pub trace: Trace,
    /// `Host` or `:authority`, as the client wrote it.
    pub authority: String,
    /// The same, lower case and without port.
    pub host: String,
    pub client: Option<Client>,
    /// In which the request came.
    pub version: Version,
    /// Path and query as received, but for an authority, and with the canonical name of the repository: what a peer is asked for.
    pub target: PathAndQuery,
    /// Who asks.
    pub identity: Identity,
    /// How they have proven it.
    pub proof: Proof,
    /// Why they were not let in.
    pub turned_away: Option<TurnedAway>,
    /// The audit knows of this request already.
    pub recorded: bool,
    /// What they may do, once that is known: everything, where there are no rules.
    pub permit: Permit,
    /// What for, once it is read.
    pub action: Option<Action>,
    /// Counts it among those that ask for such a thing, until it is over.
    pub asking: Option<UnderWay>,
    /// Who answers, once it is known.
    pub cluster: Option<Arc<Cluster>>,
    pub cache: CacheUse,
    /// What the answer is about, once it begins: content by its digest.
    pub content: Option<Digest>,
    /// The peer that answered, if one was asked.
    pub peer: Option<Arc<str>>,
    pub peer_time: Option<Duration>,
    /// What a peer said beside the content when it was asked for this very request: see [`beside_content`].
    pub peer_fields: Option<HeaderMap>,
    /// Its place among the uploads of its client, until it is over.
    pub upload: Option<Place>,
    pub first_byte: Option<Duration>,
    /// A few words on what went wrong, for the access log.
    pub problem: Option<String>,
}

impl RequestContext {
    /// What is asked about.
    pub fn resource(&self) -> Option<&Resource> {
        self.action.as_ref().map(|action| &action.resource)
    }

    pub fn new(connection: Arc<Connection>, site: Arc<Site>, trace: Trace) -> Self {
        RequestContext {
            connection,
            site,
            started: Instant::now(),
            id: RequestId::new(),
            trace,
            authority: String::new(),
            host: String::new(),
            client: None,
            version: Version::HTTP_11,
            target: PathAndQuery::from_static("/"),
            identity: Identity::Anonymous,
            proof: Proof::None,
            turned_away: None,
            recorded: false,
            permit: Permit::open(),
            action: None,
            asking: None,
            cluster: None,
            cache: CacheUse::None,
            content: None,
            peer: None,
            peer_time: None,
            peer_fields: None,
            upload: None,
            first_byte: None,
            problem: None,
        }
    }

    /// A peer's part in the answer, for the access log and for the client.
    pub fn answered_by(&mut self, peer: &Arc<str>, took: Duration, answer: &Response<Bytes>) {
        self.peer = Some(peer.clone());
        self.peer_time = Some(took);
        let status = answer.status();
        self.peer_fields = (status.is_success() || status.is_redirection()).then(|| beside_content(answer.headers()));
    }

    /// The client's own address, behind trusted proxies.
    pub fn address(&self) -> IpAddr {
        self.client.as_ref().map_or_else(|| self.connection.client().ip(), |client| client.address).to_canonical()
    }

    /// The addresses that the peers are told of: the client's, and that of the proxy of ours that it came through.
    pub fn told_addresses(&self) -> Vec<IpAddr> {
        let client = self.client.as_ref().map(|client| client.address);
        let nearest = self.connection.client().ip().to_canonical();
        client.into_iter().chain([nearest]).collect()
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
        let prefix = self.connection.settings().prefix.to_string();
        Some(Outside { scheme, authority: authority.to_owned(), prefix })
    }

    /// To be called before the answer's head is sent: stamps the moment.
    pub fn answer_begins(&mut self) {
        if self.first_byte.is_none() {
            self.first_byte = Some(self.started.elapsed());
        }
    }

    /// The answer comes from the cache, and the peers that it speaks for are known not to answer.
    pub fn speaks_for_silent_peers(&self) -> bool {
        let hit = matches!(self.cache, CacheUse::Memory | CacheUse::Disk);
        let silent = |cluster: &Arc<Cluster>| self.cache == CacheUse::Stale || (hit && cluster.is_silent());
        self.cluster.as_ref().is_some_and(silent)
    }

    /// The fields that a peer is asked with: who asks, on whose behalf; no conditions, no ranges.
    /// `from`: the request's own fields.
    pub fn asking(&self, from: &HeaderMap, accept: Option<HeaderValue>) -> HeaderMap {
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
        if let Some(client) = &self.client {
            let trusted = &self.connection.settings().trusted_proxies;
            forwarded::tell(headers, self.connection.client(), client, &self.authority, trusted);
        }
        if let Ok(id) = HeaderValue::from_str(self.id.as_str()) {
            headers.insert(REQUEST_ID, id);
        }
        via::add(headers, self.version);
        headers.insert(TRACEPARENT, self.trace.header());
        if !self.trace.goes_on() {
            headers.remove(TRACESTATE);
        }
    }
}
