//! The way of a batch to the collector.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::{Client, Response, Url};
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::headers;
use crate::outbound::{self, causes, tls};

const CONNECT: Duration = Duration::from_secs(5);
/// For one try, with its answer.
const TRY: Duration = Duration::from_secs(10);
/// Tries of one batch, and the wait after the first; it doubles.
const TRIES: u32 = 4;
const WAIT: Duration = Duration::from_secs(1);
/// Longest wait that a collector may ask for.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// Longest answer of a collector that is read; what it says is some bytes.
const MAX_ANSWER: usize = 64 << 10;

pub(super) struct Sender {
    client: Client,
    url: Url,
    headers: HeaderMap,
    /// The last batch did not arrive, and the log knows.
    fails: bool,
}

/// Why a try came to nothing.
struct Failure {
    why: String,
    /// How long to wait before another; `None`: another would come to the same.
    wait: Option<Duration>,
}

impl Sender {
    /// Blocks on the disk.
    pub(super) fn new(config: &Config) -> Result<Self, String> {
        let roots = match &config.ca {
            Some(ca) => {
                let authorities = tls::certificates(ca).map_err(|why| format!("{}: {why}", ca.display()))?;
                tls::roots(&authorities)?
            }
            None => tls::system_roots(),
        };
        let config_of_tls = tls::http_client(roots, None).map_err(|error| error.to_string())?;
        let client = outbound::client(config_of_tls)
            .user_agent(concat!("entrepot/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(TRY)
            .build()
            .map_err(|error| causes(&error))?;
        let mut headers = config.headers_file.as_deref().map(headers::read).transpose()?.unwrap_or_default();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        Ok(Sender { client, url: config.endpoint()?, headers, fails: false })
    }

    /// Sends one batch; its answer. Tries again what may get better, but not once it is told to stop.
    pub(super) async fn send(&mut self, message: Bytes, stop: &CancellationToken) -> Result<Bytes, ()> {
        let mut wait = WAIT;
        for attempt in 1..=TRIES {
            let failure = match self.once(message.clone()).await {
                Ok(answer) => {
                    if std::mem::take(&mut self.fails) {
                        tracing::info!("the collector takes spans again");
                    }
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            let told = failure.wait.filter(|_| attempt < TRIES && !stop.is_cancelled());
            let Some(told) = told else {
                if !std::mem::replace(&mut self.fails, true) {
                    tracing::warn!(error = failure.why, "the collector takes no spans: they are counted and lost");
                }
                return Err(());
            };
            tokio::select! {
                () = tokio::time::sleep(told.max(wait).min(MAX_WAIT)) => {}
                () = stop.cancelled() => {}
            }
            wait *= 2;
        }
        Err(())
    }

    async fn once(&self, message: Bytes) -> Result<Bytes, Failure> {
        let gone = |error: reqwest::Error| Failure { why: causes(&error.without_url()), wait: Some(Duration::ZERO) };
        let request = self.client.post(self.url.clone()).headers(self.headers.clone()).body(message);
        let response = request.send().await.map_err(gone)?;
        let status = response.status();
        if status.is_success() {
            // Whatever becomes of the answer, the spans were taken.
            return Ok(answer(response).await.unwrap_or_default());
        }
        Err(Failure { why: format!("it answers {status}"), wait: may_get_better(status).then(|| wait_of(&response)) })
    }
}

async fn answer(mut response: Response) -> Option<Bytes> {
    let mut answer = BytesMut::new();
    while let Some(piece) = response.chunk().await.ok()? {
        if answer.len() + piece.len() > MAX_ANSWER {
            return None;
        }
        answer.extend_from_slice(&piece);
    }
    Some(answer.freeze())
}

/// The statuses after which OTLP lets a client try again.
fn may_get_better(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

fn wait_of(response: &Response) -> Duration {
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or_default())
}
