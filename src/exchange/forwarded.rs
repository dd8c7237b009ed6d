//! What the peers are told about the client: X-Forwarded-*, X-Real-IP and Forwarded (RFC 7239), and what we believe of
//! such fields ourselves: only what a trusted proxy says.
//!
//! A chain is walked from its right end, the nearest proxy's word, to the left for as long as the hop that it names is a
//! proxy that we trust. Where the walk ends stands the client, and the scheme and the host beside it are the client's:
//! `X-Forwarded-Proto: https, http` means https, once the proxy in the middle is trusted or nobody says who it is.
//!
//! Where one of the X fields is there, `Forwarded` is not read. The proxies that write X fields hand on a `Forwarded` that
//! the client made up; who writes `Forwarded` alone must take the X fields away. `X-Forwarded-Ssl`, `Front-End-Https` and
//! their like are not read at all: whoever sends them sends `X-Forwarded-Proto` too, and each would be one more field to
//! forge. Nor are they handed on: a peer hears of one scheme.

mod hop;
mod hops;
mod node;
mod rfc7239;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderName};
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use hop::Hop;
use hops::{hops, items};
use node::Node;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The fields that a trusted proxy may have set, and that we go on from.
pub const CHAIN: [HeaderName; 5] = [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, X_REAL_IP, FORWARDED];

/// Other names for the scheme, which could say another than ours.
const OTHER_SCHEMES: [&str; 5] =
    ["x-forwarded-ssl", "x-forwarded-scheme", "x-forwarded-protocol", "x-url-scheme", "front-end-https"];

/// Longest chain of proxies that we hand on, in bytes; a longer one is begun anew with what was believed of it.
const MAX_CHAIN: usize = 2048;

/// Who asks, and how the client reached the outermost proxy that we trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client itself: the nearest address that no trusted proxy has.
    pub address: IpAddr,
    /// `http` or `https`, as the client sees it.
    pub https: bool,
}

/// What trusted proxies say of a request.
#[derive(Default)]
struct Word {
    /// From the client to the proxy before the nearest; empty when nothing is believed.
    path: Vec<Node>,
    https: Option<bool>,
    host: Option<String>,
}

/// Finds the client behind trusted proxies; the connection's own address when it is not one of them.
pub fn client(headers: &HeaderMap, connection: SocketAddr, tls: bool, trusted: &[IpNet]) -> Client {
    let nearest = connection.ip().to_canonical();
    let word = word(headers, nearest, trusted);
    // Whoever stands where the client does may hide; then the proxy that speaks for it is who we know.
    let known = word.path.iter().find_map(Node::address);
    Client { address: known.unwrap_or(nearest), https: word.https.unwrap_or(tls) }
}

/// The host that the client named to the outermost proxy that we trust, if one says so.
pub fn named_host(headers: &HeaderMap, connection: SocketAddr, trusted: &[IpNet]) -> Option<String> {
    word(headers, connection.ip().to_canonical(), trusted).host
}

fn word(headers: &HeaderMap, nearest: IpAddr, trusted: &[IpNet]) -> Word {
    if !is_trusted(nearest, trusted) {
        return Word::default();
    }
    let mut hops = hops(headers);
    let beyond = |hop: &Hop| hop.node.address().is_some_and(|address| is_trusted(address, trusted));
    let start = hops.iter().rposition(|hop| !beyond(hop)).unwrap_or(0);
    let believed = hops.split_off(start.min(hops.len()));
    Word {
        // Who says nothing of the scheme leaves it as the next proxy has it.
        https: believed.iter().find_map(|hop| hop.https),
        host: believed.iter().find_map(|hop| hop.host.clone()),
        path: believed.into_iter().map(|hop| hop.node).collect(),
    }
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// Sets the fields that tell a peer about the client. Inbound ones are kept only when a trusted proxy sent them.
pub fn tell(headers: &mut HeaderMap, connection: SocketAddr, client: &Client, host: &str, trusted: &[IpNet]) {
    let nearest = connection.ip().to_canonical();
    let word = word(headers, nearest, trusted);
    let chain = chain(headers, nearest, &word, is_trusted(nearest, trusted));
    if !is_trusted(nearest, trusted) {
        for name in claims(headers) {
            headers.remove(name);
        }
    }
    for name in OTHER_SCHEMES {
        headers.remove(name);
    }
    if headers.get(X_FORWARDED_PORT).is_some_and(|port| !is_port(port)) {
        headers.remove(X_FORWARDED_PORT);
    }
    let scheme = if client.https { "https" } else { "http" };
    // The host that the client named, as far as we may believe it: the peer builds its own addresses from it.
    let named = word.host.as_deref().unwrap_or(host);
    set(headers, X_FORWARDED_FOR, &chain);
    set(headers, FORWARDED, &forwarded(&word.path, nearest, scheme, named));
    set(headers, X_FORWARDED_PROTO, scheme);
    set(headers, X_REAL_IP, &client.address.to_string());
    match named.is_empty() {
        true => drop(headers.remove(X_FORWARDED_HOST)),
        false => set(headers, X_FORWARDED_HOST, named),
    }
}

/// X-Forwarded-For with the nearest proxy behind it. What no trusted proxy says, or is no chain, begins anew.
fn chain(headers: &HeaderMap, nearest: IpAddr, word: &Word, believed: bool) -> String {
    let told: Vec<&str> = if believed { items(headers, &X_FORWARDED_FOR) } else { Vec::new() };
    let mut chain = told.join(", ");
    if told.is_empty() || told.iter().any(|item| Node::parse(item).is_none()) || chain.len() > MAX_CHAIN {
        let known: Vec<String> = word.path.iter().filter_map(Node::address).map(|known| known.to_string()).collect();
        chain = known.join(", ");
    }
    match chain.is_empty() {
        true => nearest.to_string(),
        false => format!("{chain}, {nearest}"),
    }
}

/// Begins with the client, since peers believe the first element: only that one has scheme and host.
fn forwarded(path: &[Node], nearest: IpAddr, scheme: &str, host: &str) -> String {
    let nearest = Node::Address(nearest);
    let mut nodes = path.iter().chain([&nearest]);
    let first = nodes.next().map(Node::to_string).unwrap_or_default();
    let host = host.replace(['"', '\\'], "");
    let host = if host.is_empty() { String::new() } else { format!(";host=\"{host}\"") };
    let start = format!("for={first};proto={scheme}{host}");
    nodes.fold(start, |told, node| format!("{told}, for={node}"))
}

fn is_port(value: &HeaderValue) -> bool {
    value.to_str().is_ok_and(|text| text.parse::<u16>().is_ok())
}

/// Every field by which a client may claim something of itself, also those that we write none of.
pub fn claims(headers: &HeaderMap) -> Vec<HeaderName> {
    let claim = |name: &&HeaderName| {
        name.as_str().starts_with("x-forwarded-")
            || **name == FORWARDED
            || **name == X_REAL_IP
            || OTHER_SCHEMES.contains(&name.as_str())
    };
    headers.keys().filter(claim).cloned().collect()
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => drop(headers.insert(name, value)),
        Err(_) => drop(headers.remove(name)),
    }
}
