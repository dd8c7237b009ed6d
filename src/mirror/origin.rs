//! A blob of a remote, for the cache's fills: from the remote where it is our turn to ask, and else from the instance that asks.

mod flow;
#[cfg(test)]
mod tests;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap};
use http::{Response, StatusCode};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::fetching::{Asked, PeerError};
use super::metrics::{Giver, Kind};
use super::{Mirror, keeping, rights};
use crate::cache::{Content, FillError, Origin, OriginError, OriginStream, Refusal};
use crate::fleet::Claim;
use crate::oci::{Digest, RepositoryName};
use crate::outbound::via::Passed;
use crate::remote::{Asker, Question, RemoteError, What};
use flow::{Busy, Claimed, Flow};
use turns::{CLAIM_TIME, Lease, Turn, Ways};

/// How long the others are told where a blob is that has come whole.
const HELD_FOR: Duration = Duration::from_secs(24 * 3600);

/// One asker's way to one blob. The remote has said that it is in the repository, or says so by its answer.
pub(super) struct MirrorOrigin {
    mirror: Arc<Mirror>,
    name: RepositoryName,
    digest: Digest,
    asker: Asker,
    passed: Passed,
    /// A client waits for it, and not only we ourselves.
    for_client: bool,
    /// Ours from the first question on until the content is proven; over by itself when it is not renewed.
    lease: Mutex<Option<Arc<dyn Lease>>>,
    /// What `open_as_permission` opened, until the fill takes it.
    opened: Mutex<Option<OriginStream>>,
}

/// A blob that begins to come.
pub(super) struct Opened {
    /// Another instance gives it, which has it of whatever repository: nothing is said of this one.
    pub by_instance: bool,
    pub total: Option<u64>,
    pub body: BoxStream<'static, Result<Bytes, String>>,
}

impl MirrorOrigin {
    pub(super) fn new(mirror: &Arc<Mirror>, name: &RepositoryName, digest: &Digest, asker: Asker) -> Self {
        let (mirror, name) = (mirror.clone(), name.clone());
        let (passed, lease) = (Passed::here(), Mutex::default());
        let opened = Mutex::default();
        MirrorOrigin { mirror, name, digest: *digest, asker, passed, for_client: true, lease, opened }
    }

    /// For what nobody has asked for yet.
    pub(super) fn ahead(mirror: &Arc<Mirror>, name: &RepositoryName, digest: &Digest) -> Self {
        MirrorOrigin { for_client: false, ..MirrorOrigin::new(mirror, name, digest, Asker::Mirror) }
    }

    /// Opens the blob before a fill asks for it, where the remote's answer is the permission; the fill goes on with it.
    pub(super) async fn open_as_permission(&self) -> Result<(), RemoteError> {
        let (stream, by_instance) = self.first().await?;
        if by_instance {
            let until = Instant::now() + self.mirror.remote.config().timeouts.first_byte.0;
            rights::head(&self.mirror, &self.name, What::Blob(&self.digest), &self.asker, until).await?;
        }
        *self.opened.lock() = Some(stream);
        Ok(())
    }

    /// Gives back what was opened and not used.
    pub(super) fn close(&self) {
        *self.opened.lock() = None;
    }

    /// From its beginning, and whether another instance gives it.
    async fn first(&self) -> Result<(OriginStream, bool), RemoteError> {
        let failed = &self.mirror.blobs.failed;
        if let Some(error) = failed.get(&self.digest) {
            return Err(error);
        }
        match turns::open(self, 0, self.mirror.remote.config().timeouts.first_byte.0).await {
            Ok((opened, lease)) => {
                let by_instance = opened.by_instance;
                Ok((self.flowing(opened, lease), by_instance))
            }
            Err(error) => {
                // The others who wait are not each to find out the same. What is not there, or not ours, may be for them.
                if error.lets_kept_speak() && self.asker == Asker::Mirror {
                    failed.insert(self.digest, error.clone());
                }
                Err(error)
            }
        }
    }

    fn asked(&self, from: u64) -> Asked {
        Asked { name: self.name.clone(), digest: self.digest, from }
    }

    fn key(&self) -> String {
        // Of the repository, too: another one's bytes are not this one's before the remote has said so.
        format!("blob:{}@{}", self.name, self.digest)
    }

    /// The body, as a fill takes it: renews the lease as bytes come.
    fn flowing(&self, opened: Opened, lease: Option<Arc<dyn Lease>>) -> OriginStream {
        let Opened { total, body, .. } = opened;
        let busy = self.for_client.then(|| Busy::new(&self.mirror.blobs.busy));
        *self.lease.lock() = lease.clone();
        let under_way = self.mirror.parts.metrics.fill(self.mirror.remote.name());
        let flow = Flow { body, lease, renewed: Instant::now(), _busy: busy, _under_way: under_way };
        OriginStream { total, media_type: None, body: flow.into_body() }
    }
}

#[async_trait]
impl Origin for MirrorOrigin {
    async fn open(&self, offset: u64) -> Result<OriginStream, OriginError> {
        if offset == 0 {
            let opened = self.opened.lock().take();
            return match opened {
                Some(opened) => Ok(opened),
                None => self.first().await.map(|(stream, _)| stream).map_err(refused),
            };
        }
        match turns::open(self, offset, self.mirror.remote.config().timeouts.first_byte.0).await {
            Ok((opened, lease)) => Ok(self.flowing(opened, lease)),
            Err(error) if !error.lets_kept_speak() => Err(refused(error)),
            Err(error) => Err(OriginError::Broken(error.to_string())),
        }
    }

    fn mismatched(&self) {
        tracing::warn!(remote = self.mirror.remote.name(), name = %self.name, digest = %self.digest, "a remote gave other content");
    }

    fn completed(&self, content: &Content) {
        let (mirror, name, digest, content) = (self.mirror.clone(), self.name.clone(), self.digest, content.clone());
        let (lease, key) = (self.lease.lock().take(), self.key());
        tokio::spawn(async move {
            if let Some(own) = mirror.parts.fetching.peers.own() {
                mirror.parts.fleet.note(&key, &own, HELD_FOR).await;
            }
            drop(lease); // whoever comes now is told where it is
            keeping::put(&mirror, &name, &digest, content).await;
        });
    }

    fn goes_on_alone(&self, got: u64, total: Option<u64>) -> bool {
        total.is_some_and(|total| got >= total / 2)
    }
}

#[async_trait]
impl Ways for MirrorOrigin {
    async fn claim(&self) -> Turn {
        let held = self.lease.lock().take();
        if let Some(held) = held
            && held.renew().await
        {
            return Turn::Ours(Some(held));
        }
        let Some(own) = self.mirror.parts.fetching.peers.own() else { return Turn::Ours(None) };
        match self.mirror.parts.fleet.claim(&self.key(), &own, CLAIM_TIME).await {
            Claim::Mine(held) => Turn::Ours(Some(Arc::new(Claimed(held)))),
            // An earlier stream of this instance, whose end is not told yet.
            Claim::Of(holder) if holder == *own => Turn::Ours(None),
            Claim::Of(holder) => Turn::Theirs(holder),
            Claim::Nobody => Turn::Ours(None),
        }
    }

    async fn holder(&self) -> Option<String> {
        let own = self.mirror.parts.fetching.peers.own()?;
        self.mirror.parts.fleet.noted(&self.key()).await.filter(|holder| *holder != *own)
    }

    async fn ask_instance(&self, address: &str, offset: u64, within: Duration) -> Result<Opened, PeerError> {
        let fetching = &self.mirror.parts.fetching;
        let given = fetching.peers.open(address, &self.asked(offset), within).await?;
        fetching.metrics.instance.inc();
        let coming = self.mirror.parts.metrics.coming(self.mirror.remote.name(), Kind::Blob, Giver::Fleet);
        let body = given.body.inspect(move |item| {
            if let Ok(bytes) = item {
                coming.count(bytes.len());
            }
        });
        Ok(Opened { by_instance: true, total: given.total, body: body.boxed() })
    }

    async fn ask_remote(&self, offset: u64, within: Duration) -> Result<Opened, RemoteError> {
        let range = (offset > 0).then_some((offset, None));
        let asking = at_remote(&self.mirror, (&self.name, &self.digest), &self.asker, range, within);
        // A fill is nobody's task.
        self.passed.clone().along(asking).await
    }
}

/// GET of a blob, or of a range of it, at the remote. Counted.
pub(super) async fn at_remote(
    mirror: &Mirror,
    (name, digest): (&RepositoryName, &Digest),
    asker: &Asker,
    range: Option<(u64, Option<u64>)>,
    within: Duration,
) -> Result<Opened, RemoteError> {
    let repository = mirror.at_remote(name)?;
    let what = What::Blob(digest);
    let question = Question { repository: Some(&repository), what, head: false, accept: &[], range, asker, within };
    let answer = mirror.remote.ask(question).await?;
    mirror.parts.fetching.metrics.remote.inc();
    let coming = mirror.parts.metrics.coming(mirror.remote.name(), Kind::Blob, Giver::Remote);
    let body = answer.body.map(move |item| match item {
        Ok(bytes) => {
            coming.count(bytes.len());
            Ok(bytes)
        }
        Err(error) => Err(error.to_string()),
    });
    Ok(Opened { by_instance: false, total: total(&answer.headers), body: body.boxed() })
}

/// The size of the whole content, by the head of an answer with all or a part of it.
pub(super) fn total(headers: &HeaderMap) -> Option<u64> {
    let field = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    match field(CONTENT_RANGE) {
        Some(range) => range.rsplit_once('/')?.1.trim().parse().ok(),
        None => field(CONTENT_LENGTH)?.parse().ok(),
    }
}

/// Carried through the fill to those who wait, who make an answer of it.
fn refused(error: RemoteError) -> OriginError {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.extensions_mut().insert(error);
    OriginError::Refused(Refusal::new(response))
}

/// Why a fill came to nothing.
pub(super) fn why(error: &FillError) -> RemoteError {
    match error {
        FillError::Refused(refusal) => match refusal.response().extensions().get::<RemoteError>() {
            Some(error) => error.clone(),
            // Of somebody who fills the same digest from elsewhere.
            None => RemoteError::Down("another source of the same content refuses it".into()),
        },
        FillError::Mismatched => RemoteError::Useless("its bytes do not have the digest asked for".into()),
        FillError::Unavailable(why) | FillError::Broken(why) => RemoteError::Down(why.to_string()),
    }
}
