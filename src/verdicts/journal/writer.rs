//! The thread that writes the journal: appends in batches, and writes the file anew from memory when it has grown.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::line::{Line, VERSION};
use super::load::{HORIZON, Loaded};
use super::{MAX_FILE, Message, Shared};
use crate::verdicts::clock::{Moment, nanoseconds};

/// How long lines are gathered before they are written; withdrawals are written at once.
const BATCH_TIME: Duration = Duration::from_millis(200);
const BATCH_BYTES: usize = 1 << 20;

/// How often the clock and the metrics are looked after when nothing happens.
const IDLE: Duration = Duration::from_secs(1);

/// A small file is not worth writing anew.
const MIN_REWRITE: u64 = 1 << 20;

/// A rewrite leaves out what would make the file longer than this; reads, tags and `/v2/` come first, holds last.
const MAX_KEPT: u64 = MAX_FILE / 2;

/// Between a failed rewrite and the next one, and between two complaints in the log.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Writer {
    path: PathBuf,
    check: String,
    shared: Shared,
    /// Some withdrawal found no room in the queue.
    lost: Arc<AtomicBool>,
    /// Opened for appending only.
    file: File,
    length: u64,
    /// Length after the last rewrite; none yet, so that a long file is tidied up once after a start.
    kept: u64,
    due: bool,
    failed_at: Option<Instant>,
    complained_at: Option<Instant>,
}

/// Lines to be appended together.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    lines: u64,
    withdraws: bool,
    waiting: Vec<Sender<()>>,
}

impl Batch {
    fn push(&mut self, message: Message) {
        match message {
            Message::Line(line) => {
                self.withdraws |= line.withdraws();
                self.lines += u64::from(line.append_to(&mut self.bytes));
            }
            Message::Flush(done) => self.waiting.push(done),
        }
    }

    fn is_urgent(&self) -> bool {
        self.withdraws || !self.waiting.is_empty()
    }

    fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES
    }
}

impl Writer {
    pub fn open(
        path: PathBuf,
        check: String,
        loaded: &Loaded,
        lost: Arc<AtomicBool>,
        shared: Shared,
    ) -> io::Result<Writer> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        Ok(Writer {
            path,
            check,
            shared,
            lost,
            file,
            length: loaded.length,
            kept: 0,
            due: loaded.rewrite,
            failed_at: None,
            complained_at: None,
        })
    }

    pub fn run(mut self, receiver: &Receiver<Message>) {
        self.rewrite_if_due();
        let mut open = true;
        while open {
            let mut batch = Batch::default();
            open = collect(receiver, &mut batch);
            self.shared.clock.follow_wall();
            self.append(&batch);
            if open {
                self.rewrite_if_due();
            } else if self.lost.load(Ordering::Acquire) {
                // Whoever goes on with the file waits for this thread's end, and not for a whole file.
                self.empty();
            }
            self.show();
            for waiting in batch.waiting {
                let _ = waiting.send(()); // it may have lost patience
            }
        }
    }

    fn append(&mut self, batch: &Batch) {
        let mut result = self.file.write_all(&batch.bytes);
        if result.is_ok() && batch.is_urgent() {
            result = self.file.sync_data();
        }
        match result {
            Ok(()) => self.length += batch.bytes.len() as u64,
            Err(error) => {
                self.complain("the memory's file cannot be written", &error);
                self.shared.metrics.journal_dropped.inc_by(batch.lines);
                if batch.withdraws {
                    self.empty();
                } else if self.file.set_len(self.length).is_err() {
                    // Half a line may stand at the end; a rewrite is the cure.
                    self.due = true;
                }
            }
        }
    }

    /// Rather nothing than something that was taken back. What follows has no first line and so is not read either.
    fn empty(&mut self) {
        self.due = true;
        match self.file.set_len(0).or_else(|_| fs::remove_file(&self.path)) {
            Ok(()) => self.length = 0,
            Err(error) => self.complain("the memory's file cannot be emptied", &error),
        }
    }

    fn rewrite_if_due(&mut self) {
        let lost = self.lost.load(Ordering::Acquire);
        let grown = self.length > (self.kept * 2).clamp(MIN_REWRITE, MAX_FILE);
        if !self.due && !grown && !lost {
            return;
        }
        let patient = self.failed_at.is_some_and(|failed| failed.elapsed() < PATIENCE);
        let result = if patient { None } else { Some(self.rewrite()) };
        match result {
            Some(Ok(length)) => {
                (self.length, self.kept, self.due, self.failed_at) = (length, length, false, None);
                return;
            }
            Some(Err(error)) => {
                self.complain("the memory's file cannot be written anew", &error);
                self.failed_at = Some(Instant::now());
            }
            None => {}
        }
        if lost || self.length > MAX_FILE {
            self.lost.store(false, Ordering::Release);
            self.empty();
        }
    }

    /// Writes all facts to a new file and puts it in the place of the old one. Lines still in the queue will be
    /// appended to it although their facts may be in it already, which does no harm.
    fn rewrite(&mut self) -> io::Result<u64> {
        let new = self.path.with_extension("jsonl.new");
        let _ = fs::remove_file(&new); // left by a crash; create_new below says what is really wrong
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&new)?;
        let lost = self.lost.swap(false, Ordering::AcqRel);
        let written = self.write_all_facts(&file).and_then(|length| {
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            Ok(length)
        });
        match written {
            Ok(length) => {
                self.file = file;
                if let Some(folder) = self.path.parent() {
                    // Without this a power cut may bring the old file back; not every file system can.
                    let _ = File::open(folder).and_then(|folder| folder.sync_all());
                }
                Ok(length)
            }
            Err(error) => {
                self.lost.fetch_or(lost, Ordering::AcqRel);
                let _ = fs::remove_file(&new); // gives its space back; if not, the next rewrite does
                Err(error)
            }
        }
    }

    fn write_all_facts(&self, file: &File) -> io::Result<u64> {
        let facts = &self.shared.facts;
        facts.reads.reset_evicted();
        facts.holds.reset_evicted();
        facts.tags.reset_evicted();
        facts.pings.reset_evicted();
        let earliest = self.shared.clock.now().saturating_sub(nanoseconds(HORIZON));
        let mut out = Output { to: BufWriter::with_capacity(256 << 10, file), line: Vec::new(), length: 0 };
        out.put(&Line::Verdicts { version: VERSION, check: self.check.clone() })?;
        // Withdrawals first, all of them: there are at most so many slots.
        for (slot, at) in facts.deleted.all() {
            out.put(&Line::Deleted(slot, at))?;
        }
        for (slot, at) in facts.moved.all() {
            out.put(&Line::Moved(slot, at))?;
        }
        let recent = |at: Moment| at >= earliest;
        out.put_some(facts.reads.snapshots(), |(id, at)| recent(at).then_some(Line::Read(id, at)))?;
        out.put_some(facts.pings.snapshots(), |(id, said)| {
            recent(said.asked).then_some(Line::Ping(id, said.asked, said.answer))
        })?;
        out.put_some(facts.tags.snapshots(), |(id, said)| {
            recent(said.asked).then_some(Line::Tag(id, said.asked, said.answer))
        })?;
        out.put_some(facts.holds.snapshots(), |(id, at)| Some(Line::Hold(id, at)))?;
        out.to.flush()?;
        Ok(out.length)
    }

    fn show(&self) {
        let (facts, metrics) = (&self.shared.facts, &self.shared.metrics);
        let show = |kind: &str, count: usize| metrics.entries.with_label_values(&[kind]).set(count as i64);
        show("read", facts.reads.len());
        show("hold", facts.holds.len());
        show("tag", facts.tags.len());
        show("ping", facts.pings.len());
        metrics.journal_bytes.set(i64::try_from(self.length).unwrap_or(i64::MAX));
    }

    fn complain(&mut self, what: &str, error: &io::Error) {
        self.shared.metrics.journal_errors.inc();
        if self.complained_at.is_none_or(|at| at.elapsed() >= PATIENCE) {
            self.complained_at = Some(Instant::now());
            tracing::warn!(path = %self.path.display(), %error, "{what}; a restart will have to ask the peers again");
        }
    }
}

/// Waits for something to write, then a little for more. False when the journal is closed.
fn collect(receiver: &Receiver<Message>, batch: &mut Batch) -> bool {
    match receiver.recv_timeout(IDLE) {
        Ok(message) => batch.push(message),
        Err(RecvTimeoutError::Timeout) => return true,
        Err(RecvTimeoutError::Disconnected) => return false,
    }
    let deadline = Instant::now() + BATCH_TIME;
    while !batch.is_full() {
        let deadline = if batch.is_urgent() { Instant::now() } else { deadline };
        match receiver.recv_deadline(deadline) {
            Ok(message) => batch.push(message),
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
    true
}

/// A file in the writing.
struct Output<'a> {
    to: BufWriter<&'a File>,
    line: Vec<u8>,
    length: u64,
}

impl Output<'_> {
    fn put(&mut self, line: &Line) -> io::Result<()> {
        self.line.clear();
        line.append_to(&mut self.line);
        self.length += self.line.len() as u64;
        self.to.write_all(&self.line)
    }

    /// Stops at `MAX_KEPT`.
    fn put_some<T>(
        &mut self,
        shards: impl Iterator<Item = Vec<T>>,
        line: impl Fn(T) -> Option<Line>,
    ) -> io::Result<()> {
        for line in shards.flatten().filter_map(line) {
            if self.length >= MAX_KEPT {
                return Ok(());
            }
            self.put(&line)?;
        }
        Ok(())
    }
}
