//! What the peers said, asked by `front` for every request. Owns the rules of what counts for how long; the facts
//! are in `facts`, their file in `journal`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::clock::{Clock, Moment, nanoseconds};
use super::credential::Credential;
use super::facts::{Dated, Facts, PingAnswer, TagAnswer};
use super::journal::{self, Ended, Journal, Line};
use super::key::{Jurisdiction, KeyError, Keys};
use super::metrics::Metrics;
use crate::oci::{AcceptClass, Digest, RepositoryName, Tag};

/// Longest media type of a tag's answer that is remembered.
const MAX_MEDIA_TYPE: usize = 255;

/// Longest challenge of `/v2/` that is remembered, all its headers together.
const MAX_CHALLENGE: usize = 4 << 10;

/// Why there is no memory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {source}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// When a question was asked. An answer that some withdrawal has overtaken since is not recorded, and its age counts
/// from the question on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(Moment);

/// What the peers said. Bounded in memory and on disk; for any number of threads.
pub struct Verdicts {
    keys: Keys,
    clock: Arc<Clock>,
    facts: Arc<Facts>,
    /// `None`: another process writes it, or nobody does.
    journal: ArcSwapOption<Journal>,
    /// The one before it, which was handed over: two must not write.
    before: Mutex<Option<Ended>>,
    /// A journal was loaded already.
    loaded: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Verdicts {
    /// Remembers what is written in `folder`, and goes on writing there. Reads up to 64 MiB before it returns.
    ///
    /// # Errors
    /// If the folder cannot be made, or the key or the journal cannot be read or made there.
    pub fn open(folder: &Path, metrics: Arc<Metrics>) -> Result<Arc<Verdicts>, Error> {
        let verdicts = Verdicts::open_beside(folder, metrics)?;
        verdicts.take_over(folder)?;
        Ok(verdicts)
    }

    /// The same while another process writes there: this one writes once it takes over.
    pub fn open_beside(folder: &Path, metrics: Arc<Metrics>) -> Result<Arc<Verdicts>, Error> {
        let failed = |source| Error::Folder { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let keys = Keys::open(folder)?;
        Ok(Arc::new(Verdicts::with(keys, metrics)))
    }

    fn with(keys: Keys, metrics: Arc<Metrics>) -> Verdicts {
        Verdicts {
            keys,
            clock: Arc::new(Clock::starting_at_least(0)),
            facts: Arc::new(Facts::new()),
            journal: ArcSwapOption::empty(),
            before: Mutex::new(None),
            loaded: AtomicBool::new(false),
            metrics,
        }
    }

    /// Remembers what is written in `folder`, and goes on writing there: nobody else does any more. Blocks.
    ///
    /// # Errors
    /// The folder cannot be written to, or what this process wrote there before is not at its end yet.
    pub fn take_over(&self, folder: &Path) -> Result<(), Error> {
        if self.journal.load().is_some() {
            // It was not handed over after all.
            return Ok(());
        }
        let before = self.before.lock().clone();
        if before.is_some_and(|before| !before.wait()) {
            return Err(Error::Folder { path: folder.to_owned(), source: std::io::ErrorKind::TimedOut.into() });
        }
        let path = journal::path(folder);
        let mut loaded = journal::load(&path, self.keys.check(), &self.facts);
        // What was learnt and withdrawn since it was handed over is in memory alone.
        loaded.rewrite |= self.loaded.swap(true, Ordering::AcqRel);
        self.clock.start_at_least(loaded.latest.saturating_add(1));
        let (facts, clock, metrics) = (self.facts.clone(), self.clock.clone(), self.metrics.clone());
        let journal = Journal::start(path, self.keys.check(), loaded, journal::Shared { facts, clock, metrics });
        let journal = journal.map_err(|source| Error::Folder { path: folder.to_owned(), source })?;
        self.journal.store(Some(Arc::new(journal)));
        Ok(())
    }

    /// Another process goes on with the file. What is learnt and withdrawn here from now on is not told to it: as between instances
    /// that have nothing in common, it counts there as long as it would without that. Blocks, for at most ten seconds.
    ///
    /// False: this process may still write there, and nobody else may.
    pub fn hand_over(&self) -> bool {
        let Some(journal) = self.journal.load_full() else { return true };
        if !journal.flush() {
            return false;
        }
        let ended = journal.ended();
        *self.before.lock() = Some(ended.clone());
        self.journal.store(None);
        drop(journal);
        ended.wait()
    }

    #[cfg(test)]
    /// A memory that ends with the process.
    pub fn volatile(metrics: Arc<Metrics>) -> Arc<Verdicts> {
        Arc::new(Verdicts::with(Keys::random(), metrics))
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Who asks with this `Authorization` header.
    pub fn credential(&self, authorization: Option<&[u8]>) -> Credential {
        self.keys.credential(authorization)
    }

    /// The same, as somebody who comes from these addresses: what a peer says to them counts for them alone.
    pub fn credential_at(&self, authorization: Option<&[u8]>, from: &[IpAddr]) -> Credential {
        self.keys.credential_at(authorization, from)
    }

    /// The registry meant by a cluster's name and, if its peers see the client's `Host`, that host in lower case.
    pub fn jurisdiction(&self, cluster: &str, host: Option<&str>) -> Jurisdiction {
        self.keys.jurisdiction(cluster, host)
    }

    /// To be taken before a peer is asked, and given back with its answer.
    pub fn generation(&self) -> Generation {
        Generation(self.clock.now())
    }

    /// Waits until all that was recorded is on disk; for shutdown. Blocks, for at most five seconds; false if that was
    /// not enough.
    pub fn flush(&self) -> bool {
        self.journal.load().as_ref().is_none_or(|journal| journal.flush())
    }
}

/// Who may read.
impl Verdicts {
    /// A peer let this credential read in this repository.
    pub fn record_read(
        &self,
        jurisdiction: &Jurisdiction,
        who: &Credential,
        repository: &RepositoryName,
        asked: Generation,
    ) {
        if who.is_expired() {
            return;
        }
        let id = self.keys.read(jurisdiction, who, repository.as_str());
        if self.facts.learn_read(id, asked.0) {
            self.write(Line::Read(id, asked.0));
        }
    }

    /// Whether a peer let this credential read in this repository less than `max_age` ago.
    pub fn may_read(
        &self,
        jurisdiction: &Jurisdiction,
        who: &Credential,
        repository: &RepositoryName,
        max_age: Duration,
    ) -> bool {
        let id = self.keys.read(jurisdiction, who, repository.as_str());
        self.facts.reads.get(id, |asked| *asked).is_some_and(|asked| self.is_fresh(asked, max_age)) && !who.is_expired()
    }

    /// A peer refused this credential (401, 403).
    pub fn forget_read(&self, jurisdiction: &Jurisdiction, who: &Credential, repository: &RepositoryName) {
        let (id, at) = (self.keys.read(jurisdiction, who, repository.as_str()), self.clock.now());
        if self.facts.withdraw(&self.facts.reads, id, at) {
            self.write(Line::Forget(id, at));
        }
    }
}

/// What repositories hold.
impl Verdicts {
    /// A peer served this digest from this repository, or accepted it there.
    pub fn record_holds(
        &self,
        jurisdiction: &Jurisdiction,
        repository: &RepositoryName,
        digest: &Digest,
        asked: Generation,
    ) {
        let id = self.keys.hold(jurisdiction, repository.as_str(), digest.hash());
        if self.facts.learn_hold(id, asked.0, self.deleted(jurisdiction, repository)) {
            self.write(Line::Hold(id, asked.0));
        }
    }

    /// Whether a peer said so, less than `max_age` ago if one is given.
    pub fn holds(
        &self,
        jurisdiction: &Jurisdiction,
        repository: &RepositoryName,
        digest: &Digest,
        max_age: Option<Duration>,
    ) -> bool {
        let id = self.keys.hold(jurisdiction, repository.as_str(), digest.hash());
        let fresh = |asked| max_age.is_none_or(|max_age| self.is_fresh(asked, max_age));
        let asked = self.facts.holds.get(id, |asked| *asked);
        asked.is_some_and(|asked| asked > self.deleted(jurisdiction, repository) && fresh(asked))
    }

    /// A peer does not know this digest in this repository (404).
    pub fn forget_holds(&self, jurisdiction: &Jurisdiction, repository: &RepositoryName, digest: &Digest) {
        let (id, at) = (self.keys.hold(jurisdiction, repository.as_str(), digest.hash()), self.clock.now());
        if self.facts.withdraw(&self.facts.holds, id, at) {
            self.write(Line::Forget(id, at));
        }
    }

    /// Something may have been deleted from this repository through us, by digest: all that it holds and all its tags
    /// are asked anew, under every host of the cluster.
    pub fn repository_changed(&self, jurisdiction: &Jurisdiction, repository: &RepositoryName) {
        let (id, at) = (self.keys.repository(jurisdiction, repository.as_str()), self.clock.now());
        self.facts.deleted.set(id, at);
        self.write(Line::Deleted(id.spread(), at));
    }

    fn deleted(&self, jurisdiction: &Jurisdiction, repository: &RepositoryName) -> Moment {
        self.facts.deleted.at(self.keys.repository(jurisdiction, repository.as_str()))
    }
}

/// What tags meant.
impl Verdicts {
    /// A peer answered a request for this tag with these `Accept` headers.
    pub fn record_tag(
        &self,
        jurisdiction: &Jurisdiction,
        repository: &RepositoryName,
        (tag, accept): (&Tag, &AcceptClass),
        answer: TagAnswer,
        asked: Generation,
    ) {
        if answer.media_type.len() > MAX_MEDIA_TYPE {
            return;
        }
        let id = self.keys.tag(jurisdiction, repository.as_str(), tag.as_str(), accept.bytes());
        let said = Dated { asked: asked.0, answer: Arc::new(answer) };
        if self.facts.learn_tag(id, said.clone(), self.changed(jurisdiction, repository, tag)) {
            self.write(Line::Tag(id, said.asked, said.answer));
        }
    }

    /// What a peer said less than `max_age` ago.
    pub fn tag(
        &self,
        jurisdiction: &Jurisdiction,
        repository: &RepositoryName,
        tag: &Tag,
        accept: &AcceptClass,
        max_age: Duration,
    ) -> Option<TagAnswer> {
        let id = self.keys.tag(jurisdiction, repository.as_str(), tag.as_str(), accept.bytes());
        let said = self.facts.tags.get(id, Dated::clone)?;
        let good = self.is_fresh(said.asked, max_age) && said.asked > self.changed(jurisdiction, repository, tag);
        good.then(|| TagAnswer::clone(&said.answer))
    }

    /// A peer does not know this tag for these `Accept` headers (404).
    pub fn forget_tag(
        &self,
        jurisdiction: &Jurisdiction,
        repository: &RepositoryName,
        tag: &Tag,
        accept: &AcceptClass,
    ) {
        let id = self.keys.tag(jurisdiction, repository.as_str(), tag.as_str(), accept.bytes());
        let at = self.clock.now();
        if self.facts.withdraw(&self.facts.tags, id, at) {
            self.write(Line::Forget(id, at));
        }
    }

    /// This tag may have been moved or deleted through us: its answers for all `Accept` headers and hosts are void.
    pub fn tag_changed(&self, jurisdiction: &Jurisdiction, repository: &RepositoryName, tag: &Tag) {
        let (id, at) = (self.keys.tag_mark(jurisdiction, repository.as_str(), tag.as_str()), self.clock.now());
        self.facts.moved.set(id, at);
        self.write(Line::Moved(id.spread(), at));
    }

    fn changed(&self, jurisdiction: &Jurisdiction, repository: &RepositoryName, tag: &Tag) -> Moment {
        let moved = self.facts.moved.at(self.keys.tag_mark(jurisdiction, repository.as_str(), tag.as_str()));
        moved.max(self.deleted(jurisdiction, repository))
    }
}

/// How `/v2/` was answered.
impl Verdicts {
    /// Remembers an answer to `/v2/`. A refusal of a named credential is not remembered, it forgets the earlier answer;
    /// a refusal of nobody is the registry's challenge, and kept.
    pub fn record_ping(&self, jurisdiction: &Jurisdiction, who: &Credential, answer: PingAnswer, asked: Generation) {
        let id = self.keys.ping(jurisdiction, who);
        let challenge: usize = answer.www_authenticate.iter().map(String::len).sum();
        let good = (200..300).contains(&answer.status) || (answer.status == 401 && who.is_anonymous());
        if !good || who.is_expired() {
            let at = self.clock.now();
            if self.facts.withdraw(&self.facts.pings, id, at) {
                self.write(Line::Forget(id, at));
            }
            return;
        }
        if challenge > MAX_CHALLENGE {
            return;
        }
        let said = Dated { asked: asked.0, answer: Arc::new(answer) };
        if self.facts.learn_ping(id, said.clone()) {
            self.write(Line::Ping(id, said.asked, said.answer));
        }
    }

    /// What a peer said less than `max_age` ago.
    pub fn ping(&self, jurisdiction: &Jurisdiction, who: &Credential, max_age: Duration) -> Option<PingAnswer> {
        let said = self.facts.pings.get(self.keys.ping(jurisdiction, who), Dated::clone)?;
        (self.is_fresh(said.asked, max_age) && !who.is_expired()).then(|| PingAnswer::clone(&said.answer))
    }
}

impl Verdicts {
    fn is_fresh(&self, asked: Moment, max_age: Duration) -> bool {
        // What was asked in the future was asked by another clock: believe nothing.
        self.clock.now().checked_sub(asked).is_some_and(|age| age < nanoseconds(max_age))
    }

    fn write(&self, line: Line) {
        if let Some(journal) = &*self.journal.load() {
            journal.write(line);
        }
    }
}

#[cfg(test)]
mod tests;
