//! The listening socket, and a connection's way from it to its protocol.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures::FutureExt;
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::certificates::Certificates;
use super::client_certificates::Believed;
use super::config::Config;
use super::connection::{Connection, is_trusted};
use super::error::Error;
use super::handle::ListenerHandle;
use super::metrics::Metrics;
use super::shared::Shared;
use super::slots::Slots;
use super::socket::Socket;
use super::state::{ConnectionState, Phase};
use super::stream::ClientStream;
use super::sweeper::Table;
use super::transport::Transport;
use super::{Handler, h1, h2, proxy_protocol, send_buffer, tls};

/// Handshakes that the kernel finishes for us while we are busy; it may hold fewer.
const BACKLOG: i32 = 4_096;
/// No file descriptors are left: wait for some connection to end.
const BACK_OFF: Duration = Duration::from_millis(100);
const COMPLAIN: Duration = Duration::from_secs(1);

/// A bound address, with its certificates loaded; not yet accepting.
pub struct Listener {
    tcp: TcpListener,
    shared: Arc<Shared>,
}

impl Listener {
    /// Binds the address and loads the certificates. Needs a tokio runtime.
    pub async fn bind(config: &Config, metrics: Arc<Metrics>) -> Result<Listener, Error> {
        let provider = tls::provider();
        let pairs = Certificates::load(&config.tls, &provider)?;
        let believed = Believed::load(config, &provider)?;
        let bound = listen(config.address).and_then(|tcp| tcp.local_addr().map(|local| (tcp, local)));
        let (tcp, local) = bound.map_err(|source| Error::Bind { address: config.address, source })?;
        let metrics = Arc::new(metrics.of(local));
        let certificates = Arc::new(Certificates::new(pairs, Arc::clone(&provider), Arc::clone(&metrics)));
        let shutdown = watch::Sender::new(false);
        let shared = Shared {
            local,
            settings: ArcSwap::from_pointee(config.clone()),
            tls: ArcSwap::new(tls::server_config(Arc::clone(&certificates) as _, &believed, Arc::clone(&provider))?),
            believed: Mutex::new(believed.fingerprint),
            provider,
            certificates,
            slots: Arc::new(Slots::new(config.max_connections, metrics.open.clone())),
            table: Arc::new(Table::new(Arc::clone(&metrics))),
            metrics,
            watch: shutdown.subscribe(),
            shutdown,
        };
        Ok(Listener { tcp, shared: Arc::new(shared) })
    }

    /// Where we listen; the port is the system's choice if the configured one is 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local
    }

    /// Accepts from now on.
    pub fn spawn<H: Handler>(self, handler: Arc<H>) -> ListenerHandle {
        let stop = watch::Sender::new(false);
        let accepting = tokio::spawn(accept(self.tcp, Arc::clone(&self.shared), handler, stop.subscribe()));
        ListenerHandle::new(self.shared, stop, accepting)
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until told to stop, and then what already waits in the kernel's queue.
async fn accept<H: Handler>(tcp: TcpListener, shared: Arc<Shared>, handler: Arc<H>, mut stop: watch::Receiver<bool>) {
    let mut complained: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = next(&tcp, &shared) => accepted,
        };
        match accepted {
            Ok((tcp, peer)) => welcome(&shared, &handler, tcp, peer),
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
    for _ in 0..BACKLOG {
        let Some(Ok((tcp, peer))) = next(&tcp, &shared).now_or_never() else { return };
        welcome(&shared, &handler, tcp, peer);
    }
}

/// The next connection, when there is room for it.
async fn next(tcp: &TcpListener, shared: &Shared) -> io::Result<(TcpStream, SocketAddr)> {
    shared.slots.room().await;
    tcp.accept().await
}

/// The process or the system has no file descriptors or memory left.
fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| exhausted.iter().any(|errno| errno.raw_os_error() == code))
}

fn welcome<H: Handler>(shared: &Arc<Shared>, handler: &Arc<H>, tcp: TcpStream, peer: SocketAddr) {
    let slot = shared.slots.take();
    shared.metrics.accepted.inc();
    let settings = shared.settings.load_full();
    let _ = tcp.set_nodelay(true);
    send_buffer::set(&tcp, settings.send_buffer);
    let (shared, handler) = (Arc::clone(shared), Arc::clone(handler));
    tokio::spawn(async move {
        let _slot = slot;
        let state = Arc::new(ConnectionState::new());
        let tcp = Arc::new(tcp);
        let _registration = shared.table.register(&state, &tcp, &settings);
        // Boxed, so that an idle connection does not carry the handshake's state.
        let Some(established) = Box::pin(establish(&shared, settings, tcp, state, peer)).await else {
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
    tcp: Arc<TcpStream>,
    state: Arc<ConnectionState>,
    peer: SocketAddr,
) -> Option<Established> {
    let mut client = canonical(peer);
    let mut socket = Socket::new(Arc::clone(&tcp), Arc::clone(&state));
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
        match tls::handshake(shared.tls.load_full(), socket).await {
            Ok(secured) => {
                shared.metrics.handshakes_completed.inc();
                (Transport::Tls(secured.stream), Some(secured.info), Some(secured.h2))
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
