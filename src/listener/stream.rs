//! The stream of one client as pingora sees it: plain or TLS, with small writes gathered, and
//! with reads that end where the request body ends.

use std::any::Any;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, IO, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::body::{Body, Framing};
use super::stash::{self, Stash};
use super::state::ConnectionState;
use super::transport::Transport;

/// What one read of a request head asks for.
const HEAD_READ: usize = 4 << 10;
/// Bytes of later requests that we take before the present one is answered.
const PIPELINED: usize = 16 << 10;

/// What pingora asks a stream for; shared by the requests of a connection.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) socket: Arc<SocketDigest>,
    pub(super) ssl: Option<Arc<SslDigest>>,
    pub(super) alpn: Option<ALPN>,
}

/// Which reads reach pingora.
enum Gate {
    /// h2: all.
    Open,
    /// HTTP/1: those of the present request's body.
    Body(Body),
}

pub(super) struct ClientStream {
    transport: Transport,
    /// Read from the client, not yet given on.
    inbound: BytesMut,
    gate: Gate,
    stash: Stash,
    /// h2: a flush was asked for, and is done when the connection is polled next.
    flush_due: bool,
    facts: Facts,
    state: Arc<ConnectionState>,
}

impl ClientStream {
    pub(super) fn new(transport: Transport, facts: Facts, state: Arc<ConnectionState>) -> ClientStream {
        let gate = Gate::Body(Body::new(Framing::None));
        let stash = Stash::new(stash::SMALL);
        ClientStream { transport, inbound: BytesMut::new(), gate, stash, flush_due: false, facts, state }
    }

    /// The stream that went into a session, when it comes back.
    pub(super) fn from_io(io: Box<dyn IO>) -> Option<Box<ClientStream>> {
        let any: Box<dyn Any> = io.into_any();
        any.downcast().ok()
    }

    /// Waits for the first bytes of a request, without a buffer meanwhile; 0 is the end.
    pub(super) async fn first_fill(&mut self) -> io::Result<usize> {
        if !self.inbound.is_empty() {
            return Ok(self.inbound.len());
        }
        self.stash.shrink();
        std::future::poll_fn(|context| {
            ready!(self.transport.poll_readable(context))?;
            self.inbound.reserve(HEAD_READ);
            let read = poll_read_buf(Pin::new(&mut self.transport), context, &mut self.inbound);
            if read.is_pending() {
                self.inbound = BytesMut::new();
            }
            read
        })
        .await
    }

    /// Reads more into [`Self::inbound`]; 0 is the end.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        self.inbound.reserve(HEAD_READ);
        self.transport.read_buf(&mut self.inbound).await
    }

    pub(super) fn inbound(&self) -> &[u8] {
        &self.inbound
    }

    /// Takes the first `length` bytes that were read.
    pub(super) fn take_inbound(&mut self, length: usize) -> BytesMut {
        if length >= self.inbound.len() {
            return std::mem::take(&mut self.inbound);
        }
        let rest = self.inbound.split_off(length);
        std::mem::replace(&mut self.inbound, rest)
    }

    pub(super) fn skip_inbound(&mut self, length: usize) {
        self.inbound.advance(length.min(self.inbound.len()));
    }

    /// From here on reads are those of a request body.
    pub(super) fn expect_body(&mut self, framing: Framing) {
        let body = Body::new(framing);
        self.state.set_body_open(!body.done());
        self.gate = Gate::Body(body);
    }

    /// From here on every byte passes, for h2.
    pub(super) fn open(&mut self) {
        self.gate = Gate::Open;
        self.stash.set_limit(stash::FRAMES);
    }

    /// No byte of the request's body is left to read.
    pub(super) fn body_done(&self) -> bool {
        matches!(&self.gate, Gate::Body(body) if body.done())
    }

    /// Sends what is stashed and closes our side; the client's may go on for a while if `linger`.
    pub(super) async fn close(&mut self, linger: bool) {
        self.transport.socket_mut().linger(linger);
        let _ = AsyncWriteExt::shutdown(self).await;
    }

    fn poll_body(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Gate::Body(body) = &mut self.gate else {
            return Poll::Ready(Ok(()));
        };
        if !self.inbound.is_empty() {
            let offered = self.inbound.len().min(buffer.remaining());
            let taken = body.follow(&self.inbound[..offered]);
            buffer.put_slice(&self.inbound[..taken]);
            self.inbound.advance(taken);
        } else {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.transport).poll_read(context, buffer))?;
            let fresh = &buffer.filled()[before..];
            let taken = body.follow(fresh);
            if taken < fresh.len() {
                self.inbound.extend_from_slice(&fresh[taken..]);
                buffer.set_filled(before + taken);
            }
        }
        if body.broken() {
            // pingora is more lenient, and what it lets pass a peer may read otherwise.
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "not the chunked coding of RFC 9112")));
        }
        if body.done() {
            self.state.set_body_open(false);
        }
        Poll::Ready(Ok(()))
    }

    /// h2 reads whenever it is polled, and so this is where flushes are done that were put off.
    fn poll_open(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.flush_due && self.stash.poll_flush(&mut self.transport, context)?.is_ready() {
            self.flush_due = false;
        }
        if !self.inbound.is_empty() {
            let count = self.inbound.len().min(buffer.remaining());
            buffer.put_slice(&self.inbound[..count]);
            self.inbound.advance(count);
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut self.transport).poll_read(context, buffer);
        if read.is_pending() && self.state.streams() == 0 {
            self.inbound = BytesMut::new();
            self.stash.shrink();
        }
        read
    }

    /// After the body a read only learns that the client has gone; what it pipelines is kept.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // At the bound nobody wakes us, and nobody need: the answer goes on without this read.
        while self.inbound.len() < PIPELINED {
            let mut bytes = [0; 512];
            let mut buffer = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.transport).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.inbound.extend_from_slice(buffer.filled());
        }
        Poll::Pending
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        match &stream.gate {
            Gate::Body(body) if body.done() => stream.poll_end(context),
            Gate::Body(_) => stream.poll_body(context, buffer),
            Gate::Open => stream.poll_open(context, buffer),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        stream.stash.poll_write(&mut stream.transport, context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// h2 flushes after every frame. So its flushes wait for the next poll of the connection, for
    /// which we wake it: until then it stashes what else it has, and all leaves at once.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        if matches!(stream.gate, Gate::Body(_)) || stream.stash.is_empty() {
            return stream.stash.poll_flush(&mut stream.transport, context);
        }
        if !stream.flush_due {
            stream.flush_due = true;
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        ready!(stream.stash.poll_flush(&mut stream.transport, context))?;
        Pin::new(&mut stream.transport).poll_shutdown(context)
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        let unread = match &self.gate {
            Gate::Body(body) => !body.done(),
            Gate::Open => self.state.streams() > 0,
        };
        if unread && self.state.expired().is_none() {
            self.transport.socket_mut().linger(true);
        }
    }
}

#[async_trait]
impl Shutdown for ClientStream {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for ClientStream {
    fn id(&self) -> UniqueIDType {
        self.transport.socket().raw_fd()
    }
}

impl Ssl for ClientStream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.facts.ssl.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.facts.alpn.clone()
    }
}

impl GetTimingDigest for ClientStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for ClientStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for ClientStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.facts.socket))
    }
}

impl Peek for ClientStream {}

impl fmt::Debug for ClientStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientStream")
            .field("fd", &self.transport.socket().raw_fd())
            .field("facts", &self.facts)
            .finish()
    }
}
