//! `[fleet]`: this instance as one of several. SIGHUP reads it again.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemberConfig {
    /// How the other instances reach this one. Left out: there are none.
    pub advertise: Option<Advertised>,
    /// The secret that all instances have. Left out: there is none, and what needs it says so.
    pub secret_file: Option<PathBuf>,
}

/// Scheme, host and port of an instance; nothing after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised(String);

/// Why some text is no address of an instance. Never shows the text: there may be a password in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdvertisedError {
    #[error("must be http://HOST:PORT or https://HOST:PORT, such as \"http://10.0.0.5:5000\"")]
    Shape,
    #[error("must be scheme, host and port alone: no user, path, query or fragment")]
    More,
    #[error("names no one machine: other instances cannot connect to it")]
    Nowhere,
}

impl FromStr for Advertised {
    type Err = AdvertisedError;

    fn from_str(text: &str) -> Result<Self, AdvertisedError> {
        let url = url::Url::parse(text).map_err(|_| AdvertisedError::Shape)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(AdvertisedError::Shape);
        }
        let user = !url.username().is_empty() || url.password().is_some() || text.contains('@');
        if user || url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(AdvertisedError::More);
        }
        let nowhere = match url.host() {
            Some(url::Host::Ipv4(address)) => address.is_unspecified(),
            Some(url::Host::Ipv6(address)) => address.to_canonical().is_unspecified(),
            Some(url::Host::Domain(name)) => name.is_empty(),
            None => true,
        };
        if nowhere || url.port() == Some(0) {
            return Err(AdvertisedError::Nowhere);
        }
        Ok(Advertised(url.origin().ascii_serialization()))
    }
}

impl Advertised {
    /// Host and port, or the host alone where the port is the scheme's own.
    pub fn authority(&self) -> &str {
        self.0.split_once("://").map_or("", |(_, authority)| authority)
    }
}

impl fmt::Display for Advertised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Advertised {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_named_by_scheme_host_and_port() {
        for (text, shown) in [
            ("http://10.0.0.5:5000", "http://10.0.0.5:5000"),
            ("https://one.example.com", "https://one.example.com"),
            ("https://one.example.com:443/", "https://one.example.com"),
            ("http://[fd00::1]:5000", "http://[fd00::1]:5000"),
        ] {
            assert_eq!(text.parse::<Advertised>().map(|address| address.to_string()), Ok(shown.to_owned()));
        }
        for text in ["", "10.0.0.5:5000", "one.example.com", "ftp://a", "http://", "redis://a:1", "http:// a"] {
            assert_eq!(text.parse::<Advertised>(), Err(AdvertisedError::Shape), "{text}");
        }
        for text in ["http://a/x", "http://a?x", "http://a/#x", "http://ann:1234@a", "http://ann@a", "http://@a"] {
            assert_eq!(text.parse::<Advertised>(), Err(AdvertisedError::More), "{text}");
        }
        for text in ["http://0.0.0.0:5000", "http://[::]:5000", "http://a:0", "http://[::ffff:0.0.0.0]"] {
            assert_eq!(text.parse::<Advertised>(), Err(AdvertisedError::Nowhere), "{text}");
        }
    }
}
