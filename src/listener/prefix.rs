//! The path below which a listener serves everything, as distribution's `http.prefix`: it is taken off what is asked, and put
//! before what answers say of our own addresses.

use std::fmt;

use http::header::{LINK, LOCATION};
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;

/// Longest prefix, in bytes.
const MAX: usize = 255;

/// A path such as `/registry`, without a slash at its end; empty: none, everything is reached at the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Prefix(String);

impl TryFrom<String> for Prefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("'{text}' is no path: write one such as \"/registry\""));
        };
        if text.len() > MAX {
            return Err(format!("has {} bytes; allowed: {MAX} at most", text.len()));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // What another program may write in a second way (%2f, dots) would be another path to us.
        let plain = |part: &str| {
            let bytes = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
            bytes && !matches!(part, "" | "." | "..")
        };
        if text != "/" && !rest.split('/').all(plain) {
            return Err(format!(
                "'{text}' cannot be a prefix: its parts are of letters, digits, '-', '.', '_' and '~', and none is empty, '.' or '..'"
            ));
        }
        Ok(Prefix(if rest.is_empty() { String::new() } else { format!("/{rest}") }))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Prefix {
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is asked below it, of a path and query; `None`: this is outside. `/registry` alone means `/registry/`.
    pub fn take_off<'a>(&self, target: &'a str) -> Option<&'a str> {
        if self.is_none() {
            return Some(target);
        }
        match target.strip_prefix(&self.0)? {
            "" => Some("/"),
            rest => rest.starts_with('/').then_some(rest),
        }
    }

    /// Puts it before each address of ours in an answer. Addresses of others, and those of ours that name a host, say where they lead.
    pub(super) fn put_before(&self, headers: &mut HeaderMap) {
        if self.is_none() {
            return;
        }
        if let Some(location) = headers.get(LOCATION).and_then(|value| value.to_str().ok())
            && is_path(location)
            && let Ok(location) = HeaderValue::try_from(format!("{self}{location}"))
        {
            headers.insert(LOCATION, location);
        }
        if let http::header::Entry::Occupied(mut links) = headers.entry(LINK) {
            for link in links.iter_mut() {
                if let Some(ours) = link.to_str().ok().and_then(|text| self.linked(text)) {
                    *link = ours;
                }
            }
        }
    }

    /// A `Link` whose paths begin with the prefix (RFC 8288).
    fn linked(&self, links: &str) -> Option<HeaderValue> {
        let mut text = String::with_capacity(links.len() + self.0.len());
        let mut rest = links;
        while let Some((before, from)) = rest.split_once('<') {
            let (target, after) = from.split_once('>')?;
            let prefix = if is_path(target) { self.as_str() } else { "" };
            text.extend([before, "<", prefix, target, ">"]);
            rest = after;
        }
        text.push_str(rest);
        HeaderValue::try_from(text).ok()
    }
}

/// A path on the host that answers: neither relative to what was asked, nor on a host that is named.
fn is_path(reference: &str) -> bool {
    reference.starts_with('/') && !reference.starts_with("//")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn a_prefix_is_a_plain_path() {
        for (text, meant) in [("/registry", "/registry"), ("/registry/", "/registry"), ("/a/b-1._~", "/a/b-1._~")] {
            assert_eq!(prefix(text).as_str(), meant);
        }
        assert!(prefix("/").is_none() && Prefix::default().is_none());
        for bad in
            ["", "registry", "registry/", "//", "/a//b", "/a/../b", "/.", "/a%2fb", "/a?b", "/a b", "/ä", "/a\\b"]
        {
            assert!(Prefix::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
        assert!(Prefix::try_from(format!("/{}", "a".repeat(MAX))).unwrap_err().contains("256 bytes"));
    }

    #[test]
    fn what_is_asked_loses_it_and_what_is_outside_is_nothing() {
        let registry = prefix("/registry");
        for (asked, meant) in [
            ("/registry/v2/", Some("/v2/")),
            ("/registry/v2/_catalog?n=1", Some("/v2/_catalog?n=1")),
            ("/registry/", Some("/")),
            ("/registry", Some("/")),
            ("/registry/registry/v2/", Some("/registry/v2/")),
            ("/registry?n=1", None),
            ("/registryv2/", None),
            ("/v2/", None),
            ("/Registry/v2/", None),
            ("*", None),
        ] {
            assert_eq!(registry.take_off(asked), meant, "{asked}");
        }
        assert_eq!(Prefix::default().take_off("/v2/"), Some("/v2/"));
    }

    #[test]
    fn our_own_addresses_get_it_and_no_others() {
        let registry = prefix("/registry");
        let answered = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.append(name, value.parse().unwrap());
            registry.put_before(&mut headers);
            headers.get(name).unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(answered("location", "/v2/a/blobs/uploads/1?_state=/x"), "/registry/v2/a/blobs/uploads/1?_state=/x");
        for other in ["https://store.example/a?b=/c", "//store.example/a", "uploads/1", "?a=b"] {
            assert_eq!(answered("location", other), other);
        }
        assert_eq!(
            answered("link", "</v2/_catalog?last=b&n=2>; rel=\"next\", <https://docs.example/>; rel=help"),
            "</registry/v2/_catalog?last=b&n=2>; rel=\"next\", <https://docs.example/>; rel=help"
        );
        for odd in ["<no end", "nothing", ""] {
            assert_eq!(answered("link", odd), odd);
        }
    }
}
