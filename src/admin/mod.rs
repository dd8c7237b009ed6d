//! The admin endpoint: a small HTTP/1.1 server on an address of its own, for probes, Prometheus and operators.
//!
//! Owns the connections and their bounds; [`answer`] owns what is said. It asks no password, so its address belongs to a
//! loopback or management network. Does not know what readiness, purge and status mean: [`AdminState`] does.
//!
//! Probes are answered at once and their connections end within seconds. What takes longer ([`Long`]) has few places of its
//! own, so that it takes none from the probes.

mod answer;
mod config;
mod long;
mod mirror;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use hyper::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::Registry;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::oci::digest::Digest;

pub use config::Config;
pub use mirror::WarmOrder;

use long::{Long, Places};

/// Connections at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// Request line and fields, in bytes.
const MAX_HEADER: usize = 16 << 10;
const MAX_FIELDS: usize = 64;
/// A whole connection, which is one request, unless that says that it takes longer: a probe must not be starved by silent clients.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// After an accept that failed, which is mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the application tells the admin endpoint.
#[async_trait]
pub trait AdminState: Send + Sync + 'static {
    /// Whether new requests should be sent to this process. Called at each probe: must be cheap.
    fn ready(&self) -> Readiness;
    /// Takes `digest` out of every tier of the cache; whether it was there.
    async fn purge(&self, digest: &Digest) -> bool;
    /// Clusters and their peers, for people and scripts; no secrets.
    fn status(&self) -> Value;
    /// Remotes and what is kept of them: of all, or of that one; up to so many images each. Asks no remote.
    async fn mirror_status(&self, remote: Option<&str>, limit: usize) -> Result<Value, Refusal>;
    /// What is known of an image, and where its parts are. Asks no remote.
    async fn explain(&self, image: &str) -> Result<Value, Refusal>;
    /// Begins to bring images whole; the stream's steps are told to whoever asked, and dropping it stops the work.
    fn warm(&self, order: WarmOrder) -> Result<BoxStream<'static, Value>, Refusal>;
}

/// Why something is not done, in the shape of the distribution specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
}

impl Refusal {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Refusal { status, code, message: message.into() }
    }
}

/// The answer to a readiness probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Why no requests should come, for people: `draining`, `cluster main: no peer available`. Empty: ready.
    pub reasons: Vec<String>,
}

impl Readiness {
    pub fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// A bound address that does not answer yet.
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    connection_timeout: Duration,
}

impl Admin {
    /// Binds the address, so that a taken port is an error at start and not later.
    pub async fn bind(config: &Config) -> io::Result<Self> {
        let listener = TcpListener::bind(config.address).await?;
        let address = listener.local_addr()?;
        Ok(Admin { listener, address, connection_timeout: CONNECTION_TIMEOUT })
    }

    /// The address bound; its port is never 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers for ever; end it by dropping the future. Connections under way end on their own within
    /// [`CONNECTION_TIMEOUT`].
    pub async fn serve(self, state: Arc<dyn AdminState>, registry: Registry) -> Infallible {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let places = Places::default();
        loop {
            // Never closed, so never an error.
            let permit = Arc::clone(&permits).acquire_owned().await.ok();
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "admin cannot accept");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (state, registry) = (Arc::clone(&state), registry.clone());
            let (limit, long) = (self.connection_timeout, places.of_one_connection());
            tokio::spawn(async move {
                tokio::select! {
                    () = connection(stream, state, registry, long.clone()) => {}
                    () = long.expired(limit) => {}
                }
                drop(permit);
            });
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<dyn AdminState>, registry: Registry, long: Long) {
    let service = service_fn(|request| {
        let (state, registry, long) = (Arc::clone(&state), registry.clone(), long.clone());
        async move { Ok::<_, Infallible>(answer::answer(request, &state, &registry, &long).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_TIMEOUT)
        .keep_alive(false)
        .max_headers(MAX_FIELDS)
        .max_buf_size(MAX_HEADER)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "admin connection");
    }
}
