//! Which hosts belong to a remote: whose token services may be sent credentials, and who may be redirected to where we cannot see
//! addresses.

use http::uri::Authority;
use reqwest::Url;
use url::Host;

use super::RemoteError;

/// Names in a Kubernetes cluster: those below it belong to as many owners as it has namespaces.
const MANY_OWNERS: &str = ".cluster.local";

/// The hosts of one remote.
pub struct Trust {
    base: Url,
    realms: Vec<Named>,
    redirects: Vec<Named>,
}

/// A host of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// In lower case, an IPv6 address in brackets.
    host: String,
    /// Hosts below it, and not itself.
    below: bool,
    /// `None`: any.
    port: Option<u16>,
}

impl Named {
    /// `host`, `host:port`, or, where `wild` says so, `*.example.com`.
    pub fn parse(text: &str, wild: bool) -> Option<Self> {
        let (below, rest) = match text.strip_prefix("*.") {
            Some(rest) if wild => (true, rest),
            Some(_) => return None,
            None => (false, text),
        };
        let authority: Authority = rest.to_ascii_lowercase().parse().ok()?;
        let plain = !rest.contains(['@', '*']) && !authority.host().is_empty();
        plain.then(|| Named { host: authority.host().to_owned(), below, port: authority.port_u16() })
    }

    fn is(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let named = match self.below {
            true => host.strip_suffix(&self.host).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            false => host == self.host,
        };
        named && self.port.is_none_or(|port| url.port_or_known_default() == Some(port))
    }
}

impl Trust {
    /// `base` is the remote's own URL.
    pub fn new(base: Url, realms: Vec<Named>, redirects: Vec<Named>) -> Self {
        Trust { base, realms, redirects }
    }

    /// The remote's own URL.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// Whether this is the remote itself: same scheme, host and port.
    pub fn is_home(&self, url: &Url) -> bool {
        url.scheme() == self.base.scheme()
            && url.host_str() == self.base.host_str()
            && url.port_or_known_default() == self.base.port_or_known_default()
    }

    /// Whether a token service may be sent credentials: it is on the remote's own host and port, on a host of the same registrable
    /// domain, or one that the operator named, and speaks TLS if the remote does.
    pub fn may_have_credentials(&self, url: &Url) -> Result<(), RemoteError> {
        let host = url.host_str().unwrap_or("nobody");
        if !self.is_home(url) && url.scheme() != "https" && self.base.scheme() == "https" {
            return Err(RemoteError::Useless(format!(
                "its tokens are given by {host} without TLS, so it is sent no credentials"
            )));
        }
        if self.is_near(url) || self.realms.iter().any(|named| named.is(url)) {
            return Ok(());
        }
        Err(RemoteError::Useless(format!(
            "its tokens are given by {host}, which may not be sent credentials: `realms` names who may"
        )))
    }

    /// Whether the operator meant this host, where only its name is known.
    pub fn is_known(&self, url: &Url) -> bool {
        self.is_near(url) || self.realms.iter().chain(&self.redirects).any(|named| named.is(url))
    }

    fn is_near(&self, url: &Url) -> bool {
        let same_port = url.port_or_known_default() == self.base.port_or_known_default();
        let same_host = url.host_str() == self.base.host_str();
        (same_host && same_port) || have_one_owner(&self.base, url)
    }
}

/// Whether two hosts are of one registrable domain, which has one owner. Addresses, and names of one word, never are.
fn have_one_owner(one: &Url, other: &Url) -> bool {
    let (Some(Host::Domain(one)), Some(Host::Domain(other))) = (one.host(), other.host()) else { return false };
    let shared = one.ends_with(MANY_OWNERS) || other.ends_with(MANY_OWNERS);
    match (psl::domain_str(one), psl::domain_str(other)) {
        (Some(one), Some(other)) => one == other && !shared,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(base: &str, realms: &[&str]) -> Trust {
        let realms = realms.iter().map(|realm| Named::parse(realm, false).unwrap()).collect();
        Trust::new(base.parse().unwrap(), realms, vec![Named::parse("*.cdn.example", true).unwrap()])
    }

    fn may(base: &str, realm: &str) -> bool {
        trust(base, &["extra.example", "ported.example:8443"]).may_have_credentials(&realm.parse().unwrap()).is_ok()
    }

    #[test]
    fn token_services_of_the_same_owner_are_sent_credentials() {
        for (base, realm) in [
            ("https://registry-1.docker.io", "https://auth.docker.io/token"),
            ("https://docker.elastic.co", "https://docker-auth.elastic.co/auth"),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"),
            ("https://ghcr.io", "https://ghcr.io/token"),
            ("https://harbor.corp.lan:8443", "https://auth.corp.lan/token"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000/token"),
            ("http://registry:5000", "http://registry:5000/token"),
            ("http://registry.corp.lan", "http://auth.corp.lan/"),
            ("http://registry.corp.lan", "https://auth.corp.lan/"),
            ("https://r.example", "https://extra.example:9/token"),
            ("https://r.example", "https://ported.example:8443/token"),
        ] {
            assert!(may(base, realm), "{base} {realm}");
        }
    }

    #[test]
    fn nobody_else_is() {
        for (base, realm) in [
            ("https://registry-1.docker.io", "https://auth.docker.io.evil.example/token"),
            ("https://registry-1.docker.io", "http://auth.docker.io/token"),
            ("https://registry-1.docker.io", "https://evildocker.io/"),
            ("https://r.example.co.uk", "https://evil.co.uk/"),
            ("https://me.github.io", "https://evil.github.io/"),
            ("https://a.amazonaws.com", "https://bucket.s3.amazonaws.com/"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5001/"),
            ("http://127.0.0.1:5000", "http://127.0.0.2:5000/"),
            ("http://registry:5000", "http://registry:5001/"),
            ("http://localhost:5000", "http://localhost:5001/"),
            ("http://10.0.0.1", "https://10.0.0.1/"),
            ("http://r.mine.svc.cluster.local", "http://r.theirs.svc.cluster.local/"),
            ("https://r.example", "https://ported.example/token"),
            ("https://r.example", "https://sub.extra.example/token"),
            ("https://r.example", "http://extra.example/token"),
            ("https://r.example", "http://r.example/token"),
        ] {
            assert!(!may(base, realm), "{base} {realm}");
        }
        let error =
            trust("https://r.example", &[]).may_have_credentials(&"https://u:p@evil.test/t?secret=1".parse().unwrap());
        let text = error.unwrap_err().to_string();
        assert!(text.contains("evil.test") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn hosts_below_a_named_one_are_known_where_that_is_said() {
        let trust = trust("https://r.example", &["auth.example"]);
        let known = |url: &str| trust.is_known(&url.parse().unwrap());
        assert!(
            known("https://a.cdn.example/x") && known("https://a.b.cdn.example/") && known("https://auth.example/")
        );
        assert!(known("https://r.example/"));
        assert!(!known("https://cdn.example/") && !known("https://evilcdn.example/") && !known("https://other.test/"));
    }

    #[test]
    fn a_named_host_is_a_host_and_perhaps_a_port() {
        for good in ["auth.example", "AUTH.example:443", "[::1]:5000", "127.0.0.1"] {
            assert!(Named::parse(good, false).is_some(), "{good}");
        }
        for bad in ["", "https://auth.example", "a/b", "u@a.example", "*.example", "a b", ":5000", "a.*"] {
            assert!(Named::parse(bad, false).is_none(), "{bad}");
        }
        assert!(Named::parse("*.example", true).is_some() && Named::parse("*", true).is_none());
    }

    #[test]
    fn home_is_one_scheme_host_and_port() {
        let trust = trust("https://r.example/prefix", &[]);
        let home = |url: &str| trust.is_home(&url.parse().unwrap());
        assert!(home("https://r.example/v2/") && home("https://R.example:443/x"));
        assert!(!home("http://r.example/") && !home("https://r.example:8443/") && !home("https://a.r.example/"));
    }
}
