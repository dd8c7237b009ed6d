//! A client's socket: counts its bytes and tells when it waits. Below TLS.
//!
//! The tokio stream is shared, so that the sweeper can shut it down and a lingering close can
//! outlive this socket; only the socket reads and writes it.

use std::fs::File;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustix::net::{SendFlags, Shutdown};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::linger;
use super::state::ConnectionState;
use super::wire::Wire;

pub(super) struct Socket {
    wire: Arc<Wire>,
    state: Arc<ConnectionState>,
    /// Bytes after a PROXY header that were read with it.
    replay: BytesMut,
    /// Nothing more will come: the client closed its side, or the socket failed.
    ended: bool,
    linger: bool,
    /// What is written next is not all: the kernel waits for the rest before it sends a part of a segment.
    more: bool,
}

impl Socket {
    pub(super) fn new(wire: Arc<Wire>, state: Arc<ConnectionState>) -> Socket {
        Socket { wire, state, replay: BytesMut::new(), ended: false, linger: false, more: false }
    }

    /// Our own address, as the client knows it unless something stands between.
    pub(super) fn local_ip(&self) -> Option<IpAddr> {
        self.wire.local_ip()
    }

    pub(super) fn replay(&mut self, bytes: BytesMut) {
        self.replay = bytes;
    }

    /// When dropped, ends by a reset.
    pub(super) fn reset(&mut self) {
        self.ended = true;
        let _ = SockRef::from(&*self.wire).set_linger(Some(Duration::ZERO));
    }

    pub(super) fn set_more(&mut self, more: bool) {
        self.more = more;
    }

    /// Sends up to `count` bytes of a file from `offset` on, which follows; the kernel copies nothing through us. 0: the file is
    /// shorter. The file's bytes should be in the page cache: what has to be read from a disk is waited for here.
    pub(super) fn poll_send_file(
        &mut self,
        context: &mut Context<'_>,
        file: &File,
        offset: &mut u64,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            let readiness = self.wire.poll_write_ready(context);
            self.state.set_writing(readiness.is_pending());
            ready!(readiness)?;
            let sent = self
                .wire
                .try_io(Interest::WRITABLE, || Ok(rustix::fs::sendfile(&*self.wire, file, Some(offset), count)?));
            match sent {
                Ok(sent) => {
                    self.state.add_sent(sent);
                    return Poll::Ready(Ok(sent));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    /// When dropped, reads on for a while: the client may still be sending, and a reset would
    /// take our answer from it.
    pub(super) fn linger(&mut self, linger: bool) {
        self.linger = linger;
    }

    /// Waits for something to read, without a buffer.
    pub(super) fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.replay.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let readable = self.wire.poll_read_ready(context);
        self.state.set_reading(readable.is_pending());
        readable
    }

    /// One read if the socket is ready. A short read clears the readiness in the same step, which
    /// saves the system call that would only say "nothing more" (as tokio does for owned streams).
    fn try_read(&mut self, buffer: &mut ReadBuf<'_>) -> io::Result<usize> {
        let room = buffer.remaining();
        let mut read = None;
        let tried = self.wire.try_io(Interest::READABLE, || {
            let count = self.wire.try_read_buf(buffer)?;
            read = Some(count);
            if count > 0 && count < room { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match (read, tried) {
            (Some(count), _) => Ok(count),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let mut written = None;
        let tried = self.wire.try_io(Interest::WRITABLE, || {
            let count = match slices {
                [one] if self.more => rustix::net::send(&*self.wire, one, SendFlags::MORE | SendFlags::NOSIGNAL)?,
                [one] => self.wire.try_write(one)?,
                _ => self.wire.try_write_vectored(slices)?,
            };
            written = Some(count);
            if count > 0 && count < offered { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match (written, tried) {
            (Some(count), _) => Ok(count),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        if !socket.replay.is_empty() {
            let count = socket.replay.len().min(buffer.remaining());
            buffer.put_slice(&socket.replay[..count]);
            socket.replay.advance(count);
            return Poll::Ready(Ok(()));
        }
        loop {
            let readiness = socket.wire.poll_read_ready(context);
            socket.state.set_reading(readiness.is_pending());
            ready!(readiness)?;
            match socket.try_read(buffer) {
                Ok(count) => {
                    socket.ended |= count == 0 && buffer.remaining() > 0;
                    socket.state.add_received(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => {
                    socket.ended = true;
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        loop {
            let readiness = socket.wire.poll_write_ready(context);
            socket.state.set_writing(readiness.is_pending());
            ready!(readiness)?;
            match socket.try_write(slices) {
                Ok(count) => {
                    socket.state.add_sent(count);
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => {
                    socket.ended = true;
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match rustix::net::shutdown(&*self.wire, Shutdown::Write) {
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.linger && !self.ended {
            linger::start(Arc::clone(&self.wire));
        }
    }
}
