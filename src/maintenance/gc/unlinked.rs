//! Blobs that no repository links, and since when: one file for each first byte of their digests.
//!
//! This decides nothing: whatever is written down here is looked at again, by `look`, before it is touched. What it must not do is to
//! make something older than it is: a time is taken after what it is the time of, and where something is found of which no time is
//! known, it begins now.

use std::collections::{BTreeMap, HashSet};
use std::time::SystemTime;

use futures::future::FutureExt as _;
use futures::stream::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use super::error::GcError;
use super::mark::Mark;
use super::pace::PAGE;
use super::report::{Heap, Step, Young};
use super::time::{Time, is_past};
use super::work::Work;
use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::storage::format::{self, Format};
use crate::storage::{Error, OwnKey, Precondition, Storage, StoredBlob, TrashedBlob, Version, layout};

/// Parts that are gone through at once.
const AT_ONCE: usize = 8;
/// Of one file, in bytes: some 300,000 blobs.
const LIMIT: u64 = 128 << 20;

/// A blob that no repository links, or that was moved to the trash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// Since when the bytes in its place are linked nowhere; `None`: there are none, or they are needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// What is in the trash of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<Copy>,
}

/// Bytes in the trash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// Which move it was.
    pub name: String,
    /// When it was done, or later.
    pub moved: Time,
    /// Since when the bytes were linked nowhere before; `None`: nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlinked: Option<Time>,
}

/// One part of all blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part(pub Algorithm, pub u8);

/// A part's entries, and the version of their file.
#[derive(Debug, Default)]
pub struct Entries {
    pub by_digest: BTreeMap<Digest, Entry>,
    version: Option<Version>,
}

#[derive(Serialize, Deserialize)]
struct File {
    blobs: Vec<Entry>,
}

impl Format for File {
    const WHAT: &'static str = "which blobs are linked nowhere";
    const VERSION: u32 = 1;
}

impl Entry {
    fn new(digest: Digest, size: u64) -> Self {
        Entry { digest, size, since: None, copies: Vec::new() }
    }

    /// Since when what is known of it waits, as far as anybody knows.
    pub fn oldest(&self) -> Option<Time> {
        let copies = self.copies.iter().map(|copy| copy.unlinked.unwrap_or(copy.moved));
        self.since.into_iter().chain(copies).min()
    }

    /// Nothing is known of it that matters.
    pub fn is_empty(&self) -> bool {
        self.since.is_none() && self.copies.is_empty()
    }
}

impl Part {
    fn key(self) -> OwnKey {
        OwnKey::Unlinked(self.0, self.1)
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Part> {
        [Algorithm::Sha256, Algorithm::Sha512]
            .into_iter()
            .flat_map(|algorithm| (0..=u8::MAX).map(move |first| Part(algorithm, first)))
    }

    /// Parts of which something is written down, in order.
    pub async fn written(storage: &Storage) -> Result<Vec<Part>, Error> {
        let mut parts = Vec::new();
        let mut files = storage.below(layout::UNLINKED, None);
        while let Some(file) = files.try_next().await? {
            parts.extend(Part::of_file(&file.name));
        }
        Ok(parts)
    }

    /// By the name of its file below `gc/unlinked`.
    fn of_file(name: &str) -> Option<Part> {
        let (algorithm, first) = name.split_once('/')?;
        Some(Part(algorithm.parse().ok()?, u8::from_str_radix(first, 16).ok()?))
    }

    /// That a digest is in.
    pub fn of(digest: &Digest) -> Part {
        Part(digest.algorithm(), digest.hash().first().copied().unwrap_or_default())
    }
}

impl Entries {
    /// A damaged file counts as none: what is in it begins anew.
    pub async fn read(storage: &Storage, part: Part) -> Result<Self, Error> {
        let Some((bytes, version)) = storage.own(&part.key(), LIMIT).await? else { return Ok(Entries::default()) };
        let file = match format::read::<File>(&bytes) {
            Err(Error::Damaged(why)) => {
                tracing::warn!(why, "which blobs are linked nowhere is found out anew");
                File { blobs: Vec::new() }
            }
            other => other?,
        };
        let by_digest = file.blobs.into_iter().map(|entry| (entry.digest, entry)).collect();
        Ok(Entries { by_digest, version: Some(version) })
    }

    /// Unless another collection has written its own meanwhile: then this one is not alone.
    pub async fn write(&mut self, storage: &Storage, part: Part) -> Result<(), GcError> {
        self.by_digest.retain(|_, entry| !entry.is_empty());
        if self.by_digest.is_empty() {
            if self.version.take().is_some() {
                storage.own_delete(&part.key()).await?;
            }
            return Ok(());
        }
        let file = File { blobs: self.by_digest.values().cloned().collect() };
        let precondition = self.version.take().map_or(Precondition::Absent, Precondition::Unchanged);
        match storage.own_put(&part.key(), format::write(&file)?.into(), precondition).await {
            Ok(version) => {
                self.version = Some(version);
                Ok(())
            }
            Err(Error::Conflict) => Err(GcError::Overtaken),
            Err(error) => Err(error.into()),
        }
    }
}

/// Which parts have anything at all, so that hundreds of lists of nothing are not asked for.
#[derive(Default)]
struct There {
    blobs: HashSet<Part>,
    trash: HashSet<Part>,
    written: HashSet<Part>,
}

/// What was found in a part.
struct Found {
    entries: Entries,
    changed: bool,
    unlinked: Heap,
    trash: Heap,
    /// In the trash, and needed.
    needed: Vec<Digest>,
}

impl Work<'_> {
    /// Goes through all blobs, and writes down which ones are linked nowhere.
    pub async fn unlinked(&self, mark: &Mark) -> Result<(), GcError> {
        let there = self.there().await?;
        let from = self.kept.state.lock().shard;
        if from == 0 {
            let mut state = self.kept.state.lock();
            (state.counts.unlinked, state.counts.unlinked_bytes) = (0, 0);
            (state.counts.trash, state.counts.trash_bytes) = (0, 0);
        }
        let attributed: BTreeMap<Digest, &RepositoryName> =
            mark.condemned.iter().map(|(digest, name)| (*digest, name)).collect();
        let parts: Vec<Part> = Part::all().collect();
        let of = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let waiting = futures::stream::iter(parts.into_iter().skip(from as usize)).then(|part| async move {
            self.go_on().await?;
            Ok::<_, GcError>(part)
        });
        let (there, attributed) = (&there, &attributed);
        let mut done =
            waiting.boxed().map_ok(|part| self.part(part, mark, there, attributed).boxed()).try_buffered(AT_ONCE);
        while let Some((unlinked, trash)) = done.try_next().await? {
            let shard = {
                let mut state = self.kept.state.lock();
                state.counts.unlinked += unlinked.blobs;
                state.counts.unlinked_bytes += unlinked.bytes;
                state.counts.trash += trash.blobs;
                state.counts.trash_bytes += trash.bytes;
                state.shard += 1;
                state.shard
            };
            self.step(&Step::Shard { done: shard, of });
        }
        self.save().await
    }

    async fn there(&self) -> Result<There, Error> {
        let mut there = There::default();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            self.pace.take(2).await;
            let parts = |folders: Vec<String>| {
                folders.into_iter().filter_map(move |name| Some(Part(algorithm, u8::from_str_radix(&name, 16).ok()?)))
            };
            let store = self.storage.store();
            there.blobs.extend(parts(store.list(&layout::blobs_folder(algorithm)).await?.folders));
            there.trash.extend(parts(store.list(&layout::trash_of_all(algorithm)).await?.folders));
        }
        there.written = self.parts_written().await?.into_iter().collect();
        Ok(there)
    }

    /// Parts of which something is written down, in order.
    pub async fn parts_written(&self) -> Result<Vec<Part>, Error> {
        self.pace.take(1).await;
        Part::written(&self.storage).await
    }

    /// One part: what of it is unlinked, what is in the trash.
    async fn part(
        &self,
        part: Part,
        mark: &Mark,
        there: &There,
        attributed: &BTreeMap<Digest, &RepositoryName>,
    ) -> Result<(Heap, Heap), GcError> {
        let (has_file, has_blobs) = (there.written.contains(&part), there.blobs.contains(&part));
        let has_trash = there.trash.contains(&part);
        if !has_file && !has_blobs && !has_trash {
            return Ok((Heap::default(), Heap::default()));
        }
        let before = match has_file {
            true => {
                self.pace.take(1).await;
                Entries::read(&self.storage, part).await?
            }
            false => Entries::default(),
        };
        let mut found = self.found((part, before), mark, attributed, (has_blobs, has_trash)).await?;
        self.attribute(&found.entries, attributed);
        if self.order.dry {
            self.tell_eligible(&found.entries);
            return Ok((found.unlinked, found.trash));
        }
        self.bring_needed_back(&mut found).await?;
        if found.changed {
            self.pace.take(1).await;
            found.entries.write(&self.storage, part).await?;
        }
        Ok((found.unlinked, found.trash))
    }

    /// What is needed does not wait for the look; and what is in the trash of it is not deleted with what is looked at now, because
    /// it may be named only, by a manifest that was there already when it was marked.
    async fn bring_needed_back(&self, found: &mut Found) -> Result<(), GcError> {
        let mut rescued = Vec::new();
        for digest in &found.needed {
            self.pace.take(2).await;
            if self.storage.blob_size(digest).await?.is_none() && self.rescue(digest).await? {
                rescued.push(*digest);
            }
        }
        self.needed_in_trash.lock().extend(found.needed.iter().copied());
        if rescued.is_empty() {
            return Ok(());
        }
        // A deletion of its place may be under way yet: what is in the trash stays there for a `grace` from now on.
        let now = Time::of(self.now().await?);
        for digest in rescued {
            if let Some(entry) = found.entries.by_digest.get_mut(&digest) {
                entry.copies.iter_mut().for_each(|copy| copy.moved = now);
            }
        }
        found.changed = true;
        Ok(())
    }

    /// What there is now, with the times that are known of it.
    async fn found(
        &self,
        (part, before): (Part, Entries),
        mark: &Mark,
        attributed: &BTreeMap<Digest, &RepositoryName>,
        (has_blobs, has_trash): (bool, bool),
    ) -> Result<Found, GcError> {
        let Part(algorithm, first) = part;
        let mut after: BTreeMap<Digest, Entry> = BTreeMap::new();
        let (mut unlinked, mut trash, mut needed) = (Heap::default(), Heap::default(), Vec::new());
        // What is new, and of which it has to be said since when.
        let (mut begins, mut moved) = (Vec::new(), Vec::new());
        if has_blobs {
            let mut blobs = self.storage.blobs(algorithm, first);
            let mut listed = 0_u64;
            while let Some(blob) = blobs.try_next().await? {
                self.listed(&mut listed).await;
                if let Some(count) = &mut *self.count.lock() {
                    count.sized(&blob.digest, blob.size);
                }
                self.mind_young(&blob, mark);
                if self.is_unlinked(&blob, mark) {
                    unlinked.add(blob.size);
                    // What was linked again in between, and has just been condemned again, waits from now on.
                    let known = before.by_digest.get(&blob.digest).filter(|_| !attributed.contains_key(&blob.digest));
                    let since = known.and_then(|entry| entry.since);
                    begins.extend(since.is_none().then_some(blob.digest));
                    after.entry(blob.digest).or_insert_with(|| Entry::new(blob.digest, blob.size)).since = since;
                }
            }
        }
        if has_trash {
            let mut copies = self.storage.trash(algorithm, first);
            let mut listed = 0_u64;
            while let Some(copy) = copies.try_next().await? {
                self.listed(&mut listed).await;
                trash.add(copy.size);
                if mark.marks.contains(&copy.digest) {
                    needed.push(copy.digest);
                }
                let entry = after.entry(copy.digest).or_insert_with(|| Entry::new(copy.digest, copy.size));
                let known = before.by_digest.get(&copy.digest);
                match known.and_then(|known| known.copies.iter().find(|other| other.name == copy.name)) {
                    Some(known) => entry.copies.push(known.clone()),
                    None => moved.push(copy),
                }
            }
        }
        needed.dedup();
        if !begins.is_empty() || !moved.is_empty() {
            // It is so since now: after it was listed, and after the links were.
            let now = if self.order.dry { self.begun } else { self.now().await? };
            begun(&mut after, &begins, moved, Time::of(now));
        }
        let changed = after != before.by_digest;
        let entries = Entries { by_digest: after, version: before.version };
        Ok(Found { entries, changed, unlinked, trash, needed })
    }

    /// Nothing needs it, and it is no part of a push that has not come to its link yet.
    fn is_unlinked(&self, blob: &StoredBlob, mark: &Mark) -> bool {
        !mark.marks.contains(&blob.digest) && is_past(blob.changed, self.grace(), self.begun)
    }

    fn mind_young(&self, blob: &StoredBlob, mark: &Mark) {
        if self.order.young && !mark.marks.contains(&blob.digest) && !is_past(blob.changed, self.grace(), self.begun) {
            let young = Young { blobs: 1, ..self.young_since(blob.changed) };
            self.kept.state.lock().counts.young.get_or_insert_default().add(young);
        }
    }

    async fn listed(&self, count: &mut u64) {
        if count.is_multiple_of(PAGE) {
            self.pace.take(1).await;
        }
        *count += 1;
    }

    /// What goes from which repository.
    fn attribute(&self, entries: &Entries, attributed: &BTreeMap<Digest, &RepositoryName>) {
        for entry in entries.by_digest.values().filter(|entry| entry.since.is_some()) {
            if let Some(name) = attributed.get(&entry.digest) {
                let mut state = self.kept.state.lock();
                if let Some(from) = state.repositories.iter_mut().find(|from| from.repository == name.as_str()) {
                    from.bytes += entry.size;
                }
            }
        }
    }

    /// What this run would move or delete.
    fn tell_eligible(&self, entries: &Entries) {
        let at_once = self.at_once();
        for entry in entries.by_digest.values() {
            let (place, copies) = self.is_due(entry, self.begun);
            if !place && copies == 0 {
                continue;
            }
            {
                let counts = &mut self.kept.state.lock().counts;
                if place && !at_once {
                    counts.moved += 1;
                    counts.moved_bytes += entry.size;
                } else {
                    counts.deleted += 1;
                    counts.freed_bytes += entry.size;
                }
            }
            self.step(&Step::Eligible { digest: entry.digest, size: entry.size });
        }
    }

    /// Whether the bytes in place are due, and how many copies in the trash are.
    pub fn is_due(&self, entry: &Entry, now: SystemTime) -> (bool, usize) {
        let place = entry.since.is_some_and(|since| self.order.now || since.is_past(self.config.reap_after.0, now));
        let is_due = |copy: &&Copy| copy.moved.is_past(self.grace(), now);
        (place, entry.copies.iter().filter(is_due).count())
    }

    /// Brings bytes back that somebody needs. False if they are nowhere.
    pub async fn rescue(&self, digest: &Digest) -> Result<bool, GcError> {
        self.pace.take(2).await;
        if self.storage.blob_rescue(digest).await?.is_none() {
            self.tools.metrics.lost.inc();
            self.kept.state.lock().counts.lost += 1;
            tracing::error!(%digest, "content is needed and nowhere to be found: `entrepot verify` may repair it");
            return Ok(false);
        }
        self.kept.state.lock().counts.rescued += 1;
        self.tools.metrics.rescued.inc();
        tracing::warn!(%digest, "bytes in the trash are needed: they are back in their place");
        self.step(&Step::Rescued { digest: *digest });
        Ok(true)
    }
}

fn begun(entries: &mut BTreeMap<Digest, Entry>, begins: &[Digest], moved: Vec<TrashedBlob>, now: Time) {
    for digest in begins {
        if let Some(entry) = entries.get_mut(digest) {
            entry.since = Some(now);
        }
    }
    for copy in moved {
        if let Some(entry) = entries.get_mut(&copy.digest) {
            entry.copies.push(Copy { name: copy.name, moved: now, unlinked: None });
        }
    }
}
