//! Fields that concern one connection and not the request or the answer (RFC 9110 §7.6.1): taken from what we ask and relay
//! ourselves, and from every answer where it is written. Of requests that pingora streams, pingora takes them away, and
//! `named_by_connection` what it does not know of.

use http::HeaderMap;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    [CONNECTION, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE].contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// Fields that a sender has said concern one connection only, by naming them in `Connection`.
pub fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let named = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let names = named.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok());
    // A peer cannot take its answer's framing or meaning away by naming it.
    names.filter(|name| *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING && *name != CONTENT_TYPE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sender_names_is_of_the_connection_but_for_framing_and_meaning() {
        let mut headers = HeaderMap::new();
        headers.append(CONNECTION, "close, X-Own".parse().unwrap());
        headers.append(CONNECTION, "content-length,Transfer-Encoding, content-type,, b@d".parse().unwrap());
        let named: Vec<_> = named_by_connection(&headers).into_iter().map(|name| name.to_string()).collect();
        assert_eq!(named, ["close", "x-own"]);
    }

    #[test]
    fn what_is_of_one_connection_is_known_in_any_case() {
        for name in ["Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Proxy-Connection"] {
            assert!(is_hop_by_hop(&name.parse().unwrap()), "{name}");
        }
        for name in ["Content-Length", "Date", "Via", "Expect", "X-Connection"] {
            assert!(!is_hop_by_hop(&name.parse().unwrap()), "{name}");
        }
    }
}
