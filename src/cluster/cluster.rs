//! The room's front door: builds the pool, owns its tasks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;
use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio_util::task::AbortOnDropHandle;

use super::config::Config;
use super::direct::Direct;
use super::discovery::Discovery;
use super::error::{Error, PickError};
use super::forward;
use super::id::PeerId;
use super::in_flight::InFlight;
use super::metrics::Metrics;
use super::peer::{Peer, PeerStatus};
use super::pool::Pool;
use super::state::{PeerTable, now};
use super::tls::Material;
use crate::outbound::{Lookup, system_lookup};

/// For so long an unanswered question says that the peers are down, until one is answered.
const SILENCE: Duration = Duration::from_secs(10);

/// A login that the peers refuse is told of once in this span.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// One `[cluster.NAME]`. Dropped, it ends its health checks and lookups; requests under way end in peace.
pub struct Cluster {
    pool: Arc<Pool>,
    direct: Direct,
    retries: IntCounter,
    /// What goes with every request in place of the client's `Authorization`; `None` where that is handed on.
    instead: Option<Option<HeaderValue>>,
    /// When we last said that the peers refuse our login.
    told: Mutex<Option<Instant>>,
    /// When a question to every peer stayed without answer, and none was answered since.
    unheard: Mutex<Option<Instant>>,
    _discovery: AbortOnDropHandle<()>,
}

impl Cluster {
    /// Builds the cluster on the present runtime, which its tasks will need for as long as it lives.
    ///
    /// Waits for the first lookup of names, a few seconds at most; a name that cannot be resolved is tried again later.
    /// Fails for what is wrong in the configuration: files, addresses, TLS names.
    pub async fn start(
        name: &str,
        config: &Config,
        table: &PeerTable,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Cluster>, Error> {
        Self::start_with(name, config, table, metrics, system_lookup()).await
    }

    pub(super) async fn start_with(
        name: &str,
        config: &Config,
        table: &PeerTable,
        metrics: Arc<Metrics>,
        lookup: Lookup,
    ) -> Result<Arc<Cluster>, Error> {
        let settings = config.tls.settings();
        let load = tokio::task::spawn_blocking(move || Material::load(settings.as_ref()));
        let material = Arc::new(load.await.map_err(|error| rustls::Error::General(error.to_string()))??);
        let pool = Arc::new(Pool::new(name, config));
        let direct = Direct::new(&pool, &material, table.own(), lookup.clone())?;
        let mut discovery = Discovery::new(Arc::clone(&pool), table.clone(), material, Arc::clone(&metrics), lookup)?;
        discovery.start().await?;
        metrics.watch(&pool);
        Ok(Arc::new(Cluster {
            pool,
            direct,
            retries: metrics.retries(name),
            instead: config.authorization.instead(),
            told: Mutex::default(),
            unheard: Mutex::default(),
            _discovery: AbortOnDropHandle::new(tokio::spawn(discovery.run())),
        }))
    }

    pub fn name(&self) -> &str {
        self.pool.name()
    }

    pub fn config(&self) -> &Config {
        self.pool.config()
    }

    /// Whether this path outside `/v2/` is handed to the peers.
    pub fn forwards(&self, path: &str) -> bool {
        forward::covers(&self.config().forward, path)
    }

    /// Chooses a peer that is not among `tried`. Waits up to `queue_timeout` for one below its `max_connections`.
    ///
    /// `hash` is the key for `consistent_hash`; without one that rule is least connections.
    pub async fn pick(&self, hash: Option<&[u8]>, tried: &[PeerId]) -> Result<InFlight, PickError> {
        self.pool.pick(hash, tried).await
    }

    /// The peer that an upload belongs to, well or not; `NoPeer` when it is not of this cluster. Waits like `pick`.
    pub async fn begin_on(&self, id: PeerId) -> Result<InFlight, PickError> {
        self.pool.begin_on(id).await
    }

    /// True if somebody could be picked, perhaps after a wait.
    pub fn available(&self) -> bool {
        self.pool.available()
    }

    /// Every peer as it is now, primaries first.
    pub fn snapshot(&self) -> Vec<PeerStatus> {
        let now = now();
        self.pool.roster().iter().map(|peer| peer.status(now)).collect()
    }

    /// The client for URLs that peers redirect to.
    pub fn direct(&self) -> &Direct {
        &self.direct
    }

    /// Whether something that may have been sent before may be sent again: see `retry` in the configuration.
    pub fn may_resend(&self) -> bool {
        self.pool.budget.take()
    }

    /// What was sent again was answered by the same peer.
    pub fn resend_answered(&self) {
        self.pool.budget.give_back();
    }

    /// The `Authorization` that the peers are told, for a client that sent this one.
    pub fn authorization<'a>(&'a self, clients: Option<&'a HeaderValue>) -> Option<&'a HeaderValue> {
        match &self.instead {
            Some(instead) => instead.as_ref(),
            None => clients,
        }
    }

    /// The same, of the field's bytes.
    pub fn told<'a>(&'a self, clients: Option<&'a [u8]>) -> Option<&'a [u8]> {
        match &self.instead {
            Some(instead) => instead.as_ref().map(HeaderValue::as_bytes),
            None => clients,
        }
    }

    /// Whether a refused login is to be told now: once in [`TELL_AGAIN`], since every request may meet it.
    pub fn tells_of_login(&self) -> bool {
        let mut told = self.told.lock();
        let due = told.is_none_or(|last| last.elapsed() >= TELL_AGAIN);
        if due {
            *told = Some(Instant::now());
        }
        due
    }

    /// Whether this host and port, as a URL has them, are a peer's.
    pub fn is_peer(&self, host: &str, port: u16) -> bool {
        let named = format!("{host}:{port}");
        let is = |peer: &Arc<Peer>| {
            peer.authority().eq_ignore_ascii_case(&named) || peer.address().to_string().eq_ignore_ascii_case(&named)
        };
        self.pool.roster().iter().any(is)
    }

    /// Counts a request that goes to its next peer.
    pub fn retried(&self) {
        self.retries.inc();
    }

    /// Told by those who ask: whether any peer answered at all.
    pub fn peers_answered(&self, answered: bool) {
        let mut unheard = self.unheard.lock();
        *unheard = (!answered).then(Instant::now);
    }

    /// Nobody can be picked, or the latest question, not long ago, reached nobody.
    pub fn is_silent(&self) -> bool {
        !self.available() || self.unheard.lock().is_some_and(|since| since.elapsed() < SILENCE)
    }

    /// The peer's address for an id, if it is of this cluster.
    pub fn address(&self, id: PeerId) -> Option<SocketAddr> {
        self.pool.roster().iter().find(|peer| peer.id() == id).map(|peer| peer.address())
    }
}
