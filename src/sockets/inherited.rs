//! Sockets that listened before this process began: a service manager opened them (socket activation), or its predecessor.

use std::io;
use std::os::fd::OwnedFd;

use listenfd::ListenFd;
use serde::{Deserialize, Serialize};

use super::{Address, Socket};

/// Names of the sockets that a service manager hands over, in their order, parted by colons.
const NAMES: &str = "LISTEN_FDNAMES";

/// Which section of the configuration a socket belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Listener,
    Admin,
}

/// What a predecessor says of a socket that it hands on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub role: Role,
    /// As it was configured: port 0 stays 0.
    pub address: Address,
    /// Its file, if it has one, goes with the last of us.
    pub ours: bool,
}

/// Sockets that nobody has taken yet.
#[derive(Default)]
pub struct Inherited(Vec<(OwnedFd, Source)>);

enum Source {
    Predecessor(Told),
    Manager { name: String, bound: Address },
}

impl Inherited {
    /// What the service manager handed to this process, if anything. Called once, before there are other threads: it takes the
    /// variables out of the environment.
    ///
    /// # Errors
    /// What was handed over is not what it should be.
    pub fn of_manager() -> io::Result<Inherited> {
        let names = std::env::var(NAMES).unwrap_or_default();
        let mut found = ListenFd::from_env();
        let mut names = names.split(':');
        let mut sockets = Vec::new();
        for index in 0..found.len() {
            let name = names.next().unwrap_or_default().to_owned();
            let (socket, bound) = taken(&mut found, index)
                .map_err(|error| io::Error::other(format!("socket {index} of the service manager: {error}")))?;
            sockets.push((socket, Source::Manager { name, bound }));
        }
        Ok(Inherited(sockets))
    }

    pub fn of_predecessor(sockets: Vec<OwnedFd>, told: Vec<Told>) -> Inherited {
        Inherited(sockets.into_iter().zip(told.into_iter().map(Source::Predecessor)).collect())
    }

    /// The one for this address of the configuration; one of a service manager may also have the name that the section has.
    pub fn take(&mut self, role: Role, address: &Address, name: Option<&str>) -> Option<io::Result<Socket>> {
        let exact = |from: &Source| match from {
            Source::Predecessor(told) => told.role == role && told.address == *address,
            Source::Manager { name: given, bound } => name == Some(given.as_str()) || bound == address,
        };
        let near = |from: &Source| matches!(from, Source::Manager { bound, .. } if is_everywhere(bound, address));
        let found = self.0.iter().position(|(_, from)| exact(from));
        let found = found.or_else(|| self.0.iter().position(|(_, from)| near(from)))?;
        let (socket, from) = self.0.remove(found);
        let socket = Socket::inherit(socket);
        Some(match from {
            Source::Predecessor(told) => socket.map(|socket| socket.at(&told.address, told.ours)),
            Source::Manager { .. } => socket,
        })
    }

    /// Those of a predecessor that no section of the configuration has, for it.
    pub fn unclaimed(&self) -> Vec<Told> {
        let told = |from: &Source| match from {
            Source::Predecessor(told) => Some(told.clone()),
            Source::Manager { .. } => None,
        };
        self.0.iter().filter_map(|(_, from)| told(from)).collect()
    }

    /// Those that no section of the configuration has, for people.
    pub fn left(&self) -> Vec<String> {
        let told = |from: &Source| match from {
            Source::Predecessor(told) => told.address.to_string(),
            Source::Manager { name, bound } => format!("{bound} ({name})"),
        };
        self.0.iter().map(|(_, from)| told(from)).collect()
    }
}

/// The kinds that we serve; none of them is left open to programs that we start.
fn taken(found: &mut ListenFd, index: usize) -> io::Result<(OwnedFd, Address)> {
    let odd = || io::Error::other("is neither of TCP nor in the file system");
    if let Ok(Some(tcp)) = found.take_tcp_listener(index) {
        let bound = tcp.local_addr()?.into();
        return Ok((tcp.into(), bound));
    }
    let unix = found.take_unix_listener(index)?.ok_or_else(odd)?;
    let bound = Address::Unix(unix.local_addr()?.as_pathname().ok_or_else(odd)?.to_owned());
    Ok((unix.into(), bound))
}

/// `ListenStream=443` of systemd is every address of both protocols.
fn is_everywhere(bound: &Address, wanted: &Address) -> bool {
    let (Some(bound), Some(wanted)) = (bound.tcp(), wanted.tcp()) else { return false };
    bound.port() == wanted.port() && bound.ip().is_unspecified() && wanted.ip().is_unspecified() && bound.is_ipv6()
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;

    fn given(name: &str, address: &str) -> (OwnedFd, Source, SocketAddr) {
        let tcp = TcpListener::bind(address).unwrap();
        let bound = tcp.local_addr().unwrap();
        (tcp.into(), Source::Manager { name: name.into(), bound: bound.into() }, bound)
    }

    #[tokio::test]
    async fn a_socket_is_found_by_its_address_or_its_name() {
        let (first, first_from, first_at) = given("entrepot.socket", "127.0.0.1:0");
        let (second, second_from, second_at) = given("https", "127.0.0.1:0");
        let mut inherited = Inherited(vec![(first, first_from), (second, second_from)]);
        let elsewhere: Address = "127.0.0.2:1".parse().unwrap();
        assert!(inherited.take(Role::Listener, &elsewhere, None).is_none());
        let named = inherited.take(Role::Listener, &elsewhere, Some("https")).unwrap().unwrap();
        assert_eq!(named.local(), &second_at.into());
        assert_eq!(inherited.left(), [format!("{first_at} (entrepot.socket)")]);
        let addressed = inherited.take(Role::Admin, &first_at.into(), None).unwrap().unwrap();
        assert_eq!(addressed.local(), &first_at.into());
        assert!(inherited.left().is_empty() && !addressed.owns_file());
    }

    #[tokio::test]
    async fn of_a_predecessor_each_section_gets_its_own() {
        let any: Address = "127.0.0.1:0".parse().unwrap();
        let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let at = sockets.each_ref().map(|socket| Address::from(socket.local_addr().unwrap()));
        let told = [Role::Admin, Role::Listener].map(|role| Told { role, address: any.clone(), ours: false });
        let mut inherited = Inherited::of_predecessor(sockets.map(OwnedFd::from).into(), told.into());
        let listener = inherited.take(Role::Listener, &any, Some("x")).unwrap().unwrap();
        assert_eq!(inherited.unclaimed(), [Told { role: Role::Admin, address: any.clone(), ours: false }]);
        let admin = inherited.take(Role::Admin, &any, None).unwrap().unwrap();
        assert_eq!((admin.local(), listener.local()), (&at[0], &at[1]));
    }

    #[test]
    fn every_address_of_both_protocols_is_every_one_of_either() {
        let everywhere = |bound: &str, wanted: &str| is_everywhere(&bound.parse().unwrap(), &wanted.parse().unwrap());
        assert!(everywhere("[::]:443", "0.0.0.0:443"));
        assert!(!everywhere("0.0.0.0:443", "[::]:443") && !everywhere("[::]:443", "0.0.0.0:444"));
        assert!(!everywhere("[::]:443", "127.0.0.1:443"));
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let datagrams = std::os::unix::net::UnixDatagram::unbound().unwrap();
        assert!(Socket::inherit(datagrams.into()).is_err());
    }
}
