//! The HTTP client towards object stores: the project's TLS, and limits that the library's own client does not have.
//!
//! - No request waits longer than its patience for the answer, counted from the last byte that was sent.
//! - No read of an answer's body takes longer than that either.
//! - At most `max_connections` requests wait for their answers at once.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::outbound::{self, tls};
use crate::storage::{Config, Error};

/// Bytes handed to the connection at once, so that sending shows its progress.
const SLICE: usize = 128 << 10;
/// Copies within the store may take so many times longer: no byte moves towards us meanwhile. With `timeouts.request` at its
/// 10 s, that is 24 s: 4 parts of 128 MiB at once need a store that copies 22 MiB/s altogether.
const COPY_PATIENCE: u32 = 3;
/// Of a call's time: a second try, perhaps at another machine, still fits.
const PATIENCE: f64 = 0.4;
const IDLE: Duration = Duration::from_secs(20);

/// Makes object_store use [`Client`]. Cloned for each of its parts; they share everything.
#[derive(Clone, Debug)]
pub(super) struct Client {
    client: reqwest::Client,
    requests: Arc<Semaphore>,
    /// For one try, without a byte in either direction.
    patience: Duration,
}

impl Client {
    pub(super) fn new(config: &Config) -> Result<Self, Error> {
        let connections = usize::try_from(config.max_connections).unwrap_or(usize::MAX);
        let mut builder = outbound::client(client_config(config)?);
        if let Some(name) = local_name(config) {
            builder = builder.resolve(&name, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))); // 0: the address' own port
        }
        let client = builder
            .user_agent(concat!("entrepot/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(config.timeouts.connect.0)
            .pool_max_idle_per_host(connections)
            .pool_idle_timeout(IDLE)
            .build()
            .map_err(|error| Error::Failed(error.to_string()))?;
        let patience = config.timeouts.request.0.mul_f64(PATIENCE);
        Ok(Client { client, requests: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))), patience })
    }

    fn patience_for(&self, request: &http::request::Parts) -> Duration {
        let copies = ["x-amz-copy-source", "x-goog-copy-source", "x-ms-copy-source"];
        let completes = request.method == http::Method::POST
            && request.uri.query().is_some_and(|query| query.to_ascii_lowercase().contains("uploadid="));
        if completes {
            self.patience * 2
        } else if copies.iter().any(|header| request.headers.contains_key(*header)) {
            self.patience * 2 * COPY_PATIENCE
        } else {
            self.patience
        }
    }
}

impl HttpConnector for Client {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let closed = |error| HttpError::new(HttpErrorKind::Unknown, error);
        let permit = self.requests.acquire().await.map_err(closed)?;
        let (parts, body) = request.into_parts();
        let patience = self.patience_for(&parts);
        let url = url::Url::parse(&parts.uri.to_string()).map_err(|e| HttpError::new(HttpErrorKind::Unknown, e))?;
        let sent = Arc::new(Mutex::new(Instant::now()));
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        *request.body_mut() = Some(match body.content_length() {
            0 => Bytes::new().into(),
            _ => reqwest::Body::wrap(Sliced { body, rest: Bytes::new(), sent: Arc::clone(&sent) }),
        });
        let mut answer = std::pin::pin!(self.client.execute(request));
        let response = loop {
            let deadline = *sent.lock() + patience;
            tokio::select! {
                biased;
                response = &mut answer => break response.map_err(http_error)?,
                () = sleep_until(deadline) => if *sent.lock() + patience <= Instant::now() {
                    return Err(HttpError::new(HttpErrorKind::Timeout, TimedOut(patience)));
                },
            }
        };
        drop(permit); // a slow reader of the body must not keep others from asking
        let (parts, body) = http::Response::<reqwest::Body>::from(response).into_parts();
        let body = HttpResponseBody::new(Hurried { body, limit: patience, clock: None });
        Ok(HttpResponse::from_parts(parts, body))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("timed out: nothing came for {0:?}")]
struct TimedOut(Duration);

/// What the library tries again depends on the kind: all that may have reached the store only if that does no harm.
fn http_error(error: reqwest::Error) -> HttpError {
    let kind = if error.is_timeout() && !error.is_connect() {
        HttpErrorKind::Timeout
    } else if error.is_connect() {
        HttpErrorKind::Connect
    } else {
        HttpErrorKind::Interrupted
    };
    HttpError::new(kind, error.without_url())
}

/// A body in small pieces; tells when the last one was taken.
struct Sliced {
    body: HttpRequestBody,
    rest: Bytes,
    sent: Arc<Mutex<Instant>>,
}

impl Body for Sliced {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        *self.sent.lock() = Instant::now();
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                other => return Poll::Ready(other),
            }
        }
        let length = self.rest.len().min(SLICE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        SizeHint::with_exact(rest + self.body.size_hint().exact().unwrap_or(0))
    }
}

/// A body whose every read has a time limit; the clock stands while nobody reads.
struct Hurried {
    body: reqwest::Body,
    limit: Duration,
    clock: Option<Pin<Box<Sleep>>>,
}

impl Body for Hurried {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.clock = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(http_error)));
        }
        let limit = self.limit;
        ready!(self.clock.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx));
        Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::Timeout, TimedOut(limit)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Names below `localhost` are this machine's (RFC 6761, 6.3), whatever its resolver says: a MinIO here may have buckets in its
/// host's name.
fn local_name(config: &Config) -> Option<String> {
    let endpoint = url::Url::parse(config.endpoint.as_deref()?).ok()?;
    let host = endpoint.host_str().filter(|host| *host == "localhost" || host.ends_with(".localhost"))?;
    (config.path_style == Some(false)).then(|| format!("{}.{host}", config.bucket))
}

/// With the system's authorities and the configured ones.
fn client_config(config: &Config) -> Result<ClientConfig, Error> {
    let mut roots = tls::system_roots();
    if let Some(file) = &config.ca {
        // Beside the system's: a bundle may be empty where it is needed nowhere.
        let own = tls::read(file).and_then(|authorities| tls::roots(&authorities));
        let own = own.map_err(|reason| Error::Refused(format!("storage.ca {}: {reason}", file.display())))?;
        roots.extend(own.roots);
    }
    tls::http_client(roots, None).map_err(|error| Error::Failed(error.to_string()))
}
