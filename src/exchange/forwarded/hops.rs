//! The hops that the fields of a trusted proxy tell of, whichever fields it uses.

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};

use super::hop::{Hop, host, scheme};
use super::node::Node;
use super::rfc7239;
use super::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REAL_IP};

/// Hops that are looked at, from the nearest; nobody has as many proxies, and a longer chain is an attack.
pub const MAX_HOPS: usize = 32;

/// Stands for an entry that is no text; no address, scheme or host.
const UNREADABLE: &str = "?";

/// From the farthest to the nearest.
pub fn hops(headers: &HeaderMap) -> Vec<Hop> {
    let mut hops = if [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, X_REAL_IP]
        .iter()
        .any(|name| headers.contains_key(name))
    {
        of_x_fields(headers)
    } else {
        let lines = headers.get_all(FORWARDED).iter();
        let told: Vec<_> = lines.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        rfc7239::believable(&told.join(","))
    };
    hops.drain(..hops.len().saturating_sub(MAX_HOPS));
    hops
}

fn of_x_fields(headers: &HeaderMap) -> Vec<Hop> {
    let mut nodes = items(headers, &X_FORWARDED_FOR);
    // A proxy that writes the chain may hand on whatever the client claims beside it.
    if !headers.contains_key(X_FORWARDED_FOR) {
        nodes = items(headers, &X_REAL_IP);
    }
    if nodes.is_empty() {
        // Somebody came, by this scheme: nobody says who.
        nodes.push("unknown");
    }
    let schemes = items(headers, &X_FORWARDED_PROTO);
    let hosts = items(headers, &X_FORWARDED_HOST);
    let count = nodes.len();
    nodes
        .into_iter()
        .enumerate()
        .map(|(at, node)| Hop {
            node: Node::parse(node).unwrap_or_else(Node::unknown),
            https: beside(&schemes, at, count).and_then(scheme),
            host: beside(&hosts, at, count).and_then(host),
        })
        .collect()
}

/// The entry of `list` that belongs to hop `at` of `count`. Proxies that set a field anew leave fewer entries than there are
/// hops, and then the farthest speaks for all beyond it; with more entries than hops, the farthest is the client's.
fn beside<'a>(list: &[&'a str], at: usize, count: usize) -> Option<&'a str> {
    let from_right = count - 1 - at;
    match list.len().checked_sub(from_right + 1) {
        Some(_) if at == 0 => list.first(),
        Some(index) => list.get(index),
        None => list.first(),
    }
    .copied()
}

/// The entries of a list field over all its lines (RFC 9110 §5.6.1: empty ones do not count).
pub fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let bytes = headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    // What is no text is still an entry: left out, it would take those that proxies wrote behind it with it.
    let texts = bytes.map(|item| std::str::from_utf8(item).unwrap_or(UNREADABLE));
    texts.map(str::trim).filter(|item| !item.is_empty()).collect()
}
