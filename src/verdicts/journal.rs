//! The memory's file: JSON lines appended in the background, so that a restart forgets little. Owns the channel to the
//! thread that writes; the file's lines, its reading and its writing are in the modules below.
//!
//! What is lost on the way (a slow disk, a crash) may only ever be something good about somebody: a withdrawal that
//! cannot be written empties the file.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod line;
mod load;
mod writer;

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::clock::Clock;
use super::facts::Facts;
use super::metrics::Metrics;

pub use line::Line;
pub use load::{Loaded, load};
use writer::Writer;

/// Lines on their way to the thread that writes.
const QUEUE: usize = 16_384;

/// The last part of the queue is for withdrawals only.
const QUEUE_FOR_FACTS: usize = QUEUE / 4 * 3;

/// How long `flush` waits, and whoever waits for the end of the thread that writes.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// The file never grows beyond this, and at a rewrite not beyond the half of it.
const MAX_FILE: u64 = 64 << 20;

/// The file in the folder of the cache.
pub fn path(folder: &Path) -> PathBuf {
    folder.join("memory.jsonl")
}

pub struct Journal {
    sender: Sender<Message>,
    lost: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    ended: Ended,
}

/// Whether the thread that writes has ended, after its journal was dropped.
#[derive(Clone)]
pub struct Ended(Receiver<Infallible>);

impl Ended {
    /// Blocks until it has; false if that takes too long.
    pub fn wait(&self) -> bool {
        matches!(self.0.recv_timeout(FLUSH_TIMEOUT), Err(RecvTimeoutError::Disconnected))
    }
}

/// What the thread that writes shares with the memory.
pub struct Shared {
    pub facts: Arc<Facts>,
    pub clock: Arc<Clock>,
    pub metrics: Arc<Metrics>,
}

enum Message {
    Line(Line),
    Flush(Sender<()>),
}

impl Journal {
    /// Goes on with the file that was loaded; the thread ends when the journal is dropped.
    pub fn start(path: PathBuf, check: &str, loaded: Loaded, shared: Shared) -> io::Result<Journal> {
        let (sender, receiver) = bounded(QUEUE);
        let lost = Arc::new(AtomicBool::new(false));
        let metrics = shared.metrics.clone();
        let writer = Writer::open(path, check.to_owned(), &loaded, lost.clone(), shared)?;
        let (lives, ended) = bounded(0);
        std::thread::Builder::new().name("memory".into()).spawn(move || {
            // Goes last, when the file is closed.
            let _lives: Sender<Infallible> = lives;
            writer.run(&receiver);
        })?;
        Ok(Journal { sender, lost, metrics, ended: Ended(ended) })
    }

    /// Never waits: what finds no room is dropped, and if that was a withdrawal, the file is written anew from memory.
    pub fn write(&self, line: Line) {
        let withdraws = line.withdraws();
        let room = withdraws || self.sender.len() < QUEUE_FOR_FACTS;
        if room && self.sender.try_send(Message::Line(line)).is_ok() {
            return;
        }
        self.metrics.journal_dropped.inc();
        if withdraws {
            self.lost.store(true, Ordering::Release);
        }
    }

    /// To be waited for once the journal is dropped.
    pub fn ended(&self) -> Ended {
        self.ended.clone()
    }

    /// Blocks until what was written before is on disk; false if that takes too long.
    pub fn flush(&self) -> bool {
        let (done, finished) = bounded(1);
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        let sent = self.sender.send_deadline(Message::Flush(done), deadline).is_ok();
        sent && finished.recv_deadline(deadline).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::verdicts::key::Id;

    /// A journal with one read in its file, whose withdrawal found no room in the queue.
    fn with_lost_withdrawal(folder: &Path) -> Journal {
        let facts = Arc::new(Facts::new());
        let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
        let shared = Shared { facts: facts.clone(), clock: Arc::new(Clock::starting_at_least(0)), metrics };
        let loaded = load(&path(folder), "check", &facts);
        let journal = Journal::start(path(folder), "check", loaded, shared).unwrap();
        let asked = crate::verdicts::clock::wall();
        assert!(facts.learn_read(Id([1; 16]), asked) && facts.learn_read(Id([2; 16]), asked));
        journal.write(Line::Read(Id([1; 16]), asked));
        journal.write(Line::Read(Id([2; 16]), asked));
        assert!(journal.flush());
        assert_eq!(reads(folder), 2);
        facts.reads.remove(Id([1; 16]));
        journal
    }

    /// How many reads a restart would know.
    fn reads(folder: &Path) -> usize {
        let facts = Facts::new();
        load(&path(folder), "check", &facts);
        facts.reads.len()
    }

    #[test]
    fn a_withdrawal_without_room_has_the_file_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let journal = with_lost_withdrawal(folder.path());
        journal.lost.store(true, Ordering::Release);
        assert!(journal.flush());
        assert_eq!(reads(folder.path()), 1);
    }

    #[test]
    fn a_withdrawal_that_cannot_be_written_empties_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let journal = with_lost_withdrawal(folder.path());
        fs::create_dir(path(folder.path()).with_extension("jsonl.new")).unwrap(); // no rewrite
        journal.lost.store(true, Ordering::Release);
        assert!(journal.flush());
        assert_eq!(fs::metadata(path(folder.path())).unwrap().len(), 0);
    }
}
