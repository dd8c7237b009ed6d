//! From the configured peers to the roster: resolves names, again and again, and starts the checks of who is there.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::config::PeerConfig;
use super::error::Error;
use super::health;
use super::metrics::Metrics;
use super::peer::{Parts, Peer};
use super::pool::{Pool, Roster};
use super::state::{PeerTable, now};
use super::tls::Material;
use crate::outbound::Lookup;

/// A lookup may take this long; the resolver's own patience can be much longer.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// A name that has never been resolved is tried again this soon.
const UNKNOWN_AGAIN: Duration = Duration::from_secs(2);
/// Addresses of one name that become peers.
const MAX_ADDRESSES: usize = 256;

/// Owned by one task; dropped with it, it ends the checks.
pub(super) struct Discovery {
    pool: Arc<Pool>,
    table: PeerTable,
    material: Arc<Material>,
    metrics: Arc<Metrics>,
    lookup: Lookup,
    entries: Vec<Entry>,
    peers: HashMap<SocketAddr, Present>,
}

/// One of the configured peers.
struct Entry {
    config: PeerConfig,
    host: String,
    port: u16,
    /// An IP address needs no lookup.
    is_name: bool,
    addresses: Vec<SocketAddr>,
    failing: bool,
}

/// One peer in the roster.
struct Present {
    entry: usize,
    peer: Arc<Peer>,
    _checks: Option<AbortOnDropHandle<()>>,
}

impl Discovery {
    pub(super) fn new(
        pool: Arc<Pool>,
        table: PeerTable,
        material: Arc<Material>,
        metrics: Arc<Metrics>,
        lookup: Lookup,
    ) -> Result<Self, Error> {
        let entries = pool.config().peers.iter().map(Entry::new).collect::<Result<_, _>>()?;
        Ok(Discovery { pool, table, material, metrics, lookup, entries, peers: HashMap::new() })
    }

    /// The first look. A name that cannot be resolved is no error: its peers join when it can.
    pub(super) async fn start(&mut self) -> Result<(), Error> {
        self.resolve().await;
        self.update(0)
    }

    /// Looks again until it is dropped.
    pub(super) async fn run(mut self) {
        let again = self.pool.config().resolve_interval.0;
        loop {
            let names = self.entries.iter().filter(|entry| entry.is_name);
            let unknown = names.clone().any(|entry| entry.addresses.is_empty());
            if unknown {
                tokio::time::sleep(if again.is_zero() { UNKNOWN_AGAIN } else { again.min(UNKNOWN_AGAIN) }).await;
            } else if names.count() == 0 || again.is_zero() {
                return std::future::pending().await; // nothing to look for, but the checks stay ours
            } else {
                tokio::time::sleep(again).await;
            }
            if self.resolve().await
                && let Err(error) = self.update(now())
            {
                warn!(cluster = self.pool.name(), %error, "a peer that a name gave cannot be used");
            }
        }
    }

    /// Looks all names up; true if something changed. A failing lookup changes nothing.
    async fn resolve(&mut self) -> bool {
        let lookup = &self.lookup;
        let cluster = self.pool.name();
        let names = self.entries.iter_mut().filter(|entry| entry.is_name);
        join_all(names.map(|entry| entry.resolve(cluster, lookup))).await.contains(&true)
    }

    /// Makes the roster what the addresses say. Who stays keeps its connections; who leaves ends its requests in peace.
    fn update(&mut self, joined_at: u64) -> Result<(), Error> {
        let mut before = std::mem::take(&mut self.peers);
        let mut roster = Roster::default();
        let mut outcome = Ok(());
        for index in 0..self.entries.len() {
            let Some(entry) = self.entries.get(index) else { break };
            for address in entry.addresses.iter().copied() {
                if self.peers.contains_key(&address) {
                    warn!(cluster = self.pool.name(), peer = %address, "two entries lead to one peer; the first counts");
                    continue;
                }
                let present = match before.remove(&address) {
                    Some(present) if present.entry == index => present,
                    _ => match self.join(index, entry, address, joined_at) {
                        Ok(present) => present,
                        Err(error) => {
                            outcome = Err(error);
                            continue;
                        }
                    },
                };
                let list = if present.peer.backup { &mut roster.backups } else { &mut roster.primaries };
                list.push(Arc::clone(&present.peer));
                self.peers.insert(address, present);
            }
        }
        self.pool.replace_roster(roster);
        for address in before.keys().filter(|address| !self.peers.contains_key(address)) {
            info!(cluster = self.pool.name(), peer = %address, "peer left");
            self.metrics.forget(self.pool.name(), *address);
        }
        outcome
    }

    fn join(&self, index: usize, entry: &Entry, address: SocketAddr, joined_at: u64) -> Result<Present, Error> {
        let config = self.pool.config();
        let parts = Parts {
            peer: &entry.config,
            host: &entry.host,
            address,
            material: &self.material,
            state: self.table.state(address),
            joined_at,
            outcomes: self.metrics.outcomes(self.pool.name(), address),
            budget: Arc::clone(&self.pool.budget),
        };
        let peer = Arc::new(Peer::new(config, parts)?);
        info!(cluster = self.pool.name(), peer = %address, id = %peer.id(), authority = peer.authority(), "peer joined");
        let checked = !config.health.interval.0.is_zero();
        let checks = checked.then(|| health::spawn(Arc::clone(&peer), config.health.clone()));
        Ok(Present { entry: index, peer, _checks: checks })
    }
}

impl Entry {
    fn new(config: &PeerConfig) -> Result<Self, Error> {
        let bad = || Error::Address(config.address.clone());
        let (host, port) = config.address.rsplit_once(':').ok_or_else(bad)?;
        let port: u16 = port.parse().map_err(|_| bad())?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let ip = bracketed.unwrap_or(host).parse::<IpAddr>().ok();
        let well_formed = match ip {
            Some(ip) => ip.is_ipv6() == bracketed.is_some(),
            None => !host.is_empty() && !host.contains([':', '/', '@', '[', ']', '?', '#', ' ']),
        };
        if port == 0 || !well_formed {
            return Err(bad());
        }
        Ok(Entry {
            config: config.clone(),
            host: bracketed.unwrap_or(host).to_owned(),
            port,
            is_name: ip.is_none(),
            addresses: ip.map(|ip| SocketAddr::new(ip, port)).into_iter().collect(),
            failing: false,
        })
    }

    async fn resolve(&mut self, cluster: &str, lookup: &Lookup) -> bool {
        let found = tokio::time::timeout(LOOKUP_TIMEOUT, lookup(self.host.clone(), self.port)).await;
        let found = found.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)));
        let mut addresses = match found {
            Ok(addresses) if !addresses.is_empty() => addresses,
            other => {
                let reason = other.err().map_or_else(|| "no addresses".to_owned(), |error| error.to_string());
                if !std::mem::replace(&mut self.failing, true) {
                    let kept = self.addresses.len();
                    warn!(cluster, name = self.host, reason, kept, "name cannot be resolved; we keep what we knew");
                }
                return false;
            }
        };
        if std::mem::replace(&mut self.failing, false) {
            info!(cluster, name = self.host, "name can be resolved again");
        }
        addresses.iter_mut().for_each(|address| address.set_ip(address.ip().to_canonical()));
        addresses.sort_unstable(); // resolvers rotate their answers
        addresses.dedup();
        addresses.truncate(MAX_ADDRESSES);
        let changed = addresses != self.addresses;
        self.addresses = addresses;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(address: &str) -> Result<(String, u16, bool), Error> {
        let config = PeerConfig { address: address.into(), weight: 1, max_connections: 0, backup: false };
        Entry::new(&config).map(|entry| (entry.host, entry.port, entry.is_name))
    }

    #[test]
    fn addresses_are_host_and_port() {
        assert_eq!(entry("127.0.0.1:5000").unwrap(), ("127.0.0.1".into(), 5000, false));
        assert_eq!(entry("[::1]:5000").unwrap(), ("::1".into(), 5000, false));
        assert_eq!(entry("registry.internal:80").unwrap(), ("registry.internal".into(), 80, true));
        for bad in [
            "",
            "host",
            ":5000",
            "host:",
            "host:0",
            "host:70000",
            "::1:5000",
            "[host]:1",
            "a/b:1",
            "u@h:1",
            "http://h:1",
        ] {
            assert!(entry(bad).is_err(), "{bad}");
        }
    }
}
