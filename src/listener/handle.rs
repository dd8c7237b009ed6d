//! A running listener: changed, drained and ended from here.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::certificates::{Certificates, Pair};
use super::client_certificates::Believed;
use super::config::Config;
use super::error::Error;
use super::shared::Shared;
use super::state::TICK;
use super::tls;

/// How often the certificates' files are looked at.
const RENEWAL: Duration = Duration::from_secs(5);

/// Dropping it stops accepting; connections go on.
pub struct ListenerHandle {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

/// A configuration whose certificates were loaded and can be used.
pub struct Prepared {
    config: Arc<Config>,
    pairs: Vec<Pair>,
    /// Only where other clients are believed than before: sessions that were agreed on before end with the old one.
    tls: Option<(Option<[u8; 32]>, Arc<ServerConfig>)>,
}

impl ListenerHandle {
    pub(super) fn new(shared: Arc<Shared>, stop: watch::Sender<bool>, accepting: JoinHandle<()>) -> ListenerHandle {
        tokio::spawn(sweep(Arc::downgrade(&shared)));
        tokio::spawn(renew(Arc::downgrade(&shared)));
        ListenerHandle { shared, stop, accepting: Mutex::new(Some(accepting)) }
    }

    /// Where we listen.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local
    }

    /// Checks a changed configuration of the same address without using it yet, so that several
    /// listeners change together or not at all.
    pub fn prepare(&self, config: &Config) -> Result<Prepared, Error> {
        let from = self.shared.settings.load().address;
        if from != config.address {
            return Err(Error::Moved { from, to: config.address });
        }
        let pairs = Certificates::load(&config.tls, &self.shared.provider)?;
        let believed = Believed::load(config, &self.shared.provider)?;
        let tls = match *self.shared.believed.lock() == believed.fingerprint {
            true => None,
            false => {
                let (certificates, provider) = (self.shared.certificates.clone(), self.shared.provider.clone());
                Some((believed.fingerprint, tls::server_config(certificates, &believed, provider)?))
            }
        };
        Ok(Prepared { config: Arc::new(config.clone()), pairs, tls })
    }

    /// Uses it for connections that come from now on.
    pub fn commit(&self, prepared: Prepared) {
        self.shared.slots.set_limit(prepared.config.max_connections);
        self.shared.certificates.replace(prepared.pairs);
        if let Some((fingerprint, tls)) = prepared.tls {
            *self.shared.believed.lock() = fingerprint;
            self.shared.tls.store(tls);
            // Who was believed before may not be any more.
            self.shared.table.retire_all();
        }
        self.shared.settings.store(prepared.config);
    }

    #[cfg(test)]
    /// Prepares and commits.
    pub fn reload(&self, config: &Config) -> Result<(), Error> {
        self.prepare(config).map(|prepared| self.commit(prepared))
    }

    /// Closes the listening socket, once what waits in its queue is accepted.
    pub async fn stop_accepting(&self) {
        self.stop.send_replace(true);
        let accepting = self.accepting.lock().take();
        if let Some(accepting) = accepting {
            let _ = accepting.await;
        }
    }

    /// Lets every connection end: idle ones now, others with their present requests.
    pub fn drain(&self) {
        self.shared.shutdown.send_replace(true);
        self.shared.table.finish_idle();
    }

    #[cfg(test)]
    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.shared.slots.open()
    }

    /// Looks at the certificates' files now, not at the next round. Blocks on the disk.
    #[cfg(test)]
    pub(super) fn renew_now(&self) -> usize {
        self.shared.certificates.refresh()
    }

    /// Waits until no connection is open.
    pub async fn drained(&self) {
        self.shared.slots.drained().await;
    }

    /// Ends every connection now, whatever it does.
    pub fn kill(&self) {
        self.shared.table.kill();
    }
}

impl Drop for ListenerHandle {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// Enforces the deadlines for as long as the listener or one of its connections lives.
async fn sweep(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(TICK).await;
        let Some(shared) = shared.upgrade() else { return };
        shared.table.sweep();
        if shared.drains() {
            shared.table.finish_idle();
        }
    }
}

async fn renew(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        let Some(certificates) = shared.upgrade().map(|shared| Arc::clone(&shared.certificates)) else { return };
        let _ = tokio::task::spawn_blocking(move || certificates.refresh()).await;
    }
}
