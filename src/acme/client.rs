//! How an authority is asked: over the project's own HTTP client and TLS, only where its directory is or further out, in bounded time
//! and with bounded answers. What its answers say of the time and of patience is kept.

use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt as _;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use parking_lot::Mutex;
use reqwest::Url;

use crate::outbound::{self, Home, OwnAddresses, Reach, Way, causes, system_lookup, tls};

const CONNECT: Duration = Duration::from_secs(10);
/// Of one question, with its answer.
const QUESTION: Duration = Duration::from_secs(30);
/// Of one answer, in bytes: a directory, an order of a hundred names, a chain.
const MAX_ANSWER: usize = 1 << 20;
/// Connections that wait for the next question of an order.
const KEEP: usize = 1;
const IDLE: Duration = Duration::from_secs(20);
/// What an authority can say of when to come back; with more, times could not be reckoned with any more.
const LONGEST_PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// Clocks differ by less, and answers take their time.
const SAME: i64 = 60;
/// Such a difference is told: certificates seem to end at another time than they do.
const WRONG: i64 = 300;

/// One authority. Clones share what is known of it.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    way: Way,
    home: Arc<Home>,
    /// How far its clock is ahead of ours, in seconds.
    ahead: Arc<Clock>,
    /// Nothing is asked before.
    patience: Mutex<Option<Instant>>,
}

/// The authority's clock: its certificates begin and end by it.
#[derive(Default)]
pub struct Clock {
    /// Of ours, in seconds.
    ahead: AtomicI64,
    told: AtomicBool,
}

impl Clock {
    /// Seconds of Unix time.
    pub fn now(&self) -> u64 {
        let own = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        own.saturating_add_signed(self.ahead.load(Ordering::Relaxed))
    }

    /// Until then it is ours, which may be wrong.
    pub fn is_known(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    fn learn(&self, theirs: u64, ours: u64) {
        let ahead = i64::try_from(theirs).unwrap_or_default() - i64::try_from(ours).unwrap_or_default();
        let ahead = if ahead.abs() < SAME { 0 } else { ahead };
        let before = self.ahead.swap(ahead, Ordering::Relaxed);
        self.told.store(true, Ordering::Relaxed);
        if ahead.abs() >= WRONG && before.abs() < WRONG {
            tracing::warn!(
                seconds = ahead,
                "this machine's clock is not the authority's, by which certificates begin and end: set it"
            );
        } else if ahead == 0 && before.abs() >= WRONG {
            tracing::info!("this machine's clock is the authority's again");
        }
    }
}

impl Client {
    /// `ca`: roots that its certificate is checked by, instead of the system's. Blocks on the disk.
    pub fn new(directory: &str, ca: Option<&Path>, clock: Arc<Clock>, own: OwnAddresses) -> Result<Self, String> {
        let roots = match ca {
            Some(file) => {
                tls::roots(&tls::certificates(file).map_err(|error| format!("{}: {error}", file.display()))?)?
            }
            None => tls::system_roots(),
        };
        let config = tls::http_client(roots, None).map_err(|error| error.to_string())?;
        let url = Url::parse(directory).map_err(|error| format!("{directory}: {error}"))?;
        let port = url.port_or_known_default().unwrap_or(443);
        let lookup = system_lookup();
        let home = Home::new(url.host_str().unwrap_or_default(), port, true, lookup.clone());
        let known = home.clone();
        let reach = Reach::new(move || -> Vec<IpAddr> { known.addresses() }, own);
        let build = move |keep| {
            outbound::client(config.clone())
                .connect_timeout(CONNECT)
                .timeout(QUESTION)
                .pool_max_idle_per_host(keep)
                .pool_idle_timeout(IDLE)
        };
        let way = Way::new(build, KEEP, reach, lookup).map_err(|error| error.to_string())?;
        Ok(Client(Arc::new(Inner { way, home, ahead: clock, patience: Mutex::default() })))
    }

    /// For how long it wants to be left alone, if it said so since this was asked last.
    pub fn patience(&self) -> Option<Duration> {
        let until = self.0.patience.lock().take()?;
        until.checked_duration_since(Instant::now())
    }
}

impl Inner {
    async fn ask(&self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await.map(|body| body.to_bytes());
        self.home.locate().await.map_err(|error| failed(format!("the authority cannot be found: {error}")))?;
        let url = self.way.url(&parts.uri.to_string()).map_err(failed)?;
        if url.scheme() != "https" {
            return Err(failed("the authority leads to an address without TLS"));
        }
        let client = self.way.client(&url, false).map_err(failed)?;
        let asked = client.request(parts.method, url).headers(parts.headers).body(body).send().await;
        let mut response =
            asked.map_err(|error| failed(format!("the authority does not answer: {}", causes(&error))))?;
        in_seconds(response.headers_mut());
        self.learn(response.status(), response.headers());
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > MAX_ANSWER => {
                    return Err(failed("the authority's answer is too long"));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return Err(failed(format!("the authority's answer broke off: {}", causes(&error)))),
            }
        }
        let status = response.status();
        if (status.is_client_error() || status.is_server_error()) && !body.starts_with(b"{") {
            return Err(failed(format!("the authority answers {}, and does not say why", status.as_u16())));
        }
        let mut parts = http::Response::new(()).into_parts().0;
        (parts.status, parts.headers) = (status, std::mem::take(response.headers_mut()));
        Ok(BytesResponse { parts, body: Box::new(body.freeze()) })
    }

    fn learn(&self, status: StatusCode, headers: &HeaderMap) {
        if let Some(theirs) = date(headers, DATE) {
            let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            self.ahead.learn(seconds(theirs), seconds(SystemTime::now()));
        }
        // With other answers it is about when to look again.
        if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return;
        }
        if let Some(after) = text(headers, RETRY_AFTER) {
            let seconds = after.parse().ok().map(Duration::from_secs);
            *self.patience.lock() = seconds.and_then(|seconds| Instant::now().checked_add(seconds));
        }
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(text(headers, name)?).ok()
}

/// When to come back, as whoever reads it should: they add seconds to other times, and take a date for one of this machine's clock,
/// where it is one of the authority's.
fn in_seconds(headers: &mut HeaderMap) {
    let seconds = match text(headers, RETRY_AFTER).map(str::parse) {
        Some(Ok(seconds)) => Some(seconds),
        Some(Err(_)) => date(headers, RETRY_AFTER).map(|until| {
            let now = date(headers, DATE).unwrap_or_else(SystemTime::now);
            until.duration_since(now).unwrap_or_default().as_secs()
        }),
        None => None,
    };
    if let Some(seconds) = seconds {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.min(LONGEST_PATIENCE.as_secs())));
    }
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Other(error.into())
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let inner = self.0.clone();
        Box::pin(async move { inner.ask(request).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_to_come_back_is_bounded_and_by_the_authoritys_clock() {
        let read = |after: &str| {
            let date = HeaderValue::from_static("Fri, 01 Jan 2100 00:00:00 GMT");
            let mut headers =
                HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(after).unwrap()), (DATE, date)]);
            in_seconds(&mut headers);
            headers.get(RETRY_AFTER).unwrap().to_str().unwrap().to_owned()
        };
        for (after, seconds) in [
            ("18446744073709551615", "86400"),
            (" 86401", "86400"),
            ("3", "3"),
            ("Fri, 01 Jan 2100 00:00:07 GMT", "7"),
            ("Sat, 01 Jan 2101 00:00:00 GMT", "86400"),
            ("Thu, 31 Dec 2099 23:00:00 GMT", "0"),
            ("soon", "soon"),
        ] {
            assert_eq!(read(after), seconds, "{after}");
        }
        // Whoever does not say what time it is means ours.
        let past = HeaderValue::from_static("Thu, 01 Jan 2026 00:00:00 GMT");
        let mut headers = HeaderMap::from_iter([(RETRY_AFTER, past)]);
        in_seconds(&mut headers);
        assert_eq!(headers.get(RETRY_AFTER).unwrap(), "0");
    }

    #[test]
    fn a_clock_that_is_wrong_is_set_right() {
        let clock = Clock::default();
        assert!(!clock.is_known());
        let own = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        clock.learn(1_000, 1_059);
        assert!(clock.now().abs_diff(own()) <= 1, "answers take their time");
        for days in [10_i64, -10] {
            clock.learn(100_000_000_u64.saturating_add_signed(days * 86_400), 100_000_000);
            assert!(clock.now().abs_diff(own().saturating_add_signed(days * 86_400)) <= 1);
        }
        clock.learn(5, 5);
        assert!(clock.now().abs_diff(own()) <= 1);
    }
}
