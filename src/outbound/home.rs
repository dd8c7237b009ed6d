//! A host that the operator named, as it is found: its addresses, and how private it is.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::{Privacy, place};
use super::reach::Forbidden;
use super::resolver::Lookup;

/// Why it cannot be gone to.
#[derive(Debug, thiserror::Error)]
pub enum NotFound {
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error("{0}")]
    Resolve(#[from] io::Error),
}

/// One host. As private as it was when it was found first, it may stay: a name of the internet that turns to an address of our
/// network leads nobody there, however it came to be in the configuration.
///
/// As a resolver it finds this host whatever it is asked for, so that the certificate may carry another name.
pub struct Home {
    host: String,
    port: u16,
    /// The host is an address.
    literal: Option<IpAddr>,
    at_least: Privacy,
    lookup: Lookup,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    privacy: Option<Privacy>,
    addresses: Arc<[IpAddr]>,
}

impl Home {
    /// `host` as in a URL, an IPv6 address with or without brackets; `allow_private`: it may turn private.
    pub fn new(host: &str, port: u16, allow_private: bool, lookup: Lookup) -> Arc<Self> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let literal = host.parse().ok();
        let at_least = if allow_private { Privacy::Private } else { Privacy::Public };
        let found = Found { privacy: None, addresses: literal.into_iter().collect() };
        Arc::new(Home { host, port, literal, at_least, lookup, found: Mutex::new(found) })
    }

    /// Where it was found last; empty before.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.found.lock().addresses.to_vec()
    }

    /// Finds it anew.
    pub async fn locate(&self) -> Result<Vec<SocketAddr>, NotFound> {
        if let Some(literal) = self.literal {
            return Ok(vec![SocketAddr::new(literal, self.port)]);
        }
        let found = (self.lookup)(self.host.clone(), self.port).await?;
        Ok(self.admit(found)?)
    }

    fn admit(&self, mut found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Forbidden> {
        let Some(nearest) = found.iter().map(|address| place(address.ip())).min() else { return Ok(found) };
        let mut state = self.found.lock();
        let farthest = state.privacy.unwrap_or(nearest).max(self.at_least);
        let refused = found.iter().find_map(|address| match place(address.ip()) {
            Privacy::Never(what) => Some(Forbidden::Never(address.ip(), what)),
            place => (place > farthest).then_some(Forbidden::MorePrivate(address.ip())),
        });
        found.retain(|address| {
            let place = place(address.ip());
            place <= farthest && !matches!(place, Privacy::Never(_))
        });
        match refused {
            Some(forbidden) if found.is_empty() => Err(forbidden),
            _ => {
                state.privacy.get_or_insert(nearest);
                state.addresses = found.iter().map(SocketAddr::ip).collect();
                Ok(found)
            }
        }
    }
}

/// What a client is given as its resolver.
pub struct HomeResolver(pub Arc<Home>);

impl Resolve for HomeResolver {
    fn resolve(&self, _name: Name) -> Resolving {
        let home = self.0.clone();
        Box::pin(async move {
            let found = home.locate().await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(home: &Home, addresses: &[&str]) -> Option<Vec<String>> {
        let addresses = addresses.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 443)).collect();
        let admitted = home.admit(addresses).ok()?;
        Some(admitted.into_iter().map(|address| address.ip().to_string()).collect())
    }

    fn home(allow_private: bool) -> Arc<Home> {
        Home::new("registry.example", 443, allow_private, super::super::system_lookup())
    }

    #[test]
    fn a_host_does_not_become_more_private_than_it_was() {
        let public = home(false);
        assert_eq!(found(&public, &["9.9.9.9", "10.0.0.1", "127.0.0.1"]), Some(vec!["9.9.9.9".into()]));
        for private in ["10.0.0.1", "127.0.0.1", "::1", "169.254.169.254", "::ffff:10.0.0.1"] {
            assert_eq!(found(&public, &[private]), None, "{private}");
        }
        assert_eq!(public.addresses(), ["9.9.9.9".parse::<IpAddr>().unwrap()], "what was refused counts for nothing");
        assert!(found(&public, &["1.1.1.1"]).is_some());
        let private = home(false);
        assert!(found(&private, &["10.0.0.1"]).is_some() && found(&private, &["127.0.0.1"]).is_none());
        assert!(found(&private, &["9.9.9.9"]).is_some() && found(&private, &["10.0.0.2"]).is_some());
        assert!(found(&home(false), &["127.0.0.1"]).is_some());
    }

    #[test]
    fn private_addresses_may_be_allowed_but_nothing_beyond() {
        let home = home(true);
        assert!(found(&home, &["9.9.9.9"]).is_some() && found(&home, &["10.0.0.1"]).is_some());
        assert!(found(&home, &["127.0.0.1"]).is_none() && found(&home, &["169.254.169.254"]).is_none());
    }

    #[tokio::test]
    async fn an_address_is_the_operator_s_word() {
        for (host, ip) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("169.254.1.1", "169.254.1.1")] {
            let home = Home::new(host, 5000, false, super::super::system_lookup());
            assert_eq!(home.locate().await.unwrap(), [SocketAddr::new(ip.parse().unwrap(), 5000)]);
            assert_eq!(home.addresses(), [ip.parse::<IpAddr>().unwrap()]);
        }
    }
}
