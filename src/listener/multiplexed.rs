//! The stream of an HTTP/2 connection, shared by the library, which reads and writes frames, and by our driver, which sends what was
//! written: once for all that one wake-up of the connection brought about.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::ClientStream;

/// Both hands of one task, so the lock is never waited for.
#[derive(Clone)]
pub(super) struct Multiplexed {
    stream: Arc<Mutex<Box<ClientStream>>>,
    /// Flushes wait for [`Self::poll_send`].
    driven: Arc<AtomicBool>,
}

impl Multiplexed {
    pub(super) fn new(mut stream: Box<ClientStream>) -> Multiplexed {
        stream.multiplex();
        Multiplexed { stream: Arc::new(Mutex::new(stream)), driven: Arc::new(AtomicBool::new(false)) }
    }

    /// From here on somebody calls [`Self::poll_send`] whenever the library has nothing more to do.
    pub(super) fn drive(&self) {
        self.driven.store(true, Relaxed);
    }

    /// See [`ClientStream::overdone`].
    pub(super) fn overdone(&self) -> bool {
        self.stream.lock().overdone()
    }

    /// Sends what was written.
    pub(super) fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.lock().poll_flush(context)
    }
}

impl AsyncRead for Multiplexed {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream.lock().poll_frames(context, buffer)
    }
}

impl AsyncWrite for Multiplexed {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.lock().poll_stash(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.lock().poll_stash(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.driven.load(Relaxed) {
            true => Poll::Ready(Ok(())),
            false => self.poll_send(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.lock().poll_shutdown(context)
    }
}
