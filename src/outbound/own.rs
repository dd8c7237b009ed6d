//! Where this process itself listens: whoever names one of these leads us in a circle, or to what only we may ask.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::address::embedded;

/// The listeners and the admin address. Clones share it; empty until somebody listens.
#[derive(Clone, Default)]
pub struct OwnAddresses(Arc<ArcSwap<Vec<SocketAddr>>>);

impl OwnAddresses {
    /// Says where we listen from now on. The ports are those bound, never 0.
    pub fn replace(&self, addresses: Vec<SocketAddr>) {
        self.0.store(Arc::new(addresses));
    }

    /// Whether any of ours has this port.
    pub(super) fn has_port(&self, port: u16) -> bool {
        self.0.load().iter().any(|own| own.port() == port)
    }

    /// Whether a connection to this address would come back to us.
    pub(super) fn holds(&self, ip: IpAddr, port: u16) -> bool {
        let own = self.0.load();
        let mut own = own.iter().filter(|own| own.port() == port).map(|own| own.ip().to_canonical());
        own.any(|own| faces(ip).any(|face| is_same(own, face)))
    }
}

/// An address and those inside it.
fn faces(ip: IpAddr) -> impl Iterator<Item = IpAddr> {
    let inner = match ip {
        IpAddr::V4(_) => Vec::new(),
        IpAddr::V6(ip) => embedded(ip),
    };
    [ip.to_canonical()].into_iter().chain(inner.into_iter().map(IpAddr::V4))
}

fn is_same(own: IpAddr, named: IpAddr) -> bool {
    own == named
        || match (own.is_unspecified(), named.is_unspecified()) {
            // We listen on every address of this machine.
            (true, _) => named.is_unspecified() || named.is_loopback() || is_of_this_machine(named),
            // A connection to 0.0.0.0 goes to the loopback.
            (false, true) => own.is_loopback(),
            (false, false) => false,
        }
}

/// The system lets a socket be bound to an address of this machine only. Nothing is sent.
pub fn is_of_this_machine(ip: IpAddr) -> bool {
    let ip = match ip {
        // A scope cannot be told here, and no stranger may name such an address anyway.
        IpAddr::V6(v6) if v6.is_unicast_link_local() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    };
    UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(addresses: &[&str]) -> OwnAddresses {
        let own = OwnAddresses::default();
        own.replace(addresses.iter().map(|address| address.parse().unwrap()).collect());
        own
    }

    fn holds(own: &OwnAddresses, address: &str) -> bool {
        let address: SocketAddr = address.parse().unwrap();
        own.holds(address.ip(), address.port())
    }

    #[test]
    fn an_address_of_ours_is_known_by_each_of_its_names() {
        let own = own(&["127.0.0.1:5001"]);
        for ours in [
            "127.0.0.1:5001",
            "[::ffff:127.0.0.1]:5001",
            "0.0.0.0:5001",
            "[::]:5001",
            "[::127.0.0.1]:5001",
            "[64:ff9b::127.0.0.1]:5001",
            "[2002:7f00:1::]:5001",
        ] {
            assert!(holds(&own, ours), "{ours}");
        }
        for other in ["127.0.0.1:5000", "127.0.0.2:5001", "10.0.0.1:5001", "[::1]:5001"] {
            assert!(!holds(&own, other), "{other}");
        }
        assert!(own.has_port(5001) && !own.has_port(5000));
    }

    #[test]
    fn who_listens_everywhere_is_at_each_address_of_the_machine() {
        for everywhere in ["0.0.0.0:5000", "[::]:5000"] {
            let own = own(&[everywhere]);
            for ours in ["127.0.0.1:5000", "127.9.9.9:5000", "0.0.0.0:5000", "[::1]:5000", "[::ffff:127.0.0.1]:5000"] {
                assert!(holds(&own, ours), "{ours}");
            }
            // TEST-NET-1 is nobody's address (RFC 5737).
            assert!(!holds(&own, "192.0.2.1:5000") && !holds(&own, "127.0.0.1:5001"));
        }
    }
}
