//! The names of one certificate, as the configuration has them: nothing else is ever ordered.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use instant_acme::Identifier;
use sha2::{Digest as _, Sha256};

use super::config::Kind;

/// Of an id, in characters of the first name; the rest of it tells certificates apart.
const SHOWN: usize = 80;
/// Of that, in digits.
const DIGEST: usize = 16;

/// Sorted, in lower case, each once; never empty where it came from a checked configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Names(Arc<[String]>);

impl Names {
    pub fn new(names: &[String]) -> Self {
        let mut names: Vec<String> = names.iter().map(|name| canonical(name)).collect();
        names.sort_unstable();
        names.dedup();
        Names(names.into())
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    pub fn list(&self) -> &[String] {
        &self.0
    }

    /// For people who look for one of many.
    pub fn first(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// By which it is kept: another authority or profile has another certificate for the same names. Letters, digits, '.', '-', '_'.
    pub fn id(&self, directory: &str, profile: Option<&str>) -> String {
        let mut hash = Sha256::new();
        for text in [directory, profile.unwrap_or_default()].into_iter().chain(self.iter()) {
            hash.update(text.as_bytes());
            hash.update([0]);
        }
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
        let shown: String = self.first().chars().map(plain).take(SHOWN).collect();
        let digest = hex::encode(hash.finalize());
        format!("{shown}--{}", digest.get(..DIGEST).unwrap_or(&digest))
    }

    /// By which the last one for these names is kept, whoever it came from.
    pub fn id_of_any(&self) -> String {
        self.id("", None)
    }

    pub fn identifiers(&self) -> Vec<Identifier> {
        self.iter().map(|name| name.parse().map_or_else(|_| Identifier::Dns(name.to_owned()), Identifier::Ip)).collect()
    }

    /// Those of `ways` by which each of the names can be proven.
    pub fn ways(&self, ways: &[Kind]) -> Vec<Kind> {
        ways.iter().copied().filter(|kind| self.iter().all(|name| can_be_proven(name, *kind))).collect()
    }
}

/// A wildcard stands for hosts that nobody can ask, and an address has no zone in DNS.
pub fn can_be_proven(name: &str, by: Kind) -> bool {
    match by {
        Kind::Dns => name.parse::<IpAddr>().is_err(),
        Kind::Http | Kind::Tls => !name.starts_with("*."),
    }
}

/// One spelling for each name: addresses have many.
pub fn canonical(name: &str) -> String {
    match name.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => name.trim_end_matches('.').to_ascii_lowercase(),
    }
}

/// What the handshake of an authority asks for that proves `name`: of an address, its name for reverse look-ups (RFC 8738).
pub fn in_handshake(name: &str) -> String {
    match name.parse::<IpAddr>() {
        Err(_) => name.to_owned(),
        Ok(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Ok(IpAddr::V6(address)) => {
            let mut text = String::with_capacity(72);
            for byte in address.octets().iter().rev() {
                let _ = write!(text, "{:x}.{:x}.", byte & 15, byte >> 4); // writing to a String cannot fail
            }
            text + "ip6.arpa"
        }
    }
}

/// The record that proves a name.
pub fn record(name: &str) -> String {
    format!("_acme-challenge.{}", name.strip_prefix("*.").unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Names {
        Names::new(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_same_names_are_one_certificate() {
        assert_eq!(names(&["b.example", "A.example", "b.example"]), names(&["a.example", "b.example."]));
        assert_eq!(names(&["::1", "0:0::1"]).list(), ["::1"]);
        let one = names(&["a.example"]);
        assert_eq!(one.id("https://a/", None), one.id("https://a/", None));
        let others =
            [one.id("https://b/", None), one.id("https://a/", Some("x")), names(&["b.example"]).id("https://a/", None)];
        assert!(!others.contains(&one.id("https://a/", None)));
    }

    #[test]
    fn an_id_is_a_plain_file_name() {
        for (list, start) in [(vec!["*.example.com"], "_.example.com--"), (vec!["2001:db8::1"], "2001_db8__1--")] {
            let id = names(&list).id("https://a/", None);
            assert!(id.starts_with(start) && id.len() == start.len() + 16, "{id}");
        }
        assert!(names(&[&"a".repeat(250)]).id("", None).len() < 110);
    }

    #[test]
    fn each_name_is_asked_for_in_its_own_way() {
        assert_eq!(in_handshake("a.example"), "a.example");
        assert_eq!(in_handshake("192.0.2.7"), "7.2.0.192.in-addr.arpa");
        assert!(in_handshake("2001:db8::1").starts_with("1.0.0.0.") && in_handshake("::").ends_with(".0.ip6.arpa"));
        assert_eq!(record("*.a.example"), "_acme-challenge.a.example");
        assert_eq!(names(&["*.a.example", "a.example"]).ways(&[Kind::Http, Kind::Dns, Kind::Tls]), [Kind::Dns]);
        assert_eq!(names(&["192.0.2.7"]).ways(&[Kind::Dns, Kind::Http]), [Kind::Http]);
        assert_eq!(names(&["192.0.2.7", "a.example"]).identifiers().len(), 2);
    }
}
