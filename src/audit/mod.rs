//! The audit: one line of JSON for each change of the registry, each failed login, each refusal and each deed of an operator.
//!
//! - `record`: what a line says; `actor`: who did it; `trail`: one request's changes, gathered and told when it ends
//! - `writer`: the thread that writes them; `config`: where to; `allowance`: how many refusals of one address
//!
//! Usually a line that finds the queue full is counted and lost, and no request waits. Where the audit is `required`, a request that
//! may change the registry is told of before it begins, and waits until that is on the disk: what cannot be recorded is not done. Its
//! second line says what came of it; if the process ends between the two, the first stands alone, and means that nobody knows.
//! Does not own who asks this of which request: `http::recording` does.

mod actor;
mod allowance;
pub mod config;
mod record;
#[cfg(test)]
mod tests;
mod trail;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use std::{io, thread};

use crossbeam_channel::{Sender, bounded, unbounded};
use parking_lot::Mutex;
use prometheus::{IntCounterVec, Opts, Registry};
use tokio::sync::oneshot;

pub use actor::Actor;
use allowance::{Allowance, Reason, Verdict};
pub use config::{Config, Target};
pub use record::{Client, Deed, Ending, Lines, Origin, Outcome, changes, reason};
pub use trail::Trail;
use writer::{Item, Writer};

use crate::telemetry::sink::Output;

/// Bytes of lines that the writer has not written yet.
const QUEUE: usize = 8 << 20;
/// Refusals get this much of it: strangers can make as many as they like, and shall not keep changes out.
const QUEUE_OF_REFUSALS: usize = QUEUE / 2;
/// Ends the reason of the last line of an address that is recorded in a minute.
const LAST: &str = "further ones of this address in this minute are left out";
/// What the line of a reload says in the file that is left.
const MOVED: &str = "what follows is recorded elsewhere, or not at all";
/// How long a request waits for its line to be on the disk, and a command or the end of the process for the writer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Who did what is for the operator's eyes.
const MODE: u32 = 0o600;

/// Why there can be no audit.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path} cannot be opened: {source}")]
    Open { path: PathBuf, source: io::Error },
    #[error("stdout cannot be used: {0}")]
    Stdout(io::Error),
    #[error("{path} cannot be written to: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("its thread cannot be started: {0}")]
    Thread(io::Error),
    #[error("it is stuck in a write")]
    Stuck,
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

/// Lines that had to be recorded and were not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be recorded")]
pub struct Unrecorded;

/// Where lines are left. Shared by all threads; one for the process.
pub struct Audit {
    on: AtomicBool,
    required: AtomicBool,
    config: Mutex<Option<Config>>,
    items: Sender<Item>,
    /// Bytes in the queue, which is bounded by them.
    waiting: Arc<AtomicUsize>,
    refusals: Allowance,
    lines: IntCounterVec,
}

/// A configuration that can be taken over.
pub struct Prepared {
    config: Option<Config>,
    /// Somewhere else than before.
    output: Option<Option<Output>>,
}

impl Audit {
    /// Opens what `config` names and starts the writer. Registers `entrepot_audit_lines_total`.
    pub fn start(config: Option<&Config>, registry: &Registry) -> Result<Arc<Self>, Error> {
        let options = Opts::new(
            "entrepot_audit_lines_total",
            "Lines of the audit; lost: its target failed or was slow; left_out: too many refusals of one address.",
        );
        let lines = IntCounterVec::new(options, &["result"])?;
        for result in ["written", "lost", "left_out"] {
            lines.with_label_values(&[result]);
        }
        registry.register(Box::new(lines.clone()))?;
        let output = config.map(|config| open(&config.to)).transpose()?;
        let (items, received) = unbounded();
        let waiting = Arc::new(AtomicUsize::new(0));
        let mut writer = Writer::new(received, waiting.clone(), output, lines.clone());
        thread::Builder::new().name("audit".into()).spawn(move || writer.run()).map_err(Error::Thread)?;
        Ok(Arc::new(Audit {
            on: AtomicBool::new(config.is_some()),
            required: AtomicBool::new(config.is_some_and(|config| config.required)),
            config: Mutex::new(config.cloned()),
            items,
            waiting,
            refusals: Allowance::default(),
            lines,
        }))
    }

    /// Whether anything is recorded at all; ask before gathering what a line says.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Whether what cannot be recorded must not be done.
    pub fn is_required(&self) -> bool {
        self.required.load(Ordering::Relaxed)
    }

    /// Takes a line that somebody who may do nothing can cause: so many of an address in a minute.
    pub fn refused(&self, origin: &Origin, deed: &Deed, ending: &Ending) {
        self.bounded(Reason::Any, (origin, deed, ending));
    }

    /// Takes a line of somebody who is over `[limits]`: one of an address in a minute.
    pub fn limited(&self, origin: &Origin, deed: &Deed, ending: &Ending) {
        self.bounded(Reason::Limited, (origin, deed, ending));
    }

    fn bounded(&self, reason: Reason, (origin, deed, ending): (&Origin, &Deed, &Ending)) {
        let address = origin.client.as_ref().map(|client| client.ip);
        match address.map_or(Verdict::Record, |address| self.refusals.take(address, reason)) {
            Verdict::Record => drop(self.give(line(origin, deed, ending), None, QUEUE_OF_REFUSALS)),
            Verdict::RecordAsLast => {
                let reason = ending.reason.iter().map(String::as_str).chain([LAST]).collect::<Vec<_>>().join("; ");
                let ending = Ending { reason: Some(reason), ..*ending };
                self.give(line(origin, deed, &ending), None, QUEUE_OF_REFUSALS);
            }
            Verdict::LeaveOut => self.lines.with_label_values(&["left_out"]).inc(),
        }
    }

    /// Takes a line.
    pub fn note(&self, origin: &Origin, deed: &Deed, ending: &Ending) {
        self.note_all(line(origin, deed, ending));
    }

    fn note_all(&self, lines: Lines) {
        self.give(lines, None, QUEUE);
    }

    /// Takes a line before something is done, where that has to be recorded, and waits until it is on the disk.
    ///
    /// # Errors
    /// It is not: then it must not be done.
    pub async fn begun(&self, origin: &Origin, deed: &Deed) -> Result<(), Unrecorded> {
        if !self.is_required() {
            return Ok(());
        }
        let begun = Ending { outcome: Outcome::Begun, status: None, reason: None };
        if let Err(unrecorded) = self.record(line(origin, deed, &begun)).await {
            // The line may come to be written later: then another says that nothing was done.
            let reason = Some("it could not be recorded".to_owned());
            self.note(origin, deed, &Ending { outcome: Outcome::Failed, status: None, reason });
            return Err(unrecorded);
        }
        Ok(())
    }

    /// Waits until lines are on the disk.
    ///
    /// # Errors
    /// They are not, or nobody knows.
    async fn record(&self, lines: Lines) -> Result<(), Unrecorded> {
        let (done, told) = oneshot::channel();
        if !self.give(lines, Some(done), QUEUE) {
            return Err(Unrecorded);
        }
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(true)) => Ok(()),
            _ => Err(Unrecorded),
        }
    }

    fn give(&self, lines: Lines, done: Option<oneshot::Sender<bool>>, most: usize) -> bool {
        let (length, count) = (lines.bytes.len(), lines.count);
        if count == 0 || !self.is_on() {
            return count == 0;
        }
        if self.waiting.fetch_add(length, Ordering::AcqRel).saturating_add(length) > most {
            self.waiting.fetch_sub(length, Ordering::AcqRel);
            self.lines.with_label_values(&["lost"]).inc_by(count);
            return false;
        }
        self.items.send(Item::Lines { lines, done }).is_ok()
    }

    /// What another configuration needs, opened and not yet in use.
    pub fn prepare(&self, config: Option<&Config>) -> Result<Prepared, Error> {
        let present = self.config.lock().as_ref().map(|config| config.to.clone());
        let wanted = config.map(|config| &config.to);
        let output = match wanted == present.as_ref() {
            true => None,
            false => Some(wanted.map(open).transpose()?),
        };
        Ok(Prepared { config: config.cloned(), output })
    }

    /// Takes it over: lines that come after this go there. The last one of where they went before says so, or whoever can have it
    /// read again could take the audit away and leave no trace.
    pub fn commit(&self, prepared: Prepared) {
        if let Some(output) = prepared.output {
            let ending = Ending { outcome: Outcome::Ok, status: None, reason: Some(MOVED.to_owned()) };
            self.note(&Origin::operator(None), &Deed { action: "reload", ..Deed::default() }, &ending);
            let _ = self.items.send(Item::Use(output));
        }
        self.on.store(prepared.config.is_some(), Ordering::Relaxed);
        self.required.store(prepared.config.as_ref().is_some_and(|config| config.required), Ordering::Relaxed);
        *self.config.lock() = prepared.config;
    }

    /// Opens the same path again, after logrotate renamed the file. An error leaves the old file in use.
    pub fn reopen(&self) -> Result<(), Error> {
        if let Some(Config { to: to @ Target::File(_), .. }) = &*self.config.lock() {
            let _ = self.items.send(Item::Use(Some(open(to)?)));
        }
        Ok(())
    }

    /// Writes what is left and ends the writer. Waits, so it is for a thread that may.
    pub fn shutdown(&self) -> Result<(), Error> {
        self.on.store(false, Ordering::Relaxed);
        let (done, told) = bounded(1);
        self.items.send(Item::Stop(done)).map_err(|_| Error::Stuck)?;
        told.recv_timeout(PATIENCE).map_err(|_| Error::Stuck)
    }
}

/// A command's own line, from a process beside the one that serves: whole in one write, and on the disk when this returns.
pub fn append(path: &Path, deed: &Deed, ending: &Ending) -> Result<(), Error> {
    append_all(path, &[(deed.clone(), ending.clone())])
}

/// The same of several lines.
pub fn append_all(path: &Path, told: &[(Deed, Ending)]) -> Result<(), Error> {
    let user = rustix::process::getuid().as_raw();
    let origin = Origin::operator(Some(format!("uid {user}")));
    let mut lines = Lines::default();
    told.iter().for_each(|(deed, ending)| lines.push(&origin, deed, ending));
    let failed = |source| Error::Write { path: path.to_owned(), source };
    let output = Output::append(path, MODE).map_err(|source| Error::Open { path: path.to_owned(), source })?;
    let mut sink = crate::telemetry::sink::Sink::new(Some(output));
    sink.write(&lines.bytes).map_err(|loss| failed(loss.error))?;
    sink.sync().map_err(failed)
}

fn line(origin: &Origin, deed: &Deed, ending: &Ending) -> Lines {
    let mut lines = Lines::default();
    lines.push(origin, deed, ending);
    lines
}

fn open(target: &Target) -> Result<Output, Error> {
    match target {
        Target::Stdout => Output::stdout().map_err(Error::Stdout),
        Target::File(path) => Output::append(path, MODE).map_err(|source| Error::Open { path: path.clone(), source }),
    }
}
