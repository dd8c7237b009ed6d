//! The room as others use it, over real sockets. The fixture: servers of a few lines that do as they are told.

mod away;
mod choice;
mod discovery;
mod exchange;
mod health;
mod limits;
mod secure;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus::Registry;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::config::{Config, PeerConfig};
use super::{Cluster, InFlight, Metrics, PeerTable};

/// A cluster's configuration without active checks, as TOML keys on top of `peers`.
pub(super) fn config(peers: &[PeerConfig], keys: &str) -> Config {
    let mut config: Config = toml::from_str(&format!("peers = []\nhealth = {{ interval = \"0s\" }}\n{keys}")).unwrap();
    config.peers = peers.to_vec();
    config
}

pub(super) fn peer(address: impl ToString) -> PeerConfig {
    PeerConfig { address: address.to_string(), weight: 1, max_connections: 0, backup: false }
}

pub(super) fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new(&Registry::new()).unwrap())
}

pub(super) async fn start(config: &Config) -> Arc<Cluster> {
    Cluster::start("main", config, &PeerTable::default(), metrics()).await.unwrap()
}

/// Peers that are never connected to: the choice does not need them to exist.
pub(super) fn imaginary(count: u16) -> Vec<PeerConfig> {
    (1..=count).map(|port| peer(format!("127.0.0.1:{port}"))).collect()
}

/// The port of the peer chosen, which `imaginary` numbers from 1.
pub(super) fn number(in_flight: &InFlight) -> u16 {
    in_flight.peer().address().port()
}

/// Asks again until it is so; fails the test after five seconds.
pub(super) async fn eventually(what: &str, so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(5), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a fixture does with a request.
#[derive(Clone)]
pub(super) enum Answer {
    /// A whole answer; the connection stays.
    Status(u16, &'static str),
    /// The head, with more headers.
    Headers(u16, &'static str),
    /// Nothing, ever.
    Hang,
    /// The connection is closed without a byte.
    Close,
    /// A head that promises ten bytes, three of them, then nothing.
    Stall,
}

type Script = Arc<Mutex<Box<dyn FnMut(usize) -> Answer + Send>>>;

/// A server of a few lines. Dropped, it closes its port and every connection.
pub(super) struct Fixture {
    pub(super) address: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
    /// Heads and bodies of the requests, as they came.
    pub(super) requests: Arc<Mutex<Vec<String>>>,
    script: Script,
    task: AbortOnDropHandle<()>,
}

impl Fixture {
    pub(super) async fn new(answer: Answer) -> Self {
        Self::on("127.0.0.1:0".parse().unwrap(), answer, None).await
    }

    pub(super) async fn tls(answer: Answer, tls: rustls::ServerConfig) -> Self {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        Self::on("127.0.0.1:0".parse().unwrap(), answer, Some(acceptor)).await
    }

    /// On an address of one's own choice: a restarted peer.
    pub(super) async fn on(address: SocketAddr, answer: Answer, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let script: Script = Arc::new(Mutex::new(Box::new(move |_| answer.clone())));
        let (count, seen, told) = (connections.clone(), requests.clone(), script.clone());
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (seen, told, tls) = (seen.clone(), told.clone(), tls.clone());
                open.spawn(async move {
                    match tls {
                        None => converse(stream, seen, told).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => converse(stream, seen, told).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Fixture { address, connections, requests, script, task: AbortOnDropHandle::new(task) }
    }

    pub(super) fn answers(&self, answer: Answer) {
        self.follows(move |_| answer.clone());
    }

    /// The argument is the number of the request on its connection, from 0.
    pub(super) fn follows(&self, script: impl FnMut(usize) -> Answer + Send + 'static) {
        *self.script.lock() = Box::new(script);
    }

    /// Closes the port and the connections, and returns when that is done.
    pub(super) async fn stop(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await; // it ends by being cancelled
    }

    pub(super) fn hits(&self) -> usize {
        self.requests.lock().len()
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    seen: Arc<Mutex<Vec<String>>>,
    script: Script,
) -> Option<()> {
    for number in 0.. {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await.ok()?;
        request.extend(body);
        seen.lock().push(String::from_utf8_lossy(&request).into_owned());
        let answer = (script.lock())(number);
        let text = match answer {
            Answer::Status(status, body) => {
                let body = if head.starts_with("head ") { "" } else { body };
                format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            }
            Answer::Headers(status, headers) => {
                format!("HTTP/1.1 {status} X\r\n{headers}\r\ncontent-length: 0\r\n\r\n")
            }
            Answer::Stall => "HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\nabc".to_owned(),
            Answer::Hang => std::future::pending().await,
            Answer::Close => return None,
        };
        stream.write_all(text.as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
        if matches!(answer, Answer::Stall) {
            std::future::pending::<()>().await;
        }
    }
    None
}
