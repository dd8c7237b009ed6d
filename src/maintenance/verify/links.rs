//! What one repository links: whether its links say what their places say, lead to bytes, and hold what its manifests name.

use futures::stream::{StreamExt as _, TryStreamExt as _};

use super::holdings::Holdings;
use super::named;
use super::report::Looked;
use super::run::Run;
use super::sample::Sampler;
use super::see::Seen;
use super::wrong::{Bytes, Wrong, digest_of, repository_of};
use crate::oci::{Digest, RepositoryName};
use crate::storage::{Error, Link, layout};

/// Links and manifests of one repository that are read at once.
pub(super) const LINKS_AT_ONCE: usize = 8;

/// What was looked at of one repository, and what is wrong.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) wrongs: Vec<Wrong>,
    pub(super) links: Looked,
    pub(super) manifests: Looked,
    pub(super) tags: Looked,
    /// Names of content that is not here and need not be.
    pub(super) sparse: u64,
}

/// What of a list is looked at.
struct Picking<'a> {
    sampler: Option<&'a Sampler>,
    looked: Looked,
}

impl Picking<'_> {
    fn of<T>(&mut self, all: impl Iterator<Item = T>) -> Vec<T> {
        let mut picked = Vec::new();
        for one in all {
            self.looked.there += 1;
            if self.sampler.is_none_or(Sampler::takes) {
                self.looked.looked_at += 1;
                picked.push(one);
            }
        }
        picked
    }
}

impl Run<'_> {
    /// What is wrong with the links of one repository. `all`: whatever is picked of others, all of these are read.
    pub(super) async fn check(&self, name: &RepositoryName, held: &Holdings, all: bool) -> Result<Checked, Error> {
        let mut checked = Checked { wrongs: self.without_bytes(name, held), ..Checked::default() };
        self.read_links(name, held, all, &mut checked).await?;
        self.read_manifests(name, held, all, &mut checked).await?;
        // What was pushed or deleted meanwhile is no damage: each is looked at again, and what is left once more after a pause.
        checked.wrongs = self.still(checked.wrongs).await?;
        if checked.wrongs.is_empty() {
            return Ok(checked);
        }
        tokio::time::sleep(self.second_look()).await;
        checked.wrongs = self.still(checked.wrongs).await?;
        for wrong in &checked.wrongs {
            if let Wrong::Absent { digest, link } = wrong {
                self.is_wrong(digest, name, matches!(link, Link::Revision(..)));
            }
        }
        Ok(checked)
    }

    fn picking<'a>(&self, all: bool, sampler: &'a Sampler) -> Picking<'a> {
        Picking { sampler: (!all).then_some(sampler), looked: Looked::default() }
    }

    /// Links whose blobs no list told of.
    fn without_bytes(&self, name: &RepositoryName, held: &Holdings) -> Vec<Wrong> {
        let layers = held.layers.iter().map(|digest| (Link::Layer(name.clone(), *digest), digest, false));
        let revisions = held.revisions.iter().map(|digest| (Link::Revision(name.clone(), *digest), digest, true));
        let mut suspects = Vec::new();
        for (link, digest, manifest) in layers.chain(revisions) {
            self.links_wrong(digest, name, manifest);
            if self.index.size(digest).is_none() {
                suspects.push(Wrong::Absent { digest: *digest, link });
            }
        }
        suspects
    }

    async fn read_links(
        &self,
        name: &RepositoryName,
        held: &Holdings,
        all: bool,
        checked: &mut Checked,
    ) -> Result<(), Error> {
        let layers = held.layers.iter().map(|digest| Link::Layer(name.clone(), *digest));
        let revisions = held.revisions.iter().map(|digest| Link::Revision(name.clone(), *digest));
        let histories = held.histories.iter().map(|(tag, digest)| Link::TagIndex(name.clone(), tag.clone(), *digest));
        let mut links = self.picking(all, &self.samplers().links);
        let mut tags = self.picking(all, &self.samplers().tags);
        let mut picked = links.of(layers.chain(revisions).chain(histories));
        picked.extend(tags.of(held.tags.iter().map(|tag| Link::Tag(name.clone(), tag.clone()))));
        (checked.links, checked.tags) = (links.looked, tags.looked);
        let reads = picked.into_iter().map(|link| self.read_link(link, held));
        let mut reads = futures::stream::iter(reads).buffer_unordered(LINKS_AT_ONCE);
        while let Some(wrong) = reads.try_next().await? {
            checked.wrongs.extend(wrong);
        }
        Ok(())
    }

    /// What a link's own words say of it.
    async fn read_link(&self, link: Link, held: &Holdings) -> Result<Option<Wrong>, Error> {
        self.pace.take(1).await;
        let holds = match self.parts.storage.link(&link).await {
            // Deleted meanwhile.
            Ok(None) => return Ok(None),
            Ok(Some(holds)) => holds,
            Err(Error::Damaged(_)) => return Ok(Some(Wrong::Torn { link })),
            Err(error) => return Err(error),
        };
        let right = match &link {
            Link::Revision(_, digest) | Link::TagIndex(_, _, digest) => holds == *digest,
            // distribution keeps a blob that was pushed by another hash under its own one, and links the other to it.
            Link::Layer(_, digest) if holds.algorithm() != digest.algorithm() => {
                return self.read_alias(link.clone(), *digest, holds).await;
            }
            Link::Layer(_, digest) => holds == *digest,
            Link::Tag(name, tag) => {
                let nowhere = || Wrong::Nowhere { name: name.clone(), tag: tag.clone(), target: holds };
                return Ok((!held.has_revision(&holds)).then(nowhere));
            }
        };
        Ok((!right).then_some(Wrong::Astray { link, holds }))
    }

    async fn read_alias(&self, link: Link, digest: Digest, holds: Digest) -> Result<Option<Wrong>, Error> {
        self.links_wrong(&holds, repository_of(&link), false);
        Ok(match self.see_at(&layout::blob(&holds), &digest).await? {
            Seen::Right(_) => None,
            Seen::Gone => Some(Wrong::Absent { digest: holds, link }),
            // If the bytes are wrong for both, that is told of the blob.
            _ if matches!(self.see(&holds).await?, Seen::Right(_)) => Some(Wrong::Astray { link, holds }),
            _ => None,
        })
    }

    async fn read_manifests(
        &self,
        name: &RepositoryName,
        held: &Holdings,
        all: bool,
        checked: &mut Checked,
    ) -> Result<(), Error> {
        let mut manifests = self.picking(all, &self.samplers().manifests);
        let picked = manifests.of(held.revisions.iter().copied());
        checked.manifests = manifests.looked;
        let reads = picked.into_iter().map(|digest| self.read_manifest(name, held, digest));
        let mut reads = futures::stream::iter(reads).buffer_unordered(LINKS_AT_ONCE);
        let mut wrongs = Vec::new();
        while let Some((found, absent)) = reads.try_next().await? {
            wrongs.extend(found);
            checked.sparse += absent;
        }
        let is_lacking = |wrong: &Wrong| matches!(wrong, Wrong::Lacking { .. });
        let lacking = wrongs.iter().filter(|wrong| is_lacking(wrong)).count();
        if lacking > 0 && self.may_be_sparse(name).await? {
            wrongs.retain(|wrong| !is_lacking(wrong));
            checked.sparse += lacking as u64;
        }
        checked.wrongs.extend(wrongs);
        Ok(())
    }

    /// What a manifest names and its repository does not link; and how many manifests it lists that are not here, which need
    /// not be.
    async fn read_manifest(
        &self,
        name: &RepositoryName,
        held: &Holdings,
        manifest: Digest,
    ) -> Result<(Vec<Wrong>, u64), Error> {
        self.pace.take(1).await;
        let bytes = match self.parts.storage.blob_bytes(&manifest, named::MOST_MANIFEST).await {
            Ok(Some(bytes)) => bytes,
            // It is missing, which is told of its link; or so large that nobody could have pushed it as a manifest.
            Ok(None) | Err(Error::TooLarge(_)) => return Ok((Vec::new(), 0)),
            Err(error @ Error::Unavailable(_)) => return Err(error),
            Err(_) => return Ok((self.blob_again(manifest).await?.into_iter().collect(), 0)),
        };
        let size = bytes.len() as u64;
        let Some(named) = named::read(&manifest, bytes).await? else {
            self.is_wrong(&manifest, name, true);
            return Ok((vec![Wrong::Bytes { digest: manifest, how: Bytes::Other(size) }], 0));
        };
        let absent = named.manifests.iter().filter(|child| !held.has_revision(child)).count();
        let lacking = named.blobs.into_iter().filter(|blob| !held.has_layer(blob));
        let wrong = |digest| Wrong::Lacking { name: name.clone(), manifest, digest };
        Ok((lacking.map(wrong).collect(), absent as u64))
    }

    /// Those that are wrong when they are looked at again, as they are then.
    async fn still(&self, suspects: Vec<Wrong>) -> Result<Vec<Wrong>, Error> {
        let looks = suspects.into_iter().map(|suspect| self.look_again(suspect));
        let looks: Vec<Option<Wrong>> =
            futures::stream::iter(looks).buffer_unordered(LINKS_AT_ONCE).try_collect().await?;
        Ok(looks.into_iter().flatten().collect())
    }

    async fn look_again(&self, suspect: Wrong) -> Result<Option<Wrong>, Error> {
        self.pace.take(1).await;
        let storage = &self.parts.storage;
        match suspect {
            Wrong::Bytes { digest, .. } => self.blob_again(digest).await,
            Wrong::Absent { link, .. } => match storage.link(&link).await {
                Ok(None) => Ok(None),
                Ok(Some(holds)) => {
                    let there = storage.blob_size(&holds).await?.is_some();
                    Ok((!there).then_some(Wrong::Absent { digest: holds, link }))
                }
                // Told as what it is when it is read, if it is; the bytes of its place matter more.
                Err(Error::Damaged(_)) => {
                    let Some(digest) = digest_of(&link) else { return Ok(None) };
                    let there = storage.blob_size(&digest).await?.is_some();
                    Ok((!there).then_some(Wrong::Absent { digest, link }))
                }
                Err(error) => Err(error),
            },
            Wrong::Torn { link } => match storage.link(&link).await {
                Err(Error::Damaged(_)) => Ok(Some(Wrong::Torn { link })),
                other => other.map(|_| None),
            },
            Wrong::Astray { link, holds } => match storage.link(&link).await {
                Err(Error::Damaged(_)) => Ok(Some(Wrong::Torn { link })),
                now => Ok((now? == Some(holds)).then_some(Wrong::Astray { link, holds })),
            },
            Wrong::Nowhere { name, tag, .. } => {
                let link = Link::Tag(name.clone(), tag.clone());
                let target = match storage.link(&link).await {
                    Ok(None) => return Ok(None),
                    Ok(Some(target)) => target,
                    Err(Error::Damaged(_)) => return Ok(Some(Wrong::Torn { link })),
                    Err(error) => return Err(error),
                };
                let held = storage.link_exists(&Link::Revision(name.clone(), target)).await?;
                Ok((!held).then_some(Wrong::Nowhere { name, tag, target }))
            }
            Wrong::Lacking { name, manifest, digest } => {
                let named = storage.link_exists(&Link::Revision(name.clone(), manifest)).await?;
                let held = storage.link_exists(&Link::Layer(name.clone(), digest)).await?;
                Ok((named && !held).then_some(Wrong::Lacking { name, manifest, digest }))
            }
        }
    }

    /// Whether images of a repository may lack blobs: a mirror brings them when somebody asks, and some registries take
    /// manifests without.
    async fn may_be_sparse(&self, name: &RepositoryName) -> Result<bool, Error> {
        let sparse = &self.parts.sparse;
        let below = |path: &String| name.as_str().strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/'));
        if sparse.anywhere || sparse.below.iter().any(below) {
            return Ok(true);
        }
        // What a mirror remembers of a repository stays when its remote is configured no more.
        let tags = format!("{}/{name}{}", layout::MIRROR, layout::MIRROR_TAGS.trim_end_matches('/'));
        Ok(self.parts.storage.below(&tags, None).try_next().await?.is_some())
    }
}
