//! `[cluster.NAME]`: a pool of peers that we balance over.

use std::path::PathBuf;

use serde::Deserialize;

pub use super::authorization::Authorization;
use crate::units::{Span, seconds};

/// One cluster. Keys that the README's contract leaves open are named after nginx's and HAProxy's.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// At least one; each `"host:port"` or a table.
    pub peers: Vec<PeerConfig>,
    /// How we speak to the peers: plain, TLS with the system's roots, or TLS with settings.
    #[serde(default)]
    pub tls: Tls,
    #[serde(default)]
    pub balance: Balance,
    #[serde(default)]
    pub health: Health,
    /// Failures within `fail_timeout` that put a peer aside for `fail_timeout`; 0 never does.
    #[serde(default = "three")]
    pub max_fails: u32,
    #[serde(default = "thirty_seconds")]
    pub fail_timeout: Span,
    #[serde(default)]
    pub timeouts: Timeouts,
    #[serde(default)]
    pub retry: Retry,
    #[serde(default)]
    pub permission: Permission,
    /// How long a permission that a peer gave is believed: a withdrawal counts after this at the latest.
    #[serde(default = "sixty_seconds")]
    pub verdict_ttl: Span,
    /// How long a repository is believed to hold what it held: what is deleted or collected at the peers directly is not
    /// served any longer than this while one of them answers.
    #[serde(default = "one_hour")]
    pub holds_ttl: Span,
    /// Whose permission a peer's answer is.
    #[serde(default)]
    pub verdict_by: VerdictBy,
    /// What the peers are told of who asks.
    #[serde(default)]
    pub authorization: Authorization,
    /// While no peer answers: tags and verdicts known to be good this recently are served.
    #[serde(default = "one_hour")]
    pub stale: Span,
    #[serde(default)]
    pub redirects: Redirects,
    /// Paths outside /v2/ that are handed to the peers, each begins and ends with '/'; and, behind a '!', beginnings of paths that are not.
    #[serde(default)]
    pub forward: Vec<String>,
    /// A challenge whose realm is at a peer's own address names ours, where `forward` covers its path.
    #[serde(default)]
    pub rewrite_realm: bool,
    /// A peer that comes back gets its share little by little over this long; "0s" at once.
    #[serde(default = "zero_seconds")]
    pub slow_start: Span,
    /// How long a request waits for a peer below its `max_connections` before it gets 503.
    #[serde(default = "five_seconds")]
    pub queue_timeout: Span,
    /// How long an upload waits for its peer, which alone has its bytes, while that refuses connections.
    #[serde(default = "ten_seconds")]
    pub upload_patience: Span,
    /// Idle connections kept open to each peer.
    #[serde(default = "sixty_four")]
    pub keepalive: usize,
    /// An idle connection to a peer is closed after this; keep it below the peer's own.
    #[serde(default = "thirty_seconds")]
    pub keepalive_timeout: Span,
    /// DNS names among the peers are resolved again this often.
    #[serde(default = "thirty_seconds")]
    pub resolve_interval: Span,
}

/// One entry of `peers`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "PeerFields")]
pub struct PeerConfig {
    /// `host:port`; a name that has several addresses is several peers.
    pub address: String,
    /// Share of the requests, 1 to 1000.
    pub weight: u32,
    /// Requests under way at once; 0 means no limit.
    pub max_connections: u32,
    /// Used only while no other peer can be.
    pub backup: bool,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a peer is \"host:port\" or { address = \"host:port\", weight = 1, max_connections = 0, backup = false }"
)]
enum PeerFields {
    Address(String),
    Table(PeerTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerTable {
    address: String,
    #[serde(default = "one")]
    weight: u32,
    #[serde(default)]
    max_connections: u32,
    #[serde(default)]
    backup: bool,
}

impl From<PeerFields> for PeerConfig {
    fn from(fields: PeerFields) -> Self {
        match fields {
            PeerFields::Address(address) => PeerConfig { address, weight: 1, max_connections: 0, backup: false },
            PeerFields::Table(PeerTable { address, weight, max_connections, backup }) => {
                PeerConfig { address, weight, max_connections, backup }
            }
        }
    }
}

/// `tls = true`, `false`, or a table.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(
    untagged,
    expecting = "tls is true, false or { ca = \"ca.pem\", server_name = \"…\", client_certificate = \"…\", client_key = \"…\" }"
)]
pub enum Tls {
    Enabled(bool),
    Settings(TlsSettings),
    #[default]
    #[serde(skip)]
    Off,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// PEM file of the authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// The name that the peers' certificates carry, when it is not the host of their address.
    pub server_name: Option<String>,
    pub client_certificate: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
}

impl Tls {
    /// The settings when TLS is on.
    pub fn settings(&self) -> Option<TlsSettings> {
        match self {
            Tls::Off | Tls::Enabled(false) => None,
            Tls::Enabled(true) => Some(TlsSettings::default()),
            Tls::Settings(settings) => Some(settings.clone()),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    #[default]
    LeastConnections,
    RoundRobin,
    Random,
    ConsistentHash,
}

/// Active health checks; 200 and 401 are healthy answers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    pub path: String,
    /// "0s" switches the checks off.
    pub interval: Span,
    pub timeout: Span,
    /// Good answers in a row that bring a peer back.
    pub rise: u32,
    /// Bad ones in a row that take it away.
    pub fall: u32,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    pub connect: Span,
    /// From the end of the request to the first byte of the answer.
    pub first_byte: Span,
    /// Between two reads of a body.
    pub read: Span,
    /// Between two writes of a body.
    pub write: Span,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Tries in all, 1 to 16.
    pub tries: u32,
    /// Answers that count as "try the next peer".
    pub statuses: Vec<u16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// A peer's answer to the client's own credentials decides.
    #[default]
    AskPeer,
    /// Everybody may read what the peers hold.
    Public,
}

/// Whom a peer's yes counts for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictBy {
    /// Everybody with the same `Authorization`, from wherever they ask.
    #[default]
    Credential,
    /// The same `Authorization` from the same address, as the peers are told it: for peers that judge by it.
    CredentialAndAddress,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Redirects {
    #[default]
    Follow,
    Pass,
}

impl Default for Health {
    fn default() -> Self {
        Health { path: "/v2/".into(), interval: seconds(5), timeout: seconds(2), rise: 2, fall: 3 }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { connect: seconds(3), first_byte: seconds(60), read: seconds(60), write: seconds(60) }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Retry { tries: 3, statuses: vec![502, 503, 504] }
    }
}

fn one() -> u32 {
    1
}
fn three() -> u32 {
    3
}
fn sixty_four() -> usize {
    64
}
fn zero_seconds() -> Span {
    seconds(0)
}
fn five_seconds() -> Span {
    seconds(5)
}
fn ten_seconds() -> Span {
    seconds(10)
}
fn thirty_seconds() -> Span {
    seconds(30)
}
fn sixty_seconds() -> Span {
    seconds(60)
}
fn one_hour() -> Span {
    seconds(3600)
}
