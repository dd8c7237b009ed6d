//! A running listener: changed, drained and ended from here.

use std::sync::atomic::Ordering::Relaxed;
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
use crate::sockets::{Address, Socket};

/// How often the certificates' files are looked at.
const RENEWAL: Duration = Duration::from_secs(5);

/// What the task that accepts is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepting {
    All,
    /// Nothing now: what waits in the kernel's queue is another process's, or waits until we go on.
    Paused,
    /// Nothing any more, but what waits in the queue, which nobody else would take.
    Ended,
}

/// Begins to accept at a socket.
pub(super) type Begin = Box<dyn Fn(Arc<Socket>, watch::Receiver<Accepting>) -> JoinHandle<()> + Send + Sync>;

/// Dropping it stops accepting; connections go on.
pub struct ListenerHandle {
    shared: Arc<Shared>,
    /// Until the listener ends.
    socket: Mutex<Option<Arc<Socket>>>,
    told: watch::Sender<Accepting>,
    begin: Begin,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

/// A configuration whose certificates were loaded and can be used.
pub struct Prepared {
    config: Arc<Config>,
    pairs: Vec<Pair>,
    /// Only where other clients are believed than before, or another TLS is spoken: sessions that were agreed on before end with the old
    /// one.
    tls: Option<(Option<[u8; 32]>, Arc<ServerConfig>)>,
}

impl ListenerHandle {
    pub(super) fn new(shared: Arc<Shared>, socket: Arc<Socket>, begin: Begin) -> ListenerHandle {
        tokio::spawn(sweep(Arc::downgrade(&shared)));
        tokio::spawn(renew(Arc::downgrade(&shared)));
        let told = watch::Sender::new(Accepting::All);
        let accepting = begin(Arc::clone(&socket), told.subscribe());
        ListenerHandle { shared, socket: Mutex::new(Some(socket)), told, begin, accepting: Mutex::new(Some(accepting)) }
    }

    /// Where we listen.
    pub fn local(&self) -> &Address {
        &self.shared.local
    }

    #[cfg(test)]
    pub fn local_addr(&self) -> std::net::SocketAddr {
        self.shared.local.tcp().unwrap()
    }

    /// The socket, to be handed on; `None` once the listener has ended.
    pub fn socket(&self) -> Option<Arc<Socket>> {
        self.socket.lock().clone()
    }

    /// Whether new connections are taken, unless they are not meant to be.
    pub fn works(&self) -> bool {
        self.accepting.lock().as_ref().is_none_or(|accepting| !accepting.is_finished())
    }

    /// Checks a changed configuration of the same address without using it yet, so that several
    /// listeners change together or not at all.
    pub fn prepare(&self, config: &Config) -> Result<Prepared, Error> {
        let from = self.shared.settings.load().address.clone();
        if from != config.address {
            return Err(Error::Moved { from, to: config.address.clone() });
        }
        let pairs = Certificates::load(&config.tls, &self.shared.provider, self.shared.issuer.as_deref())?;
        let believed = Believed::load(config, &self.shared.provider)?;
        let tls = match *self.shared.believed.lock() == believed.fingerprint && self.speaks_the_same(config) {
            true => None,
            false => {
                let certificates = self.shared.certificates.clone();
                Some((believed.fingerprint, tls::server_config(certificates, &believed, config)?))
            }
        };
        Ok(Prepared { config: Arc::new(config.clone()), pairs, tls })
    }

    fn speaks_the_same(&self, config: &Config) -> bool {
        let present = self.shared.settings.load();
        present.tls_min_version == config.tls_min_version && present.tls_ciphers == config.tls_ciphers
    }

    /// Uses it for connections that come from now on.
    pub fn commit(&self, prepared: Prepared) {
        self.shared.slots.set_limit(prepared.config.max_connections);
        self.shared.certificates.replace(prepared.pairs);
        let mut believed = self.shared.believed.lock();
        if let Some((fingerprint, tls)) = prepared.tls {
            *believed = fingerprint;
            self.shared.tls.store(tls);
            // Who was believed before may not be any more, nor what was agreed on with them.
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
        // The task that accepts has it until the queue is empty, and nobody has it a moment longer.
        drop(self.socket.lock().take());
        self.no_more(Accepting::Ended).await;
    }

    /// Accepts nothing, with the socket open: what comes waits in its queue, for us or for who else has it.
    pub async fn pause(&self) {
        self.no_more(Accepting::Paused).await;
    }

    async fn no_more(&self, told: Accepting) {
        self.told.send_replace(told);
        let accepting = self.accepting.lock().take();
        if let Some(accepting) = accepting {
            let _ = accepting.await;
        }
    }

    /// Accepts again, if it does not.
    pub fn resume(&self) {
        let mut accepting = self.accepting.lock();
        if accepting.is_some() {
            return;
        }
        if let Some(socket) = self.socket() {
            self.told.send_replace(Accepting::All);
            *accepting = Some((self.begin)(socket, self.told.subscribe()));
        }
    }

    /// Another process accepts at the same socket: lets every connection end with its next answer. Those that wait for a request
    /// are not ended, since it may be on its way, until the drain.
    pub fn leave(&self) {
        self.socket.lock().take();
        self.shared.leaving.store(true, Relaxed);
        self.shared.table.retire_all();
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
        self.told.send_replace(Accepting::Ended);
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
        } else if shared.leaving.load(Relaxed) {
            shared.table.retire_all();
        }
    }
}

async fn renew(shared: Weak<Shared>) {
    // What is wrong with the lists of revoked certificates is told once.
    let mut wrong = None;
    loop {
        tokio::time::sleep(RENEWAL).await;
        let Some(shared) = shared.upgrade() else { return };
        let looked = tokio::task::spawn_blocking(move || {
            shared.certificates.refresh();
            renew_believed(&shared).err().map(|error| error.to_string())
        });
        let Ok(found) = looked.await else { continue };
        if let Some(error) = found.as_ref().filter(|_| found != wrong) {
            tracing::warn!(error, "lists of revoked certificates that changed are refused, the old ones stay");
        }
        wrong = found;
    }
}

/// Looks whether there are newer lists of revoked certificates: they end, and nobody would be let in any more. Blocks on the disk.
fn renew_believed(shared: &Shared) -> Result<(), Error> {
    let settings = shared.settings.load_full();
    if settings.client_crl.is_none() {
        return Ok(());
    }
    let believed = Believed::load(&settings, &shared.provider)?;
    let mut present = shared.believed.lock();
    let is_reloaded = !Arc::ptr_eq(&settings, &shared.settings.load_full());
    if *present == believed.fingerprint || is_reloaded {
        return Ok(());
    }
    let tls = tls::server_config(shared.certificates.clone(), &believed, &settings)?;
    *present = believed.fingerprint;
    shared.tls.store(tls);
    // Who was believed before may not be any more, nor what was agreed on with them.
    shared.table.retire_all();
    tracing::info!(address = %shared.local, "lists of revoked certificates were read again");
    Ok(())
}
