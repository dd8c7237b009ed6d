//! `[cors]`: pages of which other origins may read our answers in a browser. SIGHUP reads it again.

use serde::Deserialize;

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Each `https://ui.example.com`, to the letter; or `"*"` alone, for all, and then nobody's credentials go along.
    pub origins: Vec<String>,
}

/// All origins.
pub const ANY: &str = "*";

/// What is wrong with an entry of `origins`. Browsers send scheme, host and port, in lower case, without the scheme's own port.
pub fn fault(origin: &str) -> Option<&'static str> {
    let url = url::Url::parse(origin).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    match url {
        None => Some("is no origin such as \"https://ui.example.com\""),
        Some(url) if url.origin().ascii_serialization() != origin => Some(
            "is not as browsers send it: scheme, host and port in lower case, nothing after them, no port that goes without saying",
        ),
        Some(_) if origin.contains('*') => Some("is a pattern: each origin is named to the letter"),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_send_it() {
        for good in ["https://ui.example.com", "http://localhost:3000", "https://[2001:db8::1]:8443"] {
            assert_eq!(fault(good), None, "{good}");
        }
        for bad in [
            "",
            "*",
            "null",
            "ui.example.com",
            "https://UI.example.com",
            "https://ui.example.com/",
            "https://ui.example.com:443",
            "https://ui.example.com/x",
            "https://a@ui.example.com",
            "ftp://ui.example.com",
            "https://*.example.com",
        ] {
            assert!(fault(bad).is_some(), "{bad}");
        }
    }
}
