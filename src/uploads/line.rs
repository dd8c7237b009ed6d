//! Batches on their way to the hash and to the file: each in order, neither waits for the other. So the processor hashes
//! while the disk writes.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use futures::future::OptionFuture;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use super::batch::{Batch, Target};
use super::pump::Failed;
use crate::oci::Hasher;
use crate::storage::disk::Output;

/// Batches at once.
const BATCHES: usize = 3;
/// Fewer bytes are hashed and written by one thread, when nothing else is to be done.
const SMALL: usize = 128 << 10;
/// The disk is told to keep what the page cache holds of an upload every so many bytes, so that little is left to wait for
/// at the end. The last sync is the caller's.
const SYNC_EVERY: u64 = 16 << 20;

pub(super) struct Line {
    target: Option<Target>,
    /// Bytes of the file that are good.
    at: u64,
    /// Over what is hashed; with a thread that hashes, or unknown.
    hasher: Option<Hasher>,
    /// The oldest first.
    batches: VecDeque<Arc<Batch>>,
    /// How many of them are.
    hashed: usize,
    written: usize,
    running: Running,
    syncing: Syncing,
    pub(super) failed: Option<io::Error>,
    /// What follows the good bytes is not known any more.
    lost: bool,
}

#[derive(Default)]
struct Running {
    hash: Option<JoinHandle<Option<Hasher>>>,
    write: Option<JoinHandle<io::Result<u64>>>,
    both: Option<JoinHandle<(Option<Hasher>, io::Result<u64>)>>,
}

/// What threads have done: the hash over a batch more, a batch's bytes that a sync would have to write.
pub(super) struct Done {
    hashed: Option<Option<Hasher>>,
    written: Option<Result<io::Result<u64>, JoinError>>,
}

/// Syncs in the background, one at a time.
#[derive(Default)]
struct Syncing {
    task: Option<JoinHandle<io::Result<()>>>,
    unsynced: u64,
}

impl Line {
    pub(super) fn new(target: Option<Target>, at: u64, hasher: Option<Hasher>) -> Self {
        Line {
            target,
            at,
            hasher,
            batches: VecDeque::new(),
            hashed: 0,
            written: 0,
            running: Running::default(),
            syncing: Syncing::default(),
            failed: None,
            lost: false,
        }
    }

    /// After a failure, always: what was gathered has to be hashed.
    pub(super) fn takes_more(&self) -> bool {
        self.failed.is_some() || self.batches.len() < BATCHES
    }

    pub(super) fn push(&mut self, batch: Batch) {
        self.batches.push_back(Arc::new(batch));
        self.start();
    }

    pub(super) fn is_idle(&self) -> bool {
        let Running { hash, write, both } = &self.running;
        hash.is_none() && write.is_none() && both.is_none()
    }

    /// Waits until a thread has done its part; for ever when none is running. May be dropped while it waits.
    pub(super) async fn wait(&mut self) -> Done {
        let Running { hash, write, both } = &mut self.running;
        tokio::select! {
            Some(hashed) = OptionFuture::from(hash.as_mut()) => {
                *hash = None;
                Done { hashed: Some(hashed.unwrap_or_default()), written: None }
            }
            Some(written) = OptionFuture::from(write.as_mut()) => {
                *write = None;
                Done { hashed: None, written: Some(written) }
            }
            Some(done) = OptionFuture::from(both.as_mut()) => {
                *both = None;
                match done {
                    Ok((hasher, written)) => Done { hashed: Some(hasher), written: Some(Ok(written)) },
                    Err(error) => Done { hashed: Some(None), written: Some(Err(error)) },
                }
            }
            else => std::future::pending().await,
        }
    }

    /// Takes it over, and has threads do what is next.
    pub(super) async fn step(&mut self, done: Done) {
        if let Some(hasher) = done.hashed {
            // `None` after a thread panicked: the hash is unknown from then on, and the bytes are read again.
            self.hasher = hasher;
            self.hashed += 1;
        }
        if let Some(written) = done.written {
            self.has_written(written).await;
        }
        self.start();
    }

    async fn has_written(&mut self, written: Result<io::Result<u64>, JoinError>) {
        let Some(batch) = self.batches.get(self.written) else { return };
        let synced = match written {
            Ok(Ok(unsynced)) => {
                self.at += batch.bytes() as u64;
                self.written += 1;
                match &self.target {
                    Some(Target::Upload(output)) => self.syncing.after(unsynced, output).await,
                    _ => Ok(()),
                }
            }
            Ok(Err(error)) => {
                self.failed = Some(error);
                return;
            }
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = synced {
            self.fail(error);
        }
    }

    /// Not at the end of the good bytes.
    fn fail(&mut self, error: io::Error) {
        self.failed.get_or_insert(error);
        self.lost = true;
    }

    /// Gives what is to be done to threads.
    fn start(&mut self) {
        if self.target.is_none() {
            // They are only hashed.
            self.at += self.batches.iter().skip(self.written).map(|batch| batch.bytes() as u64).sum::<u64>();
            self.written = self.batches.len();
        }
        while self.hashed > 0 && self.written > 0 {
            self.batches.pop_front();
            (self.hashed, self.written) = (self.hashed - 1, self.written - 1);
        }
        if self.running.both.is_some() {
            return;
        }
        if let Some(batch) = self.batches.front().filter(|batch| batch.bytes() <= SMALL).cloned()
            && (self.batches.len(), self.hashed, self.written) == (1, 0, 0)
            && self.is_idle()
            && self.failed.is_none()
        {
            let (target, at, hasher) = (self.target.clone(), self.at, self.hasher.take());
            let both = move || (batch.hash(hasher), batch.write(target.as_ref(), at));
            self.running.both = Some(spawn_blocking(both));
            return;
        }
        // The disk first: it works by itself while the processor hashes.
        if self.running.write.is_none()
            && self.failed.is_none()
            && let Some(batch) = self.batches.get(self.written).cloned()
        {
            let (target, at) = (self.target.clone(), self.at);
            self.running.write = Some(spawn_blocking(move || batch.write(target.as_ref(), at)));
        }
        if self.running.hash.is_none()
            && let Some(batch) = self.batches.get(self.hashed).cloned()
        {
            let hasher = self.hasher.take();
            self.running.hash = Some(spawn_blocking(move || batch.hash(hasher)));
        }
    }

    /// The good bytes, the hash over them and over those that could not be written, and why not. Nothing may be running.
    pub(super) async fn end(mut self) -> (u64, Option<Hasher>, Option<Failed>) {
        if let Err(error) = std::mem::take(&mut self.syncing).end().await {
            self.fail(error);
        }
        let Some(error) = self.failed else { return (self.at, self.hasher, None) };
        let mut unwritten = Some(Batch::default()).filter(|_| !self.lost);
        for batch in self.batches.into_iter().skip(self.written) {
            // Nobody else has it any more.
            unwritten = unwritten.zip(Arc::into_inner(batch)).map(|(mut all, batch)| {
                all.append(batch);
                all
            });
        }
        (self.at, self.hasher, Some(Failed { error, unwritten }))
    }
}

impl Syncing {
    /// The kernel tells an error of a sync once: this one's must not be lost.
    async fn after(&mut self, bytes: u64, output: &Arc<Output>) -> io::Result<()> {
        self.unsynced += bytes;
        if self.task.as_ref().is_some_and(|task| !task.is_finished()) || self.unsynced < SYNC_EVERY {
            return Ok(());
        }
        std::mem::take(self).end().await?;
        let output = output.clone();
        self.task = Some(spawn_blocking(move || output.file().sync_data()));
        Ok(())
    }

    async fn end(self) -> io::Result<()> {
        match self.task {
            Some(task) => task.await.map_err(io::Error::other)?,
            None => Ok(()),
        }
    }
}
