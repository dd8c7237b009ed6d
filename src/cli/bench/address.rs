//! A registry's address, as people write it.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;
use url::Host;

/// Where a registry is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Scheme, host and port, without a path.
    pub base: Url,
    /// What stands before `/v2/`: empty, or `/path`.
    pub prefix: String,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("an address is written https://HOST[:PORT], http://HOST[:PORT] or HOST[:PORT]")]
    Shape,
    #[error("an address holds no login: --user and --password-file say who asks")]
    Login,
    #[error("an address ends before '?' and '#'")]
    Query,
}

impl FromStr for Address {
    type Err = AddressError;

    /// Without a scheme it is https, as for docker, and http where it leads to this machine.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let parse = |text: &str| Url::parse(text).map_err(|_| AddressError::Shape);
        let url = match text.contains("://") {
            true => parse(text)?,
            false => {
                let url = parse(&format!("https://{text}"))?;
                if is_of_this_machine(&url) { parse(&format!("http://{text}"))? } else { url }
            }
        };
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(AddressError::Shape);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressError::Login);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(AddressError::Query);
        }
        let prefix = url.path().trim_end_matches('/').to_owned();
        let mut base = url;
        base.set_path("/");
        Ok(Address { base, prefix })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.base.as_str().trim_end_matches('/'), self.prefix)
    }
}

fn is_of_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_or_gets_one() {
        for (text, shown) in [
            ("registry.lab:5000", "https://registry.lab:5000"),
            ("registry.lab", "https://registry.lab"),
            ("localhost:5000", "http://localhost:5000"),
            ("127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("[::1]:5000", "http://[::1]:5000"),
            ("http://registry.lab", "http://registry.lab"),
            ("https://localhost:5000/", "https://localhost:5000"),
            ("https://registry.lab/below/it/", "https://registry.lab/below/it"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        use AddressError::{Login, Query, Shape};
        for (text, why) in [
            ("", Shape),
            ("ftp://a", Shape),
            ("a b", Shape),
            ("a:99999", Shape),
            ("https://", Shape),
            ("https://ann:word@a", Login),
            ("ann@a:5000", Login),
            ("http://a/?x=1", Query),
            ("http://a/#x", Query),
        ] {
            assert_eq!(text.parse::<Address>(), Err(why), "{text}");
        }
    }
}
