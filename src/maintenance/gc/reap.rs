//! Bytes that nobody needs: first to the trash, then, a `grace` later, for good.
//!
//! # Why nothing is lost
//! A blob's bytes are deleted for good only as a copy in the trash that was moved there longer than `grace` before the look that found
//! nobody who needs it, or whose bytes are in their place all the same. Each move has a copy of its own.
//!
//! - *A writer that sleeps between its check and its link* links before the look, and is seen; or after it, and then its check was
//!   after the move, or its sleep longer than `grace`.
//! - *A collection that sleeps between its look and its move* moves what somebody has linked meanwhile. The copy is there for a `grace`
//!   from the move on, because the time of the move is taken after it; reads, pushes and the next look bring it back. A look that is
//!   older than a quarter of `grace` is not believed, and taken again.
//! - *Two collections* do the same twice. What one deletes was moved long ago by its own name; what the other has just moved has
//!   another.
//! - *A DELETE that is carried out after its time-out* takes bytes from their place that were brought back meanwhile: so what was
//!   brought back just now keeps its copy for another `grace`.
//! - *The epoch is lost, or minded by nobody*: nothing above asks for it. It makes pushes of ours look again at once, instead of by the
//!   next look.
//! - *A run dies* between a move and what it writes down of it: the copy is found by the next run, and its `grace` begins then.
//!
//! With `now` there is no `grace` for the copies of this run. Instead: the epoch becomes even after the move, so that whoever wrote
//! before that sees that something happened; then it is looked once more; and only then what nobody needs is deleted. That holds for
//! writers that mind the epoch, and for all whose requests end within the time of a look; a move that had no clear answer leaves its
//! copy for a `grace`. One that stalled before that, so that another has begun, deletes nothing: it looks at its lease first. It does not
//! hold for who believes for days what it saw once, as distribution's cache of blob descriptors does: for such a one there is
//! [`Trash`](super::Trash), with which the copies of a run with `now` have their `grace` as well.

use std::time::SystemTime;

use futures::future::FutureExt as _;
use futures::stream::StreamExt as _;

use super::error::GcError;
use super::look::{Due, Seen};
use super::report::Step;
use super::time::Time;
use super::unlinked::{Copy, Entries, Entry, Part};
use super::work::Work;
use crate::oci::Digest;

/// Parts that are gone through at once.
const AT_ONCE: usize = 8;
/// After so many blobs it is written down what became of them.
const BATCH: usize = 200;
/// Looks that were too slow to be believed, one after the other.
const SLOW: usize = 3;

/// Copies in the trash whose time begins now, because they were moved, or needed, just now; and since when their bytes had been linked
/// nowhere, of those that were moved.
#[derive(Default)]
struct Begins(Vec<(Digest, String, Option<Time>)>);

/// What was moved, and the name of the copy.
struct Moved {
    digest: Digest,
    name: String,
}

/// What became of a round.
#[derive(Default)]
struct Round {
    moved: Vec<Moved>,
    /// Blobs that were gone through.
    done: usize,
}

impl Work<'_> {
    /// Looks at what is due, and moves or deletes what nobody needs, until nothing is due.
    pub async fn reap(&self) -> Result<(), GcError> {
        let mut slow = 0;
        loop {
            let due = self.due().await?;
            let Some(at) = due.at.filter(|_| !due.is_empty()) else { return Ok(()) };
            let round = self.round(&due, at).await?;
            slow = if round.done == 0 { slow + 1 } else { 0 };
            if !round.moved.is_empty() {
                self.after_the_move(round.moved).await?;
            }
            self.save().await?;
            if slow == SLOW {
                return Err(GcError::Slow);
            }
        }
    }

    /// One look, and what follows from it, while the epoch is odd.
    async fn round(&self, due: &Due, at: SystemTime) -> Result<Round, GcError> {
        let moving = self.moving().await?;
        let outcome = self.look_and_move(due, at).await;
        drop(moving);
        // Also after a failure, so that pushes need not look twice until the next run.
        let still = self.still().await;
        let round = outcome?;
        still?;
        Ok(round)
    }

    async fn look_and_move(&self, due: &Due, at: SystemTime) -> Result<Round, GcError> {
        let seen = self.look(due).await?;
        if self.order.now && !self.at_once() {
            self.tell.stays_in_trash();
        }
        // No closure: of one that takes a borrowed part the compiler cannot tell whether it may change threads.
        let mut parts = Vec::new();
        for part in due.parts() {
            parts.push(self.part_of_due(part, at, &seen).boxed());
        }
        let mut parts = futures::stream::iter(parts).buffer_unordered(AT_ONCE);
        let (mut round, mut outcome) = (Round::default(), Ok(()));
        // Also when one has failed, the others come to where they write down what they did.
        while let Some(part) = parts.next().await {
            match part {
                Ok(part) => {
                    round.moved.extend(part.moved);
                    round.done += part.done;
                }
                Err(error) => outcome = Err(error),
            }
        }
        if round.done < due.len() && outcome.is_ok() {
            tracing::info!("a look took too long to be believed: what is left is looked at again");
        }
        outcome.map(|()| round)
    }

    async fn part_of_due(
        &self,
        (part, digests): (Part, &[Digest]),
        at: SystemTime,
        seen: &Seen,
    ) -> Result<Round, GcError> {
        let mut round = Round::default();
        for some in digests.chunks(BATCH) {
            let done = self.some_of_part((part, some), at, seen, &mut round.moved).await?;
            round.done += done;
            if done < some.len() {
                break;
            }
        }
        Ok(round)
    }

    /// Does what follows from the look, and writes it down, also if it fails in between. How many were gone through: the rest has to be
    /// looked at again.
    async fn some_of_part(
        &self,
        (part, digests): (Part, &[Digest]),
        at: SystemTime,
        seen: &Seen,
        moved: &mut Vec<Moved>,
    ) -> Result<usize, GcError> {
        self.pace.take(2).await;
        let mut entries = Entries::read(&self.storage, part).await?;
        let (mut begins, mut done) = (Begins::default(), 0);
        let mut outcome = Ok(());
        for digest in digests {
            if seen.is_stale(self) || outcome.is_err() {
                break;
            }
            done += 1;
            // Another collection was here meanwhile.
            let Some(entry) = entries.by_digest.get_mut(digest) else { continue };
            outcome = match seen.hits.contains(digest) {
                true => self.needed(entry, at, &mut begins).await,
                false => self.unneeded((entry, at, seen), &mut begins, moved).await,
            };
        }
        let written = self.write_entries(part, &mut entries, begins).await;
        outcome?;
        written?;
        Ok(done)
    }

    async fn write_entries(&self, part: Part, entries: &mut Entries, begins: Begins) -> Result<(), GcError> {
        if !begins.0.is_empty() {
            // Not the time of the look: what was moved is there from now on.
            let now = Time::of(self.now().await?);
            begins.0.into_iter().for_each(|(digest, name, since)| entries.copy_begins((digest, name), since, now));
        }
        entries.write(&self.storage, part).await
    }

    /// Somebody links it, or names it.
    async fn needed(&self, entry: &mut Entry, at: SystemTime, begins: &mut Begins) -> Result<(), GcError> {
        entry.since = None;
        self.pace.take(1).await;
        if self.storage.blob_size(&entry.digest).await?.is_some() {
            // It was in place all the time, or since long ago: nobody needs the copy.
            return self.delete_copies(entry, at).await.map(drop);
        }
        if self.rescue(&entry.digest).await? {
            let again = entry.copies.iter().map(|copy| (entry.digest, copy.name.clone(), None));
            begins.0.extend(again);
        } else {
            // There is none.
            entry.copies.clear();
        }
        Ok(())
    }

    /// Nobody does.
    async fn unneeded(
        &self,
        (entry, at, seen): (&mut Entry, SystemTime, &Seen),
        begins: &mut Begins,
        moved: &mut Vec<Moved>,
    ) -> Result<(), GcError> {
        let (place, copies) = self.is_due(entry, at);
        let mut in_place = false;
        if place {
            self.to_the_trash((entry, seen), begins, moved).await?;
        } else if copies > 0 {
            self.pace.take(1).await;
            in_place = self.storage.blob_size(&entry.digest).await?.is_some();
        }
        let deleted = self.delete_copies(entry, at).await?;
        // Not what was pushed again since, and is linked nowhere for a while only.
        if deleted > 0 && !place && !in_place {
            self.tell_deleted(entry.digest, entry.size);
        }
        Ok(())
    }

    async fn to_the_trash(
        &self,
        (entry, seen): (&mut Entry, &Seen),
        begins: &mut Begins,
        moved: &mut Vec<Moved>,
    ) -> Result<(), GcError> {
        let digest = entry.digest;
        self.pace.take(3).await;
        let was_there = self.storage.blob_trash_while(&digest, &|| !seen.is_stale(self)).await?;
        let since = entry.since.take();
        let known = |name: &str| entry.copies.iter().any(|copy| copy.name == name);
        let new: Vec<String> = self.storage.trash_of(&digest).await?.into_iter().map(|copy| copy.name).collect();
        for name in new.into_iter().filter(|name| !known(name)) {
            begins.0.push((digest, name.clone(), since));
            if was_there {
                moved.push(Moved { digest, name });
            }
        }
        if was_there {
            self.tools.metrics.moved.inc_by(entry.size);
            {
                let counts = &mut self.kept.state.lock().counts;
                (counts.moved, counts.moved_bytes) = (counts.moved + 1, counts.moved_bytes + entry.size);
                (counts.trash, counts.trash_bytes) = (counts.trash + 1, counts.trash_bytes + entry.size);
                counts.unlinked = counts.unlinked.saturating_sub(1);
                counts.unlinked_bytes = counts.unlinked_bytes.saturating_sub(entry.size);
            }
            self.step(&Step::Moved { digest, size: entry.size });
        }
        Ok(())
    }

    /// Deletes copies that were moved longer than `grace` before `at`. How many.
    async fn delete_copies(&self, entry: &mut Entry, at: SystemTime) -> Result<u64, GcError> {
        let (due, rest): (Vec<Copy>, Vec<Copy>) =
            entry.copies.drain(..).partition(|copy| copy.moved.is_past(self.grace(), at));
        entry.copies = rest;
        let mut deleted = 0;
        let mut waiting = due.into_iter();
        while let Some(copy) = waiting.next() {
            match self.delete_copy(entry.digest, &copy.name, entry.size).await {
                Ok(()) => deleted += 1,
                Err(error) => {
                    // Whether it is there yet, the next run finds out.
                    entry.copies.push(copy);
                    entry.copies.extend(waiting);
                    return Err(error);
                }
            }
        }
        Ok(deleted)
    }

    async fn delete_copy(&self, digest: Digest, name: &str, size: u64) -> Result<(), GcError> {
        self.pace.take(1).await;
        if self.storage.trash_delete_one(&digest, name).await? {
            self.tools.metrics.freed.inc_by(size);
            let counts = &mut self.kept.state.lock().counts;
            counts.freed_bytes += size;
            counts.trash = counts.trash.saturating_sub(1);
            counts.trash_bytes = counts.trash_bytes.saturating_sub(size);
        }
        Ok(())
    }

    fn tell_deleted(&self, digest: Digest, size: u64) {
        self.tools.metrics.deleted.inc();
        self.kept.state.lock().counts.deleted += 1;
        self.step(&Step::Deleted { digest, size });
    }

    /// Looks once more at what was just moved: who was about to link it when it was moved gets it back at once, and need not be served
    /// by a registry that looks into the trash. With `now`, what nobody needs by then goes for good.
    async fn after_the_move(&self, mut moved: Vec<Moved>) -> Result<(), GcError> {
        let due = Due::new(moved.iter().map(|moved| moved.digest).collect());
        let seen = self.look(&due).await?;
        let at_once = self.at_once();
        moved.retain(|moved| at_once || seen.hits.contains(&moved.digest));
        moved.sort_by_key(|moved| moved.digest);
        let parts: Vec<&[Moved]> =
            moved.chunk_by(|one, other| Part::of(&one.digest) == Part::of(&other.digest)).collect();
        let mut each = Vec::new();
        for some in parts {
            each.push(self.after_part(some, &seen).boxed());
        }
        let mut each = futures::stream::iter(each).buffer_unordered(AT_ONCE);
        let mut outcome = Ok(());
        while let Some(part) = each.next().await {
            outcome = outcome.and(part);
        }
        outcome
    }

    async fn after_part(&self, moved: &[Moved], seen: &Seen) -> Result<(), GcError> {
        let Some(first) = moved.first() else { return Ok(()) };
        let part = Part::of(&first.digest);
        if let Some(lease) = self.lease.filter(|_| self.at_once()) {
            self.pace.take(5).await;
            lease.beat().await?;
        }
        self.pace.take(2).await;
        let mut entries = Entries::read(&self.storage, part).await?;
        let mut begins = Begins::default();
        let mut outcome = Ok(());
        for moved in moved {
            if outcome.is_ok() {
                outcome = self.after_one(moved, seen, &mut entries, &mut begins).await;
            }
        }
        let written = self.write_entries(part, &mut entries, begins).await;
        outcome.and(written)
    }

    async fn after_one(
        &self,
        moved: &Moved,
        seen: &Seen,
        entries: &mut Entries,
        begins: &mut Begins,
    ) -> Result<(), GcError> {
        let Moved { digest, name } = moved;
        if seen.hits.contains(digest) {
            if self.rescue(digest).await? {
                begins.0.push((*digest, name.clone(), None));
            }
            return Ok(());
        }
        let Some(entry) = entries.by_digest.get_mut(digest) else { return Ok(()) };
        let known = entry.copies.iter().any(|copy| copy.name == *name);
        if !self.at_once() || !known || seen.is_stale(self) {
            return Ok(());
        }
        if let Some(lease) = self.lease {
            lease.sure().await?;
        }
        self.delete_copy(*digest, name, entry.size).await?;
        entry.copies.retain(|copy| copy.name != *name);
        self.tell_deleted(*digest, entry.size);
        Ok(())
    }
}

impl Entries {
    /// A copy is in the trash since `now`.
    fn copy_begins(&mut self, (digest, name): (Digest, String), unlinked: Option<Time>, now: Time) {
        let Some(entry) = self.by_digest.get_mut(&digest) else { return };
        match entry.copies.iter_mut().find(|copy| copy.name == name) {
            Some(copy) => copy.moved = now,
            None => entry.copies.push(Copy { name, moved: now, unlinked }),
        }
    }
}
