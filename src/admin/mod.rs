//! The admin endpoint: a small HTTP/1.1 server on an address of its own, and at a socket, for probes, Prometheus and operators.
//!
//! Owns the connections and their bounds, and who may ask (`gate`); `answer` owns what is said, `api` the orders of an operator,
//! which `order` has as values. Does not know what readiness, purge and an order mean: [`AdminState`] does.
//!
//! Probes are answered at once, and nobody is asked who they are; their connections end within seconds. What takes longer (`long`) has
//! few places of its own, so that it takes none from the probes.

mod answer;
mod api;
mod config;
mod gate;
mod long;
mod mirror;
pub mod order;
mod steps;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use http::HeaderValue;
use hyper::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::Registry;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::audit::Origin;
use crate::auth::{Permit, Refused, Unproven};
use crate::oci::digest::Digest;
use crate::sockets::{Accepted, Address, OTHERS_MAY_NOT, Socket, make_folder_of};

pub use answer::NOTHING_HERE;
pub use config::Config;
pub use mirror::WarmOrder;
pub use order::Order;

use long::{Long, Places};

/// Connections at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// Request line and fields, in bytes.
const MAX_HEADER: usize = 16 << 10;
const MAX_FIELDS: usize = 64;
/// A whole connection, which is one request, unless that says that it takes longer: a probe must not be starved by silent clients.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// At the end of the process, answers under way have this long.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// After an accept that failed, which is mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the application tells the admin endpoint.
#[async_trait]
pub trait AdminState: Send + Sync + 'static {
    /// Whether new requests should be sent to this process. Called at each probe: must be cheap.
    fn ready(&self) -> Readiness;
    /// Who asks. Where there are no rules, nobody in particular, who may do everything.
    async fn identify(&self, asker: &Asker<'_>) -> Result<Operator, Unproven>;
    /// Somebody may not do what they asked for (`POST /api/v1/rm`).
    fn refused(&self, operator: &Operator, refused: Refused, what: &str);
    /// Does what was ordered, or begins to. Who ordered it may: nothing is asked any more.
    async fn perform(&self, order: Order, operator: &Operator) -> Result<Done, Refusal>;
    /// Takes `digest` out of every tier of the cache; whether it was there.
    async fn purge(&self, digest: &Digest, operator: &Operator) -> bool;
    /// Clusters and their peers, for people and scripts; no secrets.
    fn status(&self) -> Value;
    /// Remotes and what is kept of them: of all, or of that one; up to so many images each. Asks no remote.
    async fn mirror_status(&self, remote: Option<&str>, limit: usize) -> Result<Value, Refusal>;
    /// What is known of an image, and where its parts are. Asks no remote.
    async fn explain(&self, image: &str) -> Result<Value, Refusal>;
    /// Begins to bring images whole; the stream's steps are told to whoever asked, and dropping it stops the work.
    fn warm(&self, order: WarmOrder, operator: &Operator) -> Result<BoxStream<'static, Value>, Refusal>;
}

/// What a request says of who makes it.
pub struct Asker<'a> {
    pub authorization: Option<&'a HeaderValue>,
    /// As it was asked for, lower case, without port; empty if it was not.
    pub host: String,
    /// At the socket, this machine's own.
    pub address: IpAddr,
    pub user_agent: Option<Vec<u8>>,
}

/// Who orders something.
pub struct Operator {
    pub permit: Permit,
    /// For the audit.
    pub origin: Origin,
}

/// What comes of an order.
pub enum Done {
    Told(Value),
    /// Steps, each with an `event`; the last one is `end` with a `report`, or `failed` with a `message`. Dropped, the work stops.
    Steps(BoxStream<'static, Value>),
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

/// A bound address, and a socket, that do not answer yet.
pub struct Admin {
    listener: Arc<Socket>,
    socket: Option<Arc<Socket>>,
    address: SocketAddr,
    connection_timeout: Duration,
    permits: Arc<Semaphore>,
    places: Places,
}

/// The request came through the socket, from the user who serves or from root.
#[derive(Clone, Copy)]
pub(super) struct AtSocket;

impl Admin {
    #[cfg(test)]
    fn bind(config: &Config) -> io::Result<Self> {
        Admin::at(config, &mut |_| None)
    }

    /// Binds the address and the socket, so that one that is taken is an error at start and not later; what listens already is taken
    /// from there.
    pub fn at(config: &Config, inherited: &mut dyn FnMut(&Address) -> Option<io::Result<Socket>>) -> io::Result<Self> {
        let mut open = |address: Address| inherited(&address).unwrap_or_else(|| Socket::bind(&address, OTHERS_MAY_NOT));
        let listener = open(config.address.into())?;
        let address = listener.local().tcp().ok_or_else(|| io::Error::other("is handed over as no socket of TCP"))?;
        let named = |error: io::Error, path: &std::path::Path| {
            io::Error::new(error.kind(), format!("admin.unix {}: {error}", path.display()))
        };
        let socket = match &config.unix {
            Some(path) => {
                make_folder_of(path).map_err(|error| named(error, path))?;
                Some(open(Address::Unix(path.clone())).map_err(|error| named(error, path))?)
            }
            None => None,
        };
        Ok(Admin {
            listener: Arc::new(listener),
            socket: socket.map(Arc::new),
            address,
            connection_timeout: CONNECTION_TIMEOUT,
            permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            places: Places::default(),
        })
    }

    /// Where it listens, to be handed on.
    pub fn sockets(&self) -> impl Iterator<Item = &Arc<Socket>> {
        [&self.listener].into_iter().chain(&self.socket)
    }

    /// The address bound; its port is never 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers for ever; end it by dropping the future, and go on by another one. Connections under way end on their own within
    /// [`CONNECTION_TIMEOUT`].
    pub async fn serve(self: Arc<Self>, state: Arc<dyn AdminState>, registry: Registry) -> Infallible {
        loop {
            // Never closed, so never an error.
            let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
            let client = match self.accept().await {
                Ok(client) => client,
                Err(error) => {
                    tracing::warn!(%error, "admin cannot accept");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (state, registry) = (Arc::clone(&state), registry.clone());
            let (limit, long) = (self.connection_timeout, self.places.of_one_connection());
            tokio::spawn(async move {
                let served = async {
                    match client {
                        Accepted::Tcp(stream, from) => {
                            let from = (from.ip().to_canonical(), None);
                            connection(stream, from, (state, registry), long.clone()).await;
                        }
                        Accepted::Unix(stream) => {
                            let from = (HERE, is_ours(&stream).then_some(AtSocket));
                            connection(stream, from, (state, registry), long.clone()).await;
                        }
                    }
                };
                tokio::select! {
                    () = served => {}
                    () = long.expired(limit) => {}
                }
                drop(permit);
            });
        }
    }

    /// Waits until no connection is open, for a while: at the end of the process, also when the sockets are closed.
    pub fn answered(&self) -> impl Future<Output = ()> + Send + use<> {
        let permits = Arc::clone(&self.permits);
        async move {
            let all = permits.acquire_many(MAX_CONNECTIONS as u32);
            let _ = tokio::time::timeout(LAST_ANSWERS, all).await;
        }
    }

    async fn accept(&self) -> io::Result<Accepted> {
        let socket = async {
            match &self.socket {
                Some(socket) => socket.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = self.listener.accept() => accepted,
            accepted = socket => accepted,
        }
    }
}

/// Where whoever opens the socket is.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Whoever may open the socket: its permissions may have been changed since it was made. They may come from outside of our container, so
/// that their process has no number here.
fn is_ours(stream: &tokio::net::UnixStream) -> bool {
    let ours = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == ours)
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    (from, at_socket): (IpAddr, Option<AtSocket>),
    (state, registry): (Arc<dyn AdminState>, Registry),
    long: Long,
) {
    let service = service_fn(|mut request: hyper::Request<hyper::body::Incoming>| {
        if let Some(at_socket) = at_socket {
            request.extensions_mut().insert(at_socket);
        }
        let (state, registry, long) = (Arc::clone(&state), registry.clone(), long.clone());
        async move { Ok::<_, Infallible>(answer::answer(request, from, (&state, &registry), &long).await) }
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
