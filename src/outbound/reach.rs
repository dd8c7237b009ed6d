//! Which addresses a stranger may lead us to.

use std::net::IpAddr;

use super::address::{Privacy, place};
use super::own::OwnAddresses;

/// Why an address may not be gone to. The text is for logs: it holds an address and never a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    #[error("{0} is an address of ours")]
    Ours(IpAddr),
    #[error("{0} is {1}")]
    Never(IpAddr, &'static str),
    #[error("{0} is more private than any peer's address")]
    TooPrivate(IpAddr),
    #[error("{0} is more private than where this host was before")]
    MorePrivate(IpAddr),
}

/// The rule of one cluster: never to ourselves; to the hosts that the operator named in any case; else nowhere more
/// private than those hosts. So registries on the internet lead nobody into the network around us, and registries on
/// this machine may keep their object store on it too.
pub struct Reach {
    trusted: Box<dyn Fn() -> Vec<IpAddr> + Send + Sync>,
    /// So private addresses may be gone to in any case.
    at_least: Privacy,
    own: OwnAddresses,
}

impl Reach {
    /// `trusted` tells, each time anew, the addresses of the hosts that the operator named.
    pub fn new(trusted: impl Fn() -> Vec<IpAddr> + Send + Sync + 'static, own: OwnAddresses) -> Self {
        Reach { trusted: Box::new(trusted), at_least: Privacy::Public, own }
    }

    /// Lets private addresses be gone to, whoever is trusted; never more than that.
    pub fn allowing_private(mut self, allowed: bool) -> Self {
        self.at_least = if allowed { Privacy::Private } else { Privacy::Public };
        self
    }

    /// Judges an address. Without a port it is not compared with our own: see [`Reach::is_port_of_ours`].
    pub fn judge(&self, address: IpAddr, port: Option<u16>) -> Result<(), Forbidden> {
        if port.is_some_and(|port| self.own.holds(address, port)) {
            return Err(Forbidden::Ours(address));
        }
        let trusted = (self.trusted)();
        if trusted.iter().any(|host| host.to_canonical() == address.to_canonical()) {
            return Ok(());
        }
        let farthest = trusted.into_iter().map(as_trusted).max().unwrap_or(Privacy::Public).max(self.at_least);
        match place(address) {
            Privacy::Never(what) => Err(Forbidden::Never(address, what)),
            place if place > farthest => Err(Forbidden::TooPrivate(address)),
            _ => Ok(()),
        }
    }

    /// Whether an address with this port could be ours.
    pub fn is_port_of_ours(&self, port: u16) -> bool {
        self.own.has_port(port)
    }
}

/// How private a host of the operator's is. A connection to 0.0.0.0 goes to the loopback.
fn as_trusted(host: IpAddr) -> Privacy {
    match place(host) {
        Privacy::Never(_) if host.is_unspecified() => Privacy::Loopback,
        Privacy::Never(_) => Privacy::Private,
        place => place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(peers: &[&str], address: &str) -> bool {
        let peers: Vec<IpAddr> = peers.iter().map(|peer| peer.parse().unwrap()).collect();
        let reach = Reach::new(move || peers.clone(), OwnAddresses::default());
        reach.judge(address.parse().unwrap(), Some(80)).is_ok()
    }

    #[test]
    fn nobody_leads_to_what_is_more_private_than_the_peers() {
        let (public, private, loopback) = ("9.9.9.9", "10.0.0.1", "127.0.0.1");
        for (peers, may_private, may_loopback) in [
            ([public, public], false, false),
            ([private, public], true, false),
            ([loopback, public], true, true),
            (["0.0.0.0", public], true, true),
            (["fe80::1", public], true, false),
            (["fd00::1", public], true, false),
        ] {
            for address in ["1.1.1.1", "2606:4700::1", "64:ff9b::1.1.1.1"] {
                assert!(may(&peers, address), "{peers:?} {address}");
            }
            for address in ["10.9.9.9", "192.168.1.1", "100.64.0.1", "fd12::1", "::ffff:10.9.9.9", "2002:a09:909::"] {
                assert_eq!(may(&peers, address), may_private, "{peers:?} {address}");
            }
            for address in ["127.0.0.2", "::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1"] {
                assert_eq!(may(&peers, address), may_loopback, "{peers:?} {address}");
            }
            for address in [
                "169.254.169.254",
                "::ffff:169.254.169.254",
                "fe80::2",
                "224.0.0.1",
                "ff02::1",
                "::",
                "255.255.255.255",
                "100.100.100.200",
                "fd00:ec2::254",
            ] {
                assert!(!may(&peers, address), "{peers:?} {address}");
            }
        }
        assert!(may(&[], "1.1.1.1") && !may(&[], "10.0.0.1"), "no peer is known yet");
    }

    #[test]
    fn private_addresses_may_be_allowed_and_no_more() {
        let reach = Reach::new(|| vec!["9.9.9.9".parse().unwrap()], OwnAddresses::default()).allowing_private(true);
        let may = |address: &str| reach.judge(address.parse().unwrap(), Some(80)).is_ok();
        assert!(may("10.0.0.1") && may("1.1.1.1"));
        assert!(!may("127.0.0.1") && !may("169.254.169.254") && !may("fd00:ec2::254"));
    }

    #[test]
    fn a_peer_s_own_host_may_be_led_to() {
        for host in ["169.254.1.2", "fe80::1", "10.0.0.1", "127.0.0.5"] {
            assert!(may(&[host], host), "{host}");
        }
        assert!(may(&["169.254.1.2"], "::ffff:169.254.1.2") && !may(&["169.254.1.2"], "169.254.169.254"));
    }

    #[test]
    fn our_own_addresses_are_never_led_to_whoever_is_a_peer() {
        let own = OwnAddresses::default();
        own.replace(vec!["127.0.0.1:5001".parse().unwrap()]);
        let reach = Reach::new(|| vec!["127.0.0.1".parse().unwrap()], own);
        let judge = |address: &str, port| reach.judge(address.parse().unwrap(), Some(port));
        assert_eq!(judge("127.0.0.1", 5002), Ok(()));
        for ours in ["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1"] {
            assert_eq!(judge(ours, 5001), Err(Forbidden::Ours(ours.parse().unwrap())));
        }
    }
}
