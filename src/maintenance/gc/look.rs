//! The look before anything of a blob is touched: does anybody link it, or name it, at this moment?
//!
//! Its time is when it begins: whoever writes a link before that is seen; who does so later is not certain to be. That is enough:
//!
//! - *Before bytes are moved*: who links them after the look finds them in the trash, or is found by the next look, because they stay
//!   there for `grace`.
//! - *Before a copy in the trash is deleted*: it was moved longer than `grace` before the look. Who links the blob after the look
//!   checked it after the move, and saw nothing in its place (so he has pushed it, or brought it back), or he has slept for longer than
//!   `grace` between his check and his link: ours check again then, and a request of another program does not last so long.
//!
//! All links are walked over, of whatever age, and of each repository that is not as it was when it was marked, all that its manifests
//! name: also through manifests that are named and have no link of their own any more.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use futures::future::FutureExt as _;
use futures::stream::TryStreamExt as _;

use super::error::GcError;
use super::report::Step;
use super::time::Stopwatch;
use super::unlinked::{Entries, Entry, Part};
use super::view::View;
use super::work::Work;
use crate::maintenance::journal::{Kind, Taken};
use crate::oci::Digest;

/// Repositories that are looked at at once.
const AT_ONCE: usize = 8;
/// Blobs that one look is taken for; for more, further ones.
const MOST: usize = 250_000;

/// What a look is about.
#[derive(Debug, Default)]
pub struct Due {
    /// Sorted.
    digests: Vec<Digest>,
    /// When it was found to be due: the look begins then.
    pub at: Option<SystemTime>,
}

/// What a look found to be needed.
#[derive(Debug)]
pub struct Seen {
    pub hits: HashSet<Digest>,
    /// Since the look began.
    pub age: Stopwatch,
}

impl Due {
    pub fn new(mut digests: Vec<Digest>) -> Self {
        digests.sort_unstable();
        digests.dedup();
        Due { digests, at: None }
    }

    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    pub fn len(&self) -> usize {
        self.digests.len()
    }

    pub fn has(&self, digest: &Digest) -> bool {
        self.digests.binary_search(digest).is_ok()
    }

    /// By part, in order.
    pub fn parts(&self) -> Vec<(Part, &[Digest])> {
        let parts = self.digests.chunk_by(|one, other| Part::of(one) == Part::of(other));
        parts.filter_map(|part| Some((Part::of(part.first()?), part))).collect()
    }
}

impl Seen {
    /// Whether it is too old to be believed: another collection may have gone through a `grace` before long.
    pub fn is_stale(&self, work: &Work<'_>) -> bool {
        self.age.elapsed() > work.config.look_lasts()
    }
}

impl Work<'_> {
    /// What is due now, as far as it is written down; not all of it, if it is very much.
    pub async fn due(&self) -> Result<Due, GcError> {
        let at = self.now().await?;
        let (mut digests, mut oldest) = (Vec::new(), None);
        for part in self.parts_written().await? {
            if digests.len() >= MOST {
                break;
            }
            self.go_on().await?;
            self.pace.take(1).await;
            let entries = Entries::read(&self.storage, part).await?;
            oldest = oldest.into_iter().chain(entries.by_digest.values().filter_map(Entry::oldest)).min();
            let due = entries.by_digest.values().filter(|entry| {
                let (place, copies) = self.is_due(entry, at);
                place || copies > 0
            });
            digests.extend(due.map(|entry| entry.digest));
        }
        *self.waits_since.lock() = oldest;
        Ok(Due { at: Some(at), ..Due::new(digests) })
    }

    /// Who needs what is due.
    pub async fn look(&self, due: &Due) -> Result<Seen, GcError> {
        let age = Stopwatch::start();
        let mut hits: HashSet<Digest> = {
            let needed = self.needed_in_trash.lock();
            needed.iter().filter(|digest| due.has(digest)).copied().collect()
        };
        let mut repositories = 0;
        let mut looked = self.views(None).map_ok(|view| self.look_at(view, due).boxed()).try_buffered(AT_ONCE);
        while let Some(found) = looked.try_next().await? {
            hits.extend(found);
            repositories += 1;
            self.step(&Step::Looking { repositories, due: due.len() as u64 });
        }
        Ok(Seen { hits, age })
    }

    /// What of it a repository needs.
    async fn look_at(&self, mut view: View, due: &Due) -> Result<Vec<Digest>, GcError> {
        // It may have come since the mark, or since a run that was cut off.
        self.sees_others(&view);
        let mut hits = linked(&view, due);
        if self.prints.is_as_it_was(&view) {
            return Ok(hits);
        }
        let taken = self.taken(&view.name).await?;
        // What is named and was condemned gets its link back; what comes of that is in the view then.
        let (aliases, read, reach) = self.healed(&mut view, &taken).await?;
        hits.extend(linked(&view, due));
        hits.extend(aliases.values().filter(|digest| due.has(digest)));
        hits.extend(reach.named.iter().filter(|digest| due.has(digest)));
        // Where not all manifests stay, some are condemned by the next run; until then they count.
        let named = view.revisions.iter().filter_map(|(digest, _)| read.references.get(digest));
        hits.extend(named.flat_map(|refers| &refers.names).filter(|digest| due.has(digest)));
        hits.extend(self.through(&view, &reach.named, &taken).await?.into_iter().filter(|digest| due.has(digest)));
        if !read.unreadable.is_empty() {
            // It may need whatever the repository held.
            hits.extend(taken.iter().map(|line| line.target).filter(|digest| due.has(digest)));
        }
        Ok(hits)
    }

    /// What manifests name that are named themselves, and whose links were taken away and could not be written again.
    async fn through(&self, view: &View, named: &HashSet<Digest>, taken: &[Taken]) -> Result<Vec<Digest>, GcError> {
        let manifests =
            taken.iter().filter(|line| line.kind == Kind::Manifest && view.revision(&line.digest).is_none());
        let unlinked: HashMap<Digest, Digest> = manifests.map(|line| (line.digest, line.target)).collect();
        let mut found = Vec::new();
        let mut known: HashSet<Digest> = HashSet::new();
        let mut waiting: Vec<Digest> = named.iter().filter(|digest| unlinked.contains_key(digest)).copied().collect();
        while let Some(digest) = waiting.pop() {
            let Some(target) = unlinked.get(&digest).filter(|_| known.insert(digest)) else { continue };
            found.push(*target);
            let names = self.refers(target).await?.map(|refers| refers.names).unwrap_or_default();
            found.extend(&names);
            waiting.extend(names.into_iter().filter(|digest| unlinked.contains_key(digest)));
        }
        Ok(found)
    }
}

/// What of it is linked.
fn linked(view: &View, due: &Due) -> Vec<Digest> {
    let linked = view.layers.iter().chain(&view.revisions).map(|(digest, _)| *digest);
    linked.filter(|digest| due.has(digest)).collect()
}
