//! GETs from where a peer redirects to (an object store): same timeouts and trust, but a pool and hosts of its own.
//! Goes only where [`Reach`] allows; follows nothing, since each hop is the caller's to judge.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{self, HeaderMap};
use reqwest::Response;

use super::config::Config;
use super::error::{Error, SendError, causes};
use super::exchange::{client, deadline, request, within};
use super::pool::Pool;
use super::read_timeout::limit_reads;
use super::tls::Material;
use crate::outbound::{Lookup, NoWay, OwnAddresses, Reach, Way};

/// The cluster's client for absolute URLs.
///
/// HTTPS is verified against the cluster's own authorities or the system's, since registries with a private authority
/// often redirect to public stores. The cluster's client certificate is never shown here.
pub struct Direct {
    way: Way,
    first_byte: Duration,
    read: Duration,
}

impl Direct {
    pub(super) fn new(
        pool: &Arc<Pool>,
        material: &Material,
        own: &OwnAddresses,
        lookup: Lookup,
    ) -> Result<Self, Error> {
        let config = pool.config();
        let (peers, settings, tls) = (pool.clone(), settings_of(config), material.elsewhere.clone());
        let reach = Reach::new(move || peers.roster().iter().map(|peer| peer.address().ip()).collect(), own.clone());
        let way = Way::new(move |keep| client(&settings, tls.clone(), keep), config.keepalive, reach, lookup);
        let reason = |error| Error::Client { peer: "object store".into(), reason: causes(&error) };
        Ok(Direct { way: way.map_err(reason)?, first_byte: config.timeouts.first_byte.0, read: config.timeouts.read.0 })
    }

    /// GETs an absolute `http` or `https` URL; resolves with the head of the answer. A 3xx is an answer.
    ///
    /// `Host` is always the URL's; what else must not reach a foreign host (`Authorization`) the caller leaves out.
    pub async fn send_url(&self, url: &str, mut headers: HeaderMap) -> Result<Response, SendError> {
        let url = self.way.url(url).map_err(refused)?;
        for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
            headers.remove(name);
        }
        let deadline = deadline(self.first_byte);
        let ask = async |fresh| {
            let client = self.way.client(&url, fresh).map_err(refused)?;
            within(deadline, &client, request(Method::GET, url.clone(), headers.clone(), Bytes::new())).await
        };
        let mut outcome = ask(false).await;
        if let Err(SendError::Broken(_)) = outcome {
            outcome = ask(true).await; // it may have been an idle connection that the store closed
        }
        outcome.map(|response| limit_reads(response, self.read))
    }
}

fn refused(why: NoWay) -> SendError {
    match why {
        NoWay::Url(what) => SendError::Invalid(what),
        other => SendError::NoWay(other.to_string()),
    }
}

/// What a client is made by, without the peers.
fn settings_of(config: &Config) -> Config {
    Config { peers: Vec::new(), ..config.clone() }
}
