//! The listening socket, and a connection's way from it to its protocol.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::certificates::Certificates;
use super::client_certificates::Believed;
use super::config::Config;
use super::connection::{Connection, is_trusted};
use super::error::Error;
use super::handle::{Accepting, ListenerHandle};
use super::issued::Issuer;
use super::metrics::Metrics;
use super::shared::Shared;
use super::slots::Slots;
use super::socket::Socket;
use super::state::{ConnectionState, Phase};
use super::stream::ClientStream;
use super::sweeper::Table;
use super::transport::Transport;
use super::wire::Wire;
use super::{Handler, h1, h2, proxy_protocol, send_buffer, tls};
use crate::sockets::{self, Accepted};

/// Of connections that wait in the kernel's queue when we stop, so many are still taken.
const LAST: usize = 4_096;
/// No file descriptors are left: wait for some connection to end.
const BACK_OFF: Duration = Duration::from_millis(100);
const COMPLAIN: Duration = Duration::from_secs(1);

/// Who comes through the file system is on this machine.
const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A bound address, with its certificates loaded; not yet accepting.
pub struct Listener {
    socket: Arc<sockets::Socket>,
    shared: Arc<Shared>,
}

impl Listener {
    /// Binds the address and loads the certificates; `issuer` has those that come by themselves. Needs a tokio runtime.
    pub async fn bind(
        config: &Config,
        metrics: Arc<Metrics>,
        issuer: Option<Arc<dyn Issuer>>,
    ) -> Result<Listener, Error> {
        let bound = sockets::Socket::bind(&config.address, config.socket_mode.0);
        let socket = bound.map_err(|source| Error::Bind { address: config.address.clone(), source })?;
        Listener::at(socket, config, metrics, issuer)
    }

    /// The same at a socket that listens already.
    pub fn at(
        socket: sockets::Socket,
        config: &Config,
        metrics: Arc<Metrics>,
        issuer: Option<Arc<dyn Issuer>>,
    ) -> Result<Listener, Error> {
        let provider = tls::provider();
        let pairs = Certificates::load(&config.tls, &provider, issuer.as_deref())?;
        let believed = Believed::load(config, &provider)?;
        let local = socket.local().clone();
        let metrics = Arc::new(metrics.of(&local));
        let certificates = Arc::new(Certificates::new(pairs, Arc::clone(&provider), Arc::clone(&metrics)));
        let shutdown = watch::Sender::new(false);
        let shared = Shared {
            local,
            settings: ArcSwap::from_pointee(config.clone()),
            tls: ArcSwap::new(tls::server_config(Arc::clone(&certificates) as _, &believed, config)?),
            believed: Mutex::new(believed.fingerprint),
            provider,
            certificates,
            issuer,
            slots: Arc::new(Slots::new(config.max_connections, metrics.open.clone())),
            table: Arc::new(Table::new(Arc::clone(&metrics))),
            metrics,
            leaving: AtomicBool::new(false),
            watch: shutdown.subscribe(),
            shutdown,
        };
        Ok(Listener { socket: Arc::new(socket), shared: Arc::new(shared) })
    }

    /// Where we listen; the port is the system's choice if the configured one is 0.
    pub fn local(&self) -> &sockets::Address {
        &self.shared.local
    }

    /// Accepts from now on.
    pub fn spawn<H: Handler>(self, handler: Arc<H>) -> ListenerHandle {
        let shared = Arc::clone(&self.shared);
        let begin = move |socket: Arc<sockets::Socket>, told: watch::Receiver<Accepting>| {
            tokio::spawn(accept(socket, Arc::clone(&shared), Arc::clone(&handler), told))
        };
        ListenerHandle::new(self.shared, self.socket, Box::new(begin))
    }
}

/// Accepts until told otherwise. Whether what already waits in the kernel's queue is still taken then depends on who else has the
/// socket.
async fn accept<H: Handler>(
    socket: Arc<sockets::Socket>,
    shared: Arc<Shared>,
    handler: Arc<H>,
    mut told: watch::Receiver<Accepting>,
) {
    let mut complained: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = told.wait_for(|told| *told != Accepting::All) => break,
            accepted = next(&socket, &shared) => accepted,
        };
        match accepted {
            Ok(accepted) => welcome(&shared, &handler, accepted),
            Err(error) if is_exhausted(&error) => {
                if complained.is_none_or(|at| at.elapsed() >= COMPLAIN) {
                    tracing::warn!(address = %shared.local, %error, "cannot accept");
                    complained = Some(Instant::now());
                }
                tokio::time::sleep(BACK_OFF).await;
            }
            // The connection was gone before we took it.
            Err(error) => tracing::debug!(address = %shared.local, %error, "accept failed"),
        }
    }
    if *told.borrow() == Accepting::Paused {
        return;
    }
    for _ in 0..LAST {
        let Some(Ok(accepted)) = next(&socket, &shared).now_or_never() else { return };
        welcome(&shared, &handler, accepted);
    }
}

/// The next connection, when there is room for it.
async fn next(socket: &sockets::Socket, shared: &Shared) -> io::Result<Accepted> {
    shared.slots.room().await;
    socket.accept().await
}

/// The process or the system has no file descriptors or memory left.
fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| exhausted.iter().any(|errno| errno.raw_os_error() == code))
}

fn welcome<H: Handler>(shared: &Arc<Shared>, handler: &Arc<H>, accepted: Accepted) {
    let slot = shared.slots.take();
    shared.metrics.accepted.inc();
    let settings = shared.settings.load_full();
    let (wire, peer) = match accepted {
        Accepted::Tcp(tcp, peer) => {
            let _ = tcp.set_nodelay(true);
            (Wire::Tcp(tcp), peer)
        }
        Accepted::Unix(stream) => (Wire::Unix(stream), HERE),
    };
    send_buffer::set(&wire, settings.send_buffer);
    let (shared, handler) = (Arc::clone(shared), Arc::clone(handler));
    tokio::spawn(async move {
        let _slot = slot;
        let state = Arc::new(ConnectionState::new());
        let wire = Arc::new(wire);
        let _registration = shared.table.register(&state, &wire, &settings);
        // Boxed, so that an idle connection does not carry the handshake's state.
        let Some(established) = Box::pin(establish(&shared, settings, wire, state, peer)).await else {
            return;
        };
        serve(&shared, &handler, established).await;
    });
}

/// A connection that may send requests.
struct Established {
    connection: Arc<Connection>,
    stream: Box<ClientStream>,
    /// Whether TLS agreed on HTTP/2; a plain connection's first bytes tell.
    h2: Option<bool>,
}

/// PROXY header and TLS handshake.
async fn establish(
    shared: &Shared,
    settings: Arc<Config>,
    wire: Arc<Wire>,
    state: Arc<ConnectionState>,
    peer: SocketAddr,
) -> Option<Established> {
    let mut client = canonical(peer);
    let mut socket = Socket::new(wire, Arc::clone(&state));
    if settings.proxy_protocol {
        if !is_trusted(&settings, peer.ip()) {
            tracing::debug!(%peer, "closed: not one of the trusted proxies");
            return None;
        }
        match proxy_protocol::receive(&mut socket).await {
            Ok(Some(addresses)) => client = addresses.client,
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%peer, %error, "closed: no PROXY header");
                return None;
            }
        }
    }
    let (transport, info, h2) = if settings.tls.is_empty() {
        (Transport::Plain(socket), None, None)
    } else {
        match tls::handshake(shared.tls.load_full(), &shared.certificates, shared.issuer.as_deref(), socket).await {
            Ok(Some(secured)) => {
                shared.metrics.handshakes_completed.inc();
                (Transport::Tls(secured.stream), Some(secured.info), Some(secured.h2))
            }
            Ok(None) => {
                shared.metrics.handshakes_proven.inc();
                tracing::info!(%client, "an authority was shown by a handshake that a name leads here");
                return None;
            }
            Err(error) => {
                shared.metrics.handshakes_failed.inc();
                tracing::debug!(%client, %error, "TLS handshake failed");
                return None;
            }
        }
    };
    state.enter(Phase::FirstByte);
    let stream = Box::new(ClientStream::new(transport, Arc::clone(&state)));
    let connection = Arc::new(Connection::new(client, info, settings, state, shared.watch.clone()));
    Some(Established { connection, stream, h2 })
}

/// An IPv4 address in IPv6 clothes, as sockets of `[::]` report it, is told as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Chooses the protocol: by ALPN over TLS, by the first bytes otherwise.
async fn serve<H: Handler>(shared: &Arc<Shared>, handler: &Arc<H>, established: Established) {
    let Established { connection, mut stream, h2 } = established;
    let multiplexed = match h2 {
        Some(agreed) => agreed,
        None => knows_h2(&connection, &mut stream).await,
    };
    if multiplexed {
        Box::pin(h2::serve(shared, handler, &connection, stream)).await;
    } else {
        h1::serve(shared, handler, &connection, stream).await;
    }
}

/// Whether the client begins with h2's preface; decided at the first byte that differs from it.
async fn knows_h2(connection: &Connection, stream: &mut ClientStream) -> bool {
    let mut read = stream.first_fill().await;
    connection.state().enter(Phase::Head);
    while matches!(read, Ok(1..)) && stream.inbound().len() < h2::PREFACE.len() {
        if !h2::PREFACE.starts_with(stream.inbound()) {
            return false;
        }
        read = stream.fill().await;
    }
    stream.inbound().starts_with(h2::PREFACE)
}
