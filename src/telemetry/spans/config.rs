//! `[tracing]`.

use std::path::PathBuf;

use serde::Deserialize;
use url::{Host, Url};

use crate::units::Percent;

/// Where OTLP over HTTP takes spans, below the collector's address.
const PATH: &str = "/v1/traces";
/// Longest name of the service, in bytes.
pub const MAX_SERVICE: usize = 255;

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The collector: `http://collector:4318`.
    pub otlp: String,
    /// The part of requests that are recorded where nobody before us has decided.
    #[serde(default = "a_tenth")]
    pub sample: Percent,
    /// What we are called there.
    #[serde(default = "entrepot")]
    pub service: String,
    /// Fields that the collector wants, `Name: value` on each line, such as a token.
    pub headers_file: Option<PathBuf>,
    /// PEM file of the authorities that are trusted instead of the system's.
    pub ca: Option<PathBuf>,
}

impl Config {
    /// Where spans are sent; or what is wrong with the address.
    pub fn endpoint(&self) -> Result<Url, String> {
        let wrong = |why: &str| format!("is '{}', {why}; write \"http://collector:4318\"", shown(&self.otlp));
        let mut url = Url::parse(&self.otlp).map_err(|_| wrong("which is no URL"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong("which is neither http nor https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("has a login in it; put an Authorization field into headers_file".into());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("which has more than an address and a path"));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        if !path.ends_with(PATH) {
            url.set_path(&format!("{path}{PATH}"));
        }
        Ok(url)
    }
}

impl Config {
    /// Whether what `headers_file` says can be read on its way.
    pub fn tells_in_the_clear(&self) -> bool {
        let Ok(url) = self.endpoint() else { return false };
        let here = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        self.headers_file.is_some() && url.scheme() == "http" && !here
    }
}

/// Without what may be a secret in front of a host.
fn shown(text: &str) -> &str {
    text.rsplit('@').next().unwrap_or_default()
}

fn a_tenth() -> Percent {
    Percent::of_hundred(10)
}

fn entrepot() -> String {
    "entrepot".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(otlp: &str) -> Result<String, String> {
        let config: Config = toml::from_str(&format!("otlp = {otlp:?}")).unwrap();
        config.endpoint().map(|url| url.to_string())
    }

    #[test]
    fn a_token_over_plain_http_is_told_of() {
        for (otlp, told) in
            [("http://collector:4318", true), ("https://collector", false), ("http://[::1]:4318", false)]
        {
            let config: Config = toml::from_str(&format!("otlp = {otlp:?}\nheaders_file = \"a\"")).unwrap();
            assert_eq!(config.tells_in_the_clear(), told, "{otlp}");
        }
        let nothing: Config = toml::from_str("otlp = \"http://collector:4318\"").unwrap();
        assert!(!nothing.tells_in_the_clear() && nothing.sample == a_tenth() && nothing.service == "entrepot");
    }

    #[test]
    fn a_collector_is_an_address_and_perhaps_a_path() {
        for (otlp, sent) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("https://otlp.example/tenant", "https://otlp.example/tenant/v1/traces"),
            ("https://otlp.example/v1/traces", "https://otlp.example/v1/traces"),
            ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
        ] {
            assert_eq!(endpoint(otlp).as_deref(), Ok(sent));
        }
        for bad in ["", "collector:4318", "grpc://collector:4317", "http://", "http://a/?x=1", "http://a/#x"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
        let login = endpoint("http://user:5ecret@collector:4318").unwrap_err();
        assert!(login.contains("headers_file") && !login.contains("5ecret"), "{login}");
    }
}
