//! GETs from where a peer redirects to (an object store): same timeouts and trust, but a pool and hosts of its own.
//! Follows nothing and judges no host: that is the caller's.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{self, HeaderMap};
use reqwest::{Client, Response, Url};

use super::config::Config;
use super::error::{Error, SendError, causes};
use super::exchange::{client, deadline, request, within};
use super::read_timeout::limit_reads;
use super::tls::Material;

/// The longest URL that is asked, in bytes. Signed URLs with session tokens come near 4 KiB.
const MAX_URL: usize = 16 << 10;

/// The cluster's client for absolute URLs.
///
/// HTTPS is verified against the cluster's own authorities or the system's, since registries with a private authority
/// often redirect to public stores. The cluster's client certificate is never shown here.
pub struct Direct {
    pooled: Client,
    fresh: Client,
    first_byte: Duration,
    read: Duration,
}

impl Direct {
    pub(super) fn new(config: &Config, material: &Material) -> Result<Self, Error> {
        let client = |keep| {
            let reason = |error| Error::Client { peer: "object store".into(), reason: causes(&error) };
            client(config, material.elsewhere.clone(), keep).build().map_err(reason)
        };
        Ok(Direct {
            pooled: client(config.keepalive)?,
            fresh: client(0)?,
            first_byte: config.timeouts.first_byte.0,
            read: config.timeouts.read.0,
        })
    }

    /// GETs an absolute `http` or `https` URL; resolves with the head of the answer. A 3xx is an answer.
    ///
    /// `Host` is always the URL's; what else must not reach a foreign host (`Authorization`) the caller leaves out.
    pub async fn send_url(&self, url: &str, mut headers: HeaderMap) -> Result<Response, SendError> {
        if url.len() > MAX_URL {
            return Err(SendError::Invalid("the URL is too long"));
        }
        let url = Url::parse(url).map_err(|_| SendError::Invalid("not an absolute URL"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(SendError::Invalid("neither http nor https"));
        }
        for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
            headers.remove(name);
        }
        let deadline = deadline(self.first_byte);
        let ask = |client| within(deadline, client, request(Method::GET, url.clone(), headers.clone(), Bytes::new()));
        let mut outcome = ask(&self.pooled).await;
        if let Err(SendError::Broken(_)) = outcome {
            outcome = ask(&self.fresh).await; // it may have been an idle connection that the store closed
        }
        outcome.map(|response| limit_reads(response, self.read))
    }
}
