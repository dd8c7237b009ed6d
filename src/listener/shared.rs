//! What the tasks of one listener share.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use tokio::sync::watch;

use super::certificates::Certificates;
use super::config::Config;
use super::metrics::ListenerMetrics;
use super::slots::Slots;
use super::sweeper::Table;

pub(super) struct Shared {
    /// Where we listen, with the port that the system chose.
    pub(super) local: SocketAddr,
    pub(super) settings: ArcSwap<Config>,
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) tls: ArcSwap<ServerConfig>,
    /// Fingerprint of the clients' authorities that it knows.
    pub(super) believed: Mutex<Option<[u8; 32]>>,
    pub(super) slots: Arc<Slots>,
    pub(super) table: Arc<Table>,
    pub(super) metrics: Arc<ListenerMetrics>,
    /// Becomes true when the listener drains.
    pub(super) shutdown: watch::Sender<bool>,
    pub(super) watch: watch::Receiver<bool>,
}

impl Shared {
    pub(super) fn drains(&self) -> bool {
        *self.watch.borrow()
    }
}
