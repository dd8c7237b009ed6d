//! The other instances of the fleet: a blob that one of them fetches is read from there. Each request is proven by the fleet's secret, and
//! what comes is verified by its digest like anything else.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, StatusCode};
use percent_encoding::percent_decode_str;
use reqwest::{Client, RequestBuilder, Response};
use tokio::time::timeout;

use crate::fleet::{Advertised, FleetSecret};
use crate::oci::{Digest, RepositoryName};
use crate::outbound::{self, tls};
use crate::telemetry::spans;

/// Where instances are asked for blobs.
const PATH: &str = "/entrepot/fleet/v1/blobs/";
/// The field that shows that who asks is one of the fleet.
pub const PROOF: HeaderName = HeaderName::from_static("entrepot-fleet-proof");
/// Says how many bytes the whole blob has, where that is known.
pub const TOTAL: HeaderName = HeaderName::from_static("entrepot-fleet-total");
const PURPOSE: &str = "blobs of mirrors";
/// Instances are near each other.
const CONNECT: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(30);
const MAX_IDLE: usize = 16;
/// An owner that gives no byte for so long is left: as long as two renewals of its claim take.
const SILENCE: Duration = Duration::from_secs(4);

/// A client for them, made once, and what we are called ourselves.
pub struct Peers {
    client: Client,
    secret: Arc<FleetSecret>,
    advertised: ArcSwapOption<String>,
}

/// What one instance asks of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Canonical. Whoever asks has found out that its client may have it.
    pub name: RepositoryName,
    pub digest: Digest,
    /// The first byte.
    pub from: u64,
}

/// Why another instance gives nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// It cannot be reached, or does not have it.
    #[error("{0}")]
    Gone(String),
    /// It is there, and has nothing to give yet.
    #[error("it has nothing to give yet")]
    Waiting,
}

/// A blob that comes from another instance.
pub struct Given {
    pub total: Option<u64>,
    pub body: BoxStream<'static, Result<Bytes, String>>,
}

impl Asked {
    /// From a request's path and query; `None`: it asks for something else.
    pub fn read(path: &str, query: Option<&str>) -> Option<Self> {
        let (name, digest) = path.strip_prefix(PATH)?.rsplit_once('/')?;
        let digest = percent_decode_str(digest).decode_utf8().ok()?;
        let from = query?.strip_prefix("from=")?;
        let digits = !from.is_empty() && from.bytes().all(|b| b.is_ascii_digit());
        Some(Asked {
            name: name.parse().ok()?,
            digest: digest.parse().ok()?,
            from: digits.then(|| from.parse().ok()).flatten()?,
        })
    }

    fn target(&self) -> String {
        format!("{PATH}{}/{}?from={}", self.name, self.digest, self.from)
    }

    /// What is proven: the method, the target, and whom it was sent to, so that nobody else can use it.
    fn message(&self, holder: &str) -> Vec<u8> {
        format!("GET {}\n{holder}", self.target()).into_bytes()
    }
}

impl Peers {
    pub(super) fn new(secret: Arc<FleetSecret>) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let client = outbound::client(tls::http_client(tls::system_roots(), None)?)
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(MAX_IDLE)
            .pool_idle_timeout(IDLE)
            .build()?;
        Ok(Peers { client, secret, advertised: ArcSwapOption::empty() })
    }

    /// How the others reach us, from now on; `None`: they do not.
    pub fn advertise(&self, address: Option<&Advertised>) {
        self.advertised.store(address.map(|address| Arc::new(address.to_string())));
    }

    /// What we are called, where others can reach us and prove themselves; else each instance fetches for itself.
    pub fn own(&self) -> Option<Arc<String>> {
        self.advertised.load_full().filter(|_| self.secret.is_present())
    }

    /// Whether one of the fleet asks this of us.
    pub fn is_proven(&self, asked: &Asked, proof: &HeaderValue) -> bool {
        let (Some(own), Ok(proof)) = (self.own(), proof.to_str()) else { return false };
        let Ok(keyring) = self.secret.need("Reading blobs from other instances") else { return false };
        keyring.verify(PURPOSE, &asked.message(&own), proof).is_ok()
    }

    /// Asks the instance at `address`, which its claim names. Waits no longer than `within` for the head of the answer.
    pub(in crate::mirror) async fn open(
        &self,
        address: &str,
        asked: &Asked,
        within: Duration,
    ) -> Result<Given, PeerError> {
        let gone = |why: String| PeerError::Gone(why);
        // Written by an instance of ours, but into a Redis that others may write to as well.
        let address: Advertised = address.parse().map_err(|_| gone("its claim names no address".into()))?;
        let keyring =
            self.secret.need("Reading blobs from other instances").map_err(|error| gone(error.to_string()))?;
        let proof = keyring.prove(PURPOSE, &asked.message(&address.to_string()));
        let proof = proof.map_err(|error| gone(error.to_string()))?;
        let mut told = HeaderMap::new();
        spans::hand_on(&mut told);
        let request = self.client.get(format!("{address}{}", asked.target())).headers(told).header(PROOF, proof);
        let mut waiting = spans::waiting(|| "instance GET".into());
        let given = given(request, within).await;
        if let Some(waiting) = &mut waiting {
            waiting.set("server.address", address.authority());
            if let Err(error) = &given {
                waiting.fail(&error.to_string());
            }
        }
        given
    }
}

async fn given(request: RequestBuilder, within: Duration) -> Result<Given, PeerError> {
    let response = match timeout(within, request.send()).await {
        Err(_) => return Err(PeerError::Waiting),
        Ok(Err(error)) => return Err(PeerError::Gone(error.without_url().to_string())),
        Ok(Ok(response)) => response,
    };
    match response.status() {
        StatusCode::OK => Ok(Given { total: total(&response), body: body(response) }),
        status => Err(PeerError::Gone(format!("it answers {}", status.as_u16()))),
    }
}

fn total(response: &Response) -> Option<u64> {
    response.headers().get(TOTAL)?.to_str().ok()?.parse().ok()
}

fn body(response: Response) -> BoxStream<'static, Result<Bytes, String>> {
    stream::unfold(Some(response), |response| async {
        let mut response = response?;
        match timeout(SILENCE, response.chunk()).await {
            Err(_) => Some((Err("it gives no more bytes".to_owned()), None)),
            Ok(Err(error)) => Some((Err(error.without_url().to_string()), None)),
            Ok(Ok(chunk)) => chunk.map(|chunk| (Ok(chunk), Some(response))),
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    fn asked() -> Asked {
        let digest = Digest::of(Algorithm::Sha256, b"blob");
        Asked { name: "docker.io/library/alpine".parse().unwrap(), digest, from: 12 }
    }

    #[test]
    fn what_is_asked_reads_back() {
        let target = asked().target();
        let (path, query) = target.split_once('?').unwrap();
        assert_eq!(Asked::read(path, Some(query)), Some(asked()));
        assert_eq!(Asked::read(&path.replace("sha256:", "sha256%3A"), Some(query)), Some(asked()));
    }

    #[test]
    fn other_paths_are_somebody_elses() {
        let (path, digest) = (format!("{PATH}a/{}", asked().digest), asked().digest);
        for (path, query) in [
            (path.as_str(), None),
            (path.as_str(), Some("")),
            (path.as_str(), Some("from=")),
            (path.as_str(), Some("from=+1")),
            (path.as_str(), Some("from=-1")),
            (path.as_str(), Some("from=99999999999999999999")),
            (path.as_str(), Some("from=1&x=2")),
            (&format!("/v2/a/blobs/{digest}"), Some("from=1")),
            (&format!("{PATH}{digest}"), Some("from=1")),
            (&format!("{PATH}A/{digest}"), Some("from=1")),
            (&format!("{PATH}a/sha256:00"), Some("from=1")),
        ] {
            assert_eq!(Asked::read(path, query), None, "{path}?{query:?}");
        }
    }

    #[test]
    fn a_proof_is_for_one_blob_one_offset_and_one_instance() {
        let messages = [
            asked().message("http://a:1"),
            asked().message("http://b:1"),
            Asked { from: 13, ..asked() }.message("http://a:1"),
            Asked { name: "other".parse().unwrap(), ..asked() }.message("http://a:1"),
        ];
        let different: std::collections::HashSet<_> = messages.iter().collect();
        assert_eq!(different.len(), messages.len());
    }
}
