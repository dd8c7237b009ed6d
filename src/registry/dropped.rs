//! Tags that go without a client's asking: by the operator's policies, or by a command. What they led to stays, for a collection to
//! judge. Lists, the catalog and whoever listens learn of it as of any deletion.
//!
//! Who asks has written down what goes, so that it can be brought back.

use std::sync::Arc;
use std::time::SystemTime;

use super::kept::of_nobody;
use super::publish::{ForLists, Writing, publish};
use super::{Registry, tags};
use crate::events::{Listener, What};
use crate::oci::{Digest, Reference, RepositoryName, Resource, Tag};
use crate::storage::Error;

/// Tags that are deleted while pushes to their repository wait: a second or so of an object store.
const AT_ONCE: usize = 16;

/// A tag as it was when somebody decided that it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    pub tag: Tag,
    pub digest: Digest,
    /// When it was set last, by the store's clock.
    pub changed: SystemTime,
}

impl Registry {
    /// Whether a tag never moves, and is never deleted.
    pub fn is_immutable(&self, name: &RepositoryName, tag: &Tag) -> bool {
        self.settings.load().immutable.matches(name, tag)
    }

    /// `immutable_tags`, as configured.
    pub fn immutable_tags(&self) -> Vec<String> {
        self.settings.load().config.immutable_tags.clone()
    }

    /// Deletes those that are still as they were, and tells which. One that was set again meanwhile stays, and so does one that has
    /// become immutable. Whether clients may delete (`delete`) does not matter: the operator asks. Two things are not one step: of
    /// what another instance pushes at this moment, see `Storage::tag_drop`.
    ///
    /// # Errors
    /// Storage's, or that nothing is written now. Some of the tags may be gone, and have been told.
    pub async fn drop_tags(
        &self,
        name: &RepositoryName,
        decided: &[Decided],
        listener: Option<&Arc<dyn Listener>>,
    ) -> Result<Vec<Tag>, Error> {
        let mut dropped = Vec::new();
        for some in decided.chunks(AT_ONCE) {
            self.may_be_written()?;
            let _alone = self.bounds.locks.deleting(name).await;
            let (gone, outcome) = self.drop_some(name, some).await;
            if !gone.is_empty() {
                dropped.extend(gone.iter().map(|decided| decided.tag.clone()));
                self.tell_dropped(name, gone, listener).await?;
            }
            outcome?;
        }
        Ok(dropped)
    }

    /// What is gone, also when it fails then.
    async fn drop_some<'a>(
        &self,
        name: &RepositoryName,
        decided: &'a [Decided],
    ) -> (Vec<&'a Decided>, Result<(), Error>) {
        let mut gone = Vec::new();
        for one in decided {
            if self.is_immutable(name, &one.tag) {
                continue;
            }
            match self.drop_one(name, one).await {
                Ok(true) => gone.push(one),
                Ok(false) => {}
                Err(error) => return (gone, Err(error)),
            }
        }
        (gone, Ok(()))
    }

    async fn drop_one(&self, name: &RepositoryName, decided: &Decided) -> Result<bool, Error> {
        let storage = &self.stores.storage;
        let seen = storage.tag_files(name, &decided.tag).await?;
        let is_as_it_was = seen.changed == Some(decided.changed)
            && tags::read(storage, name, &decided.tag).await? == Some(decided.digest);
        Ok(is_as_it_was && storage.tag_drop(name, &decided.tag, &seen).await?)
    }

    async fn tell_dropped(
        &self,
        name: &RepositoryName,
        gone: Vec<&Decided>,
        listener: Option<&Arc<dyn Listener>>,
    ) -> Result<(), Error> {
        let Some(first) = gone.first() else { return Ok(()) };
        let reference = Reference::Tag(first.tag.clone());
        let mut request = of_nobody(Resource::Manifest { name: name.clone(), reference, tags: Ok(Vec::new()) });
        request.action.method = http::Method::DELETE;
        request.listener = listener.cloned();
        let writing = Writing { registry: self, request: &request, name };
        let what = |one: &Decided| What::TagDeleted { tag: one.tag.clone(), old: Some(one.digest) };
        publish(writing, gone.into_iter().map(what).collect(), ForLists::Deleted).await.map(drop)
    }
}
