//! A client's connection as the system has it: TCP, or a socket in the file system.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::task::{Context, Poll};

use tokio::io::{Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

pub(super) enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The same of either.
macro_rules! of_either {
    ($wire:expr, $stream:ident => $what:expr) => {
        match $wire {
            Wire::Tcp($stream) => $what,
            Wire::Unix($stream) => $what,
        }
    };
}

impl Wire {
    /// Our own address; `None`: it has none.
    pub(super) fn local_ip(&self) -> Option<IpAddr> {
        match self {
            Wire::Tcp(stream) => stream.local_addr().ok().map(|address| address.ip()),
            Wire::Unix(_) => None,
        }
    }

    pub(super) fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_either!(self, stream => stream.poll_read_ready(context))
    }

    pub(super) fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_either!(self, stream => stream.poll_write_ready(context))
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        of_either!(self, stream => stream.readable().await)
    }

    pub(super) fn try_io<T>(&self, interest: Interest, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        of_either!(self, stream => stream.try_io(interest, work))
    }

    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        of_either!(self, stream => stream.try_read(buffer))
    }

    pub(super) fn try_read_buf(&self, buffer: &mut ReadBuf<'_>) -> io::Result<usize> {
        of_either!(self, stream => stream.try_read_buf(buffer))
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        of_either!(self, stream => stream.try_write(bytes))
    }

    pub(super) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        of_either!(self, stream => stream.try_write_vectored(slices))
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        of_either!(self, stream => stream.as_fd())
    }
}

impl AsRawFd for Wire {
    fn as_raw_fd(&self) -> RawFd {
        of_either!(self, stream => stream.as_raw_fd())
    }
}
