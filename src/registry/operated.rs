//! What an operator does that is no client's request: a whole repository goes, and what leads to a manifest is told. Who asks may: nothing
//! here asks for permission.

use std::collections::HashSet;
use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};

use super::fan::PER_REQUEST;
use super::publish::{ForLists, Writing, publish};
use super::{Registry, Request, kept, maintenance, manifest, rescue};
use crate::events::{Listener, What};
use crate::oci::{Digest, Reference, RepositoryName, Resource, Tag};
use crate::storage::{Error, Found, Link, Storage};
use crate::uploads::{OpenUpload, OtherUpload, UploadId};

/// Links of one repository, by what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    pub tags: Vec<Tag>,
    pub revisions: Vec<Digest>,
    pub layers: Vec<Digest>,
    /// There are more, which are not in here.
    pub in_part: bool,
}

/// Why something stays that an operator removes.
#[derive(Debug, thiserror::Error)]
pub enum Unremoved {
    #[error("nothing can be deleted here: [registry] delete = false")]
    Deletion,
    #[error("its tag '{0}' never changes here: [registry] immutable_tags")]
    Immutable(Tag),
    #[error("somebody has pushed '{0}' since it was looked at: the same command looks again")]
    Pushed(String),
    #[error(transparent)]
    Storage(#[from] Error),
}

impl Links {
    /// Takes what a walk found.
    pub fn take(&mut self, found: &Found) {
        match found {
            Found::Tag(_, tag) => self.tags.push(tag.clone()),
            // A removal that was cut short leaves these without the tag itself.
            Found::TagIndex(_, tag, _) if self.tags.last() != Some(tag) => self.tags.push(tag.clone()),
            Found::Revision(_, digest) => self.revisions.push(*digest),
            Found::Layer(_, digest) => self.layers.push(*digest),
            Found::TagIndex(..) | Found::Upload(_) => {}
        }
    }
}

impl Registry {
    /// Looks once whether writes are refused at the operator's wish: for whoever does not run [`Registry::housekeeping`].
    pub async fn mind_maintenance(&self) {
        maintenance::look(self).await;
    }

    /// Uploads under way, at most so many, and whether there are more.
    pub async fn uploads(&self, most: usize) -> Result<(Vec<OpenUpload>, bool), Error> {
        self.stores.uploads.under_way(most).await
    }

    /// Gives one up, whosever it is; what it was, if there was one.
    pub async fn cancel_upload(&self, id: &UploadId) -> Result<Option<OpenUpload>, Error> {
        let ended = self.stores.uploads.give_up(id).await?;
        if let Some(ended) = &ended
            && let Ok(name) = ended.repository.parse::<RepositoryName>()
        {
            self.bounds.unfinished.ended(&name, ended.bytes);
            self.bounds.quotas.ended(id);
        }
        Ok(ended)
    }

    /// Uploads of other programs in the same tree, at most so many, and whether there are more.
    pub async fn uploads_of_others(&self, most: usize) -> Result<(Vec<OtherUpload>, bool), Error> {
        self.stores.uploads.of_others(most).await
    }

    /// Deletes what has arrived of these uploads of other programs; what they were.
    pub async fn cancel_uploads_of_others(&self, ids: &[String]) -> Result<Vec<OtherUpload>, Error> {
        self.stores.uploads.give_up_others(ids).await
    }

    /// Links came back of which nobody was told: what quotas hold is counted again.
    pub fn recount_quotas(&self) {
        self.bounds.quotas.doubt();
    }

    /// All tags that lead to a manifest now: each tag of the repository is read.
    pub async fn tags_to(&self, name: &RepositoryName, digest: &Digest) -> Result<Vec<Tag>, Error> {
        let mut tags = manifest::tags_to(self, name, digest).await?;
        tags.sort_unstable();
        Ok(tags)
    }

    /// Takes these links of a repository away: tags, then manifests, then blobs; their bytes are a collector's. If somebody has pushed
    /// something since they were looked at, all stay: it may need what is in here. By another instance, that is seen up to this
    /// moment only.
    ///
    /// # Errors
    /// Some may be gone then, and the same may be asked again.
    pub async fn remove_links(
        &self,
        name: &RepositoryName,
        links: &Links,
        listener: Option<Arc<dyn Listener>>,
    ) -> Result<(), Unremoved> {
        self.may_be_written()?;
        let settings = self.settings.load_full();
        if !settings.config.delete {
            return Err(Unremoved::Deletion);
        }
        let _alone = self.bounds.locks.deleting(name).await;
        // As they are now, and also those of a repository that goes part by part: else it would be half gone when one is met.
        let tags = self.stores.storage.tags(name).await?.unwrap_or_default();
        if let Some(tag) = links.tags.iter().chain(&tags).find(|tag| settings.immutable.matches(name, tag)) {
            return Err(Unremoved::Immutable(tag.clone()));
        }
        if !links.in_part {
            self.nothing_new(name, links, &tags).await?;
        }
        let told = |error: crate::fleet::Unreachable| Error::Unavailable(error.to_string());
        let deleting = self.stores.fleet.deleting(name).await.map_err(told)?;
        let mut changes = Vec::new();
        let removed = self.remove_each(name, links, &mut changes).await;
        let removed = match removed {
            Ok(()) => self.stores.storage.repository_emptied(name).await.map_err(Unremoved::Storage),
            failed => failed,
        };
        deleting.done().await;
        let resource = Resource::Manifest {
            name: name.clone(),
            reference: links.revisions.first().map_or_else(nowhere, |digest| Reference::Digest(*digest)),
            tags: Ok(Vec::new()),
        };
        let request = Request { listener, ..kept::of_nobody(resource) };
        let writing = Writing { registry: self, request: &request, name };
        let published = publish(writing, changes, ForLists::Deleted).await;
        removed?;
        let _ = published?; // nobody is answered
        // On a disk the catalog's own folder does not change by what went below it.
        Ok(self.stores.storage.stamp_changed(None).await?)
    }

    /// Whether there is no tag and no manifest but these.
    async fn nothing_new(&self, name: &RepositoryName, links: &Links, tags: &[Tag]) -> Result<(), Unremoved> {
        let known: HashSet<&Tag> = links.tags.iter().collect();
        if let Some(tag) = tags.iter().find(|tag| !known.contains(tag)) {
            return Err(Unremoved::Pushed(tag.to_string()));
        }
        let known: HashSet<&Digest> = links.revisions.iter().collect();
        let revisions = self.stores.storage.revisions(name).await?;
        let new = revisions.iter().find(|digest| !known.contains(digest));
        new.map_or(Ok(()), |digest| Err(Unremoved::Pushed(digest.text())))
    }

    /// Notes in `changes` what is gone, also when it fails then. A tag that another instance sets at this moment stays, and with it
    /// what is not gone yet.
    async fn remove_each(
        &self,
        name: &RepositoryName,
        links: &Links,
        changes: &mut Vec<What>,
    ) -> Result<(), Unremoved> {
        let (storage, fan) = (&self.stores.storage, &self.bounds.fan);
        let tags: BoxStream<'_, _> = stream::iter(&links.tags)
            .map(|tag| async move {
                let was_there = fan.ask(drop_now(storage, name, tag)).await?;
                Ok::<_, Unremoved>(was_there.then(|| What::TagDeleted { tag: tag.clone(), old: None }))
            })
            .buffer_unordered(PER_REQUEST)
            .boxed();
        gather(tags, changes).await?;
        let revisions: BoxStream<'_, _> = stream::iter(&links.revisions)
            .map(|digest| async move {
                let gone = fan.ask(storage.link_delete(&Link::Revision(name.clone(), *digest))).await?;
                Ok::<_, Unremoved>(gone.then_some(What::ManifestDeleted { digest: *digest }))
            })
            .buffer_unordered(PER_REQUEST)
            .boxed();
        gather(revisions, changes).await?;
        let layers: BoxStream<'_, _> = stream::iter(&links.layers)
            .map(|digest| async move {
                let gone = fan.ask(storage.link_delete(&Link::Layer(name.clone(), *digest))).await?;
                Ok::<_, Unremoved>(gone.then_some(What::BlobUnlinked { digest: *digest }))
            })
            .buffer_unordered(PER_REQUEST)
            .boxed();
        gather(layers, changes).await?;
        let gone: Vec<Digest> = links.revisions.iter().chain(&links.layers).copied().collect();
        Ok(rescue::deleted(self, name, &gone).await?)
    }
}

/// Whether there was such a tag, which is gone.
async fn drop_now(storage: &Storage, name: &RepositoryName, tag: &Tag) -> Result<bool, Unremoved> {
    let seen = storage.tag_files(name, tag).await?;
    if !storage.tag_drop(name, tag, &seen).await? {
        return Err(Unremoved::Pushed(tag.to_string()));
    }
    Ok(seen.changed.is_some())
}

async fn gather(
    mut gone: BoxStream<'_, Result<Option<What>, Unremoved>>,
    changes: &mut Vec<What>,
) -> Result<(), Unremoved> {
    while let Some(what) = gone.try_next().await? {
        changes.extend(what);
    }
    Ok(())
}

/// A reference of no manifest: the request is made up, and nobody looks at it.
fn nowhere() -> Reference {
    Reference::Digest(Digest::of(crate::oci::Algorithm::Sha256, b""))
}
