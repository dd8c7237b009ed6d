//! What is needed: one walk over all links, a repository after the other; what a repository does not need is condemned on the way.
//!
//! A repository's links are listed in the order layers, manifests, tags; pushes write them in the same order. So whatever a list tells
//! of a manifest, its layers' links were there before, if they were there at all; and what came while it was listed is younger than
//! `grace`, or written again, or found by the looks that `condemn` takes. What is needed is only added to: a mark that is older than
//! what happened since makes nothing go, because `look` looks at everything again before bytes move.
//!
//! Now and then what was found is written down, so that a run that was cut off goes on behind it.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::future::FutureExt as _;
use futures::stream::{BoxStream, Stream, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use super::error::GcError;
use super::marks::Marks;
use super::reach::{Aliases, Reach, Unneeded};
use super::report::{FromRepository, Needs, Step, Young};
use super::time::{Stopwatch, Time, is_past};
use super::view::{self, View};
use super::work::Work;
use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::storage::format::{self, Format};
use crate::storage::{Error, OwnKey, Precondition};

/// Repositories that are looked at at once.
const AT_ONCE: usize = 8;
/// What was found is written down after so many repositories (tests have few), so many digests, or so long.
const BATCH: u64 = if cfg!(test) { 2 } else { 1000 };
const BATCH_DIGESTS: usize = 250_000;
const BATCH_TIME: Duration = Duration::from_secs(30);
/// Repositories that were looked at while what was found before them was written down: so many at most wait here, and so many digests
/// of them.
const AHEAD: usize = 10_000;
const AHEAD_DIGESTS: usize = 250_000;
/// Of a file of digests, in bytes: a repository is never parted.
const MARKED_LIMIT: u64 = 1 << 30;
/// Files of uploads of other programs that are younger mean that one pushes here.
const FOREIGN: Duration = Duration::from_secs(24 * 3600);
/// Repositories from which something was taken, and which are looked at once more in the end.
const LOOKED_AT_AGAIN: usize = 10_000;

/// What was found of one repository.
struct Marked {
    name: RepositoryName,
    /// What stays linked, and what is named.
    needed: Vec<Digest>,
    condemned: Unneeded,
    /// Only where that is counted.
    young: Option<Young>,
    /// What stays linked, and how many tags there are; only where that is counted.
    held: Option<(Vec<Digest>, usize)>,
    /// That stay.
    manifests: Vec<Digest>,
    links: u64,
    unreadable: Option<Digest>,
}

impl Marked {
    /// That it keeps in memory.
    fn digests(&self) -> usize {
        self.needed.len() + self.manifests.len() + self.held.as_ref().map_or(0, |(linked, _)| linked.len())
    }
}

/// What is found out by a mark.
#[derive(Default)]
pub struct Mark {
    pub marks: Marks,
    /// By whom what is condemned was held last: to tell how much goes from whom.
    pub condemned: Vec<(Digest, RepositoryName)>,
}

/// Of condemned blobs, so many are remembered for that.
const ATTRIBUTED: usize = 200_000;

/// The first line of a file of digests: hashes follow it, first the shorter ones.
#[derive(Serialize, Deserialize)]
struct Head {
    last: String,
    sha256: usize,
    sha512: usize,
}

impl Format for Head {
    const WHAT: &'static str = "what a collection found to be needed";
    const VERSION: u32 = 1;
}

/// What is not written down yet.
struct Batch {
    digests: Vec<Digest>,
    repositories: u64,
    begun: Stopwatch,
}

impl Default for Batch {
    fn default() -> Self {
        Batch { digests: Vec::new(), repositories: 0, begun: Stopwatch::start() }
    }
}

/// The next repository that was looked at.
async fn next<S>(ahead: &mut VecDeque<Marked>, marked: &mut S) -> Result<Option<Marked>, GcError>
where
    S: Stream<Item = Result<Marked, GcError>> + Unpin,
{
    match ahead.pop_front() {
        Some(done) => Ok(Some(done)),
        None => marked.try_next().await,
    }
}

/// Writes while repositories are gone on with: one that nobody asks on holds a connection to storage, which the writing may wait for.
async fn beside<S>(
    writing: impl Future<Output = Result<(), GcError>>,
    marked: &mut S,
    ahead: &mut VecDeque<Marked>,
) -> Result<(), GcError>
where
    S: Stream<Item = Result<Marked, GcError>> + Unpin,
{
    let (mut writing, mut over) = (pin!(writing), false);
    let mut digests: usize = ahead.iter().map(Marked::digests).sum();
    loop {
        tokio::select! {
            biased;
            written = &mut writing => return written,
            done = marked.try_next(), if !over && ahead.len() < AHEAD && digests < AHEAD_DIGESTS => match done? {
                Some(done) => {
                    digests += done.digests();
                    ahead.push_back(done);
                }
                None => over = true,
            },
        }
    }
}

impl Work<'_> {
    /// Finds out what is needed, and condemns what is not; behind a repository, beside what was found up to it.
    pub async fn mark(&self, (mut mark, after): (Mark, Option<RepositoryName>)) -> Result<Mark, GcError> {
        if after.is_none() {
            self.mind_missing().boxed().await?;
            self.begin_count().await;
        }
        let mut again = Vec::new();
        let mut batch = Batch::default();
        let mut marked = self.views(after).map_ok(|view| self.repository(view).boxed()).try_buffered(AT_ONCE);
        let (mut ahead, mut last) = (VecDeque::new(), None);
        while let Some(done) = next(&mut ahead, &mut marked).await? {
            if !done.condemned.is_empty() && again.len() < LOOKED_AT_AGAIN {
                again.push(done.name.clone());
            }
            self.tell(&done, &mut mark);
            done.needed.iter().for_each(|digest| mark.marks.insert(digest));
            batch.repositories += 1;
            last = Some(done.name);
            if !self.order.dry {
                batch.digests.extend(done.needed);
                if batch.is_due() {
                    beside(self.write_down(&mut batch, last.as_ref()), &mut marked, &mut ahead).await?;
                }
            }
        }
        self.write_down(&mut batch, last.as_ref()).await?;
        // Whoever checked what he names before a link went, and wrote his manifest after that repository was looked at again.
        for name in again.iter().filter(|_| !self.order.dry) {
            self.look_again(name).await?;
        }
        self.still().await?;
        let mark = mark.settled();
        self.kept.state.lock().counts.needed = mark.marks.len() as u64;
        Ok(mark)
    }

    /// All repositories behind `after`, each when it may be gone on.
    pub fn views(&self, after: Option<RepositoryName>) -> BoxStream<'_, Result<View, GcError>> {
        let views = view::all(&self.storage, after.as_ref());
        let paced = move |view: View| async move {
            self.walked(view.len()).await;
            self.go_on().await?;
            Ok(view)
        };
        views.map_err(GcError::from).and_then(paced).boxed()
    }

    async fn repository(&self, mut view: View) -> Result<Marked, GcError> {
        self.mind_others(&view)?;
        let taken = self.taken(&view.name).await?;
        let (aliases, read, reach) = self.healed(&mut view, &taken).await?;
        let unreadable = read.unreadable.first().copied();
        let unneeded = match unreadable {
            // It may need whatever the repository holds.
            Some(_) => Unneeded::default(),
            None => reach.unneeded(&view, self.grace(), self.begun),
        };
        let young = match self.order.young && unreadable.is_none() {
            true => Some(self.young(&view, &read, &aliases, &unneeded).await?),
            false => None,
        };
        let condemned = match unneeded.is_empty() || self.order.dry {
            true => unneeded,
            false => self.condemn(&view.name, &unneeded).await?,
        };
        remove(&mut view, &condemned);
        // No print tells of a tag that comes for a manifest which has just gone. Where bytes go with this run, it is looked for.
        if !self.order.now || condemned.manifests.is_empty() {
            self.prints.keep(&view);
        }
        let mut needed = needed(&view, &aliases, &reach);
        if unreadable.is_some() {
            // And what it held lately, too.
            needed.extend(taken.iter().map(|line| line.target));
        }
        let counts = self.count.lock().as_mut().is_some_and(|count| count.concerns(&view.name));
        let held = counts.then(|| {
            let linked = view.layers.iter().chain(&view.revisions).map(|(digest, _)| *digest);
            (linked.collect(), view.tags.len())
        });
        let links = view.len() as u64;
        let manifests = view.revisions.into_iter().map(|(digest, _)| digest).collect();
        Ok(Marked { name: view.name, needed, condemned, young, held, manifests, links, unreadable })
    }

    /// Another program pushes into this repository: it knows nothing of what is done here, so somebody has to say that this is meant.
    fn mind_others(&self, view: &View) -> Result<(), GcError> {
        match !self.sees_others(view) || self.careful || self.order.dry {
            true => Ok(()),
            false => Err(GcError::Foreign(view.name.clone())),
        }
    }

    /// Whether another program has pushed here lately; that is remembered.
    pub fn sees_others(&self, view: &View) -> bool {
        let Some(upload) = view.upload.filter(|upload| !is_past(*upload, FOREIGN, self.begun)) else { return false };
        self.kept.state.lock().foreign = Some((Time::of(upload), view.name.to_string()));
        true
    }

    fn count(&self, done: &Marked) {
        let (Some((linked, tags)), Some(count)) = (&done.held, &mut *self.count.lock()) else { return };
        linked.iter().for_each(|digest| count.linked(&done.name, digest));
        (0..*tags).for_each(|_| count.tagged(&done.name));
    }

    fn tell(&self, done: &Marked, mark: &mut Mark) {
        if let Some(digest) = done.unreadable {
            self.tools.metrics.unreadable.inc();
            tracing::warn!(repository = %done.name, %digest, "a manifest or a link cannot be read: its repository keeps everything");
            self.step(&Step::Unreadable { repository: done.name.clone(), digest });
        }
        self.count(done);
        let room = ATTRIBUTED.saturating_sub(mark.condemned.len());
        let digests = done.condemned.layers.iter().chain(&done.condemned.manifests).take(room);
        mark.condemned.extend(digests.map(|digest| (*digest, done.name.clone())));
        if self.order.dry && !done.condemned.is_empty() {
            let (blobs, manifests) = (done.condemned.layers.clone(), done.condemned.manifests.clone());
            self.step(&Step::Condemned { repository: done.name.clone(), blobs, manifests });
        }
        let repositories = {
            let mut state = self.kept.state.lock();
            if !done.condemned.is_empty() {
                let (blobs, manifests) = (done.condemned.layers.len() as u64, done.condemned.manifests.len() as u64);
                state.took(FromRepository { repository: done.name.to_string(), blobs, manifests, bytes: 0 });
            }
            if done.unreadable.is_some() {
                state.kept_whole(done.name.as_str());
            }
            if let Some(young) = done.young {
                state.counts.young.get_or_insert_default().add(young);
            }
            state.counts.manifests += done.manifests.len() as u64;
            state.counts.links += done.links;
            state.counts.repositories += 1;
            state.counts.repositories
        };
        self.tell.marked(&Needs { repository: &done.name, manifests: &done.manifests, needed: &done.needed });
        self.step(&Step::Marking { repository: done.name.clone(), repositories });
    }

    /// What was found is written down, so that a run that is cut off from here on goes on behind it.
    async fn write_down(&self, batch: &mut Batch, last: Option<&RepositoryName>) -> Result<(), GcError> {
        let (Some(last), false) = (last, batch.repositories == 0 || self.order.dry) else { return Ok(()) };
        let number = self.kept.state.lock().marked;
        self.pace.take(1).await;
        let key = OwnKey::Marked(self.run.clone(), number);
        self.storage.own_put(&key, marked_text(last, &mut batch.digests)?, Precondition::None).await?;
        {
            let mut state = self.kept.state.lock();
            (state.marked, state.after) = (number + 1, Some(last.to_string()));
            state.marked_counts = state.counts.clone();
        }
        *batch = Batch::default();
        // Nothing that was condemned until now is deleted any more.
        self.still().await?;
        self.save().await
    }

    /// What this run found before it was cut off, and the repository that it goes on behind. `None` if that is lost: another run may
    /// have thought that it is over.
    pub async fn marked_before(&self) -> Result<Option<(Mark, Option<RepositoryName>)>, GcError> {
        let (count, after) = {
            let state = self.kept.state.lock();
            (state.marked, state.after.clone())
        };
        let mut mark = Mark::default();
        for number in 0..count {
            self.pace.take(1).await;
            let found = self.storage.own(&OwnKey::Marked(self.run.clone(), number), MARKED_LIMIT).await?;
            let Some((bytes, _)) = found else { return Ok(None) };
            match read_marked(&bytes, |digest| mark.marks.insert(&digest)) {
                Err(Error::Damaged(_)) => return Ok(None),
                other => other?,
            }
        }
        Ok(Some((mark, after.and_then(|name| name.parse().ok()))))
    }
}

impl Mark {
    pub fn settled(mut self) -> Self {
        self.marks.settle();
        self
    }
}

impl Batch {
    fn is_due(&self) -> bool {
        let full = self.repositories >= BATCH || self.digests.len() >= BATCH_DIGESTS;
        full || self.begun.elapsed() >= BATCH_TIME
    }
}

fn remove(view: &mut View, condemned: &Unneeded) {
    if condemned.is_empty() {
        return;
    }
    let layers: std::collections::HashSet<&Digest> = condemned.layers.iter().collect();
    let manifests: std::collections::HashSet<&Digest> = condemned.manifests.iter().collect();
    view.layers.retain(|(digest, _)| !layers.contains(digest));
    view.revisions.retain(|(digest, _)| !manifests.contains(digest));
}

/// What stays linked, where that leads, and what is named.
fn needed(view: &View, aliases: &Aliases, reach: &Reach) -> Vec<Digest> {
    let linked = view.layers.iter().chain(&view.revisions).map(|(digest, _)| *digest);
    let mut needed: Vec<Digest> = linked.chain(reach.named.iter().copied()).collect();
    let targets = aliases.iter().filter(|(link, _)| view.layer(link).is_some() || view.revision(link).is_some());
    needed.extend(targets.map(|(_, target)| *target));
    needed.sort_unstable();
    needed.dedup();
    needed
}

fn marked_text(last: &RepositoryName, digests: &mut Vec<Digest>) -> Result<Bytes, Error> {
    digests.sort_unstable();
    digests.dedup();
    let sha256 = digests.iter().filter(|digest| digest.algorithm() == Algorithm::Sha256).count();
    let head = Head { last: last.to_string(), sha256, sha512: digests.len() - sha256 };
    let mut text = format::write(&head)?;
    text.push(b'\n');
    digests.iter().for_each(|digest| text.extend_from_slice(digest.hash()));
    Ok(text.into())
}

fn read_marked(bytes: &[u8], mut each: impl FnMut(Digest)) -> Result<(), Error> {
    let cut = || Error::Damaged(format!("{}: it is cut", Head::WHAT));
    let at = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(cut)?;
    let (head, rest) = bytes.split_at(at);
    let head: Head = format::read(head)?;
    let rest = rest.get(1..).unwrap_or_default();
    let short = head.sha256.saturating_mul(Algorithm::Sha256.len());
    let long = head.sha512.saturating_mul(Algorithm::Sha512.len());
    if rest.len() != short.saturating_add(long) {
        return Err(cut());
    }
    let (short, long) = rest.split_at(short);
    for (algorithm, hashes) in [(Algorithm::Sha256, short), (Algorithm::Sha512, long)] {
        hashes.chunks(algorithm.len()).filter_map(|hash| Digest::from_hash(algorithm, hash)).for_each(&mut each);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_down_is_read_back() {
        let name: RepositoryName = "a/b".parse().unwrap();
        let mut digests: Vec<Digest> = (0..100_u32)
            .map(|number| {
                let algorithm = if number % 3 == 0 { Algorithm::Sha512 } else { Algorithm::Sha256 };
                Digest::of(algorithm, &number.to_le_bytes())
            })
            .collect();
        let text = marked_text(&name, &mut digests).unwrap();
        let mut found = Vec::new();
        read_marked(&text, |digest| found.push(digest)).unwrap();
        assert_eq!(found, digests);
        for end in 0..text.len() {
            assert!(read_marked(&text[..end], |_| {}).is_err(), "{end}");
        }
    }
}
