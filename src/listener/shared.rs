//! What the tasks of one listener share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use tokio::sync::watch;

use super::certificates::Certificates;
use super::config::Config;
use super::issued::Issuer;
use super::metrics::ListenerMetrics;
use super::slots::Slots;
use super::sweeper::Table;
use crate::sockets::Address;

pub(super) struct Shared {
    /// Where we listen, with the port that the system chose.
    pub(super) local: Address,
    pub(super) settings: ArcSwap<Config>,
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) certificates: Arc<Certificates>,
    /// Who has the certificates that come by themselves.
    pub(super) issuer: Option<Arc<dyn Issuer>>,
    pub(super) tls: ArcSwap<ServerConfig>,
    /// Fingerprint of the clients' authorities that it knows.
    pub(super) believed: Mutex<Option<[u8; 32]>>,
    pub(super) slots: Arc<Slots>,
    pub(super) table: Arc<Table>,
    pub(super) metrics: Arc<ListenerMetrics>,
    /// Another process accepts in our place: every connection ends with its next answer.
    pub(super) leaving: AtomicBool,
    /// Becomes true when the listener drains.
    pub(super) shutdown: watch::Sender<bool>,
    pub(super) watch: watch::Receiver<bool>,
}

impl Shared {
    pub(super) fn drains(&self) -> bool {
        *self.watch.borrow()
    }
}
