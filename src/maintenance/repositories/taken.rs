//! What a removal takes away, as the journal has it: written before anything is deleted.

use std::time::SystemTime;

use futures::{StreamExt, TryStreamExt, stream};

use super::copy::tag_now;
use super::{Image, Repositories, RepositoryError};
use crate::maintenance::journal::{self, Journal, MAX_LINKS, Taken};
use crate::oci::{Algorithm, Digest, Reference, RepositoryName, Tag};
use crate::storage::{Found, Link, TagFiles};

/// How the runs of people are called, other than those of the collector and of retention.
const WORD: &str = "rm";
/// Links that are read at once.
const AT_ONCE: usize = 8;
/// Bytes of manifests that are read for one removal: of more, only the links are written down, and the bytes stay where they are.
const MAX_MANIFESTS: usize = 64 << 20;

/// A tag as it was when somebody looked.
pub(super) struct SeenTag {
    pub files: TagFiles,
    /// What it leads to; of a damaged one `None`.
    pub digest: Option<Digest>,
}

impl SeenTag {
    /// The tag, and what it led to before.
    pub(super) fn taken(&self, name: &RepositoryName, tag: &Tag) -> Vec<Taken> {
        let led = self.digest.map(|digest| Taken::tag(tag.clone(), digest));
        let led = led.map(|taken| match self.files.changed {
            Some(changed) => taken.changed(changed),
            None => taken,
        });
        let before = self.files.history(name, tag);
        let before = before.into_iter().map(|(digest, changed)| Taken::tag_index(tag.clone(), digest).changed(changed));
        led.into_iter().chain(before).collect()
    }
}

impl Repositories<'_> {
    /// Writes down what is about to go; the runs that bring it back: one, unless it is more than a journal holds.
    pub(super) async fn take(&self, name: &RepositoryName, taken: &[Taken]) -> Result<Vec<String>, RepositoryError> {
        let mut runs = Vec::new();
        for some in taken.chunks(MAX_LINKS) {
            let run = journal::run_id(WORD, SystemTime::now());
            Journal::begin(self.registry.storage(), &run, name).take(some).await?;
            runs.push(run);
        }
        Ok(runs)
    }

    /// A tag as it is now.
    pub(super) async fn seen(&self, name: &RepositoryName, tag: &Tag) -> Result<SeenTag, RepositoryError> {
        let storage = self.registry.storage();
        let files = storage.tag_files(name, tag).await?;
        Ok(SeenTag { files, digest: tag_now(storage, name, tag).await? })
    }

    /// A manifest, with these tags of it.
    pub(super) async fn taken_manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        tags: &[Tag],
    ) -> Result<Vec<Taken>, RepositoryError> {
        let image = Image { name: name.clone(), reference: Reference::Digest(*digest) };
        let held = self.manifest(&image).await?;
        let mut taken = vec![Taken::manifest(*digest, held.map(|held| held.bytes))];
        for tag in tags {
            taken.extend(self.seen(name, tag).await?.taken(name, tag));
        }
        Ok(taken)
    }

    /// A link that a walk over a repository found; `None`: none that goes.
    async fn taken_link(
        &self,
        found: Found,
        changed: SystemTime,
        with_bytes: bool,
    ) -> Result<Option<Taken>, RepositoryError> {
        let storage = self.registry.storage();
        let taken = match found {
            // Only of other digests than sha256 may the bytes be elsewhere.
            Found::Layer(_, digest) if digest.algorithm() == Algorithm::Sha256 => Taken::layer(digest),
            Found::Layer(name, digest) => {
                let target = storage.link(&Link::Layer(name, digest)).await.ok().flatten();
                Taken { target: target.unwrap_or(digest), ..Taken::layer(digest) }
            }
            Found::Revision(name, digest) => {
                let bytes = match with_bytes {
                    true => self.registry.held_manifest(&name, &digest).await.ok().flatten().map(|(bytes, _)| bytes),
                    false => None,
                };
                Taken::manifest(digest, bytes)
            }
            Found::Tag(name, tag) => match tag_now(storage, &name, &tag).await? {
                Some(digest) => Taken::tag(tag, digest),
                None => return Ok(None),
            },
            Found::TagIndex(_, tag, digest) => Taken::tag_index(tag, digest),
            Found::Upload(_) => return Ok(None),
        };
        Ok(Some(taken.changed(changed)))
    }

    /// All links that a walk found.
    pub(super) async fn taken_links(&self, found: &[(Found, SystemTime)]) -> Result<Vec<Taken>, RepositoryError> {
        let mut taken = Vec::with_capacity(found.len());
        let mut bytes = 0;
        // Piece by piece, so that no more manifests are read than are written.
        for some in found.chunks(AT_ONCE * 8) {
            let with_bytes = bytes < MAX_MANIFESTS;
            let reads: Vec<_> =
                some.iter().map(|(found, changed)| self.taken_link(found.clone(), *changed, with_bytes)).collect();
            let read: Vec<Option<Taken>> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
            for one in read.into_iter().flatten() {
                bytes += one.manifest.as_ref().map_or(0, bytes::Bytes::len);
                taken.push(one);
            }
        }
        Ok(taken)
    }
}
