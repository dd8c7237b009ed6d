//! Small writes are kept until a large one or a flush comes, and leave with it in one `writev`
//! (over TLS: in one record).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// For HTTP/1: a response head and a small body.
pub(super) const SMALL: usize = 16 << 10;
/// For h2, whose frames of 16 KiB come one by one: eight records, and one system call.
pub(super) const FRAMES: usize = 128 << 10;
/// An idle connection keeps no more than this.
const IDLE: usize = 1 << 10;
/// Slices that one write passes on.
const SLICES: usize = 8;

#[derive(Debug)]
pub(super) struct Stash {
    bytes: Vec<u8>,
    sent: usize,
    limit: usize,
}

impl Stash {
    pub(super) fn new(limit: usize) -> Stash {
        Stash { bytes: Vec::new(), sent: 0, limit }
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// For what is to leave with the next write; a head is written straight into it.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Gives memory back when nothing is stashed and the connection has nothing to do.
    pub(super) fn shrink(&mut self) {
        if self.bytes.is_empty() && self.bytes.capacity() > IDLE {
            self.bytes = Vec::new();
        }
    }

    pub(super) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let slices = slices.get(..SLICES).unwrap_or(slices);
        let total = slices.iter().map(|slice| slice.len()).sum::<usize>();
        if self.bytes.len().saturating_add(total) <= self.limit {
            self.bytes.reserve_exact(total);
            slices.iter().for_each(|slice| self.bytes.extend_from_slice(slice));
            return Poll::Ready(Ok(total));
        }
        loop {
            let stashed = self.bytes.len() - self.sent;
            let written = if stashed == 0 {
                ready!(Pin::new(&mut *writer).poll_write_vectored(context, slices))?
            } else {
                let mut all = [IoSlice::new(&[]); SLICES + 1];
                all[0] = IoSlice::new(&self.bytes[self.sent..]);
                all[1..=slices.len()].copy_from_slice(slices);
                ready!(Pin::new(&mut *writer).poll_write_vectored(context, &all[..=slices.len()]))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.consume(written.min(stashed));
            if written > stashed {
                return Poll::Ready(Ok(written - stashed));
            }
        }
    }

    pub(super) fn poll_flush<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.bytes.len() {
            let written = ready!(Pin::new(&mut *writer).poll_write(context, &self.bytes[self.sent..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.consume(written);
        }
        Pin::new(writer).poll_flush(context)
    }

    fn consume(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        }
    }
}
