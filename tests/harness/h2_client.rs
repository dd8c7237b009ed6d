//! A client of HTTP/2 that ends bodies in every way that the protocol has.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{SendRequest, handshake};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// How a request's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// END_STREAM on the request's HEADERS: there is no body.
    OnHeaders,
    /// END_STREAM on the last DATA that has bytes.
    OnData,
    /// An empty DATA frame behind the bytes, or alone.
    EmptyData,
    /// A HEADERS frame of trailers.
    Trailers,
    /// RST_STREAM behind the bytes.
    Reset,
}

/// One request with its body in pieces.
#[derive(Clone, Debug)]
pub struct Streamed {
    pub method: Method,
    pub target: String,
    pub length: Option<usize>,
    pub pieces: Vec<Bytes>,
    pub end: End,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// A connection with prior knowledge; every request is a stream of its own.
pub struct H2Client {
    runtime: Runtime,
    send: SendRequest<Bytes>,
    authority: String,
}

impl H2Client {
    pub fn open(address: SocketAddr) -> H2Client {
        let runtime = Runtime::new().expect("a runtime");
        let send = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            let (send, connection) = handshake(stream).await.expect("a handshake");
            tokio::spawn(connection);
            send
        });
        H2Client { runtime, send, authority: address.to_string() }
    }

    /// All at once.
    pub fn send_all(&self, requests: Vec<Streamed>) -> Vec<Result<Reply, h2::Error>> {
        self.runtime.block_on(async {
            let tasks: Vec<_> = requests
                .into_iter()
                .map(|one| tokio::spawn(send(self.send.clone(), self.authority.clone(), one)))
                .collect();
            let mut replies = Vec::new();
            for task in tasks {
                replies.push(task.await.expect("a task that ends"));
            }
            replies
        })
    }

    /// Resets the stream as soon as the answer's head is there.
    pub fn leave(&self, request: Streamed) {
        let _ = self.runtime.block_on(async { begin(self.send.clone(), self.authority.clone(), request).await });
    }

    /// Ends the connection as soon as the answer's head is there.
    pub fn abandon(self, request: Streamed) {
        let answer = self.runtime.block_on(async { begin(self.send.clone(), self.authority.clone(), request).await });
        self.runtime.shutdown_background();
        drop(answer);
    }

    /// Begins a request whose body never ends, with `piece` of it each 300 ms; how long that is borne, up to `at_most`, and the
    /// status, if there is one.
    pub fn drip(
        &self,
        method: Method,
        target: &str,
        piece: Option<Bytes>,
        at_most: Duration,
    ) -> (Duration, Option<u16>) {
        let (send, uri) = (self.send.clone(), format!("http://{}{target}", self.authority));
        self.runtime.block_on(async {
            let begun = Instant::now();
            let head = Request::builder().method(method).uri(uri).body(()).expect("a request");
            let (response, mut body) =
                send.ready().await.expect("a connection").send_request(head, false).expect("sent");
            let mut response = pin!(response);
            while begun.elapsed() < at_most {
                match tokio::time::timeout(Duration::from_millis(300), &mut response).await {
                    Ok(answer) => return (begun.elapsed(), answer.ok().map(|answer| answer.status().as_u16())),
                    Err(_) => {
                        if let Some(piece) = piece.clone() {
                            let _ = body.send_data(piece, false);
                        }
                    }
                }
            }
            (begun.elapsed(), None)
        })
    }

    /// GETs it, and gives each piece of the body to `take`, which may keep the server waiting.
    pub fn read(&self, target: &str, mut take: impl FnMut(&[u8])) -> Result<StatusCode, h2::Error> {
        let one = Streamed {
            method: Method::GET,
            target: target.to_owned(),
            length: None,
            pieces: Vec::new(),
            end: End::OnHeaders,
        };
        self.runtime.block_on(async {
            let (parts, mut content) = begin(self.send.clone(), self.authority.clone(), one).await?.into_parts();
            while let Some(data) = content.data().await {
                let data = data?;
                take(&data);
                let _ = content.flow_control().release_capacity(data.len());
            }
            Ok(parts.status)
        })
    }

    pub fn send(&self, request: Streamed) -> Result<Reply, h2::Error> {
        self.send_all(vec![request]).remove(0)
    }
}

async fn send(send: SendRequest<Bytes>, authority: String, request: Streamed) -> Result<Reply, h2::Error> {
    let (parts, mut content) = begin(send, authority, request).await?.into_parts();
    let mut bytes = Vec::new();
    while let Some(data) = content.data().await {
        let data = data?;
        let _ = content.flow_control().release_capacity(data.len());
        bytes.extend_from_slice(&data);
    }
    Ok(Reply { status: parts.status, headers: parts.headers, body: bytes })
}

/// Sends the request, and waits for the answer's head.
async fn begin(
    send: SendRequest<Bytes>,
    authority: String,
    request: Streamed,
) -> Result<http::Response<h2::RecvStream>, h2::Error> {
    let mut send = send.ready().await?;
    let mut head = Request::builder().method(request.method).uri(format!("http://{authority}{}", request.target));
    if let Some(length) = request.length {
        head = head.header("content-length", length);
    }
    let head = head.body(()).expect("a request");
    let (response, mut body) = send.send_request(head, request.end == End::OnHeaders)?;
    let last = request.pieces.len();
    for (at, piece) in request.pieces.into_iter().enumerate() {
        body.send_data(piece, at + 1 == last && request.end == End::OnData)?;
        // Each piece is a frame of its own, and often a read of its own.
        tokio::task::yield_now().await;
    }
    match request.end {
        End::OnHeaders | End::OnData => {}
        End::EmptyData => body.send_data(Bytes::new(), true)?,
        End::Trailers => {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-checksum", HeaderValue::from_static("1"));
            body.send_trailers(trailers)?;
        }
        End::Reset => body.send_reset(h2::Reason::CANCEL),
    }
    response.await
}
