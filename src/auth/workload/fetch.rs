//! Documents of others by HTTP: small, soon, and from nowhere that the operator did not mean. The first address is the operator's
//! word; what it leads to may be no more private than it is.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use reqwest::Url;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use url::Host;

use crate::outbound::{self, Lookup, NoWay, OwnAddresses, Reach, Way, system_lookup, tls};

/// Largest document, in bytes: what keys are told with is some KiB.
const MAX_DOCUMENT: usize = 256 << 10;
/// For a connection, and for each read.
const CONNECT: Duration = Duration::from_secs(5);
const READ: Duration = Duration::from_secs(5);

/// Why a document is not there; names no address that others gave.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("its address: {0}")]
    Address(#[from] NoWay),
    #[error("an address that is neither https nor on this machine")]
    Plain,
    #[error("the name of its host cannot be resolved: {0}")]
    Resolve(std::io::Error),
    #[error("it cannot be asked: {0}")]
    Http(String),
    #[error("it is answered with {0}")]
    Status(u16),
    #[error("it is larger than {MAX_DOCUMENT} bytes")]
    TooLarge,
}

pub struct Fetcher {
    way: Way,
    first: Url,
    /// Addresses of the first host, as it was resolved last.
    trusted: Arc<ArcSwap<Vec<IpAddr>>>,
    lookup: Lookup,
}

impl Fetcher {
    /// `first` is an address that the operator gave; `authorities`: whom to trust instead of the system's.
    pub fn new(first: Url, authorities: Option<&[CertificateDer<'static>]>, own: OwnAddresses) -> Result<Self, String> {
        let roots: RootCertStore = match authorities {
            Some(authorities) => tls::roots(authorities)?,
            None => tls::system_roots(),
        };
        let config = tls::http_client(roots, None).map_err(|error| error.to_string())?;
        let trusted = Arc::new(ArcSwap::from_pointee(Vec::new()));
        let known = trusted.clone();
        let reach = Reach::new(move || known.load().to_vec(), own);
        let lookup = system_lookup();
        let build = move |keep| {
            outbound::client(config.clone())
                .user_agent(concat!("entrepot/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT)
                .read_timeout(READ)
                .pool_max_idle_per_host(keep)
        };
        // Minutes lie between two questions: no connection is kept for that long.
        let way = Way::new(build, 0, reach, lookup.clone()).map_err(|error| error.to_string())?;
        Ok(Fetcher { way, first, trusted, lookup })
    }

    /// Finds out where the operator's host is, which decides where else may be gone to.
    pub async fn locate(&self) -> Result<(), FetchError> {
        let found = match self.first.host() {
            Some(Host::Ipv4(address)) => vec![address.into()],
            Some(Host::Ipv6(address)) => vec![address.into()],
            Some(Host::Domain(name)) => {
                let port = self.first.port_or_known_default().unwrap_or_default();
                let found = (self.lookup)(name.to_owned(), port).await.map_err(FetchError::Resolve)?;
                found.into_iter().map(|address| address.ip()).collect()
            }
            None => Vec::new(),
        };
        self.trusted.store(Arc::new(found));
        Ok(())
    }

    /// The document at an address, of 200 and nothing else: who is redirected is not followed.
    pub async fn get(&self, address: &str) -> Result<Bytes, FetchError> {
        let url = self.way.url(address)?;
        if !is_safe(&url) {
            return Err(FetchError::Plain);
        }
        let failed = |error: reqwest::Error| FetchError::Http(causes(&error.without_url()));
        let request = self.way.client(&url, true)?.get(url).header("Accept", "application/json");
        let mut response = request.send().await.map_err(failed)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        if response.content_length().is_some_and(|length| length > MAX_DOCUMENT as u64) {
            return Err(FetchError::TooLarge);
        }
        let mut document = BytesMut::new();
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            if document.len() + piece.len() > MAX_DOCUMENT {
                return Err(FetchError::TooLarge);
            }
            document.extend_from_slice(&piece);
        }
        Ok(document.freeze())
    }
}

/// Whether what comes from there can be believed: by TLS, or from this very machine.
pub fn is_safe(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => return false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

/// The client's own text says only that it could not send.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_this_machine_are_safe() {
        for (url, safe) in [
            ("https://issuer.example/x", true),
            ("https://10.0.0.1", true),
            ("http://127.0.0.1:8080/x", true),
            ("http://[::1]/", true),
            ("http://localhost:1/", true),
            ("http://issuer.example", false),
            ("http://10.0.0.1", false),
            ("http://localhost.example", false),
            ("http://127.0.0.1.example", false),
            ("ftp://127.0.0.1", false),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(is_safe(&Url::parse(url).unwrap()), safe, "{url}");
        }
    }

    #[tokio::test]
    async fn a_public_issuer_leads_nobody_into_our_network() {
        let first = Url::parse("https://9.9.9.9").unwrap();
        let fetcher = Fetcher::new(first, None, OwnAddresses::default()).unwrap();
        fetcher.locate().await.unwrap();
        for address in ["http://127.0.0.1:1/", "https://127.0.0.1:1/", "https://10.0.0.1/", "https://169.254.169.254/"]
        {
            assert!(matches!(fetcher.get(address).await, Err(FetchError::Address(NoWay::Forbidden(_)))), "{address}");
        }
        assert!(matches!(fetcher.get("http://9.9.9.9/").await, Err(FetchError::Plain)));
    }
}
