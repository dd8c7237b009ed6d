//! The host that a client speaks to: `Host` or `:authority`. Values only; nothing is resolved.

use std::fmt;
use std::str::FromStr;

/// Longest host name that we take (RFC 1035), without a port.
pub const MAX_HOST: usize = 255;

/// A host as a client named it, in lower case, perhaps with a port. Invariants: not empty, no user, no white space,
/// only what a DNS name or an address in brackets is made of.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Host {
    text: Box<str>,
    /// Length of the name; a colon and the port follow it, or nothing.
    name: usize,
}

/// Why some text is no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a host is a DNS name or an address, of at most {MAX_HOST} characters, and perhaps a port")]
pub struct HostError;

impl Host {
    /// The name or address without the port, an IPv6 address in brackets.
    pub fn name(&self) -> &str {
        self.text.get(..self.name).unwrap_or_default()
    }

    /// The name of a host that is written as it is kept: in lower case, no address in brackets. `None` for any other, which
    /// may be a host as well.
    pub fn plain_name(text: &str) -> Option<&str> {
        let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
        let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
        let plain = name.len() <= MAX_HOST && is_name(name) && !name.bytes().any(|byte| byte.is_ascii_uppercase());
        (plain && port.is_none_or(digits)).then_some(name)
    }

    pub fn port(&self) -> Option<u16> {
        self.text.get(self.name + 1..).and_then(|port| port.parse().ok())
    }

    /// Name and port, in lower case.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        // The colon that begins the port is the one behind the bracket of an IPv6 address.
        let name = match text.strip_prefix('[') {
            Some(rest) => rest.find(']').ok_or(HostError)? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, port) = text.split_at_checked(name).ok_or(HostError)?;
        let port_is_good = match port.strip_prefix(':') {
            Some(digits) => digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok(),
            None => port.is_empty(),
        };
        if !port_is_good || host.len() > MAX_HOST || !is_name(host) {
            return Err(HostError);
        }
        Ok(Host { text: text.to_ascii_lowercase().into(), name })
    }
}

fn is_name(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |label: &str| label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    // One dot at the end is the DNS root.
    let host = host.strip_suffix('.').unwrap_or(host);
    !host.is_empty() && host.split('.').all(|part| !part.is_empty() && label(part))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_port_are_told_apart() {
        for (text, name, port) in [
            ("Registry.Example.COM", "registry.example.com", None),
            ("a:5000", "a", Some(5000)),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]:443", "[::1]", Some(443)),
            ("[fe80::1]", "[fe80::1]", None),
            ("my_host", "my_host", None),
            ("a.b.", "a.b.", None),
        ] {
            let host: Host = text.parse().unwrap();
            assert_eq!((host.name(), host.port()), (name, port));
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let long = "a".repeat(256);
        for bad in [
            "",
            ":80",
            "a:",
            "a:99999",
            "a:+1",
            "a:b",
            "u@a",
            "a b",
            "a/b",
            "a..b",
            ".",
            "[::1",
            "[x]",
            "[::1]a",
            "é",
            "a\0",
            "a,b",
            "[::1]é:1",
            &long,
        ] {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
    }
}
