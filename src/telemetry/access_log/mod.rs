//! The access log: one JSON line per request, written by a thread of its own.
//!
//! A request formats its line into one of a few buffers, which the writer thread swaps out and writes. So a slow disk or
//! a stuck reader of stdout costs lines (counted), never a request's time. Lines of one worker thread keep their order;
//! between threads the order is as near as [`writer::TICK`]. Does not own what the fields mean: `http::journal` says.

mod entry;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;
use prometheus::{IntCounter, Registry};

pub use entry::Entry;
use writer::{Command, Writer};

use super::config::AccessTarget;
use super::sink::Output;

/// Buffers that worker threads spread over; more threads share.
const SHARDS: usize = 8;
/// A buffer this full takes no more lines: the writer is that far behind. 8 × 4 MiB bounds the log's memory.
const SHARD_LIMIT: usize = 4 << 20;
/// A buffer this full wakes the writer before its tick.
const WAKE_AT: usize = 64 << 10;
/// Lines tell of clients' addresses and names: not for everyone on the machine.
const MODE: u32 = 0o640;
/// How long a caller of `flush`, `reopen`, `set_target` and `shutdown` waits for a writer that may be stuck in a write.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why the access log cannot go where it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("access log {path} cannot be opened: {source}")]
    Open { path: PathBuf, source: io::Error },
    #[error("stdout cannot be used for the access log: {0}")]
    Stdout(io::Error),
    #[error("the access log's thread cannot be started: {0}")]
    Thread(io::Error),
    #[error("the access log is stuck in a write")]
    Stuck,
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

/// Where requests leave their lines; shared by all threads. [`write`](Self::write) is for the async threads; the other
/// calls wait for the writer, at most twice [`PATIENCE`], and belong to a thread that may wait.
pub struct AccessLog {
    on: AtomicBool,
    shared: Arc<Shared>,
    wake: Sender<()>,
    commands: Sender<Command>,
    target: Mutex<AccessTarget>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    shards: [Shard; SHARDS],
    dropped: IntCounter,
}

/// Aligned so that two threads' locks do not share a cache line.
#[repr(align(128))]
#[derive(Default)]
struct Shard(Mutex<Vec<u8>>);

impl AccessLog {
    /// Opens `target` and starts the writer. Registers `entrepot_access_log_dropped_total`.
    pub fn start(target: &AccessTarget, registry: &Registry) -> Result<Arc<Self>, Error> {
        Self::with_file(open(target)?, target.clone(), registry)
    }

    fn with_file(file: Option<Output>, target: AccessTarget, registry: &Registry) -> Result<Arc<Self>, Error> {
        let dropped = IntCounter::new(
            "entrepot_access_log_dropped_total",
            "Lines lost because the access log's target was too slow or failed.",
        )?;
        registry.register(Box::new(dropped.clone()))?;
        let shared = Arc::new(Shared { shards: Default::default(), dropped });
        let (wake, woken) = bounded(1);
        let (commands, orders) = bounded(4);
        let on = AtomicBool::new(file.is_some());
        let mut writer = Writer::new(Arc::clone(&shared), woken, orders, file);
        let thread =
            thread::Builder::new().name("access-log".into()).spawn(move || writer.run()).map_err(Error::Thread)?;
        let (target, thread) = (Mutex::new(target), Mutex::new(Some(thread)));
        Ok(Arc::new(AccessLog { on, shared, wake, commands, target, thread }))
    }

    /// Whether lines are wanted at all; ask before gathering an entry's fields.
    pub fn enabled(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Takes one line. Never blocks on the target; a line that finds its buffer full is counted and lost.
    pub fn write(&self, entry: &Entry<'_>) {
        if !self.enabled() {
            return;
        }
        let Some(shard) = self.shared.shards.get(own_shard()) else { return };
        let mut lines = shard.0.lock();
        let before = lines.len();
        if before >= SHARD_LIMIT {
            drop(lines);
            self.shared.dropped.inc();
            return;
        }
        entry.push_line(&mut lines);
        let after = lines.len();
        drop(lines);
        if before < WAKE_AT && after >= WAKE_AT {
            // A full channel means that the writer is already called.
            let _ = self.wake.try_send(());
        }
    }

    /// Opens the same path again, after logrotate renamed the file. An error leaves the old file in use.
    pub fn reopen(&self) -> Result<(), Error> {
        let target = self.target.lock();
        match *target {
            AccessTarget::File(_) => self.change(open(&target)?),
            AccessTarget::Stdout | AccessTarget::Off => Ok(()),
        }
    }

    /// Sends what follows elsewhere. An error leaves the old target in use.
    pub fn set_target(&self, target: &AccessTarget) -> Result<(), Error> {
        let mut current = self.target.lock();
        if *current == *target {
            return Ok(());
        }
        let file = open(target)?;
        let on = file.is_some();
        self.change(file)?;
        self.on.store(on, Ordering::Relaxed);
        *current = target.clone();
        Ok(())
    }

    #[cfg(test)]
    /// Waits until all lines taken so far have left the process.
    pub fn flush(&self) -> Result<(), Error> {
        self.order(Command::Flush)
    }

    /// Writes what is left and ends the writer. Lines that come later are ignored.
    pub fn shutdown(&self) -> Result<(), Error> {
        self.on.store(false, Ordering::Relaxed);
        let Some(thread) = self.thread.lock().take() else { return Ok(()) };
        self.order(Command::Stop)?;
        // It has answered, so it is about to return.
        let _ = thread.join();
        Ok(())
    }

    fn change(&self, file: Option<Output>) -> Result<(), Error> {
        self.order(|done| Command::Use(file, done))
    }

    /// Gives an order and waits for it to be done, both with patience.
    fn order(&self, command: impl FnOnce(Sender<()>) -> Command) -> Result<(), Error> {
        let (done, answer) = bounded(1);
        self.commands.send_timeout(command(done), PATIENCE).map_err(|_| Error::Stuck)?;
        answer.recv_timeout(PATIENCE).map_err(|_| Error::Stuck)
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        // A writer that is stuck ends with the process.
        let _ = self.shutdown();
    }
}

fn open(target: &AccessTarget) -> Result<Option<Output>, Error> {
    match target {
        AccessTarget::Off => Ok(None),
        AccessTarget::Stdout => Output::stdout().map(Some).map_err(Error::Stdout),
        AccessTarget::File(path) => {
            Output::append(path, MODE).map(Some).map_err(|source| Error::Open { path: path.clone(), source })
        }
    }
}

/// The buffer of this thread: threads take turns when they first log.
fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    OWN.with(|own| *own)
}
