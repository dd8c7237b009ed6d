//! `[[listener]]`: an address that clients connect to.

use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::Error as _;

use super::fields::AnswerFields;
use super::prefix::Prefix;
use super::tls_rules::Cipher;
pub use super::tls_rules::MinVersion;
use crate::sockets::Address;
use crate::units::{Size, Span, mebibytes, seconds};

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// IP address and port (port 0 lets the system choose one, which is logged), or `unix:` and the path of a socket.
    pub address: Address,
    /// What a service manager calls the socket that it hands over for this listener, where its address does not tell.
    pub name: Option<String>,
    /// Who may open a socket in the file system: permissions as `chmod` has them.
    #[serde(default)]
    pub socket_mode: Mode,
    /// With at least one certificate the listener speaks TLS: http/1.1 and h2 by ALPN.
    #[serde(default)]
    pub tls: Vec<Certificate>,
    /// The oldest version of TLS that is spoken.
    #[serde(default)]
    pub tls_min_version: MinVersion,
    /// Cipher suites; of a version of which none is named, all.
    #[serde(default)]
    pub tls_ciphers: Vec<Cipher>,
    /// PEM file of authorities: a client that shows a certificate of theirs is the user whom it names.
    pub client_ca: Option<PathBuf>,
    /// PEM file of lists of revoked certificates, one of each authority that issued any of a client's chain.
    pub client_crl: Option<PathBuf>,
    /// Clients without such a certificate get no connection.
    #[serde(default)]
    pub client_certificate_required: bool,
    /// The path below which everything is served; what is outside it is 404, but for /healthz.
    #[serde(default)]
    pub prefix: Prefix,
    /// Plain listeners only: answers everything but /healthz with 308 to https.
    #[serde(default)]
    pub redirect_to_https: bool,
    /// A PROXY protocol header (v1 or v2) is required, and believed only from `trusted_proxies`.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// Who may tell us of clients: X-Forwarded-*, Forwarded, X-Real-IP and the PROXY protocol.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    /// At so many connections we stop accepting until one ends.
    #[serde(default = "ten_thousand")]
    pub max_connections: usize,
    /// Requests under way in the whole process above which this listener's are answered 503, but for /healthz.
    #[serde(default = "twenty_thousand")]
    pub max_requests: usize,
    /// A connection this old ends with its present requests, so that clients spread over instances that came later; a tenth
    /// more or less for each, that not all come again at once. 0: never.
    #[serde(default = "never")]
    pub max_age: Span,
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Slowest body that we bear in either direction, bytes per second over `timeouts.body`; 0 bears any.
    #[serde(default = "one_kibibyte")]
    pub min_body_rate: Size,
    /// Largest request head (line and fields).
    #[serde(default = "sixty_four_kibibytes")]
    pub max_header: Size,
    /// Kernel send buffer of each connection; 0 takes 256 KiB for clients nearer than 250 µs, and lets the kernel tune others.
    #[serde(default = "no_bytes")]
    pub send_buffer: Size,
    #[serde(default)]
    pub h2: H2,
    /// Fields that every answer gets, whoever gives it.
    #[serde(default)]
    pub headers: AnswerFields,
}

/// Either two files, or one that comes by itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// PEM file: the certificate and what it needs up to the root.
    pub certificate: Option<PathBuf>,
    /// PEM file: its private key.
    pub key: Option<PathBuf>,
    /// It comes by itself, from the authority that `[acme]` names.
    #[serde(default)]
    pub acme: bool,
    /// Names that it answers; `*.example.com` stands for one label. Left out: the names in the certificate. One that comes by
    /// itself is for these names.
    #[serde(default)]
    pub names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    pub handshake: Span,
    /// From the connection (or its handshake) to the first byte of the first request.
    pub first_byte: Span,
    /// From the first byte of a request to the end of its head, however slowly it drips.
    pub header: Span,
    /// Between two requests on a connection.
    pub keepalive: Span,
    /// Between two reads or writes of a body; the window of `min_body_rate`.
    pub body: Span,
}

/// HTTP/2. Each connection may hold up to `connection_window` of request bodies in memory.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct H2 {
    pub max_streams: u32,
    pub stream_window: Size,
    pub connection_window: Size,
}

/// `0660`: the user who serves, and whoever is of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub u32);

impl Default for Mode {
    fn default() -> Self {
        Mode(0o660)
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.len() == 4 && text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
        let mode = u32::from_str_radix(&text, 8).ok().filter(|_| digits);
        let wrong =
            || D::Error::custom(format!("is \"{text}\"; it is permissions as chmod has them, such as \"0660\""));
        mode.map(Mode).ok_or_else(wrong)
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            handshake: seconds(10),
            first_byte: seconds(30),
            header: seconds(10),
            keepalive: seconds(75),
            body: seconds(60),
        }
    }
}

impl Default for H2 {
    fn default() -> Self {
        H2 { max_streams: 128, stream_window: mebibytes(2), connection_window: mebibytes(8) }
    }
}

fn ten_thousand() -> usize {
    10_000
}
fn twenty_thousand() -> usize {
    20_000
}
fn never() -> Span {
    seconds(0)
}
fn no_bytes() -> Size {
    Size(0)
}
fn one_kibibyte() -> Size {
    Size(1 << 10)
}
fn sixty_four_kibibytes() -> Size {
    Size(64 << 10)
}
