//! Where every write ends. What a verb has changed is told to whoever listens and to the lists that are kept here, and only
//! from that can its answer be made: a verb that forgets to tell has no answer to give.

use http::header::LOCATION;
use http::{HeaderName, HeaderValue, StatusCode};

use super::reply::DOCKER_CONTENT_DIGEST;
use super::{Registry, Reply, Request, changed};
use crate::events::{Change, What};
use crate::oci::{Digest, RepositoryName};
use crate::storage::Error;

/// A write under way: whose, and to which repository.
#[derive(Clone, Copy)]
pub(super) struct Writing<'a> {
    pub registry: &'a Registry,
    pub request: &'a Request,
    pub name: &'a RepositoryName,
}

/// What the kept lists have to do about a write.
pub(super) enum ForLists<'a> {
    /// Blobs are on none.
    Nothing,
    Pushed(changed::Pushed<'a>),
    /// Tags or manifests are gone; or they were gone already, and whoever took them away may have failed to tell.
    Deleted,
}

/// Proof that a change was told.
#[must_use = "the answer to a write is made from it"]
pub(super) struct Published(());

/// The answer to a write that is done.
#[must_use = "it is the client's"]
pub(super) struct Written(Reply);

/// Tells what changed: the one place where listeners are called. Whoever listens is told first, since the change is made,
/// whether the lists can be told of it or not; a write that failed half-way tells what it did, and its lists, too.
pub(super) async fn publish(writing: Writing<'_>, changes: Vec<What>, lists: ForLists<'_>) -> Result<Published, Error> {
    let Writing { registry, request, name } = writing;
    for what in changes {
        let (actor, id) = (request.permit.identity(), request.id.clone());
        let change = Change { actor, request: id, repository: name.clone(), what };
        registry.listeners.iter().chain(&request.listener).for_each(|listener| listener.changed(&change));
    }
    match lists {
        ForLists::Nothing => {}
        ForLists::Pushed(pushed) => registry.lists.pushed(&registry.stores.storage, name, pushed).await?,
        ForLists::Deleted => registry.lists.deleted(&registry.stores.storage, name).await?,
    }
    Ok(Published(()))
}

impl Published {
    /// By an earlier request, whose answer was lost: what it did was found to be there.
    pub(super) fn before() -> Self {
        Published(())
    }

    /// 201 for content that is now there.
    pub(super) fn created(self, location: String, digest: &Digest) -> Written {
        let reply = Reply::empty(StatusCode::CREATED);
        Written(reply.with(LOCATION, location).with(DOCKER_CONTENT_DIGEST, digest.text()))
    }

    /// 202 for what is now gone.
    pub(super) fn deleted(self) -> Written {
        Written(Reply::empty(StatusCode::ACCEPTED))
    }
}

impl Written {
    pub(super) fn with(self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        Written(self.0.with(name, value))
    }
}

impl From<Written> for Reply {
    fn from(written: Written) -> Self {
        written.0
    }
}
