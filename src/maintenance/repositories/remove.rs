//! Tags, manifests and whole repositories are taken away. What was there is written to a journal before, so that it can be brought
//! back as long as the bytes are there.

use std::time::SystemTime;

use futures::TryStreamExt;
use http::StatusCode;
use serde::Serialize;

use super::copy::tag_now;
use super::{Image, Repositories, RepositoryError, Step};
use crate::oci::{Digest, Reference, RepositoryName, Tag};
use crate::registry::{Links, Unremoved};
use crate::storage::{Found, Link};

/// Links of one repository that one removal takes: of more, it has to be repeated.
const MAX_REMOVED: usize = 1_000_000;
/// Tags that a refusal names.
const MAX_NAMED: usize = 5;

/// A tag that is gone.
#[derive(Clone, Debug, Serialize)]
pub struct Untagged {
    pub image: Image,
    /// What it led to.
    pub digest: Option<Digest>,
    /// What brings it back: `entrepot gc undelete RUN`.
    pub runs: Vec<String>,
}

/// A manifest that is gone, with its tags.
#[derive(Clone, Debug, Serialize)]
pub struct Gone {
    pub repository: String,
    pub digest: Digest,
    pub tags: Vec<String>,
    pub runs: Vec<String>,
}

/// A repository that is gone, or would be.
#[derive(Clone, Debug, Serialize)]
pub struct RepositoryGone {
    pub repository: String,
    pub tags: usize,
    pub manifests: usize,
    pub blobs: usize,
    /// It was only looked at.
    pub dry: bool,
    pub runs: Vec<String>,
    /// There is more of it: the same has to be ordered again.
    pub more: bool,
}

/// As a client would be told.
fn stays(image: &Image, error: Unremoved) -> RepositoryError {
    let message = format!("{image} stays: {error}");
    let (status, code) = match error {
        Unremoved::Storage(error) => return RepositoryError::Storage(error),
        Unremoved::Deletion => (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
        Unremoved::Immutable(_) => (StatusCode::CONFLICT, "TAG_INVALID"),
        Unremoved::Pushed(_) => (StatusCode::CONFLICT, "DENIED"),
    };
    RepositoryError::Refused { status: status.as_u16(), code: code.to_owned(), message }
}

impl Repositories<'_> {
    /// Takes one tag away; the manifest stays.
    pub async fn untag(&self, image: &Image) -> Result<Untagged, RepositoryError> {
        let Some(tag) = image.tag() else {
            return Err(RepositoryError::Useless(format!("{image} is no tag: `entrepot rm` removes a manifest")));
        };
        let absent = || RepositoryError::Absent(format!("there is no {image}"));
        let seen = self.seen(&image.name, tag).await?;
        if seen.files.changed.is_none() {
            return Err(absent());
        }
        let runs = self.take(&image.name, &seen.taken(&image.name, tag)).await?;
        let (as_seen, listener) = ((&seen.files, seen.digest), self.listener.clone());
        let removed = self.registry.remove_tag(&image.name, tag, as_seen, listener).await;
        if !removed.map_err(|error| stays(image, error))? {
            return Err(absent());
        }
        Ok(Untagged { image: image.clone(), digest: seen.digest, runs })
    }

    /// Removes a manifest with all tags that lead to it. By a tag, only if no other leads there, unless `all_tags`.
    pub async fn remove(&self, image: &Image, all_tags: bool) -> Result<Gone, RepositoryError> {
        let absent = || RepositoryError::Absent(format!("there is no {image}"));
        let digest = match &image.reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => tag_now(self.registry.storage(), &image.name, tag).await?.ok_or_else(absent)?,
        };
        let tags = self.registry.tags_to(&image.name, &digest).await?;
        let others: Vec<&str> = tags.iter().filter(|tag| Some(*tag) != image.tag()).map(Tag::as_str).collect();
        if image.tag().is_some() && !others.is_empty() && !all_tags {
            let named = others.iter().take(MAX_NAMED).copied().collect::<Vec<_>>().join(", ");
            let more = if others.len() > MAX_NAMED { " and more" } else { "" };
            let what = format!(
                "{named}{more} would go with {image}, as the same manifest: --all-tags says that this is meant; `entrepot untag` \
                 takes the one tag away"
            );
            return Err(RepositoryError::Useless(what));
        }
        if !self.registry.storage().link_exists(&Link::Revision(image.name.clone(), digest)).await? {
            return Err(absent());
        }
        let runs = self.take(&image.name, &self.taken_manifest(&image.name, &digest, &tags).await?).await?;
        let removed = self.registry.remove_manifest(&image.name, &digest, &tags, self.listener.clone()).await;
        let tags = removed.map_err(|error| stays(image, error))?.ok_or_else(absent)?;
        let tags = tags.iter().map(Tag::to_string).collect();
        Ok(Gone { repository: image.name.to_string(), digest, tags, runs })
    }

    /// Removes all links of a repository; those below its name are others. `dry`: only says what would go.
    pub async fn remove_repository(&self, name: &RepositoryName, dry: bool) -> Result<RepositoryGone, RepositoryError> {
        let (found, more) = self.found(name).await?;
        let mut links = Links { in_part: more, ..Links::default() };
        found.iter().for_each(|(found, _)| links.take(found));
        if found.is_empty() && !self.registry.storage().repository_exists(name).await? {
            return Err(RepositoryError::Absent(format!("there is no repository {name}")));
        }
        let (tags, manifests, blobs) = (links.tags.len(), links.revisions.len(), links.layers.len());
        (self.tell)(Step::Found { tags, manifests, blobs });
        let repository = name.to_string();
        let mut gone = RepositoryGone { repository, tags, manifests, blobs, dry, runs: Vec::new(), more };
        if dry {
            return Ok(gone);
        }
        gone.runs = self.take(name, &self.taken_links(&found).await?).await?;
        self.registry.remove_links(name, &links, self.listener.clone()).await.map_err(|error| match error {
            Unremoved::Storage(error) => RepositoryError::Storage(error),
            refused => RepositoryError::Useless(format!("{name} stays: {refused}")),
        })?;
        Ok(gone)
    }

    /// Links of a repository, and whether there are more.
    async fn found(&self, name: &RepositoryName) -> Result<(Vec<(Found, SystemTime)>, bool), RepositoryError> {
        let mut links = Vec::new();
        let mut walk = self.registry.storage().links_of(name).await;
        while let Some((found, changed)) = walk.try_next().await? {
            if links.len() == MAX_REMOVED {
                return Ok((links, true));
            }
            if !matches!(found, Found::Upload(_)) {
                links.push((found, changed));
            }
        }
        Ok((links, false))
    }
}
