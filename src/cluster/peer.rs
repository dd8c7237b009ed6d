//! One address of a cluster: who it is, how much it takes, how it is spoken to. Its counters live in `state`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::budget::ResendBudget;
use super::config::{Config, Health, PeerConfig};
use super::error::{Error, SendError};
use super::exchange::Exchange;
use super::id::PeerId;
use super::metrics::Outcomes;
use super::state::{PeerState, Probe, millis};
use super::tls::{Material, PeerTls};

/// Effective weights are in parts of this of the configured ones, so that slow start has steps to climb.
const WEIGHT_SCALE: u64 = 1024;
/// The largest weight that counts.
const MAX_WEIGHT: u32 = 1000;

/// A peer of one cluster.
pub struct Peer {
    id: PeerId,
    address: SocketAddr,
    authority: Arc<str>,
    tls: Option<PeerTls>,
    exchange: Exchange,
    pub(super) weight: u64,
    /// 0: no limit.
    pub(super) max_connections: u64,
    pub(super) backup: bool,
    /// When it joined a cluster that was already at work; 0 if it was there from the start.
    joined_at: u64,
    pub(super) turn: AtomicI64,
    pub(super) state: Arc<PeerState>,
    pub(super) probe: Arc<Probe>,
    pub(super) policy: Policy,
    pub(super) outcomes: Outcomes,
}

/// The cluster's rules of passive health, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    pub(super) max_fails: u32,
    pub(super) fail_timeout: u64,
    pub(super) slow_start: u64,
}

impl Policy {
    pub(super) fn of(config: &Config) -> Self {
        Policy {
            max_fails: config.max_fails,
            fail_timeout: millis(config.fail_timeout.0),
            slow_start: millis(config.slow_start.0),
        }
    }
}

/// What a peer is made of, beside its cluster's configuration.
pub(super) struct Parts<'a> {
    pub(super) peer: &'a PeerConfig,
    /// The host of `peer.address`.
    pub(super) host: &'a str,
    pub(super) address: SocketAddr,
    pub(super) material: &'a Arc<Material>,
    pub(super) state: Arc<PeerState>,
    pub(super) joined_at: u64,
    pub(super) outcomes: Outcomes,
    pub(super) budget: Arc<ResendBudget>,
}

impl Peer {
    pub(super) fn new(config: &Config, parts: Parts<'_>) -> Result<Self, Error> {
        let Parts { peer, host, address, material, state, joined_at, outcomes, budget } = parts;
        let name = match config.tls.settings() {
            Some(_) => material.server_name().unwrap_or(host),
            None => host,
        };
        let reason = |reason| Error::Client { peer: peer.address.clone(), reason };
        let exchange = Exchange::new(config, material.peers.clone(), name, address, budget).map_err(reason)?;
        Ok(Peer {
            id: PeerId::of(address),
            address,
            authority: peer.address.as_str().into(),
            tls: config.tls.settings().map(|_| PeerTls::new(name, material)),
            exchange,
            weight: u64::from(peer.weight.clamp(1, MAX_WEIGHT)) * WEIGHT_SCALE,
            max_connections: u64::from(peer.max_connections),
            backup: peer.backup,
            joined_at,
            turn: AtomicI64::new(0),
            probe: probe(&state, &config.health, &peer.address, name),
            state,
            policy: Policy::of(config),
            outcomes,
        })
    }

    /// The same in every process that knows this address.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Where connections go.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `host:port` as configured.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// `None`: plain HTTP.
    pub fn tls(&self) -> Option<&PeerTls> {
        self.tls.as_ref()
    }

    /// One HTTP/1.1 exchange over the peer's keep-alive pool; resolves with the head of the answer. A 3xx is an answer.
    ///
    /// `Host` is taken from `headers`, else it is the peer's own name (`server_name` or host, and port). Hop-by-hop headers are left out, the length
    /// is that of `body`. Reads of the answer's body fail after `timeouts.read`; for HEAD the length is only in the
    /// headers. Tells nobody how it went: that is for [`InFlight`](super::InFlight).
    pub async fn send(
        &self,
        method: Method,
        path_and_query: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<reqwest::Response, SendError> {
        // RFC 9110 §9.2.2: what means the same twice.
        let repeat = matches!(method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE);
        self.exchange.send(method, path_and_query, headers, body, repeat).await
    }

    /// A POST that opens an upload. Sent twice, it leaves one that nobody knows, and the peer purges.
    pub async fn open_upload(&self, path: &str, headers: HeaderMap) -> Result<reqwest::Response, SendError> {
        self.exchange.send(Method::POST, path, headers, Bytes::new(), true).await
    }

    pub(super) async fn answers_well(&self, health: &Health) -> bool {
        let answer = self.exchange.probe(&health.path, health.timeout.0).await;
        answer.is_ok_and(|status| matches!(status.as_u16(), 200 | 401))
    }

    pub(super) fn ejected(&self, now: u64) -> bool {
        self.policy.max_fails > 0 && self.state.ejected(now)
    }

    pub(super) fn healthy(&self, now: u64) -> bool {
        self.probe.up() && !self.ejected(now)
    }

    /// The configured weight, or as much of it as slow start has come to.
    pub(super) fn effective_weight(&self, now: u64) -> u64 {
        let slow_start = self.policy.slow_start;
        if slow_start == 0 {
            return self.weight;
        }
        let since = self.joined_at.max(self.probe.back_since()).max(self.state.back_since());
        let age = now.saturating_sub(since);
        if since == 0 || age >= slow_start { self.weight } else { (self.weight * age / slow_start).max(1) }
    }

    pub(super) fn status(&self, now: u64) -> PeerStatus {
        PeerStatus {
            id: self.id,
            authority: Arc::clone(&self.authority),
            address: self.address,
            backup: self.backup,
            healthy: self.healthy(now),
            in_flight: self.state.in_flight(),
        }
    }
}

/// Switched off, checks have no verdict, not even one from before a reload.
fn probe(state: &PeerState, health: &Health, authority: &str, name: &str) -> Arc<Probe> {
    if health.interval.0.is_zero() {
        return Arc::default();
    }
    state.probe(&format!("{authority} {name} {}", health.path))
}

/// How a peer is at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    pub id: PeerId,
    pub authority: Arc<str>,
    pub address: SocketAddr,
    pub backup: bool,
    pub healthy: bool,
    /// Requests under way in the whole process.
    pub in_flight: u64,
}
