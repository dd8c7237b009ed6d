//! One tag or one manifest that an operator removes: it goes as he has seen it and written it down, or stays.

use std::collections::HashSet;
use std::sync::Arc;

use super::kept::of_nobody;
use super::publish::{ForLists, Writing, publish};
use super::{Registry, Unremoved, manifest, tags};
use crate::events::{Listener, What};
use crate::oci::{Digest, Reference, RepositoryName, Resource, Tag};
use crate::storage::{Error, Link, TagFiles};

impl Registry {
    /// Takes a tag away that is as it was `seen`, and leads where it led. False: there is no such tag any more.
    ///
    /// # Errors
    /// It stays, unless storage has failed on the way: then the same may be asked again.
    pub async fn remove_tag(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        (seen, digest): (&TagFiles, Option<Digest>),
        listener: Option<Arc<dyn Listener>>,
    ) -> Result<bool, Unremoved> {
        self.may_be_removed()?;
        let _alone = self.bounds.locks.deleting(name).await;
        if self.is_immutable(name, tag) {
            return Err(Unremoved::Immutable(tag.clone()));
        }
        let storage = &self.stores.storage;
        let now = storage.tag_files(name, tag).await?;
        if now.changed.is_none() {
            return Ok(false);
        }
        let is_as_seen = now == *seen && tags::read(storage, name, tag).await? == digest;
        if !is_as_seen || !storage.tag_drop(name, tag, seen).await? {
            return Err(Unremoved::Pushed(tag.to_string()));
        }
        let gone = vec![What::TagDeleted { tag: tag.clone(), old: digest }];
        self.tell_removed(name, Reference::Tag(tag.clone()), gone, listener).await?;
        Ok(true)
    }

    /// Takes a manifest away with the tags that lead to it, if there are no others than these; those that went. `None`: there is no
    /// such manifest.
    ///
    /// # Errors
    /// It stays; where storage has failed on the way, some of its tags may be gone, and the same may be asked again.
    pub async fn remove_manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        known: &[Tag],
        listener: Option<Arc<dyn Listener>>,
    ) -> Result<Option<Vec<Tag>>, Unremoved> {
        self.may_be_removed()?;
        let _alone = self.bounds.locks.deleting(name).await;
        if !self.stores.storage.link_exists(&Link::Revision(name.clone(), *digest)).await? {
            return Ok(None);
        }
        let leading = manifest::tags_to(self, name, digest).await?;
        let known: HashSet<&Tag> = known.iter().collect();
        if let Some(tag) = leading.iter().find(|tag| !known.contains(tag)) {
            return Err(Unremoved::Pushed(tag.to_string()));
        }
        if let Some(tag) = leading.iter().find(|tag| self.is_immutable(name, tag)) {
            return Err(Unremoved::Immutable(tag.clone()));
        }
        let told = |error: crate::fleet::Unreachable| Error::Unavailable(error.to_string());
        let deleting = self.stores.fleet.deleting(name).await.map_err(told)?;
        let mut changes = Vec::new();
        let removed = manifest::delete_links(self, name, (leading, digest), &mut changes).await;
        deleting.done().await;
        let is_gone = changes.iter().any(|what| matches!(what, What::ManifestDeleted { .. }));
        let tags = changes.iter().filter_map(|what| match what {
            What::TagDeleted { tag, .. } => Some(tag.clone()),
            _ => None,
        });
        let mut tags: Vec<Tag> = tags.collect();
        tags.sort_unstable();
        let published = self.tell_removed(name, Reference::Digest(*digest), changes, listener).await;
        // One that another instance has pushed at this moment.
        let stays = removed? && !is_gone;
        published?;
        if stays { Err(Unremoved::Pushed(digest.text())) } else { Ok(Some(tags)) }
    }

    fn may_be_removed(&self) -> Result<(), Unremoved> {
        self.may_be_written()?;
        if self.settings.load().config.delete { Ok(()) } else { Err(Unremoved::Deletion) }
    }

    async fn tell_removed(
        &self,
        name: &RepositoryName,
        reference: Reference,
        gone: Vec<What>,
        listener: Option<Arc<dyn Listener>>,
    ) -> Result<(), Error> {
        let mut request = of_nobody(Resource::Manifest { name: name.clone(), reference, tags: Ok(Vec::new()) });
        request.action.method = http::Method::DELETE;
        request.listener = listener;
        let writing = Writing { registry: self, request: &request, name };
        publish(writing, gone, ForLists::Deleted).await.map(drop)
    }
}
