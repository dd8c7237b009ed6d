//! Whose a request is, as it is counted.

use std::net::{IpAddr, Ipv6Addr};

use sha2::{Digest as _, Sha256};

/// The part of an IPv6 address that one client cannot choose: a customer has at least a network of 64 bits.
const NETWORK: u32 = 64;

/// A client's address as it is counted: IPv4 as it is, IPv6 by its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl Source {
    pub fn of(address: IpAddr) -> Source {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) & (u128::MAX << (128 - NETWORK));
                Source(Ipv6Addr::from(network).into())
            }
            address => Source(address),
        }
    }
}

/// Whose count it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject<'a> {
    Address(Source),
    /// Somebody who is known: [`crate::auth::Identity::subject`].
    Identity(&'a str),
    /// A name that somebody tries to log in as.
    Name(&'a str),
}

/// Of a subject's digest, in bytes: nobody finds two that are alike.
const DIGEST: usize = 16;

impl Subject<'_> {
    /// The same word at every instance, without anything of what a client wrote in it.
    pub(super) fn word(&self) -> String {
        let hash = match self {
            Subject::Address(source) => Sha256::new().chain_update("address ").chain_update(source.0.to_string()),
            Subject::Identity(name) => Sha256::new().chain_update("identity ").chain_update(name),
            Subject::Name(name) => Sha256::new().chain_update("name ").chain_update(name),
        };
        hex::encode(hash.finalize().get(..DIGEST).unwrap_or_default())
    }
}
