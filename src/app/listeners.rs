//! The listening sockets, kept in step with the configuration.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::rooms::Rooms;
use super::upgrade::{self, Heirloom};
use super::{Failure, limits};
use crate::listener::{Config, Listener, ListenerHandle};
use crate::sockets::{Address, Inherited, Role, Told};

/// Every open listener, with the configuration that it was opened with.
pub struct Listeners {
    open: Vec<(Config, Arc<ListenerHandle>)>,
    /// How many files the process may open.
    open_files: u64,
    alive: Alive,
}

/// Listeners that are open, and do not accept yet.
pub struct Bound {
    bound: Vec<(Config, Listener)>,
    open_files: u64,
}

/// Whether all listeners accept.
#[derive(Clone, Default)]
pub struct Alive(Arc<ArcSwap<Vec<Arc<ListenerHandle>>>>);

impl Alive {
    pub fn is(&self) -> bool {
        self.0.load().iter().all(|handle| handle.works())
    }
}

impl Bound {
    /// Sockets that listen already are taken from there.
    pub async fn open(
        configs: &[Config],
        rooms: &Rooms,
        open_files: u64,
        inherited: &mut Inherited,
    ) -> Result<Self, Failure> {
        let bound = bind(&limits::within(open_files, configs), rooms, inherited).await?;
        Ok(Bound { bound, open_files })
    }

    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.bound.iter().filter_map(|(_, listener)| listener.local().tcp())
    }

    pub fn accept(self, rooms: &Rooms) -> Listeners {
        let open = self.bound.into_iter().map(|bound| accept(bound, rooms)).collect();
        let listeners = Listeners { open, open_files: self.open_files, alive: Alive::default() };
        listeners.look_after();
        listeners
    }
}

impl Listeners {
    /// Whether all of them accept, at any later time.
    pub fn alive(&self) -> Alive {
        self.alive.clone()
    }

    fn look_after(&self) {
        self.alive.0.store(Arc::new(self.open.iter().map(|(_, handle)| handle.clone()).collect()));
    }

    /// What a successor gets.
    pub fn heirlooms(&self) -> Vec<Heirloom> {
        let of_one = |(config, handle): &(Config, Arc<ListenerHandle>)| {
            let socket = handle.socket()?;
            let told = upgrade::told(Role::Listener, config.address.clone(), &socket);
            Some((socket, told))
        };
        self.open.iter().filter_map(of_one).collect()
    }

    /// Accepts nothing, until [`Self::resume`]: what comes waits. At those that are `left`, nobody else would accept.
    pub async fn pause(&self, left: &[Told]) {
        let given = self.open.iter().filter(|(config, _)| !is_left(config, left));
        futures::future::join_all(given.map(|(_, handle)| handle.pause())).await;
    }

    pub fn resume(&self) {
        self.open.iter().for_each(|(_, handle)| handle.resume());
    }

    /// Another process has the sockets and their files, but those that are `left`, which go with us.
    pub fn give_away(&self, left: &[Told]) {
        let given = self.open.iter().filter(|(config, _)| !is_left(config, left));
        given.filter_map(|(_, handle)| handle.socket()).for_each(|socket| socket.own_file(false));
    }

    /// Another process accepts at the same sockets, and nobody at those that are `left`. Connections end with their next answer; those
    /// that have none to come within `grace`, or half of `timeout`, are ended then, and those that are not done at `timeout` are cut
    /// off, which makes it false.
    pub async fn leave(self, left: &[Told], grace: Duration, timeout: Duration) -> bool {
        self.alive.0.store(Arc::default());
        let grace = grace.min(timeout / 2);
        let alone = self.open.iter().filter(|(config, _)| is_left(config, left));
        futures::future::join_all(alone.map(|(_, handle)| handle.stop_accepting())).await;
        self.open.iter().for_each(|(_, handle)| handle.leave());
        let drained = futures::future::join_all(self.open.iter().map(|(_, handle)| handle.drained()));
        if tokio::time::timeout(grace, drained).await.is_ok() {
            return true;
        }
        self.drain(timeout.saturating_sub(grace)).await
    }

    /// Opens what is new, changes what stays, closes what is gone. Changes nothing when something is wrong.
    pub async fn follow(&mut self, configs: &[Config], rooms: &Rooms) -> Result<(), Failure> {
        let configs = &limits::within(self.open_files, configs)[..];
        let stays = |config: &Config| self.open.iter().any(|(old, _)| old.address == config.address);
        let new: Vec<_> = configs.iter().filter(|config| !stays(config)).cloned().collect();
        let mut prepared = Vec::new();
        for (old, handle) in &self.open {
            let config = configs.iter().find(|config| config.address == old.address);
            let change = config.map(|config| handle.prepare(config)).transpose();
            let change = change.map_err(|error| format!("listener {}: {error}", old.address))?;
            prepared.push(config.cloned().zip(change));
        }
        let bound = bind(&new, rooms, &mut Inherited::default()).await?;
        let old = std::mem::take(&mut self.open);
        for ((old, handle), change) in old.into_iter().zip(prepared) {
            match change {
                Some((config, change)) => {
                    handle.commit(change);
                    self.open.push((config, handle));
                }
                None => {
                    tracing::info!(address = %old.address, "no longer listening");
                    // Connections under way end with their last request.
                    tokio::spawn(async move { end(&handle, LEFTOVERS).await });
                }
            }
        }
        self.open.extend(bound.into_iter().map(|bound| accept(bound, rooms)));
        self.look_after();
        Ok(())
    }

    /// Where we listen, with the ports that were bound.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.open.iter().map(|(_, handle)| handle.local())
    }

    /// Stops accepting, and waits for requests under way. False when some had to be cut off at `timeout`.
    pub async fn drain(self, timeout: Duration) -> bool {
        self.alive.0.store(Arc::default());
        let ends = self.open.iter().map(|(_, handle)| end(handle, timeout));
        futures::future::join_all(ends).await.into_iter().all(|clean| clean)
    }
}

/// Whether another process has no use for its socket.
fn is_left(config: &Config, left: &[Told]) -> bool {
    left.iter().any(|told| told.role == Role::Listener && told.address == config.address)
}

/// Ends one listener; false when connections had to be cut off.
async fn end(handle: &ListenerHandle, timeout: Duration) -> bool {
    handle.stop_accepting().await;
    handle.drain();
    let clean = tokio::time::timeout(timeout, handle.drained()).await.is_ok();
    if !clean {
        handle.kill();
    }
    clean
}

/// How long the connections of a listener that a reload removed may live on.
const LEFTOVERS: Duration = Duration::from_secs(3600);

async fn bind(
    configs: &[Config],
    rooms: &Rooms,
    inherited: &mut Inherited,
) -> Result<Vec<(Config, Listener)>, Failure> {
    let mut bound = Vec::new();
    for config in configs {
        let (metrics, issuer) = (rooms.listener_metrics.clone(), Some(rooms.acme.clone() as _));
        let told = |error: &dyn std::fmt::Display| format!("listener {}: {error}", config.address);
        let listener = match inherited.take(Role::Listener, &config.address, config.name.as_deref()) {
            Some(socket) => {
                let socket = socket.map_err(|error| told(&format!("the socket that was handed over {error}")))?;
                Listener::at(socket, config, metrics, issuer)
            }
            None => Listener::bind(config, metrics, issuer).await,
        };
        bound.push((config.clone(), listener.map_err(|error| told(&error))?));
    }
    Ok(bound)
}

fn accept((config, listener): (Config, Listener), rooms: &Rooms) -> (Config, Arc<ListenerHandle>) {
    let (address, tls) = (listener.local().clone(), !config.tls.is_empty());
    let handle = listener.spawn(rooms.proxy.clone());
    if let Some(socket) = handle.socket() {
        socket.own_file(true);
        // One that comes of another process was made by another configuration.
        if let Err(error) = socket.open_to(config.socket_mode.0) {
            tracing::warn!(%address, %error, "listener.socket_mode is not in force");
        }
    }
    tracing::info!(%address, tls, "listening");
    (config, Arc::new(handle))
}
