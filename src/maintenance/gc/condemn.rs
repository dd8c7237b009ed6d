//! Links that nothing needs are taken away. From then on the content is in no repository: no HEAD tells of it, nothing can be
//! mounted, whichever program is asked; and nothing is lost, since its bytes stay where they are. That is the quarantine.
//!
//! Everything is decided once more from what the repository holds at this moment:
//!
//! 1. The epoch is made odd: whoever of ours writes links here from now on looks at them again afterwards.
//! 2. The repository is listed anew. Only what the first look *and* this one found unneeded goes, so that a walk that told of a
//!    repository in parts does no harm.
//! 3. The journal is written: what is deleted from here on can be brought back.
//! 4. Each link is looked at once more, and goes if it was not written since the decision. A push that came meanwhile has written its
//!    links again (distribution does so even for what is there), and keeps them. That look is good for a few seconds only: a run
//!    that was held up after it looks again.
//! 5. When all are gone, the repository is listed once more: a manifest, or a tag, that came meanwhile and needs one of them gets it
//!    back (`heal`), here, again at the end of the mark, and whenever the repository is marked later.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use futures::future::FutureExt as _;
use futures::stream::{StreamExt as _, TryStreamExt as _};

use super::error::GcError;
use super::reach::{Aliases, Reach, Unneeded};
use super::references::Read;
use super::report::Step;
use super::time::Stopwatch;
use super::view::View;
use super::work::Work;
use crate::maintenance::journal::{Journal, Kind, MAX_LINKS, Taken};
use crate::oci::{Digest, RepositoryName};
use crate::storage::{Error, Link};

/// Links that are deleted while nothing that is remembered of the repository is believed.
const PART: usize = 200;
/// A look at a link that is older is not believed: nobody else may come between the look and the deletion.
const GOOD: Duration = Duration::from_secs(5);
/// Looks at one link by a run that is held up after each.
const LOOKS: usize = 5;
/// Links that are deleted at once.
const AT_ONCE: usize = 8;
/// Bytes of manifests that are read for one journal, of several that are written at once. The others stay in their place for nearly
/// as long as the journal does.
const MANIFEST_BYTES: usize = 8 << 20;

impl Work<'_> {
    /// Takes away what is unneeded by `first` and by the repository as it is now. What was taken.
    pub async fn condemn(&self, name: &RepositoryName, first: &Unneeded) -> Result<Unneeded, GcError> {
        let _using = self.moving().await?;
        self.pace.take(1).await;
        let view = View::of(&self.storage, name).await?;
        let ((aliases, torn), now) = (self.aliases(&view).await?, self.begun);
        let read = self.references(&view, &aliases).await?;
        if !read.unreadable.is_empty() || !torn.is_empty() {
            return Ok(Unneeded::default());
        }
        let reach = self.reach(&view, &read, &aliases).await?;
        let mut unneeded = reach.unneeded(&view, self.grace(), now);
        let (layers, manifests): (HashSet<_>, HashSet<_>) =
            (first.layers.iter().collect(), first.manifests.iter().collect());
        unneeded.layers.retain(|digest| layers.contains(digest));
        unneeded.manifests.retain(|digest| manifests.contains(digest));
        if unneeded.is_empty() {
            return Ok(unneeded);
        }
        let lines = self.lines(&view, &aliases, &unneeded).await?;
        self.pace.take(1).await;
        Journal::begin(&self.storage, &self.run, name).take(&lines).await?;
        self.evidence.lock().add(&self.run, name);
        let gone = self.unlink(name, &view, &lines).await?;
        self.look_again(name).await?;
        self.tell_condemned(name, &gone);
        Ok(gone)
    }

    fn tell_condemned(&self, name: &RepositoryName, gone: &Unneeded) {
        let count = |kind: &str, count: usize| {
            self.tools.metrics.condemned.with_label_values(&[kind]).inc_by(count as u64);
        };
        count("blob", gone.layers.len());
        count("manifest", gone.manifests.len());
        let (blobs, manifests) = (gone.layers.clone(), gone.manifests.clone());
        self.step(&Step::Condemned { repository: name.clone(), blobs, manifests });
    }

    /// What is written to the journal, in the order in which it is written again.
    async fn lines(&self, view: &View, aliases: &Aliases, unneeded: &Unneeded) -> Result<Vec<Taken>, Error> {
        let target = |digest: &Digest| *aliases.get(digest).unwrap_or(digest);
        let mut lines = Vec::new();
        for digest in unneeded.layers.iter().take(MAX_LINKS) {
            let changed = view.layer(digest).unwrap_or(self.begun);
            lines.push(Taken { target: target(digest), ..Taken::layer(*digest) }.changed(changed));
        }
        let mut room = MANIFEST_BYTES;
        for digest in unneeded.manifests.iter().take(MAX_LINKS - lines.len()) {
            let changed = view.revision(digest).unwrap_or(self.begun);
            let bytes = if room > 0 { self.manifest(&target(digest)).await? } else { None };
            room = room.saturating_sub(bytes.as_ref().map_or(0, bytes::Bytes::len));
            lines.push(Taken { target: target(digest), ..Taken::manifest(*digest, bytes) }.changed(changed));
            let led = view.indexes.iter().filter(|(_, led, _)| led == digest);
            lines.extend(led.map(|(tag, led, changed)| Taken::tag_index(tag.clone(), *led).changed(*changed)));
        }
        lines.sort_by_key(|line| line.kind);
        Ok(lines)
    }

    /// Deletes the links of these lines that were not written since `decided`: tags' histories, then manifests, then blobs.
    async fn unlink(&self, name: &RepositoryName, decided: &View, lines: &[Taken]) -> Result<Unneeded, GcError> {
        let mut gone = Unneeded::default();
        for part in lines.rchunks(PART) {
            // Another run may have said meanwhile that it is over: whoever read the journals before ours was written learns of it now.
            if !self.storage.epoch().await?.is_moving() {
                self.storage.epoch_moving().await?;
            }
            // What is remembered of the repository is forgotten by all instances; a deletion that takes too long is not.
            let deleting = self.tools.fleet.deleting(name).await?;
            let outcome = self.unlink_part(name, decided, part).await;
            deleting.done().await;
            for (kind, digest) in outcome?.into_iter().flatten() {
                match kind {
                    Kind::Layer => gone.layers.push(digest),
                    Kind::Manifest => gone.manifests.push(digest),
                    Kind::Tag | Kind::TagIndex => {}
                }
            }
        }
        if !gone.manifests.is_empty() {
            self.storage.stamp_changed(Some(name)).await?;
        }
        Ok(gone)
    }

    /// What is gone.
    async fn unlink_part(
        &self,
        name: &RepositoryName,
        decided: &View,
        part: &[Taken],
    ) -> Result<Vec<Option<(Kind, Digest)>>, Error> {
        let each = part.iter().rev().filter_map(|line| Some((line, line.link(name)?)));
        let each: Vec<_> = each
            .map(|(line, link)| {
                let (kind, digest, decided) = (line.kind, line.digest, changed(decided, &link));
                async move { Ok::<_, Error>(self.unlink_one(&link, decided).await?.then_some((kind, digest))) }.boxed()
            })
            .collect();
        futures::stream::iter(each).buffered(AT_ONCE).try_collect().await
    }

    /// Whether the link is gone: it was there, and as it was `decided` of.
    async fn unlink_one(&self, link: &Link, decided: Option<SystemTime>) -> Result<bool, Error> {
        for _ in 0..LOOKS {
            self.pace.take(2).await;
            let looked = Stopwatch::start();
            let Some(written) = self.storage.link_changed(link).await?.filter(|written| Some(*written) == decided)
            else {
                return Ok(false);
            };
            if looked.elapsed() <= GOOD {
                return self.storage.link_delete_unchanged(link, written).await;
            }
        }
        Ok(false)
    }

    /// Lists the repository, and writes again what a manifest, or a tag, that came meanwhile needs.
    pub async fn look_again(&self, name: &RepositoryName) -> Result<(), GcError> {
        let taken = self.taken(name).await?;
        self.pace.take(1).await;
        let mut view = View::of(&self.storage, name).await?;
        self.healed(&mut view, &taken).await.map(drop)
    }

    /// Writes again what is needed and was taken, until nothing is missing: a manifest that comes back needs what it names.
    pub async fn healed(&self, view: &mut View, taken: &[Taken]) -> Result<(Aliases, Read, Reach), GcError> {
        let mut tags = true;
        loop {
            let (aliases, torn) = self.aliases(view).await?;
            let mut read = self.references(view, &aliases).await?;
            read.unreadable.extend(torn);
            let reach = self.reach(view, &read, &aliases).await?;
            if taken.is_empty() {
                return Ok((aliases, read, reach));
            }
            // Each round brings at least one manifest back, of those that were taken.
            let by_name = self.heal(view, &reach, taken).await?;
            let by_tag = tags && self.heal_tags(view, taken).await?;
            tags = false;
            if !by_name && !by_tag {
                return Ok((aliases, read, reach));
            }
        }
    }
}

/// When a link was written last.
fn changed(view: &View, link: &Link) -> Option<SystemTime> {
    match link {
        Link::Layer(_, digest) => view.layer(digest),
        Link::Revision(_, digest) => view.revision(digest),
        Link::TagIndex(_, tag, digest) => view.index(tag, digest),
        Link::Tag(..) => None,
    }
}
