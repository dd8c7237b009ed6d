//! Links that were condemned, and that a manifest needs after all, are written again.
//!
//! How that comes (the races of whoever pushes while links go): a client asked by HEAD for a layer that was linked and that nobody
//! needed, left it out of its push, the link was condemned, and its manifest came afterwards; an index or a tag came for a manifest
//! that was condemned at that moment; another program believed in its own memory of what it had seen. In each case the bytes are
//! still in their place or in the trash, and the journal says that the repository had the link.

//!
//! A manifest is linked again last, when all that it names is there: whoever is told that it is there believes that of all below it,
//! and pushes none of it. What cannot be brought back to its end stays away, so that it is pushed again.

use std::collections::{HashMap, HashSet};

use super::error::GcError;
use super::reach::Reach;
use super::report::Step;
use super::roots::Led;
use super::view::View;
use super::work::Work;
use crate::maintenance::journal::{Kind, Taken};
use crate::oci::manifest::named::named;
use crate::oci::{Digest, RepositoryName};

/// What was taken from a repository.
struct Lines<'a> {
    layers: HashMap<Digest, &'a Taken>,
    manifests: HashMap<Digest, &'a Taken>,
    /// Could not be brought back.
    failed: HashSet<Digest>,
}

/// A step of bringing something back: what it is, and of a manifest, what it names, once that is known.
type Waiting<'a> = (&'a Taken, Option<Vec<Digest>>);

impl<'a> Lines<'a> {
    fn new(taken: &'a [Taken]) -> Self {
        let of =
            |kind: Kind| taken.iter().filter(move |line| line.kind == kind).map(|line| (line.digest, line)).collect();
        Lines { layers: of(Kind::Layer), manifests: of(Kind::Manifest), failed: HashSet::new() }
    }

    /// What of a digest was taken and is not there.
    fn missing(&self, view: &View, digest: &Digest) -> impl Iterator<Item = &'a Taken> + use<'a> {
        let layer = self.layers.get(digest).filter(|_| view.layer(digest).is_none());
        let manifest = self.manifests.get(digest).filter(|_| view.revision(digest).is_none());
        [layer, manifest].into_iter().flatten().copied().collect::<Vec<_>>().into_iter()
    }
}

impl Work<'_> {
    /// Writes again what is needed by `reach` and not in `view`, and adds it there. Whether a manifest was among it: then more may be
    /// needed.
    pub async fn heal(&self, view: &mut View, reach: &Reach, taken: &[Taken]) -> Result<bool, GcError> {
        let mut lines = Lines::new(taken);
        let mut manifests = false;
        for line in taken.iter().filter(|line| reach.named.contains(&line.digest)) {
            let missing = lines.missing(view, &line.digest).any(|missing| missing.kind == line.kind);
            manifests |= missing && self.bring_whole(view, line, &mut lines).await?;
        }
        Ok(manifests)
    }

    /// The same for manifests that a tag leads to: somebody pushed by tag what was condemned at that moment.
    pub async fn heal_tags(&self, view: &mut View, taken: &[Taken]) -> Result<bool, GcError> {
        let mut lines = Lines::new(taken);
        if lines.manifests.keys().all(|digest| view.revision(digest).is_some()) {
            return Ok(false);
        }
        let mut healed = false;
        for (tag, _) in view.tags.clone() {
            let (_, Led::To(digest)) = self.led_to(view, &tag).await? else { continue };
            let missing = lines.missing(view, &digest).find(|line| line.kind == Kind::Manifest);
            if let Some(line) = missing {
                healed |= self.bring_whole(view, line, &mut lines).await?;
            }
        }
        Ok(healed)
    }

    /// Writes a link again, after all that it leads to. Whether a manifest was written.
    async fn bring_whole<'a>(&self, view: &mut View, line: &'a Taken, lines: &mut Lines<'a>) -> Result<bool, GcError> {
        let (mut seen, mut manifests) = (HashSet::new(), false);
        let mut waiting: Vec<Waiting<'a>> = vec![(line, None)];
        while let Some((line, names)) = waiting.pop() {
            match names {
                None if line.kind == Kind::Manifest => {
                    if !seen.insert(line.digest) {
                        continue;
                    }
                    let Some(names) = self.names_of(line).await? else {
                        lines.failed.insert(line.digest);
                        continue;
                    };
                    let below: Vec<&Taken> = names.iter().flat_map(|name| lines.missing(view, name)).collect();
                    waiting.push((line, Some(names)));
                    waiting.extend(below.into_iter().map(|line| (line, None)));
                }
                Some(names) if names.iter().any(|name| lines.failed.contains(name)) => {
                    lines.failed.insert(line.digest);
                }
                _ => {
                    if lines.missing(view, &line.digest).all(|missing| missing.kind != line.kind) {
                        continue; // another way led to it
                    }
                    if self.write_again(&view.name, line).await? {
                        view.add(line.digest, line.kind == Kind::Manifest, self.begun);
                        manifests |= line.kind == Kind::Manifest;
                    } else {
                        lines.failed.insert(line.digest);
                    }
                }
            }
        }
        Ok(manifests)
    }

    /// What a manifest names that was taken; `None` if nobody can tell any more.
    async fn names_of(&self, line: &Taken) -> Result<Option<Vec<Digest>>, GcError> {
        if let Some(bytes) = &line.manifest {
            return Ok(named(bytes).map(|named| named.digests));
        }
        Ok(self.refers(&line.target).await?.map(|refers| refers.names))
    }

    /// Brings the bytes back and writes the link. False if the bytes are nowhere.
    async fn write_again(&self, name: &RepositoryName, line: &Taken) -> Result<bool, GcError> {
        let Some(link) = line.link(name) else { return Ok(false) };
        if self.order.dry {
            return Ok(true);
        }
        if !self.bring_back(line).await? {
            self.tools.metrics.lost.inc();
            self.kept.state.lock().counts.lost += 1;
            tracing::error!(%name, digest = %line.digest, "a manifest needs content that is gone: `entrepot verify` may repair it");
            return Ok(false);
        }
        self.pace.take(2).await;
        self.storage.link_put(&link, &line.target).await?;
        // As whoever writes a link: another collection may have moved the bytes between the two.
        self.storage.blob_rescue(&line.target).await?;
        if line.kind == Kind::Manifest {
            self.storage.stamp_changed(Some(name)).await?;
        }
        let kind = if line.kind == Kind::Manifest { "manifest" } else { "blob" };
        self.tools.metrics.healed.with_label_values(&[kind]).inc();
        self.kept.state.lock().counts.healed += 1;
        tracing::warn!(%name, digest = %line.digest, kind, "what was condemned is needed: it is linked again");
        self.step(&Step::Healed { repository: name.clone(), digest: line.digest });
        Ok(true)
    }

    /// Whether the bytes are in their place now.
    async fn bring_back(&self, line: &Taken) -> Result<bool, GcError> {
        self.pace.take(1).await;
        if self.storage.blob_rescue(&line.target).await?.is_some() {
            return Ok(true);
        }
        let Some(bytes) = &line.manifest else { return Ok(false) };
        if Digest::of(line.target.algorithm(), bytes) != line.target {
            return Ok(false);
        }
        self.storage.blob_put(&line.target, bytes.clone()).await?;
        Ok(true)
    }
}
