//! `[redis]`. Needs a restart to change.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::units::{Secret, Span, seconds};

/// Where the fleet's shared state is. Left out: in this process's memory, or nowhere (see [`super::Fleet::open`]).
///
/// One Redis server, 6.0 or later, or something that speaks as it does; no Redis Cluster.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `redis://HOST:PORT/DB`, or `rediss://` for TLS. Never with a password.
    pub url: Address,
    /// Of Redis 6's access lists; left out: the default user.
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file of certificates (PEM) trusted for `rediss://` instead of the system's.
    #[serde(default)]
    pub tls_ca: Option<PathBuf>,
    /// Connections of each instance; many questions share one.
    #[serde(default = "connections")]
    pub connections: usize,
    /// For each step of connecting: name and TCP, TLS, login. No request waits for it but a deletion.
    #[serde(default = "timeout")]
    pub connect_timeout: Span,
    /// What a stalled Redis costs a request at most.
    #[serde(default = "timeout")]
    pub command_timeout: Span,
    /// Begins every key of ours, so that a Redis can be shared. The instances of a fleet have the same.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// How long anything is believed. What another program deletes from storage may be believed there for so long.
    #[serde(default = "ttl")]
    pub ttl: Span,
}

/// Connections to one Redis, at most.
pub const MAX_CONNECTIONS: usize = 64;
/// Of a key's prefix, in bytes.
pub const MAX_PREFIX: usize = 64;
/// A stall longer than this is not what these timeouts are for.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(5);
pub const TTL: Duration = Duration::from_secs(3600);
pub const MAX_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

fn connections() -> usize {
    4
}

fn timeout() -> Span {
    Span(Duration::from_millis(50))
}

fn prefix() -> String {
    "entrepot:".into()
}

fn ttl() -> Span {
    seconds(TTL.as_secs())
}

impl Config {
    #[cfg(test)]
    /// All defaults, at that address.
    pub fn at(url: Address) -> Self {
        Config {
            url,
            username: None,
            password: None,
            tls_ca: None,
            connections: connections(),
            connect_timeout: timeout(),
            command_timeout: timeout(),
            prefix: prefix(),
            ttl: ttl(),
        }
    }

    /// What a type cannot say: each finding is a key and what is wrong with it.
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let mut findings = Vec::new();
        let mut demand = |holds: bool, key: &'static str, what: String| {
            if !holds {
                findings.push((key, what));
            }
        };
        let range = |span: Span, least: Duration, most: Duration| (least..=most).contains(&span.0);
        let timeout = || format!("must be 1ms to {}", Span(MAX_TIMEOUT));
        let millisecond = Duration::from_millis(1);
        demand(
            (1..=MAX_CONNECTIONS).contains(&self.connections),
            "connections",
            format!("must be 1 to {MAX_CONNECTIONS}"),
        );
        demand(range(self.connect_timeout, millisecond, MAX_TIMEOUT), "connect_timeout", timeout());
        demand(range(self.command_timeout, millisecond, MAX_TIMEOUT), "command_timeout", timeout());
        demand(range(self.ttl, Duration::from_secs(1), MAX_TTL), "ttl", format!("must be 1s to {}", Span(MAX_TTL)));
        // Braces would tell Redis which part of a key to hash, and ours surround the repository's name.
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'{' | b'}');
        demand(
            (1..=MAX_PREFIX).contains(&self.prefix.len()) && self.prefix.bytes().all(plain),
            "prefix",
            format!("must be 1 to {MAX_PREFIX} printable characters without spaces and braces"),
        );
        demand(
            self.username.is_none() || self.password.is_some(),
            "username",
            "needs 'password' or 'password_file' too".into(),
        );
        demand(self.tls_ca.is_none() || self.url.tls, "tls_ca", "is for an url that begins with rediss://".into());
        findings
    }
}

/// Whom to connect to. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub tls: bool,
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
    /// The number of the database.
    pub database: u32,
}

/// Why some text is no address of a Redis. Never shows the text: there may be a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("an address of Redis is written redis://HOST:PORT/DB, or rediss:// for TLS")]
    Shape,
    #[error("a password does not belong into the url: give 'password', or 'password_file' for a file that holds it")]
    Password,
}

const PORT: u16 = 6379;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let url = url::Url::parse(text).map_err(|_| AddressError::Shape)?;
        let tls = match url.scheme() {
            "redis" => false,
            "rediss" => true,
            _ => return Err(AddressError::Shape),
        };
        if url.password().is_some() || !url.username().is_empty() {
            return Err(AddressError::Password);
        }
        let host = match url.host() {
            Some(url::Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(url::Host::Ipv4(address)) => address.to_string(),
            Some(url::Host::Ipv6(address)) => address.to_string(),
            _ => return Err(AddressError::Shape),
        };
        let database = match url.path().trim_start_matches('/') {
            "" => 0,
            number => number.parse().map_err(|_| AddressError::Shape)?,
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(AddressError::Shape);
        }
        Ok(Address { tls, host, port: url.port().unwrap_or(PORT), database })
    }
}

impl Address {
    /// Host and port.
    pub fn authority(&self) -> String {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        format!("{open}{}{close}:{}", self.host, self.port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        write!(f, "{scheme}://{}/{}", self.authority(), self.database)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
