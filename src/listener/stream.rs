//! The stream of one client: plain or TLS, with small writes gathered, and with bodies of HTTP/1 decoded.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::body::{Body, Framing, Piece};
use super::fields::AnswerFields;
use super::frames::Frames;
use super::stash::{self, Stash};
use super::state::ConnectionState;
use super::transport::Transport;
use super::{AtHand, Plain};

/// What one read of a request head asks for.
const HEAD_READ: usize = 4 << 10;
/// What one read of a body asks for, and the room below which a new buffer is taken for it.
const BODY_READ: usize = 64 << 10;
const BODY_ROOM: usize = 4 << 10;
/// Slices that one write may have.
const SLICES: usize = 4;
/// Bytes of later requests that we take before the present one is answered.
const PIPELINED: usize = 16 << 10;

pub(super) struct ClientStream {
    transport: Transport,
    /// Read from the client, not yet given on.
    inbound: BytesMut,
    /// HTTP/1: the present request's.
    body: Body,
    multiplexed: bool,
    /// HTTP/2: what has been read.
    frames: Frames,
    stash: Stash,
    state: Arc<ConnectionState>,
}

impl ClientStream {
    pub(super) fn new(transport: Transport, state: Arc<ConnectionState>) -> ClientStream {
        let (body, stash) = (Body::new(Framing::None), Stash::new(stash::SMALL));
        ClientStream {
            transport,
            inbound: BytesMut::new(),
            body,
            multiplexed: false,
            frames: Frames::new(),
            stash,
            state,
        }
    }

    /// Waits for the first bytes of a request, without a buffer meanwhile; 0 is the end.
    pub(super) async fn first_fill(&mut self) -> io::Result<usize> {
        if !self.inbound.is_empty() {
            return Ok(self.inbound.len());
        }
        self.stash.shrink();
        poll_fn(|context| {
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

    /// From here on a body of this framing is read.
    pub(super) fn expect_body(&mut self, framing: Framing) {
        self.body = Body::new(framing);
        self.state.set_body_open(!self.body.done());
    }

    /// From here on the bytes are those of HTTP/2, which reads and writes them itself.
    pub(super) fn multiplex(&mut self) {
        self.multiplexed = true;
        self.stash.set_limit(stash::FRAMES);
    }

    /// No byte of the request's body is left to read.
    pub(super) fn body_done(&self) -> bool {
        self.body.done()
    }

    /// Ends the connection by a reset: what was sent is not all.
    pub(super) fn reset(&mut self) {
        self.transport.socket_mut().reset();
    }

    /// Sends what is stashed and closes our side; the client's may go on for a while if `linger`.
    pub(super) async fn close(&mut self, linger: bool) {
        self.transport.socket_mut().linger(linger);
        let _ = poll_fn(|context| self.poll_shutdown(context)).await;
    }

    /// The next piece of the request's body; `None` at its end. `InvalidData`: it is not framed as its head said.
    pub(super) async fn read_body(&mut self) -> io::Result<Option<Bytes>> {
        poll_fn(|context| self.poll_body(context)).await
    }

    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            let piece = self.body.take(&mut self.inbound);
            if self.body.done() {
                self.state.set_body_open(false);
            }
            match piece {
                Piece::Content(bytes) => return Poll::Ready(Ok(Some(bytes))),
                Piece::End => return Poll::Ready(Ok(None)),
                Piece::Broken => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                Piece::More => {}
            }
            // Pieces share what was read, so small ones must not each have a buffer of their own.
            if self.inbound.capacity() - self.inbound.len() < BODY_ROOM {
                self.inbound.reserve(BODY_READ);
            }
            if ready!(poll_read_buf(Pin::new(&mut self.transport), context, &mut self.inbound))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Resolves when the client has gone; what it pipelines meanwhile is kept.
    pub(super) async fn gone(&mut self) -> io::Error {
        let gone = poll_fn(|context| self.poll_gone(context)).await;
        gone.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
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

    /// Writes all of these bytes, or keeps them for the next flush.
    pub(super) async fn write_all(&mut self, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let mut own = [IoSlice::new(&[]); SLICES];
        let slices = slices.get(..SLICES).unwrap_or(slices);
        own[..slices.len()].copy_from_slice(slices);
        let mut left = &mut own[..slices.len()];
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let written = poll_fn(|context| self.stash.poll_write(&mut self.transport, context, left)).await?;
            IoSlice::advance_slices(&mut left, written);
        }
        Ok(())
    }

    /// Sends a whole answer, head and body together; how many bytes of the body have left, and whether all did.
    pub(super) async fn write_answer(
        &mut self,
        request: &Plain<'_>,
        answer: &impl AtHand,
        fields: &AnswerFields,
    ) -> (u64, io::Result<()>) {
        answer.push_head(request, self.stash.buffer());
        fields.extend(self.stash.buffer());
        let mut rest = &answer.body()[..];
        let result = poll_fn(|context| {
            while !rest.is_empty() {
                let slices = [IoSlice::new(rest)];
                match ready!(self.stash.poll_write(&mut self.transport, context, &slices)) {
                    Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            self.stash.poll_flush(&mut self.transport, context)
        });
        let result = result.await;
        ((answer.body().len() - rest.len()) as u64, result)
    }

    /// Whether [`Self::send_file`] can be used.
    pub(super) fn takes_files(&self) -> bool {
        self.transport.is_plain()
    }

    /// Sends what was kept, and then some of the `count` bytes of a file from `offset` on; how many. May be cancelled.
    pub(super) async fn send_file(&mut self, file: &File, mut offset: u64, count: usize) -> io::Result<usize> {
        poll_fn(|context| {
            if !self.stash.is_empty() {
                self.transport.socket_mut().set_more(true);
                let flushed = self.stash.poll_flush(&mut self.transport, context);
                self.transport.socket_mut().set_more(false);
                ready!(flushed)?;
            }
            let Some(socket) = self.transport.plain_mut() else {
                return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
            };
            match ready!(socket.poll_send_file(context, file, &mut offset, count))? {
                0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                sent => Poll::Ready(Ok(sent)),
            }
        })
        .await
    }

    /// Sends what was kept.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_flush(context)).await
    }

    /// HTTP/2: frames as they come, as many as one turn may have. Nothing any more when [`Self::overdone`].
    pub(super) fn poll_frames(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.frames.overdone() {
            return Poll::Pending;
        }
        if self.frames.turn_is_over() {
            self.frames.new_turn();
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !self.inbound.is_empty() {
            let count = self.inbound.len().min(buffer.remaining());
            let passed = self.frames.pass(&self.inbound[..count]);
            buffer.put_slice(&self.inbound[..passed]);
            self.inbound.advance(passed);
            return if passed == 0 { Poll::Pending } else { Poll::Ready(Ok(())) };
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.transport).poll_read(context, buffer);
        if read.is_pending() {
            self.frames.new_turn();
            if self.state.streams() == 0 {
                self.inbound = BytesMut::new();
                self.stash.shrink();
            }
            return read;
        }
        let new = &buffer.filled()[before..];
        let passed = self.frames.pass(new);
        if passed < new.len() {
            self.inbound.extend_from_slice(&new[passed..]);
            buffer.set_filled(before + passed);
            if passed == 0 {
                return Poll::Pending;
            }
        }
        read
    }

    /// HTTP/2: a head came with more fields than are decoded. Whoever serves the connection ends it.
    pub(super) fn overdone(&self) -> bool {
        self.frames.overdone()
    }

    /// Keeps small writes, and sends them with a large one.
    pub(super) fn poll_stash(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.stash.poll_write(&mut self.transport, context, slices)
    }

    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stash.poll_flush(&mut self.transport, context)
    }

    /// Sends what was kept, and says that nothing follows.
    pub(super) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(context))?;
        Pin::new(&mut self.transport).poll_shutdown(context)
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        let unread = match self.multiplexed {
            false => !self.body.done(),
            true => self.state.streams() > 0,
        };
        if unread && self.state.expired().is_none() {
            self.transport.socket_mut().linger(true);
        }
    }
}
