//! One party of a chain, as proxies write it (RFC 7239 §6, and what is seen in X-Forwarded-For).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A longer made-up name is not handed on.
const MAX_NAME: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// IPv4 in IPv6 clothes is IPv4.
    Address(IpAddr),
    /// `unknown`, or a name that a proxy made up: `_hidden`.
    Hidden(String),
}

impl Node {
    /// `1.2.3.4`, `1.2.3.4:5555`, `2001:db8::1`, `[2001:db8::1]`, `"[2001:db8::1]:443"`, `unknown`, `_hidden`, `_a:_b`.
    pub fn parse(text: &str) -> Option<Node> {
        let text = text.trim();
        let text = text.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(text);
        if let Some(rest) = text.strip_prefix('[') {
            let (address, port) = rest.split_once(']')?;
            let whole = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            return address.parse::<Ipv6Addr>().ok().filter(|_| whole).map(|address| Node::of(address.into()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Node::of(address));
        }
        let name = match text.split_once(':') {
            Some((name, port)) if is_port(port) => name,
            Some(_) => return None,
            None => text,
        };
        if let Ok(address) = name.parse::<IpAddr>() {
            return Some(Node::of(address));
        }
        if name.eq_ignore_ascii_case("unknown") {
            return Some(Node::unknown());
        }
        (name.starts_with('_') && is_obscure(name)).then(|| Node::Hidden(name.to_owned()))
    }

    pub fn unknown() -> Node {
        Node::Hidden("unknown".into())
    }

    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Node::Address(address) => Some(*address),
            Node::Hidden(_) => None,
        }
    }

    fn of(address: IpAddr) -> Node {
        Node::Address(address.to_canonical())
    }
}

impl fmt::Display for Node {
    /// As in `Forwarded`: an IPv6 address is in brackets, and then in quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Address(IpAddr::V4(address)) => address.fmt(f),
            Node::Address(IpAddr::V6(address)) => write!(f, "\"[{address}]\""),
            Node::Hidden(name) => f.write_str(name),
        }
    }
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok() || (text.starts_with('_') && is_obscure(text))
}

fn is_obscure(name: &str) -> bool {
    (2..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}
