//! Uploads stay with the peer that opened them: its id travels in the `Location` that the client is given back.
//!
//! The id is a hash of the peer's address, so any Entrepot before the same peers finds the way, also after a restart,
//! without a shared secret. It is taken off again before a peer sees the request. An upload that holds no bytes yet is
//! marked, because it can be opened again elsewhere when its peer is gone.

use crate::cluster::PeerId;

/// Our parameter in the query of an upload's address.
const PARAMETER: &str = "_peer";
/// Suffix of the id while the upload holds no bytes.
const EMPTY: &str = "-new";

/// Where an upload lives, as its address says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    pub peer: PeerId,
    /// No byte has been sent: the upload may be opened again on another peer.
    pub empty: bool,
}

/// Splits our parameter off a query. Returns the query as the peer gave it, and the upload's home when it is named.
pub fn take_home(query: Option<&str>) -> (Option<String>, Option<Home>) {
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

fn parse_home(value: &str) -> Option<Home> {
    let (id, empty) = match value.strip_suffix(EMPTY) {
        Some(id) => (id, true),
        None => (value, false),
    };
    Some(Home { peer: id.parse().ok()?, empty })
}

/// A peer's `Location`, made right for the client: relative, and with the upload's home.
///
/// A redirect (3xx) to another host, such as an object store, is left alone: `None`.
pub fn rewrite_location(location: &str, redirect: bool, authorities: &[&str], home: Home) -> Option<String> {
    let target = match split_absolute(location) {
        None => location,
        Some((authority, _)) if redirect && !authorities.iter().any(|known| known.eq_ignore_ascii_case(authority)) => {
            return None;
        }
        Some((_, target)) => target,
    };
    let target = if target.is_empty() { "/" } else { target };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    if !path.contains("/blobs/uploads/") {
        return Some(target.to_owned());
    }
    let mark = if home.empty { EMPTY } else { "" };
    let (rest, _) = take_home(query);
    let peer = home.peer;
    Some(match rest {
        Some(rest) => format!("{path}?{rest}&{PARAMETER}={peer}{mark}"),
        None => format!("{path}?{PARAMETER}={peer}{mark}"),
    })
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
    let rest = location.strip_prefix("//").or_else(|| location.split_once("://").map(|(_, rest)| rest))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Some(rest.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(empty: bool) -> Home {
        Home { peer: "0123456789ab".parse().unwrap(), empty }
    }

    #[test]
    fn a_home_survives_the_round_trip() {
        for empty in [true, false] {
            let location =
                rewrite_location("http://10.0.0.7:5000/v2/a/b/blobs/uploads/u-1?_state=x%3D", false, &[], home(empty))
                    .unwrap();
            assert!(location.starts_with("/v2/a/b/blobs/uploads/u-1?"), "{location}");
            let (_, query) = location.split_once('?').unwrap();
            let with_digest = format!("{query}&digest=sha256%3Aabc");
            assert_eq!(
                take_home(Some(&with_digest)),
                (Some("_state=x%3D&digest=sha256%3Aabc".into()), Some(home(empty)))
            );
        }
    }

    #[test]
    fn only_uploads_carry_a_home() {
        let blob = "https://registry/v2/a/blobs/sha256:abc";
        assert_eq!(rewrite_location(blob, false, &[], home(true)).as_deref(), Some("/v2/a/blobs/sha256:abc"));
        assert_eq!(rewrite_location("/v2/a/blobs/x", false, &[], home(true)).as_deref(), Some("/v2/a/blobs/x"));
    }

    #[test]
    fn a_redirect_to_an_object_store_is_left_alone() {
        let store = "https://store.example/bucket/x?signature=1";
        assert_eq!(rewrite_location(store, true, &["10.0.0.7:5000"], home(false)), None);
        let own = "http://10.0.0.7:5000/v2/";
        assert_eq!(rewrite_location(own, true, &["10.0.0.7:5000"], home(false)).as_deref(), Some("/v2/"));
    }

    #[test]
    fn a_foreign_or_broken_home_is_taken_off_all_the_same() {
        assert_eq!(take_home(Some("_peer=nonsense&a=1")), (Some("a=1".into()), None));
        assert_eq!(take_home(Some("_peer=0123456789ab")), (None, Some(home(false))));
        assert_eq!(take_home(None), (None, None));
    }
}
