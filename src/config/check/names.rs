//! Host names and `host:port`, as people write them in a configuration.

use std::net::{IpAddr, Ipv6Addr};

/// RFC 1123: letters, digits and hyphens in parts of up to 63, up to 253 in all. Underscores are
/// let through, since names of containers and services have them.
pub fn is_host_name(name: &str) -> bool {
    let part = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(part)
}

/// What is wrong with a name that clients may ask for: a host name, an IP address, or `*.` and a name.
pub fn asked_name_fault(name: &str) -> Option<&'static str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some("has upper-case letters; names are compared in lower case, so write it so");
    }
    if name.parse::<IpAddr>().is_ok() {
        return None;
    }
    if name.contains([':', '/']) {
        return Some("is not a host name; write it without scheme, port and path, as in \"registry.example.com\"");
    }
    match name.strip_prefix("*.") {
        Some(rest) if is_host_name(rest) && rest.contains('.') => None,
        Some(_) => Some("is not allowed as a wildcard; '*.' stands before a name of at least two parts"),
        None if name.contains('*') => Some("has '*' in the wrong place; it stands for the first part only"),
        None if is_host_name(name) => None,
        None => Some("is not a host name, such as \"registry.example.com\" or \"*.example.com\""),
    }
}

/// What is wrong with the `host:port` of a peer.
pub fn peer_address_fault(address: &str) -> Option<&'static str> {
    const SHAPE: &str = "is not host:port, such as \"10.0.0.1:5000\", \"registry-1:5000\" or \"[::1]:5000\"";
    if address.contains("://") {
        return Some("has a scheme; write host:port only, and set tls for https");
    }
    let Some((host, port)) = address.rsplit_once(':') else { return Some(SHAPE) };
    let known_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        // Digits and dots alone are meant as an IPv4 address, not as a name.
        None if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => host.parse::<IpAddr>().is_ok(),
        None => is_host_name(host.strip_suffix('.').unwrap_or(host)),
    };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        _ if !known_host => Some(SHAPE),
        Ok(1..) if digits => None,
        _ => Some("has no valid port; allowed: 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_an_address_or_a_name_with_a_port() {
        for good in ["127.0.0.1:5000", "[::1]:5000", "registry:5000", "my_service.default.svc.:80", "a-b.example:65535"]
        {
            assert_eq!(peer_address_fault(good), None, "{good}");
        }
        for bad in [
            "",
            ":5000",
            "registry",
            "registry:",
            "registry:0",
            "registry:65536",
            "registry:+80",
            "::1:5000",
            "[::1]",
            "[nonsense]:5000",
            "http://registry:5000",
            "a b:80",
            "300.1.1.1:80",
            "1.2.3:80",
            "-a:80",
            "a/b:80",
        ] {
            assert!(peer_address_fault(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn an_asked_name_is_a_host_an_address_or_a_wildcard_of_one_part() {
        for good in ["registry.example.com", "*.example.com", "localhost", "127.0.0.1", "::1"] {
            assert_eq!(asked_name_fault(good), None, "{good}");
        }
        for bad in
            ["", "*", "*.com", "a.*.com", "*a.example.com", "https://a.example", "a.example:443", "A.example", "a..b"]
        {
            assert!(asked_name_fault(bad).is_some(), "{bad}");
        }
    }
}
