//! The listener over real sockets, with a small handler that answers through `Exchange`.

mod ages;
mod agreement;
mod closing;
mod deadlines;
mod framing;
mod multiplexed;
mod protocols;
mod succession;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, StatusCode};
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{AtHand, Config, Connection, Exchange, Handler, Listener, ListenerHandle, Metrics, Plain, Refusal};

/// Longest that anything in these tests may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Answers by path: `/size/N`, `/short/N` and `/long/N` (a byte less or more than announced), `/count` (of the body), `/413` (without reading the body),
/// `/wait/MS`, `/who`, `/hops` (with fields of another connection), else with the path.
#[derive(Default)]
pub(super) struct Registrar {
    pub(super) refused: Mutex<Vec<(u16, String)>>,
    pub(super) served: AtomicUsize,
    pub(super) failed: AtomicUsize,
}

/// `/hand/N`: N bytes that are at hand.
pub(super) struct Ready(Bytes);

impl AtHand for Ready {
    fn push_head(&self, _: &Plain<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", self.0.len()).as_bytes());
    }

    fn fields(&self, _: &Plain<'_>) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(self.0.len()))])
    }

    fn body(&self) -> &Bytes {
        &self.0
    }
}

#[async_trait]
impl Handler for Registrar {
    type AtHand = Ready;

    fn at_hand(&self, request: &Plain<'_>, _: &Connection) -> Option<Ready> {
        let length = request.target.strip_prefix("/hand/")?.parse().ok()?;
        Some(Ready(vec![b'x'; length].into()))
    }

    fn given(&self, _: &Plain<'_>, _: &Connection, answer: Ready, sent: Option<u64>) {
        self.served.fetch_add(1, Relaxed);
        if sent.is_none_or(|sent| sent < answer.0.len() as u64) {
            self.failed.fetch_add(1, Relaxed);
        }
    }

    async fn serve(self: &Arc<Self>, mut exchange: Box<Exchange>) -> Option<Box<Exchange>> {
        let answered = answer(&mut exchange).await;
        self.served.fetch_add(1, Relaxed);
        if answered.is_err() {
            self.failed.fetch_add(1, Relaxed);
        }
        Some(exchange)
    }

    fn refused(&self, _: &Arc<Connection>, refusal: Refusal, line: &[u8]) {
        self.refused.lock().push((refusal.status, String::from_utf8_lossy(line).into_owned()));
    }
}

async fn answer(exchange: &mut Exchange) -> super::Result<()> {
    let path = exchange.head().target.path().to_owned();
    let mut parts = path.trim_start_matches('/').split('/');
    let (kind, number) = (parts.next().unwrap_or(""), parts.next().and_then(|n| n.parse::<usize>().ok()).unwrap_or(0));
    let connection = exchange.connection().clone();
    let (status, body) = match kind {
        "size" | "short" | "long" => (200, Bytes::from(vec![b'x'; number])),
        "count" => {
            let mut count = 0;
            while let Some(bytes) = exchange.read_body().await? {
                count += bytes.len();
            }
            (200, Bytes::from(count.to_string()))
        }
        "413" => (413, Bytes::from_static(b"too large")),
        "wait" => {
            tokio::time::sleep(Duration::from_millis(number as u64)).await;
            (200, Bytes::from_static(b"waited"))
        }
        "who" => {
            let tls = connection.tls().map_or("plain".into(), |tls| format!("{} {:?}", tls.version, tls.sni));
            let who = format!("{} {} {tls}", connection.client(), connection.is_of_a_trusted_proxy());
            (200, Bytes::from(who))
        }
        _ => (200, Bytes::from(path.clone())),
    };
    let announced = match kind {
        "short" => body.len() + 1,
        "long" => body.len() - 1,
        _ => body.len(),
    };
    let mut headers = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(announced))]);
    if kind == "hops" {
        for name in ["keep-alive", "proxy-connection", "upgrade", "connection", "transfer-encoding", "trailer"] {
            headers.insert(name, HeaderValue::from_static("of-a-peer"));
        }
    }
    let status = StatusCode::from_u16(status).unwrap();
    exchange.write_head(status, headers, body.is_empty()).await?;
    exchange.write_body(body, true).await
}

pub(super) struct Server {
    pub(super) handle: ListenerHandle,
    pub(super) handler: Arc<Registrar>,
    pub(super) registry: Registry,
}

impl Server {
    pub(super) async fn start(config: &str) -> Server {
        let config: Config = toml::from_str(&format!("address = \"127.0.0.1:0\"\n{config}")).unwrap();
        let registry = Registry::new();
        let metrics = Arc::new(Metrics::new(&registry).unwrap());
        let handler = Arc::new(Registrar::default());
        let handle = Listener::bind(&config, metrics, None).await.unwrap().spawn(Arc::clone(&handler));
        Server { handle, handler, registry }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    /// Sends these bytes, closes nothing, and reads to the end.
    pub(super) async fn exchange(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_ref()).await.unwrap();
        read_to_end(&mut stream).await
    }

    /// The sum of a metric over all its labels that contain `label`.
    pub(super) fn metric(&self, name: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let matches = |metric: &&prometheus::proto::Metric| {
            label.is_empty() || metric.get_label().iter().any(|pair| pair.value() == label)
        };
        family.map_or(0.0, |family| {
            family
                .get_metric()
                .iter()
                .filter(matches)
                .map(|m| m.get_counter().get_value() + m.get_gauge().get_value())
                .sum()
        })
    }
}

pub(super) async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the connection ends").ok();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads one response with a Content-Length; its status and body.
pub(super) async fn read_response(stream: &mut (impl AsyncRead + Unpin)) -> (u16, String) {
    let mut bytes = Vec::new();
    let read = async {
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(stream.read_u8().await.expect("a response head"));
        }
        let head = String::from_utf8(std::mem::take(&mut bytes)).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned))
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.expect("a response body");
        (head[9..12].parse().unwrap(), String::from_utf8(body).unwrap())
    };
    tokio::time::timeout(PATIENCE, read).await.expect("a response in time")
}

pub(super) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}
