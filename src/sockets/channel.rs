//! A way between two processes of one user, for words and open sockets: a socket in a folder of its own, which only that user may
//! open, and who opens it is looked at.
//!
//! Blocks: for `async` code, within `spawn_blocking`.

use std::fs::Permissions;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    recvmsg, sendmsg, socket_with,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::file::OTHERS_MAY_NOT;

/// Of one message, in bytes: the addresses of [`MAX_SOCKETS`] with room to spare.
const MAX_MESSAGE: usize = 128 << 10;
/// The kernel passes no more in one message (`SCM_MAX_FD`).
const MAX_SOCKETS: usize = 250;
/// Whoever does not come at once is waited for by looking so often.
const LOOK: Duration = Duration::from_millis(50);
/// A message that is not taken within this never is.
const SEND: Duration = Duration::from_secs(5);

/// Where the other process is waited for.
pub struct Door(OwnedFd);

/// Who has come, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub process: u32,
}

pub struct Channel {
    socket: OwnedFd,
    peer: Peer,
}

impl Door {
    /// # Errors
    /// The path is taken, too long, or cannot be written to.
    pub fn open(path: &Path) -> io::Result<Door> {
        let socket = seqpacket(SocketFlags::NONBLOCK)?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        std::fs::set_permissions(path, Permissions::from_mode(OTHERS_MAY_NOT))?;
        listen(&socket, 4)?;
        Ok(Door(socket))
    }

    /// Who comes first of those that run as we do. `None`: nobody has until now.
    pub fn look(&self) -> io::Result<Option<Channel>> {
        match accept_with(&self.0, SocketFlags::CLOEXEC) {
            Ok(socket) => Ok(Channel::of(socket)
                .inspect_err(|error| tracing::warn!(%error, "somebody else came to the door of an upgrade"))
                .ok()),
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {
                std::thread::sleep(LOOK);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Channel {
    /// To the process that opened the door.
    pub fn connect(path: &Path) -> io::Result<Channel> {
        let socket = seqpacket(SocketFlags::empty())?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Channel::of(socket)
    }

    /// # Errors
    /// The other end is another user's.
    fn of(socket: OwnedFd) -> io::Result<Channel> {
        let peer = Peer::of(&socket)?;
        set_socket_timeout(&socket, Timeout::Send, Some(SEND))?;
        Ok(Channel { socket, peer })
    }

    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// # Errors
    /// It is gone, or takes nothing.
    pub fn send(&self, message: &impl Serialize, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        if bytes.len() > MAX_MESSAGE || sockets.len() > MAX_SOCKETS {
            return Err(io::Error::other(format!("more than {MAX_SOCKETS} sockets cannot be handed over")));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
            return Err(io::Error::other("there is no room for so many sockets"));
        }
        sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message, and the sockets that came with it.
    ///
    /// # Errors
    /// `UnexpectedEof`: the other process has gone. `TimedOut`: it says nothing.
    pub fn receive<T: DeserializeOwned>(&self, until: Instant) -> io::Result<(T, Vec<OwnedFd>)> {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        set_socket_timeout(&self.socket, Timeout::Recv, Some(left))?;
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            match recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                other => break other?,
            }
        };
        let mut sockets = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                sockets.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is longer than any of ours"));
        }
        let message = serde_json::from_slice(bytes.get(..received.bytes).unwrap_or_default())?;
        Ok((message, sockets))
    }
}

impl Peer {
    /// Who is at the other end.
    ///
    /// # Errors
    /// It is another user's process.
    pub fn of(socket: impl AsFd) -> io::Result<Peer> {
        let found = socket_peercred(socket)?;
        if found.uid != rustix::process::geteuid() {
            let what =
                format!("process {} is of the user {}, not of ours", found.pid.as_raw_nonzero(), found.uid.as_raw());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        Ok(Peer { process: found.pid.as_raw_nonzero().get().unsigned_abs() })
    }
}

fn seqpacket(flags: SocketFlags) -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags | SocketFlags::CLOEXEC, None)?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    fn ends() -> (Channel, Channel) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door");
        let door = Door::open(&path).unwrap();
        assert!(door.look().unwrap().is_none());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let there = Channel::connect(&path).unwrap();
        let here = door.look().unwrap().unwrap();
        assert_eq!((here.peer().process, there.peer().process), (std::process::id(), std::process::id()));
        (here, there)
    }

    #[test]
    fn a_socket_that_is_handed_over_listens_on() {
        let (here, there) = ends();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // It waits in the queue while nobody has the socket but the message.
        let mut client = TcpStream::connect(address).unwrap();
        here.send(&"one", &[listener.as_fd()]).unwrap();
        drop(listener);
        let (word, mut sockets) = there.receive::<String>(soon()).unwrap();
        assert_eq!((word.as_str(), sockets.len()), ("one", 1));
        let listener = TcpListener::from(sockets.remove(0));
        listener.accept().unwrap().0.write_all(b"x").unwrap();
        let mut got = String::new();
        client.read_to_string(&mut got).unwrap();
        assert_eq!(got, "x");
    }

    #[test]
    fn who_goes_or_is_silent_is_found_out() {
        let (here, there) = ends();
        let silent = there.receive::<String>(Instant::now()).unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
        here.send(&vec!["x"; 20_000], &[]).unwrap();
        assert_eq!(there.receive::<Vec<String>>(soon()).unwrap().0.len(), 20_000);
        assert!(here.send(&"x".repeat(MAX_MESSAGE), &[]).is_err());
        drop(here);
        assert_eq!(there.receive::<String>(soon()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(there.send(&"x", &[]).is_err());
    }
}
