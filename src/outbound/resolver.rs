//! Names to addresses, of which only those leave that may be gone to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::reach::Reach;

/// Finds the addresses of a host and port. A seam for tests.
pub type Lookup = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The system's resolver.
pub fn system_lookup() -> Lookup {
    Arc::new(|host, port| Box::pin(async move { Ok(tokio::net::lookup_host((host.as_str(), port)).await?.collect()) }))
}

/// What a client connects by: it takes the addresses that come from here and asks nobody else.
pub(super) struct Resolver {
    pub(super) lookup: Lookup,
    pub(super) reach: Arc<Reach>,
    /// The port that the client is used for, where it is one of ours.
    pub(super) port: Option<u16>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, reach, port) = (self.lookup.clone(), self.reach.clone(), self.port);
        Box::pin(async move {
            // The client puts the URL's port in place of 0.
            let found = lookup(name.as_str().to_owned(), 0).await?;
            let mut allowed = Vec::with_capacity(found.len());
            let mut refused = None;
            for address in found {
                match reach.judge(address.ip(), port) {
                    Ok(()) => allowed.push(address),
                    Err(forbidden) => refused = Some(forbidden),
                }
            }
            match refused {
                Some(forbidden) if allowed.is_empty() => Err(forbidden.into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}
