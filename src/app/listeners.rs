//! The listening sockets, kept in step with the configuration.

use std::net::SocketAddr;
use std::time::Duration;

use super::rooms::Rooms;
use super::{Failure, limits};
use crate::listener::{Config, Listener, ListenerHandle};

/// Every open listener, with the configuration that it was opened with.
pub struct Listeners {
    open: Vec<(Config, ListenerHandle)>,
    /// How many files the process may open.
    open_files: u64,
}

impl Listeners {
    pub async fn start(configs: &[Config], rooms: &Rooms, open_files: u64) -> Result<Self, Failure> {
        let mut open = Vec::new();
        for config in bind(&limits::within(open_files, configs), rooms).await? {
            open.push(accept(config, rooms));
        }
        Ok(Listeners { open, open_files })
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
        let bound = bind(&new, rooms).await?;
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
        Ok(())
    }

    /// Where we listen, with the ports that were bound.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.open.iter().map(|(_, handle)| handle.local_addr())
    }

    /// Stops accepting, and waits for requests under way. False when some had to be cut off at `timeout`.
    pub async fn drain(self, timeout: Duration) -> bool {
        let ends = self.open.iter().map(|(_, handle)| end(handle, timeout));
        futures::future::join_all(ends).await.into_iter().all(|clean| clean)
    }
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

async fn bind(configs: &[Config], rooms: &Rooms) -> Result<Vec<(Config, Listener)>, Failure> {
    let mut bound = Vec::new();
    for config in configs {
        let listener = Listener::bind(config, rooms.listener_metrics.clone()).await;
        bound.push((config.clone(), listener.map_err(|error| format!("listener {}: {error}", config.address))?));
    }
    Ok(bound)
}

fn accept((config, listener): (Config, Listener), rooms: &Rooms) -> (Config, ListenerHandle) {
    let (address, tls) = (listener.local_addr(), !config.tls.is_empty());
    let handle = listener.spawn(rooms.proxy.clone());
    tracing::info!(%address, tls, "listening");
    (config, handle)
}
