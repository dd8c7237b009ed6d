//! The composition root: builds the rooms and wires them. Alone may import every room.
//!
//! [`rooms`] builds what lives as long as the process, [`site`] what a reload replaces, [`listeners`] keeps the
//! listening sockets in step with the configuration, [`acme`] the certificates that come by themselves, [`admin`] answers for all of
//! them. [`maintenance`] does what operators order,
//! here and, by [`standalone`], in a command. [`serving`] is a process that serves, from its beginning to its end; by [`upgrade`]
//! another one takes its place, which by [`succession`] is itself.

mod acme;
mod admin;
mod integrated;
pub mod jobs;
pub mod ledger;
pub mod limits;
mod listeners;
pub mod maintenance;
mod manager;
mod mirrors;
mod operators;
mod parent;
mod presence;
mod rooms;
mod secret;
mod serving;
pub mod shelf;
mod signals;
mod site;
pub mod standalone;
mod succession;
mod told;
mod upgrade;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::{Config, Source};
use crate::sockets::Inherited;
use crate::telemetry;
use parent::Parent;
use succession::Predecessor;

/// After the drain, background tasks have this long to end with the process.
const LAST_WORDS: Duration = Duration::from_secs(2);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a process that serves begins with.
pub struct Beginning {
    /// Read again on SIGHUP.
    source: Source,
    /// The program, where it was when it was started.
    program: Option<PathBuf>,
    /// Who started it.
    parent: Parent,
    /// Sockets of a service manager.
    inherited: Inherited,
    predecessor: Option<Predecessor>,
}

impl Beginning {
    /// Called once, before there are other threads.
    ///
    /// # Errors
    /// For people: what this process was started with is not what it should be.
    pub fn of_process(source: Source) -> Result<Self, String> {
        let parent = Parent::of_process();
        let inherited = Inherited::of_manager().map_err(|error| error.to_string())?;
        let predecessor = Predecessor::of_environment()?;
        Ok(Beginning { source, program: std::env::current_exe().ok(), parent, inherited, predecessor })
    }

    pub fn source(&self) -> &Source {
        &self.source
    }

    /// This process comes to nothing: whose place it was to take is told why.
    pub fn failed(&self, why: &str) {
        if let Some(predecessor) = &self.predecessor {
            predecessor.failed(why);
        }
    }
}

/// Serves until told to stop, or until another process takes its place.
pub fn serve(beginning: Beginning, config: Config) -> ExitCode {
    let logs = telemetry::init_logs(&config.log);
    // Before anything asks how many there may be.
    let open_files = limits::raise_open_files();
    let threads = match config.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // A quarter of the library's own: where many connections are never done, the others' sockets are looked at only so often.
    runtime.worker_threads(threads).event_interval(16).enable_all();
    let runtime = match runtime.build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "threads cannot be started");
            beginning.failed(&format!("threads cannot be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(serving::run(beginning, config, logs, (threads, open_files)));
    runtime.shutdown_timeout(LAST_WORDS);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cannot serve");
            ExitCode::FAILURE
        }
    }
}
