//! What the peers are told about the client: X-Forwarded-*, X-Real-IP and Forwarded (RFC 7239), and what we believe of
//! such fields ourselves: only what a trusted proxy says.

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderName};
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The fields that a trusted proxy may have set, and that we go on from.
pub const CHAIN: [HeaderName; 4] = [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, FORWARDED];

/// Longest chain of proxies that we hand on, in bytes; a longer one is begun anew.
const MAX_CHAIN: usize = 2048;

/// Who asks, and how the client reached the outermost proxy that we trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client itself: the nearest address that no trusted proxy has.
    pub address: IpAddr,
    /// `http` or `https`, as the client sees it.
    pub https: bool,
}

/// Finds the client behind trusted proxies; the connection's own address when it is not one of them.
pub fn client(headers: &HeaderMap, connection: SocketAddr, tls: bool, trusted: &[IpNet]) -> Client {
    let nearest = connection.ip().to_canonical();
    if !is_trusted(nearest, trusted) {
        return Client { address: nearest, https: tls };
    }
    let https = match headers.get(X_FORWARDED_PROTO).map(HeaderValue::as_bytes) {
        Some(proto) => proto.eq_ignore_ascii_case(b"https"),
        None => tls,
    };
    Client { address: behind(headers, nearest, trusted), https }
}

/// Walks X-Forwarded-For from the right, over the proxies that we trust.
fn behind(headers: &HeaderMap, nearest: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let mut address = nearest;
    let chain = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = chain.flat_map(|value| value.split(',')).map(str::trim).collect();
    for hop in hops.into_iter().rev() {
        let Ok(parsed) = hop.parse::<IpAddr>() else { break };
        address = parsed.to_canonical();
        if !is_trusted(address, trusted) {
            break;
        }
    }
    address
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// Sets the fields that tell a peer about the client. Inbound ones are kept only when a trusted proxy sent them.
pub fn tell(headers: &mut HeaderMap, connection: SocketAddr, client: &Client, host: &str, trusted: &[IpNet]) {
    let nearest = connection.ip().to_canonical();
    let believed = is_trusted(nearest, trusted);
    let chain = if believed { joined(headers, &X_FORWARDED_FOR) } else { None };
    let forwarded = if believed { joined(headers, &FORWARDED) } else { None };
    let outer_host = if believed { headers.get(X_FORWARDED_HOST).cloned() } else { None };
    let scheme = if client.https { "https" } else { "http" };

    if !believed {
        for name in claims(headers) {
            headers.remove(name);
        }
    }
    let append = |before: Option<String>, own: String| match before {
        Some(before) if before.len() + own.len() <= MAX_CHAIN => format!("{before}, {own}"),
        _ => own,
    };
    // The host that the client named, as far as we may believe it: the peer builds its own addresses from it.
    let named = outer_host.as_ref().and_then(|outer| outer.to_str().ok()).unwrap_or(host).to_owned();
    let own = format!("for={};proto={scheme};host={}", node(nearest), quoted(&named));
    set(headers, X_FORWARDED_FOR, &append(chain, nearest.to_string()));
    set(headers, FORWARDED, &append(forwarded, own));
    set(headers, X_FORWARDED_PROTO, scheme);
    set(headers, X_REAL_IP, &client.address.to_string());
    set(headers, X_FORWARDED_HOST, &named);
}

/// Every field by which a client may claim something of itself, also those that we write none of.
pub fn claims(headers: &HeaderMap) -> Vec<HeaderName> {
    let claim =
        |name: &&HeaderName| name.as_str().starts_with("x-forwarded-") || **name == FORWARDED || **name == X_REAL_IP;
    headers.keys().filter(claim).cloned().collect()
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => drop(headers.insert(name, value)),
        Err(_) => drop(headers.remove(name)),
    }
}

/// RFC 7239 §6: an IPv6 address is in brackets, and then in quotes.
fn node(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    }
}

fn quoted(host: &str) -> String {
    format!("\"{}\"", host.replace(['"', '\\'], ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    fn proxy() -> SocketAddr {
        "10.0.0.1:4000".parse().unwrap()
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let mut fields = headers(&[
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "for=1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
        ]);
        let who = client(&fields, proxy(), false, &[]);
        assert_eq!(who, Client { address: "10.0.0.1".parse().unwrap(), https: false });
        tell(&mut fields, proxy(), &who, "registry.example.com", &[]);
        assert_eq!(fields["x-forwarded-for"], "10.0.0.1");
        assert_eq!(fields["x-forwarded-proto"], "http");
        assert_eq!(fields["x-forwarded-host"], "registry.example.com");
        assert_eq!(fields["forwarded"], "for=10.0.0.1;proto=http;host=\"registry.example.com\"");
        assert_eq!(fields["x-real-ip"], "10.0.0.1");
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_appended_to() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let mut fields = headers(&[
            ("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.9.9.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "outer.example"),
        ]);
        let who = client(&fields, proxy(), false, &trusted);
        assert_eq!(who, Client { address: "1.2.3.4".parse().unwrap(), https: true });
        tell(&mut fields, proxy(), &who, "inner", &trusted);
        assert_eq!(fields["x-forwarded-for"], "6.6.6.6, 1.2.3.4, 10.9.9.9, 10.0.0.1");
        assert_eq!(fields["x-forwarded-host"], "outer.example");
        assert_eq!(fields["x-real-ip"], "1.2.3.4");
    }

    #[test]
    fn addresses_of_version_6_are_bracketed_and_quoted() {
        let mut fields = HeaderMap::new();
        let connection = "[2001:db8::1]:1".parse().unwrap();
        let who = client(&fields, connection, true, &[]);
        tell(&mut fields, connection, &who, "h", &[]);
        assert_eq!(fields["forwarded"], "for=\"[2001:db8::1]\";proto=https;host=\"h\"");
    }
}
