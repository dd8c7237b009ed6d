//! One run: what it goes by, what it has counted, and the two passes, over the blobs and over the links.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::stream::{StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;

use super::holdings::{Holdings, grouped};
use super::index::Index;
use super::links::Checked;
use super::pace::Pace;
use super::report::{Findings, Looked, Step, Tell};
use super::sample::Sampler;
use super::see::Seen;
use super::wrong::{Bytes, Wrong};
use super::{Order, Parts};
use crate::oci::{Digest, RepositoryName};
use crate::storage::Error;

/// Blobs read at once: as many as hide a store's round trip, and keep few disks busy.
const BLOBS_AT_ONCE: usize = 4;
/// Repositories looked at once, each with [`super::links::LINKS_AT_ONCE`] questions.
const REPOSITORIES_AT_ONCE: usize = 4;
/// Who links a damaged blob: so many are remembered of each. What instances of a fleet remember of further ones, they forget by
/// themselves within `redis.ttl`.
const MOST_HOLDERS: usize = 64;
/// How often storage is asked again that did not answer, and how long after: beside what its own client does.
pub(super) const TRIES: u32 = 4;
pub(super) const PAUSE: Duration = Duration::from_secs(2);
/// How often it is told how much has been read.
const TELL_EVERY: Duration = Duration::from_millis(200);

pub(super) struct Run<'a> {
    pub(super) parts: &'a Parts,
    pub(super) order: &'a Order,
    pub(super) tell: &'a dyn Tell,
    pub(super) pace: Pace,
    pub(super) index: Index,
    pub(super) tally: Tally,
    samplers: Samplers,
    /// When it was last told how much has been read.
    told: Mutex<Instant>,
    /// Of blobs that are known to be wrong: who links them.
    holders: Mutex<HashMap<Digest, Vec<Holder>>>,
}

/// A repository that links a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) name: RepositoryName,
    /// As a manifest; else as a layer or a config.
    pub(super) manifest: bool,
}

#[derive(Default)]
pub(super) struct Tally {
    pub(super) repositories: AtomicU64,
    pub(super) blobs: Count,
    pub(super) bytes: Count,
    pub(super) links: Count,
    pub(super) manifests: Count,
    pub(super) tags: Count,
    pub(super) sparse: AtomicU64,
    /// What is picked of the blobs: how many, and their bytes; and how many bytes of them have been read.
    picked: AtomicU64,
    picked_bytes: AtomicU64,
    read: AtomicU64,
}

#[derive(Default)]
pub(super) struct Count {
    there: AtomicU64,
    looked_at: AtomicU64,
}

/// What is picked beside blobs.
pub(super) struct Samplers {
    pub(super) links: Sampler,
    pub(super) manifests: Sampler,
    pub(super) tags: Sampler,
}

impl Tally {
    fn checked(&self, checked: &Checked) {
        self.links.add(checked.links);
        self.manifests.add(checked.manifests);
        self.tags.add(checked.tags);
        self.sparse.fetch_add(checked.sparse, Ordering::Relaxed);
    }
}

impl Count {
    fn add(&self, looked: Looked) {
        self.there(looked.there);
        self.looked_at(looked.looked_at);
    }

    pub(super) fn there(&self, count: u64) {
        self.there.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn looked_at(&self, count: u64) {
        self.looked_at.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn so_far(&self) -> Looked {
        Looked { there: self.there.load(Ordering::Relaxed), looked_at: self.looked_at.load(Ordering::Relaxed) }
    }
}

impl<'a> Run<'a> {
    /// Lists the blobs.
    pub(super) async fn begin(parts: &'a Parts, order: &'a Order, tell: &'a dyn Tell) -> Result<Self, Error> {
        let pace = Pace::new(order.rate);
        let told = |index: &Index| tell.step(&Step::Listed { blobs: index.len() as u64, bytes: index.bytes() });
        let index = Index::read(&parts.storage, &pace, told).await?;
        let sampler = || Sampler::new(order.sample, rand::random());
        let samplers = Samplers { links: sampler(), manifests: sampler(), tags: sampler() };
        let (tally, told, holders) = (Tally::default(), Mutex::new(Instant::now()), Mutex::default());
        Ok(Run { parts, order, tell, pace, index, tally, samplers, told, holders })
    }

    /// Reads what is picked of the blobs.
    pub(super) async fn blobs(&self, findings: &mut Findings) -> Result<(), Error> {
        let tally = &self.tally;
        tally.blobs.there(self.index.len() as u64);
        tally.bytes.there(self.index.bytes());
        // Picked twice alike: first to know how much it is, since a list of them would take more memory than the index.
        let start = rand::random();
        let (counted, read) = (Sampler::new(self.order.sample, start), Sampler::new(self.order.sample, start));
        for (_, size) in self.index.iter().filter(|_| counted.takes()) {
            tally.picked.fetch_add(1, Ordering::Relaxed);
            tally.picked_bytes.fetch_add(size, Ordering::Relaxed);
        }
        self.tell_read();
        let looks = self.index.iter().filter(|_| read.takes()).map(|(digest, _)| self.blob(digest));
        let mut looks = futures::stream::iter(looks).buffer_unordered(BLOBS_AT_ONCE);
        while let Some(wrong) = looks.try_next().await? {
            tally.blobs.looked_at(1);
            if let Some(wrong) = wrong {
                self.found(findings, wrong);
            }
        }
        self.tell_read();
        Ok(())
    }

    /// Reads one blob, and a second time if it is not right: it may have been replaced while it was read.
    async fn blob(&self, digest: Digest) -> Result<Option<Wrong>, Error> {
        let seen = self.see(&digest).await?;
        if let Seen::Right(size) | Seen::Other(size) = &seen {
            self.tally.bytes.looked_at(*size);
        }
        let wrong = if matches!(seen, Seen::Right(_) | Seen::Gone) { None } else { self.blob_again(digest).await? };
        self.parts.metrics.blob(wrong.is_none());
        if wrong.is_some() {
            self.holders.lock().entry(digest).or_default();
        }
        Ok(wrong)
    }

    /// What is wrong with a blob when it is read now. That it is not there is told by whoever links it.
    pub(super) async fn blob_again(&self, digest: Digest) -> Result<Option<Wrong>, Error> {
        let how = match self.see(&digest).await? {
            Seen::Right(_) | Seen::Gone => return Ok(None),
            Seen::Other(size) => Bytes::Other(size),
            Seen::Unreadable(why) => Bytes::Unreadable(why),
        };
        Ok(Some(Wrong::Bytes { digest, how }))
    }

    /// Looks at the links of all repositories.
    pub(super) async fn links(&self, findings: &mut Findings) -> Result<(), Error> {
        let (mut last, mut tries) = (None, TRIES);
        loop {
            tries -= 1;
            let before = last.clone();
            match self.links_after(&mut last, findings).await {
                // The walk goes on where it was; as long as it gets on, as often as needed.
                Err(Error::Unavailable(_)) if last != before => tries = TRIES,
                Err(Error::Unavailable(_)) if tries > 0 => {}
                other => return other,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Of those that come after `last`, which becomes the last one that was looked at.
    async fn links_after(&self, last: &mut Option<RepositoryName>, findings: &mut Findings) -> Result<(), Error> {
        let repositories = grouped(self.parts.storage.links(last.as_ref()));
        let checks = repositories.map_ok(|(name, held)| self.repository(name, held));
        let mut checks = checks.try_buffered(REPOSITORIES_AT_ONCE);
        while let Some((name, checked)) = checks.try_next().await? {
            self.tally.checked(&checked);
            let repositories = self.tally.repositories.fetch_add(1, Ordering::Relaxed) + 1;
            self.tell.step(&Step::Repository { repository: name.as_str(), repositories });
            for wrong in checked.wrongs {
                self.found(findings, wrong);
            }
            *last = Some(name);
        }
        Ok(())
    }

    async fn repository(&self, name: RepositoryName, held: Holdings) -> Result<(RepositoryName, Checked), Error> {
        let checked = self.check(&name, &held, false).await?;
        Ok((name, checked))
    }

    /// Notes a damage, and tells of it if it is new.
    pub(super) fn found(&self, findings: &mut Findings, wrong: Wrong) {
        let told = wrong.damage(&[]);
        if findings.add(wrong) {
            self.tell.step(&Step::Damage { damage: &told });
        }
    }

    /// So many bytes of a blob have been read.
    pub(super) fn has_read(&self, bytes: u64) {
        self.tally.read.fetch_add(bytes, Ordering::Relaxed);
        self.parts.metrics.read(bytes);
        let mut told = self.told.lock();
        if told.elapsed() >= TELL_EVERY {
            *told = Instant::now();
            drop(told);
            self.tell_read();
        }
    }

    fn tell_read(&self) {
        let tally = &self.tally;
        let (of_blobs, of_bytes) = (tally.picked.load(Ordering::Relaxed), tally.picked_bytes.load(Ordering::Relaxed));
        let (blobs, read) = (tally.blobs.so_far().looked_at, tally.read.load(Ordering::Relaxed));
        // What is read twice counts once.
        self.tell.step(&Step::Read { blobs, of_blobs, bytes: read.min(of_bytes), of_bytes });
    }

    /// Remembers who links a blob, if that is wrong.
    pub(super) fn links_wrong(&self, digest: &Digest, name: &RepositoryName, manifest: bool) {
        if let Some(holders) = self.holders.lock().get_mut(digest) {
            note(holders, name, manifest);
        }
    }

    /// Remembers who links a blob that is wrong.
    pub(super) fn is_wrong(&self, digest: &Digest, name: &RepositoryName, manifest: bool) {
        note(self.holders.lock().entry(*digest).or_default(), name, manifest);
    }

    pub(super) fn holders(&self, digest: &Digest) -> Vec<Holder> {
        self.holders.lock().get(digest).cloned().unwrap_or_default()
    }

    /// Which links, manifests and tags are looked at.
    pub(super) fn samplers(&self) -> &Samplers {
        &self.samplers
    }

    /// Long enough for what another program does in two steps.
    pub(super) fn second_look(&self) -> Duration {
        self.order.second_look
    }
}

fn note(holders: &mut Vec<Holder>, name: &RepositoryName, manifest: bool) {
    let holder = Holder { name: name.clone(), manifest };
    if holders.len() < MOST_HOLDERS && !holders.contains(&holder) {
        holders.push(holder);
    }
}
