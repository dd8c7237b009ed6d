//! What was taken away is brought back by its journal: bytes first, then links, then tags, as in a push.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use futures::stream::TryStreamExt as _;

use super::error::GcError;
use super::report::{MAX_TOLD, MovedTag, Restored, Step, Tell, Undelete};
use super::whole::Whole;
use super::work::Tools;
use crate::maintenance::journal::{self, Kept, Kind, Taken};
use crate::maintenance::restored::Recording;
use crate::oci::manifest::MAX_MANIFEST;
use crate::oci::manifest::named::named;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::storage::{Error, Link, Storage};

pub async fn undelete(tools: &Tools, what: &Undelete, tell: &dyn Tell) -> Result<Restored, GcError> {
    let mut by_repository: BTreeMap<RepositoryName, Vec<Kept>> = BTreeMap::new();
    let mut all = journal::all(&tools.storage);
    while let Some(kept) = all.try_next().await? {
        by_repository.entry(kept.repository.clone()).or_default().push(kept);
    }
    let is_meant = |name: &RepositoryName, journals: &[Kept]| match what {
        Undelete::Run(run) => journals.iter().any(|kept| kept.run == *run),
        Undelete::Repository(meant) => name == meant,
        Undelete::Digest(_) => true,
    };
    by_repository.retain(|name, journals| is_meant(name, journals));
    let mut restored = Restored::default();
    let mut found = false;
    for (name, mut journals) in by_repository {
        // What was taken last is what was there last.
        journals.sort_by_key(|kept| std::cmp::Reverse(kept.changed));
        let lines = wanted(&tools.storage, &name, &journals, what).await?;
        if !lines.is_empty() {
            found = true;
            let before = links(&restored);
            restore(tools, &name, lines, &mut restored).await?;
            let links = links(&restored) - before;
            if links > 0 {
                tell.step(&Step::Restored { repository: name, links });
            }
        }
    }
    if found { Ok(restored) } else { Err(GcError::Unknown(unknown(what))) }
}

fn links(restored: &Restored) -> u64 {
    restored.blobs + restored.manifests + restored.tags
}

/// What is to come back of a repository. What was taken by a run may need what later runs have taken: an image that was removed has
/// lost its layers to the next collection.
async fn wanted(
    storage: &Storage,
    name: &RepositoryName,
    journals: &[Kept],
    what: &Undelete,
) -> Result<Vec<Taken>, Error> {
    let all = lines(storage, name, journals).await?;
    let (begin, own): (Vec<Digest>, Option<Vec<Taken>>) = match what {
        Undelete::Repository(_) => return Ok(all),
        Undelete::Digest(digest) if !all.iter().any(|line| line.digest == *digest) => return Ok(Vec::new()),
        Undelete::Digest(digest) => (vec![*digest], None),
        Undelete::Run(run) => {
            let own: Vec<Kept> = journals.iter().filter(|kept| kept.run == *run).cloned().collect();
            let own = lines(storage, name, &own).await?;
            (own.iter().map(|line| line.digest).collect(), Some(own))
        }
    };
    let needed = needed(storage, &all, &begin).await?;
    // Tags only as they were asked for.
    let is_own = |line: &Taken| match &own {
        Some(own) => {
            own.iter().any(|other| (other.kind, &other.tag, other.digest) == (line.kind, &line.tag, line.digest))
        }
        None => begin.contains(&line.digest),
    };
    let comes = |line: &Taken| needed.contains(&line.digest) && (line.kind != Kind::Tag || is_own(line));
    let mut lines: Vec<Taken> = all.into_iter().filter(comes).collect();
    // A tag that was moved and removed again since is in two journals, of which the run's own counts.
    let known: HashSet<_> = lines.iter().map(|line| (line.kind, line.tag.clone(), line.digest)).collect();
    lines.extend(own.into_iter().flatten().filter(|line| !known.contains(&(line.kind, line.tag.clone(), line.digest))));
    lines.sort_by_key(|line| line.kind);
    Ok(lines)
}

fn unknown(what: &Undelete) -> String {
    let what = match what {
        Undelete::Run(run) => format!("no run is called {run}, or it took nothing away"),
        Undelete::Repository(name) => format!("nothing was taken of {name}"),
        Undelete::Digest(digest) => format!("nothing was taken of {digest} in any repository"),
    };
    format!("{what}, as far as anybody remembers: journals are kept for [gc] reap_after and twice its grace")
}

/// Of each link, what the last journal says.
async fn lines(storage: &Storage, name: &RepositoryName, journals: &[Kept]) -> Result<Vec<Taken>, Error> {
    let (mut lines, mut known) = (Vec::new(), HashSet::new());
    for kept in journals {
        for line in journal::read(storage, &kept.run, name).await?.unwrap_or_default() {
            // A tag led to one digest last.
            let digest = if line.kind == Kind::Tag { None } else { Some(line.digest) };
            if known.insert((line.kind, line.tag.clone(), digest)) {
                lines.push(line);
            }
        }
    }
    lines.sort_by_key(|line| line.kind);
    Ok(lines)
}

/// These digests, and all that they name, as far as it was taken.
async fn needed(storage: &Storage, lines: &[Taken], begin: &[Digest]) -> Result<HashSet<Digest>, Error> {
    let manifests: HashMap<Digest, &Taken> =
        lines.iter().filter(|line| line.kind == Kind::Manifest).map(|line| (line.digest, line)).collect();
    let (mut needed, mut waiting) = (HashSet::new(), begin.to_vec());
    while let Some(digest) = waiting.pop() {
        if !needed.insert(digest) {
            continue;
        }
        // One that still is where it was is read there.
        let target = manifests.get(&digest).map_or(digest, |line| line.target);
        let bytes = match manifests.get(&digest).and_then(|line| line.manifest.clone()) {
            Some(bytes) => Some(bytes),
            None => small(storage, &target).await?,
        };
        waiting.extend(bytes.and_then(|bytes| named(&bytes)).map(|named| named.digests).unwrap_or_default());
    }
    Ok(needed)
}

/// What can be a manifest.
async fn small(storage: &Storage, digest: &Digest) -> Result<Option<Bytes>, Error> {
    match storage.blob_rescue(digest).await? {
        Some(size) if size <= MAX_MANIFEST as u64 => storage.blob_bytes(digest, MAX_MANIFEST as u64).await,
        _ => Ok(None),
    }
}

async fn restore(
    tools: &Tools,
    name: &RepositoryName,
    mut lines: Vec<Taken>,
    restored: &mut Restored,
) -> Result<(), GcError> {
    let storage = &tools.storage;
    let mut whole = Whole::of(storage, &lines).await?;
    // What is named before what names it: whoever is told that a manifest is there believes that of all below it.
    lines.sort_by_key(|line| (line.kind, whole.place(&line.digest)));
    let led = |line: &Taken| Some((line.tag.clone().filter(|_| line.kind == Kind::Tag)?, line.target));
    let mut tags = Tags { led: lines.iter().filter_map(led).collect(), known: HashMap::new() };
    let (mut gone_tags, mut changed) = (BTreeSet::new(), false);
    let (lines, mut tag_lines): (Vec<Taken>, Vec<Taken>) = lines.into_iter().partition(|line| line.kind != Kind::Tag);
    for line in lines {
        let Some(link) = line.link(name) else { continue };
        let comes = match line.kind {
            Kind::Layer | Kind::Manifest => whole.comes(&line) && bring_back(storage, &line, restored).await?,
            Kind::TagIndex => !whole.is_gone(&line.digest) && tags.will_be(storage, (name, &line), &whole).await?,
            Kind::Tag => false, // these come last
        };
        match (comes, line.kind) {
            // One that is of no use is not gone.
            (false, Kind::Layer | Kind::Manifest) if whole.comes(&line) => whole.fails(line.digest),
            (false, _) => {}
            (true, kind) => {
                changed |= write(storage, (name, &line), &link, restored).await?;
                // As whoever writes links: a collection may have moved the bytes meanwhile, or deleted them.
                if matches!(kind, Kind::Layer | Kind::Manifest) && !bring_back(storage, &line, restored).await? {
                    whole.fails(line.digest);
                }
            }
        }
    }
    // Also where a manifest is linked yet that lacks its layers.
    tag_lines.retain(|line| !whole.is_gone(&line.digest));
    changed |= restore_tags(storage, name, tag_lines, restored, &mut gone_tags).await?;
    if changed {
        storage.stamp_changed(Some(name)).await?;
        storage.stamp_changed(None).await?;
        restored.repositories.push(name.to_string());
    }
    let mut gone = whole.into_gone();
    gone.append(&mut gone_tags);
    restored.gone.extend(gone.into_iter().take(MAX_TOLD.saturating_sub(restored.gone.len())));
    Ok(())
}

/// When they were pushed is written down before: to retention they would be the newest ones otherwise.
async fn restore_tags(
    storage: &Storage,
    name: &RepositoryName,
    lines: Vec<Taken>,
    restored: &mut Restored,
    gone: &mut BTreeSet<Digest>,
) -> Result<bool, Error> {
    let (mut coming, mut changed) = (Vec::with_capacity(lines.len()), false);
    for line in lines {
        // Links to manifests come before: who deleted this one has left no journal, and a tag to nothing is worse than none.
        if storage.link_exists(&Link::Revision(name.clone(), line.target)).await? {
            coming.push(line);
        } else {
            gone.insert(line.digest);
        }
    }
    let mut recording = Recording::begin(storage, name, &coming).await?;
    for (place, line) in coming.iter().enumerate() {
        let Some(link) = line.link(name) else { continue };
        recording.keep_up(place).await?;
        changed |= write(storage, (name, line), &link, restored).await?;
    }
    recording.keep_up(coming.len()).await?;
    Ok(changed)
}

/// Tags that come back, for the sake of what they have led to: other programs list a tag that has nothing but that.
struct Tags {
    led: HashMap<Tag, Digest>,
    known: HashMap<Tag, bool>,
}

impl Tags {
    /// Whether the tag of a line is there, or comes back.
    async fn will_be(
        &mut self,
        storage: &Storage,
        (name, line): (&RepositoryName, &Taken),
        whole: &Whole,
    ) -> Result<bool, Error> {
        let Some(tag) = &line.tag else { return Ok(false) };
        if let Some(known) = self.known.get(tag) {
            return Ok(*known);
        }
        let will_be = storage.link_exists(&Link::Tag(name.clone(), tag.clone())).await?
            || match self.led.get(tag) {
                Some(target) if !whole.is_gone(target) => {
                    storage.link_exists(&Link::Revision(name.clone(), *target)).await?
                }
                _ => false,
            };
        self.known.insert(tag.clone(), will_be);
        Ok(will_be)
    }
}

/// Whether the bytes are somewhere: in their place, in the trash, or in the journal.
pub(super) async fn has_bytes(storage: &Storage, line: &Taken) -> Result<bool, Error> {
    Ok(is_written(line)
        || storage.blob_size(&line.target).await?.is_some()
        || storage.trashed(&line.target).await?.is_some())
}

/// What a manifest says; of a large one, or where it is nowhere, nothing.
pub(super) async fn bytes_of(storage: &Storage, line: &Taken) -> Result<Option<Bytes>, Error> {
    match &line.manifest {
        Some(bytes) => Ok(Some(bytes.clone())),
        None => small(storage, &line.target).await,
    }
}

/// Whether the journal has the bytes.
fn is_written(line: &Taken) -> bool {
    line.manifest.as_ref().is_some_and(|bytes| Digest::of(line.target.algorithm(), bytes) == line.target)
}

/// Whether the bytes are in their place now.
async fn bring_back(storage: &Storage, line: &Taken, restored: &mut Restored) -> Result<bool, Error> {
    if storage.blob_size(&line.target).await?.is_some() {
        return Ok(true);
    }
    if let Some(size) = storage.blob_rescue(&line.target).await? {
        restored.rescued_bytes += size;
        return Ok(true);
    }
    let Some(bytes) = line.manifest.as_ref().filter(|_| is_written(line)) else { return Ok(false) };
    storage.blob_put(&line.target, bytes.clone()).await.map(|()| true)
}

/// Whether something is there that was not.
async fn write(
    storage: &Storage,
    (name, line): (&RepositoryName, &Taken),
    link: &Link,
    restored: &mut Restored,
) -> Result<bool, Error> {
    if line.kind != Kind::Tag {
        let there = storage.link_exists(link).await?;
        // Written again even if it is there: as a push does, so that it counts as young from now on.
        storage.link_put(link, &line.target).await?;
        match line.kind {
            Kind::Layer if !there => restored.blobs += 1,
            Kind::Manifest if !there => restored.manifests += 1,
            _ => {}
        }
        return Ok(!there);
    }
    // A tag that was set since then stays: somebody wanted that.
    if storage.link_create(link, &line.target).await? {
        restored.tags += 1;
        return Ok(true);
    }
    let leads = match storage.link(link).await {
        Err(Error::Damaged(_)) => None,
        other => other?,
    };
    if leads != Some(line.digest)
        && let Some(tag) = line.tag.clone().filter(|_| restored.moved_tags.len() < MAX_TOLD)
    {
        restored.moved_tags.push(MovedTag { repository: name.to_string(), tag, was: line.digest });
    }
    Ok(false)
}
