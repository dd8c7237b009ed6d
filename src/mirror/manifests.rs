//! Manifests by digest: from what is kept in this repository, or once from the remote, proven and kept.

mod instances;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::Method;
use tokio::time::{Instant, sleep, timeout_at};

use super::flights::{Flights, Landed};
use super::metrics::{Giver, Kind};
use super::rights::{Thing, Who};
use super::statuses::{self, Asked};
use super::{Blob, Body, KeptManifest, Mirror, Reply, Request, Until, overlay, prefetch, received, rights};
use crate::cache::Source;
use crate::fleet::Claim;
use crate::oci::{Digest, Reference, RepositoryName, media_type};
use crate::remote::{Asker, Question, RemoteError, What};

/// How often it is looked whether another instance, which fetches the same, has it.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long an instance may take to fetch a manifest until others do not wait for it any more, if it does not say.
const CLAIM_TIME: Duration = Duration::from_secs(10);

/// Fetches under way, by what they bring and for whom.
#[derive(Default)]
pub(super) struct Manifests {
    fetches: Flights<(RepositoryName, Digest, Who), Outcome>,
}

/// A manifest that may be answered with.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub digest: Digest,
    pub manifest: KeptManifest,
    pub source: Source,
    /// The remote could not be asked, and this is what it said before.
    pub stale: bool,
}

pub(super) type Outcome = Result<Found, RemoteError>;

/// One manifest that is to be had of the remote.
#[derive(Clone)]
struct Wanted {
    name: RepositoryName,
    digest: Digest,
    asker: Asker,
    /// The remote has said that it is in the repository and that the asker may have it; and what it called it.
    told: Option<Told>,
    until: Until,
}

/// What a HEAD has told.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub media_type: Option<String>,
}

impl Found {
    pub(super) fn kept(digest: Digest, manifest: KeptManifest) -> Self {
        Found { digest, manifest, source: Source::Disk, stale: false }
    }
}

/// GET and HEAD by digest.
pub(super) async fn answer(mirror: &Arc<Mirror>, request: &Request, name: &RepositoryName, digest: &Digest) -> Reply {
    // Who asks for what was pushed here by HEAD goes on to leave it out of a push: the registry proves that it is there.
    let head = request.action.method == Method::HEAD;
    if head && let Some(reply) = overlay::own(mirror, request).await {
        return reply;
    }
    let (asker, until) = (mirror.asker(&request.asker), mirror.until());
    let kept = timeout_at(until.answer, allowed(mirror, name, digest, &asker, until)).await;
    let found = match kept.unwrap_or_else(|_| Err(too_slow())) {
        Ok(Some(found)) => Ok(found),
        Ok(None) => {
            if !head && let Some(reply) = overlay::own(mirror, request).await {
                return reply;
            }
            obtain(mirror, name, digest, &asker, None, until).await
        }
        Err(error) => Err(error),
    };
    match found {
        Ok(found) => {
            mirror.seen.taken(mirror, name, digest, head);
            reply(mirror, request, name, found, false)
        }
        Err(error) => statuses::reply(&error, Asked::Manifest, mirror.remote.config()),
    }
}

/// What is kept, if the asker may have it.
async fn allowed(
    mirror: &Mirror,
    name: &RepositoryName,
    digest: &Digest,
    asker: &Asker,
    until: Until,
) -> Result<Option<Found>, RemoteError> {
    let Some(found) = kept(mirror, name, digest).await else { return Ok(None) };
    rights::manifest(mirror, name, digest, asker, until).await?;
    Ok(Some(found))
}

/// What the repository holds. Where that cannot be read, the remote is asked.
pub(super) async fn kept(mirror: &Mirror, name: &RepositoryName, digest: &Digest) -> Option<Found> {
    match mirror.parts.keep.manifest(name, digest).await {
        Ok(found) => found.map(|manifest| Found::kept(*digest, manifest)),
        Err(error) => {
            tracing::warn!(%name, %digest, %error, "a kept manifest cannot be read");
            None
        }
    }
}

/// A manifest that is not kept in this repository: once for all who ask, here and on other instances.
pub(super) async fn obtain(
    mirror: &Arc<Mirror>,
    name: &RepositoryName,
    digest: &Digest,
    asker: &Asker,
    told: Option<Told>,
    until: Until,
) -> Outcome {
    let key = (name.clone(), *digest, Who::by(asker));
    let wanted = Wanted { name: name.clone(), digest: *digest, asker: asker.clone(), told, until };
    let fetch = || fetch(mirror.clone(), wanted).boxed();
    match timeout_at(until.answer, mirror.manifests.fetches.join(key, fetch)).await {
        Ok(landed) => outcome(landed),
        Err(_) => Err(too_slow()),
    }
}

/// What somebody gets of a question that they asked or joined.
pub(super) fn outcome(landed: Option<Landed<Outcome>>) -> Outcome {
    let Some(Landed { value, joined }) = landed else {
        return Err(RemoteError::Down("too much is asked of it at once".to_owned()));
    };
    let mut found = value?;
    if joined && found.source == Source::Miss {
        found.source = Source::Collapsed;
    }
    Ok(found)
}

async fn fetch(mirror: Arc<Mirror>, wanted: Wanted) -> Outcome {
    let Wanted { name, digest, asker, told, until } = &wanted;
    if let Some(found) = anywhere(&mirror, &wanted).await? {
        return Ok(found);
    }
    // Others are waited for as long as there is time to fetch it after all.
    let patience = Instant::now() + until.remote.saturating_duration_since(Instant::now()) / 2;
    let key = format!("manifest {name} {digest}");
    let _claim = loop {
        let claim = mirror.parts.fleet.claim(&key, "", CLAIM_TIME).await;
        // Looked at after the claim: whoever had it before has kept what it fetched.
        if let Some(found) = kept(&mirror, name, digest).await {
            if told.is_none() {
                rights::manifest(&mirror, name, digest, asker, *until).await?;
            }
            return Ok(Found { source: Source::Collapsed, ..found });
        }
        match claim {
            Claim::Of(_) if Instant::now() < patience => sleep(LOOK_AGAIN).await,
            claim => break claim,
        }
    };
    // Instances that keep in their own caches find nothing above that another one fetched.
    if let Some(bytes) = instances::read(&mirror, &key, name, digest, patience).await
        && let Some(found) = taken(&mirror, &wanted, bytes).await?
    {
        return Ok(found);
    }
    let reference = Reference::Digest(*digest);
    let found = get(&mirror, name, &reference, asker, *until).await?;
    instances::tell(&mirror, &key).await;
    Ok(found)
}

/// One whose bytes are here for another repository is not fetched again: that it is in this one, and may be had, a HEAD tells.
async fn anywhere(mirror: &Mirror, wanted: &Wanted) -> Result<Option<Found>, RemoteError> {
    let Ok(Some(bytes)) = mirror.parts.keep.any_manifest(&wanted.digest).await else { return Ok(None) };
    taken(mirror, wanted, bytes).await
}

/// Bytes that did not come from the remote for this question, kept in this repository once the remote has said that they are its own.
async fn taken(mirror: &Mirror, wanted: &Wanted, bytes: Bytes) -> Result<Option<Found>, RemoteError> {
    let Wanted { name, digest, asker, told, until } = wanted;
    let told = match told {
        Some(told) => told.clone(),
        None => {
            let reference = Reference::Digest(*digest);
            match rights::head(mirror, name, What::Manifest(&reference), asker, until.remote).await {
                Ok(headers) => Told { media_type: received::sent_media_type(&headers) },
                Err(RemoteError::Unsupported(_)) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    };
    let mut headers = http::HeaderMap::new();
    if let Some(media_type) = told.media_type.and_then(|media_type| media_type.parse().ok()) {
        headers.insert(http::header::CONTENT_TYPE, media_type);
    }
    // A blob that is no manifest is none here either: the remote has to say what it is.
    let Ok((_, manifest)) = received::judge(bytes, headers, Some(*digest)).await else { return Ok(None) };
    mirror.rights.given(asker, name, Thing::Manifest(*digest));
    keep(mirror, name, digest, &manifest, *until).await;
    Ok(Some(Found::kept(*digest, manifest)))
}

/// GET by tag or digest: read, judged and kept.
pub(super) async fn get(
    mirror: &Mirror,
    name: &RepositoryName,
    reference: &Reference,
    asker: &Asker,
    until: Until,
) -> Outcome {
    let repository = mirror.at_remote(name)?;
    let within = until.remote.saturating_duration_since(Instant::now());
    let question = Question {
        repository: Some(&repository),
        what: What::Manifest(reference),
        head: false,
        accept: &[],
        range: None,
        asker,
        within,
    };
    let answer = mirror.remote.ask(question).await?;
    let headers = answer.headers.clone();
    let bytes = received::read(answer, until.remote).await?;
    let answers = &mirror.parts.metrics;
    answers.coming(mirror.remote.name(), Kind::Manifest, Giver::Remote).count(bytes.len());
    let expected = match reference {
        Reference::Digest(digest) => Some(*digest),
        Reference::Tag(_) => None,
    };
    let (digest, manifest) = received::judge(bytes, headers, expected).await?;
    mirror.rights.given(asker, name, Thing::Manifest(digest));
    keep(mirror, name, &digest, &manifest, until).await;
    Ok(Found { digest, manifest, source: Source::Miss, stale: false })
}

/// What cannot be kept is served all the same.
async fn keep(mirror: &Mirror, name: &RepositoryName, digest: &Digest, manifest: &KeptManifest, until: Until) {
    match timeout_at(until.keeping(), mirror.parts.keep.put_manifest(name, digest, manifest)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%name, %digest, %error, "a manifest is not kept"),
        Err(_) => tracing::warn!(%name, %digest, "a manifest is not kept: that takes too long"),
    }
}

/// The answer with a manifest.
pub(super) fn reply(
    mirror: &Arc<Mirror>,
    request: &Request,
    name: &RepositoryName,
    found: Found,
    by_tag: bool,
) -> Reply {
    let Found { digest, manifest, source, stale } = found;
    let pulled = request.action.method == Method::GET;
    if pulled && !media_type::is_index(&manifest.media_type) {
        prefetch::pulled(mirror, name, &digest, &manifest);
    }
    let KeptManifest { bytes, media_type } = manifest;
    let body = Body::Content { digest, media_type, by_tag, blob: Blob::Whole(bytes) };
    let mut reply = Reply::content(body, source);
    if stale {
        super::stale::warn(&mut reply);
    }
    reply
}

pub(super) fn too_slow() -> RemoteError {
    RemoteError::Down("no answer in time".to_owned())
}
