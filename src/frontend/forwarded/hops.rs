//! The hops that the fields of a trusted proxy tell of, whichever fields it uses.

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};

use super::node::Node;
use super::rfc7239;
use super::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REAL_IP};
use crate::oci::Host;

/// Hops that are looked at, from the nearest; nobody has as many proxies, and a longer chain is an attack.
pub const MAX_HOPS: usize = 32;

/// What one proxy saw: who came to it, by which scheme, asking for which host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    pub node: Node,
    pub https: Option<bool>,
    pub host: Option<String>,
}

/// From the farthest to the nearest.
pub fn hops(headers: &HeaderMap) -> Vec<Hop> {
    let mut hops = if [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, X_REAL_IP]
        .iter()
        .any(|name| headers.contains_key(name))
    {
        of_x_fields(headers)
    } else {
        let told: Vec<&str> = headers.get_all(FORWARDED).iter().filter_map(|value| value.to_str().ok()).collect();
        rfc7239::parse(&told.join(",")).unwrap_or_default()
    };
    hops.drain(..hops.len().saturating_sub(MAX_HOPS));
    hops
}

fn of_x_fields(headers: &HeaderMap) -> Vec<Hop> {
    let mut nodes = items(headers, &X_FORWARDED_FOR);
    if nodes.is_empty() {
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
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|item| !item.is_empty()).collect()
}

/// Another scheme than these two says nothing that we can use.
pub fn scheme(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("https") => Some(true),
        _ if text.eq_ignore_ascii_case("http") => Some(false),
        _ => None,
    }
}

pub fn host(text: &str) -> Option<String> {
    text.parse::<Host>().is_ok().then(|| text.to_owned())
}
