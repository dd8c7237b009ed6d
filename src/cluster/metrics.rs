//! `entrepot_peer_*` and `entrepot_retries_total`. Gauges are read from the living pools when somebody scrapes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::pool::Pool;
use super::state::now;

const OUTCOMES: [&str; 3] = ["succeeded", "failed", "abandoned"];

/// The room's metrics; one for the process, shared by all clusters and kept over reloads.
pub struct Metrics {
    requests: IntCounterVec,
    retries: IntCounterVec,
    gauges: Gauges,
}

/// How the requests of one peer ended.
pub(super) struct Outcomes {
    pub(super) succeeded: IntCounter,
    pub(super) failed: IntCounter,
    /// Neither: most often the client went away.
    pub(super) abandoned: IntCounter,
}

impl Metrics {
    pub fn new(registry: &Registry) -> prometheus::Result<Metrics> {
        let requests = IntCounterVec::new(
            Opts::new("entrepot_peer_requests_total", "Requests handed to a peer, by how they ended."),
            &["cluster", "peer", "outcome"],
        )?;
        let retries = IntCounterVec::new(
            Opts::new("entrepot_retries_total", "Requests tried again, at the next peer."),
            &["cluster"],
        )?;
        let gauges = Gauges::new()?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(retries.clone()))?;
        registry.register(Box::new(gauges.clone()))?;
        Ok(Metrics { requests, retries, gauges })
    }

    pub(super) fn retries(&self, cluster: &str) -> IntCounter {
        self.retries.with_label_values(&[cluster])
    }

    pub(super) fn outcomes(&self, cluster: &str, peer: SocketAddr) -> Outcomes {
        let peer = peer.to_string();
        let counter = |outcome| self.requests.with_label_values(&[cluster, peer.as_str(), outcome]);
        let [succeeded, failed, abandoned] = OUTCOMES.map(counter);
        Outcomes { succeeded, failed, abandoned }
    }

    /// Forgets the counters of a peer that DNS no longer names; otherwise a cluster of short-lived addresses would
    /// grow for ever.
    pub(super) fn forget(&self, cluster: &str, peer: SocketAddr) {
        let peer = peer.to_string();
        for outcome in OUTCOMES {
            let _ = self.requests.remove_label_values(&[cluster, peer.as_str(), outcome]); // absent is as good
        }
    }

    pub(super) fn watch(&self, pool: &Arc<Pool>) {
        let mut pools = self.gauges.pools.lock();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }
}

/// In a reload the old pool of a name lives on for a while: the younger one speaks.
#[derive(Clone)]
struct Gauges {
    pools: Arc<Mutex<Vec<Weak<Pool>>>>,
    in_flight: IntGaugeVec,
    up: IntGaugeVec,
    waiting: IntGaugeVec,
}

impl Gauges {
    fn new() -> prometheus::Result<Self> {
        let peer = ["cluster", "peer"];
        let gauge = |name, help, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        Ok(Gauges {
            pools: Arc::default(),
            in_flight: gauge("entrepot_peer_in_flight", "Requests under way at a peer, of all clusters.", &peer)?,
            up: gauge("entrepot_peer_up", "1 while a peer is well.", &peer)?,
            waiting: gauge("entrepot_peer_waiting", "Requests that wait for a peer below its limit.", &["cluster"])?,
        })
    }
}

impl Collector for Gauges {
    fn desc(&self) -> Vec<&Desc> {
        [&self.in_flight, &self.up, &self.waiting].into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let pools = self.pools.lock(); // also keeps two scrapes apart
        let living: Vec<_> = pools.iter().filter_map(Weak::upgrade).collect();
        let youngest: HashMap<_, _> = living.iter().map(|pool| (pool.name(), pool)).collect();
        let vecs = [&self.in_flight, &self.up, &self.waiting];
        vecs.iter().for_each(|vec| vec.reset());
        let (count, now) = (|count| i64::try_from(count).unwrap_or(i64::MAX), now());
        for (name, pool) in youngest {
            self.waiting.with_label_values(&[name]).set(i64::try_from(pool.waiting()).unwrap_or(i64::MAX));
            for peer in pool.roster().iter() {
                let address = peer.address().to_string();
                let labels = [name, address.as_str()];
                self.in_flight.with_label_values(&labels).set(count(peer.state.in_flight()));
                self.up.with_label_values(&labels).set(i64::from(peer.healthy(now)));
            }
        }
        vecs.iter().flat_map(|vec| vec.collect()).collect()
    }
}
