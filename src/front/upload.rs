//! Uploads stay with the peer that opened them: its id travels in the `Location` that the client is given back.
//!
//! The address is the peer's to choose (distribution-spec, "Pushing blobs": absolute or relative, with any path and query),
//! so nothing is read in it but where it leads. The id is a hash of the peer's address: any Entrepot before the same peers
//! finds the way, also after a restart, without a shared secret. It is taken off again before a peer sees the request. An
//! upload that holds no bytes yet is marked, because it can be opened again elsewhere when its peer is gone.

use url::Url;

use crate::cluster::PeerId;

/// Our parameter in the query of an upload's address.
const PARAMETER: &str = "_peer";
/// Suffix of the id while the upload holds no bytes.
const EMPTY: &str = "-new";

/// Where an upload lives, as its address says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadPeer {
    pub peer: PeerId,
    /// No byte has been sent: the upload may be opened again on another peer.
    pub empty: bool,
}

/// Splits our parameter off a query. Returns the query as the peer gave it, and the upload's home when it is named.
pub fn take_peer(query: Option<&str>) -> (Option<String>, Option<UploadPeer>) {
    let Some(query) = query else { return (None, None) };
    let mut home = None;
    let rest: Vec<&str> = query
        .split('&')
        .filter(|pair| match pair.split_once('=') {
            Some((PARAMETER, value)) => {
                home = home.or_else(|| parse_home(value));
                false
            }
            _ => true,
        })
        .collect();
    let rest = rest.join("&");
    ((!rest.is_empty()).then_some(rest), home)
}

fn parse_home(value: &str) -> Option<UploadPeer> {
    let (id, empty) = match value.strip_suffix(EMPTY) {
        Some(id) => (id, true),
        None => (value, false),
    };
    Some(UploadPeer { peer: id.parse().ok()?, empty })
}

/// The target with the upload's home in its query.
pub fn with_peer(target: &str, home: UploadPeer) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mark = if home.empty { EMPTY } else { "" };
    let peer = home.peer;
    match take_peer(query).0 {
        Some(rest) => format!("{path}?{rest}&{PARAMETER}={peer}{mark}"),
        None => format!("{path}?{PARAMETER}={peer}{mark}"),
    }
}

/// Where an address leads.
#[derive(Debug, PartialEq, Eq)]
pub enum Address<'a> {
    /// A path and query on the server that gave it.
    Here(String),
    /// A path and query on the server of this authority (`host:port` as it is written there).
    At(&'a str, String),
}

/// Reads a `Location` that was given in answer to a request for `target` (path and query), as RFC 3986 §5 resolves it.
/// Absolute paths keep every character.
pub fn address<'a>(location: &'a str, target: &str) -> Address<'a> {
    let location = location.split('#').next().unwrap_or_default();
    if let Some((authority, rest)) = split_absolute(location) {
        return Address::At(authority, if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") });
    }
    if location.starts_with('/') {
        return Address::Here(location.to_owned());
    }
    let path = target.split('?').next().unwrap_or_default();
    if location.is_empty() || location.starts_with('?') {
        return Address::Here(format!("{path}{location}"));
    }
    let folder = path.rfind('/').map_or("/", |slash| &path[..=slash]);
    let joined = format!("{folder}{location}");
    let dotted = joined.split('?').next().is_some_and(|path| path.split('/').any(|part| matches!(part, "." | "..")));
    Address::Here(if dotted { without_dots(&joined) } else { joined })
}

/// RFC 3986 §5.2.4, left to the library.
fn without_dots(target: &str) -> String {
    match Url::parse(&format!("http://peer{target}")) {
        Ok(url) => match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        },
        Err(_) => target.to_owned(),
    }
}

/// Whether an authority in an address means a server that is known as `known` (`host:port`, the port perhaps left out).
/// A server often does not know the port under which it is reached from outside: without one, the host alone counts.
pub fn is_same_authority(authority: &str, known: &str) -> bool {
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = split_port(authority);
    let (known_host, known_port) = split_port(known);
    host.eq_ignore_ascii_case(known_host)
        && match (port, known_port) {
            (None, _) => true,
            (Some(port), Some(known)) => port == known,
            (Some(port), None) => matches!(port, "80" | "443"),
        }
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => (host, Some(port)),
        _ => (authority, None),
    }
}

/// The authority that an address names; `None` for a relative one.
pub fn authority_of(location: &str) -> Option<&str> {
    split_absolute(location).map(|(authority, _)| authority)
}

/// An address without scheme and authority: right for whatever name the client knows us by.
pub fn relative(location: &str) -> &str {
    match split_absolute(location) {
        Some((_, target)) if target.starts_with('/') => target,
        _ => location,
    }
}

/// `https://host:port/path?query` as (`host:port`, `/path?query`); `None` for a relative address.
fn split_absolute(location: &str) -> Option<(&str, &str)> {
    let rest = match location.strip_prefix("//") {
        Some(rest) => rest,
        None => {
            let (scheme, rest) = location.split_once("://")?;
            let is_scheme = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
            (!scheme.is_empty() && scheme.bytes().all(is_scheme)).then_some(rest)?
        }
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Some(rest.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "/v2/a/b/blobs/uploads/?mount=x";

    fn home(empty: bool) -> UploadPeer {
        UploadPeer { peer: "0123456789ab".parse().unwrap(), empty }
    }

    #[test]
    fn a_home_survives_the_round_trip() {
        for empty in [true, false] {
            let from = "http://10.0.0.7:5000/v2/a/b/blobs/uploads/u-1?_state=x%3D";
            let Address::At("10.0.0.7:5000", target) = address(from, START) else { panic!("another server") };
            let location = with_peer(&target, home(empty));
            assert!(location.starts_with("/v2/a/b/blobs/uploads/u-1?"), "{location}");
            let (_, query) = location.split_once('?').unwrap();
            let with_digest = format!("{query}&digest=sha256%3Aabc");
            assert_eq!(
                take_peer(Some(&with_digest)),
                (Some("_state=x%3D&digest=sha256%3Aabc".into()), Some(home(empty)))
            );
        }
    }

    #[test]
    fn an_address_is_read_as_rfc_3986_says_and_keeps_its_characters() {
        for (location, target) in [
            ("/v2/a/b/blobs/uploads/u", "/v2/a/b/blobs/uploads/u"),
            ("/elsewhere/x:y+z%2F%3d?a=b%26c&d", "/elsewhere/x:y+z%2F%3d?a=b%26c&d"),
            ("/x#fragment", "/x"),
            ("u1", "/v2/a/b/blobs/uploads/u1"),
            ("u1?_state=/x", "/v2/a/b/blobs/uploads/u1?_state=/x"),
            ("x:y", "/v2/a/b/blobs/uploads/x:y"),
            ("?_state=1", "/v2/a/b/blobs/uploads/?_state=1"),
            ("", "/v2/a/b/blobs/uploads/"),
            ("../upload/u1", "/v2/a/b/blobs/upload/u1"),
            ("./u1?x=..", "/v2/a/b/blobs/uploads/u1?x=.."),
        ] {
            assert_eq!(address(location, START), Address::Here(target.into()), "{location}");
        }
        for (location, authority, target) in [
            ("http://h:1/x?y", "h:1", "/x?y"),
            ("HTTPS://h", "h", "/"),
            ("//h/x", "h", "/x"),
            ("https://[::1]:5000/u", "[::1]:5000", "/u"),
            ("https://h?x=1", "h", "/?x=1"),
        ] {
            assert_eq!(address(location, START), Address::At(authority, target.into()), "{location}");
        }
        // Not a scheme: a query that holds an address.
        assert_eq!(address("u?to=http://h/", START), Address::Here("/v2/a/b/blobs/uploads/u?to=http://h/".into()));
    }

    #[test]
    fn a_server_is_known_by_its_host_and_port() {
        for (authority, known) in [
            ("10.0.0.7:5000", "10.0.0.7:5000"),
            ("Registry.Example:443", "registry.example"),
            ("registry.example", "registry.example:8443"),
            ("user@registry.example", "registry.example"),
            ("[::1]:5000", "[::1]:5000"),
            ("[::1]", "[::1]:5000"),
        ] {
            assert!(is_same_authority(authority, known), "{authority} {known}");
        }
        for (authority, known) in [
            ("10.0.0.7:5001", "10.0.0.7:5000"),
            ("10.0.0.7:5001", "10.0.0.7"),
            ("store.example", "registry.example"),
            ("[::1]:5001", "[::1]:5000"),
        ] {
            assert!(!is_same_authority(authority, known), "{authority} {known}");
        }
    }

    #[test]
    fn a_foreign_or_broken_home_is_taken_off_all_the_same() {
        assert_eq!(take_peer(Some("_peer=nonsense&a=1")), (Some("a=1".into()), None));
        assert_eq!(take_peer(Some("_peer=0123456789ab")), (None, Some(home(false))));
        assert_eq!(take_peer(None), (None, None));
        assert_eq!(with_peer("/u?_peer=0123456789ab-new&x=1", home(false)), "/u?x=1&_peer=0123456789ab");
    }
}
