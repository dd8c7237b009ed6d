//! One socket that listens.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::AddressFamily;
use rustix::net::sockopt::{socket_acceptconn, socket_domain};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::Address;
use super::file::SocketFile;

/// Handshakes that the kernel finishes for us while we are busy; it may hold fewer.
const BACKLOG: i32 = 4_096;

/// A listening socket. Its file, if it has one, goes with it, unless another process goes on with it.
pub struct Socket {
    kind: Kind,
    local: Address,
    file: Option<SocketFile>,
}

enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A client's connection.
pub enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Socket {
    /// Opens it; of one in the file system, `mode` says who may use it. Needs a tokio runtime.
    pub fn bind(address: &Address, mode: u32) -> io::Result<Socket> {
        match address {
            Address::Tcp(address) => {
                let tcp = listen(*address)?;
                let local = tcp.local_addr()?.into();
                Ok(Socket { kind: Kind::Tcp(tcp), local, file: None })
            }
            Address::Unix(path) => {
                let (listener, file) = SocketFile::bind(path, mode)?;
                Ok(Socket { kind: Kind::Unix(listener), local: address.clone(), file: Some(file) })
            }
        }
    }

    /// One that listens already. Its file stays when it goes: whoever opened it looks after that.
    ///
    /// # Errors
    /// It is no socket that clients could come to, or of a kind that we do not serve.
    pub fn inherit(socket: OwnedFd) -> io::Result<Socket> {
        if !socket_acceptconn(&socket)? {
            return Err(io::Error::other("does not listen"));
        }
        // It may hold fewer than ours do.
        rustix::net::listen(&socket, BACKLOG)?;
        match socket_domain(&socket)? {
            AddressFamily::UNIX => {
                let listener = std::os::unix::net::UnixListener::from(socket);
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                let path = address.as_pathname().ok_or_else(|| io::Error::other("has no path"))?.to_owned();
                Ok(Socket {
                    kind: Kind::Unix(UnixListener::from_std(listener)?),
                    local: Address::Unix(path),
                    file: None,
                })
            }
            AddressFamily::INET | AddressFamily::INET6 => {
                let listener = std::net::TcpListener::from(socket);
                listener.set_nonblocking(true)?;
                let tcp = TcpListener::from_std(listener)?;
                let local = tcp.local_addr()?.into();
                Ok(Socket { kind: Kind::Tcp(tcp), local, file: None })
            }
            _ => Err(io::Error::other("is neither of TCP nor in the file system")),
        }
    }

    /// The same at the path where its predecessor has put it: the kernel knows it by the name that it was made under. `ours`: the
    /// file is of us, and becomes this process's once that says so by [`Socket::own_file`].
    pub(super) fn at(mut self, address: &Address, ours: bool) -> Socket {
        if let (Kind::Unix(_), Address::Unix(path)) = (&self.kind, address) {
            self.file = ours.then(|| SocketFile::of_another(path));
            self.local = address.clone();
        }
        self
    }

    /// Where it listens; a port is the system's choice if the configured one is 0.
    pub fn local(&self) -> &Address {
        &self.local
    }

    /// The next connection. Dropped meanwhile, it takes none.
    pub async fn accept(&self) -> io::Result<Accepted> {
        match &self.kind {
            Kind::Tcp(listener) => listener.accept().await.map(|(stream, from)| Accepted::Tcp(stream, from)),
            Kind::Unix(listener) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }

    /// Whether its file, if it has one, is ours to take away.
    pub fn owns_file(&self) -> bool {
        self.file.as_ref().is_some_and(SocketFile::is_ours)
    }

    /// Says who may open its file, if that is ours.
    pub fn open_to(&self, mode: u32) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| file.open_to(mode))
    }

    /// From now on its file is ours, and goes with us; or it is another's, who goes on with it.
    pub fn own_file(&self, ours: bool) {
        if let Some(file) = &self.file {
            file.own(ours);
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Tcp(listener) => listener.as_fd(),
            Kind::Unix(listener) => listener.as_fd(),
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
