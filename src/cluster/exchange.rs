//! HTTP/1.1 exchanges with one address: its keep-alive pool, timeouts, and the stale connections of such a pool.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use reqwest::{Client, Request, Response, Url};
use rustls::ClientConfig;
use tokio::time::{Instant, timeout, timeout_at};

use super::budget::ResendBudget;
use super::config::Config;
use super::error::SendError;
use super::read_timeout::limit_reads;
use crate::outbound::{self, hop::is_hop_by_hop};

/// What the client library writes by itself, beside the fields of one connection.
const WRITTEN_BY_THE_LIBRARY: [HeaderName; 2] = [header::CONTENT_LENGTH, header::EXPECT];

/// What "for ever" in a configuration comes to: more would overflow the clock.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// The moment at which the head of an answer must be there.
pub(super) fn deadline(first_byte: Duration) -> Instant {
    Instant::now() + first_byte.min(LONGEST)
}

/// Two clients of the same address: one keeps connections, the other never does.
pub(super) struct Exchange {
    /// `scheme://host:port`, without a path.
    origin: String,
    pooled: Client,
    /// For what must not meet a stale connection: the second try, and health checks, which must see the real listener.
    fresh: Client,
    first_byte: Duration,
    read: Duration,
    budget: Arc<ResendBudget>,
}

/// Marks, among an answer's extensions, that the question was sent twice: the first time may have done its work.
#[derive(Clone, Copy, Debug)]
pub struct Resent;

impl Exchange {
    /// `name` is the host in the URL, which TLS verifies; the connection goes to `address` in any case.
    pub(super) fn new(
        config: &Config,
        tls: ClientConfig,
        name: &str,
        address: SocketAddr,
        budget: Arc<ResendBudget>,
    ) -> Result<Self, String> {
        let scheme = if config.tls.settings().is_some() { "https" } else { "http" };
        let host = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
        let origin = format!("{scheme}://{host}:{}", address.port());
        let url = Url::parse(&origin).map_err(|error| error.to_string())?;
        let reaches = match url.host() {
            // An address in the URL is connected to as it is, whatever we say it resolves to.
            Some(url::Host::Ipv4(ip)) => address.ip() == ip,
            Some(url::Host::Ipv6(ip)) => address.ip() == ip,
            _ => true,
        };
        if !reaches {
            return Err(format!("'{name}' is an address, but not {}", address.ip()));
        }
        let client = |keep| client(config, tls.clone(), keep).resolve(name, address).build();
        Ok(Exchange {
            origin,
            pooled: client(config.keepalive).map_err(|error| error.to_string())?,
            fresh: client(0).map_err(|error| error.to_string())?,
            first_byte: config.timeouts.first_byte.0,
            read: config.timeouts.read.0,
            budget,
        })
    }

    /// Sends over the pool and waits for the head of the answer at most `first_byte`.
    ///
    /// A connection that the peer closed while we wrote to it (it was idle too long, or the peer restarts) says nothing
    /// about the peer, so what bears repetition (`repeat`) goes once more over a new connection, within the same time and
    /// the cluster's budget. The second answer to a DELETE may be 404: see [`Resent`].
    pub(super) async fn send(
        &self,
        method: Method,
        path_and_query: &str,
        mut headers: HeaderMap,
        body: Bytes,
        repeat: bool,
    ) -> Result<Response, SendError> {
        let url = target(&self.origin, path_and_query)?;
        let own: Vec<_> = headers.keys().filter(|name| is_hop_by_hop(name)).cloned().collect();
        own.iter().chain(&WRITTEN_BY_THE_LIBRARY).for_each(|name| drop(headers.remove(name)));
        let deadline = deadline(self.first_byte);
        let first = request(method.clone(), url.clone(), headers.clone(), body.clone());
        let response = match within(deadline, &self.pooled, first).await {
            Err(SendError::Broken(why)) => {
                if !repeat || !self.budget.take() {
                    return Err(SendError::Broken(why));
                }
                tracing::debug!(origin = self.origin, why, "a kept connection broke; once more over a new one");
                let again = within(deadline, &self.fresh, request(method, url, headers, body)).await;
                // Whatever comes of it, the first may have reached the peer: never `Connect`, which says "not sent".
                if again.is_ok() || again.as_ref().is_err_and(SendError::unsent) {
                    self.budget.give_back();
                }
                let mut response = again.map_err(|error| match error {
                    SendError::Timeout => SendError::Timeout,
                    other => SendError::Broken(format!("{why}; then {other}")),
                })?;
                response.extensions_mut().insert(Resent);
                response
            }
            outcome => outcome?,
        };
        Ok(limit_reads(response, self.read))
    }

    /// GETs `path` over a connection of its own; only the status matters.
    pub(super) async fn probe(&self, path: &str, limit: Duration) -> Result<StatusCode, SendError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("entrepot/", env!("CARGO_PKG_VERSION"))));
        let request = request(Method::GET, target(&self.origin, path)?, headers, Bytes::new());
        let response = timeout(limit, self.fresh.execute(request)).await.map_err(|_| SendError::Timeout)??;
        Ok(response.status())
    }
}

/// The client that all exchanges of a cluster have in common; `keep` idle connections per host.
pub(super) fn client(config: &Config, tls: ClientConfig, keep: usize) -> reqwest::ClientBuilder {
    let timeouts = &config.timeouts;
    outbound::client(tls)
        .tcp_user_timeout(timeouts.write.0)
        .connect_timeout(timeouts.connect.0)
        .pool_max_idle_per_host(keep)
        .pool_idle_timeout(config.keepalive_timeout.0)
}

/// One try, until the head of the answer.
pub(super) async fn within(deadline: Instant, client: &Client, request: Request) -> Result<Response, SendError> {
    Ok(timeout_at(deadline, client.execute(request)).await.map_err(|_| SendError::Timeout)??)
}

pub(super) fn request(method: Method, url: Url, headers: HeaderMap, body: Bytes) -> Request {
    // The library sends no length for an empty body, which some servers answer with 411.
    let says_length = body.is_empty() && matches!(method, Method::POST | Method::PUT | Method::PATCH);
    let mut request = Request::new(method, url);
    *request.headers_mut() = headers;
    if says_length {
        request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if !body.is_empty() {
        *request.body_mut() = Some(body.into());
    }
    request
}

/// The URL of a target. One whose path the URL's rules would change (dots, backslashes) is refused: permission was
/// asked for the path as it stands.
fn target(origin: &str, path_and_query: &str) -> Result<Url, SendError> {
    let path = path_and_query.split('?').next().unwrap_or_default();
    if !path.starts_with('/') {
        return Err(SendError::Invalid("the path does not begin with '/'"));
    }
    let url = Url::parse(&format!("{origin}{path_and_query}")).map_err(|_| SendError::Invalid("not a URL"))?;
    if url.path() != path || url.fragment().is_some() {
        return Err(SendError::Invalid("the path is not in its plain form"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_go_as_they_are_or_not_at_all() {
        for path in ["/v2/", "/v2/a/b/manifests/sha256:00?x=%2f..&y='", "//x/", "/v2/a%2fb", "/v2/?n=1&last=a/../b"] {
            let url = target("http://[::1]:5000", path).unwrap();
            assert_eq!(url.path(), path.split('?').next().unwrap());
            assert_eq!(url.host_str(), Some("[::1]"));
        }
        for path in
            ["", "v2/", "@evil/", "/v2/../x", "/v2/./x", "/v2/%2e%2e/x", "/v2\\x", "/v2/ x", "/v2/#x", "/v2/\u{0}"]
        {
            assert!(matches!(target("http://peer:5000", path), Err(SendError::Invalid(_))), "{path:?}");
        }
    }
}
