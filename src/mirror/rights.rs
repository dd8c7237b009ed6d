//! Whether somebody may have what is kept, where that is the remote's to say (`identity = "caller"`): each caller is asked about once in
//! a while, by their own credentials.

use std::time::Duration;

use http::HeaderValue;
use moka::sync::Cache;

use super::{Mirror, Until};
use crate::oci::{Algorithm, Digest, Reference, RepositoryName, Tag};
use crate::remote::{Asker, Question, RemoteError, What};

/// So long a yes is believed. A no is never remembered.
const TIME: Duration = Duration::from_secs(60);
/// So many of them: the ones asked for longest ago are asked about anew.
const MOST: u64 = 100_000;

/// Somebody, by what they showed; never what it was.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who {
    Mirror,
    Caller(Option<Digest>),
}

/// What may be had.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Thing {
    Tag(Tag),
    Manifest(Digest),
    /// Any blob that the repository holds: registries give rights to repositories.
    Blobs,
}

pub(super) struct Rights {
    given: Cache<(Who, RepositoryName, Thing), ()>,
}

impl Default for Rights {
    fn default() -> Self {
        Rights { given: Cache::builder().max_capacity(MOST).time_to_live(TIME).build() }
    }
}

impl Who {
    pub(super) fn by(asker: &Asker) -> Self {
        match asker {
            Asker::Mirror => Who::Mirror,
            Asker::Caller(shown) => {
                let hash = |shown: &HeaderValue| Digest::of(Algorithm::Sha256, shown.as_bytes());
                Who::Caller(shown.as_ref().map(hash))
            }
        }
    }
}

impl Rights {
    /// The remote has given it to them.
    pub(super) fn given(&self, asker: &Asker, name: &RepositoryName, thing: Thing) {
        if matches!(asker, Asker::Mirror) {
            return;
        }
        let who = Who::by(asker);
        if thing != Thing::Blobs {
            self.given.insert((who.clone(), name.clone(), Thing::Blobs), ());
        }
        self.given.insert((who, name.clone(), thing), ());
    }

    /// Whether they may have it without a question.
    pub(super) fn known(&self, asker: &Asker, name: &RepositoryName, thing: Thing) -> bool {
        matches!(asker, Asker::Mirror) || self.given.contains_key(&(Who::by(asker), name.clone(), thing))
    }
}

/// Asks the remote, unless it has said so a moment ago, whether the asker may have a manifest that is kept.
pub(super) async fn manifest(
    mirror: &Mirror,
    name: &RepositoryName,
    digest: &Digest,
    asker: &Asker,
    until: Until,
) -> Result<(), RemoteError> {
    if mirror.rights.known(asker, name, Thing::Manifest(*digest)) {
        return Ok(());
    }
    let reference = Reference::Digest(*digest);
    head(mirror, name, What::Manifest(&reference), asker, until.remote).await?;
    mirror.rights.given(asker, name, Thing::Manifest(*digest));
    Ok(())
}

/// The same of a blob that is kept. One that the asker has had a manifest of the repository for is theirs as well.
pub(super) async fn blob(
    mirror: &Mirror,
    name: &RepositoryName,
    digest: &Digest,
    asker: &Asker,
    until: tokio::time::Instant,
) -> Result<(), RemoteError> {
    if mirror.rights.known(asker, name, Thing::Blobs) {
        return Ok(());
    }
    head(mirror, name, What::Blob(digest), asker, until).await?;
    mirror.rights.given(asker, name, Thing::Blobs);
    Ok(())
}

/// The head of the answer to a HEAD.
pub(super) async fn head(
    mirror: &Mirror,
    name: &RepositoryName,
    what: What<'_>,
    asker: &Asker,
    until: tokio::time::Instant,
) -> Result<http::HeaderMap, RemoteError> {
    let repository = mirror.at_remote(name)?;
    let within = until.saturating_duration_since(tokio::time::Instant::now());
    let question =
        Question { repository: Some(&repository), what, head: true, accept: &[], range: None, asker, within };
    Ok(mirror.remote.ask(question).await?.headers)
}
