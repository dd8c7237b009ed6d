//! The composition root: builds the rooms and wires them. Alone may import every room.
//!
//! [`rooms`] builds what lives as long as the process, [`site`] what a reload replaces, [`listeners`] keeps the
//! listening sockets in step with the configuration, [`admin`] answers for all of them. [`maintenance`] does what operators order,
//! here and, by [`standalone`], in a command.

mod admin;
mod integrated;
pub mod jobs;
pub mod ledger;
mod limits;
mod listeners;
pub mod maintenance;
mod mirrors;
mod operators;
mod presence;
mod rooms;
mod secret;
pub mod shelf;
mod site;
pub mod standalone;
mod told;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::task::AbortOnDropHandle;

use crate::audit::{Deed, Ending, Origin, Outcome};
use crate::config::{Config, Source};
use crate::maintenance::gc::given_back;
use crate::telemetry::{self, AccessTarget, LogHandle};
use admin::Status;
use jobs::Jobs;
use listeners::Listeners;
use maintenance::Scheduled;
use presence::Presence;
use rooms::Rooms;

/// After the drain, background tasks have this long to end with the process.
const LAST_WORDS: Duration = Duration::from_secs(2);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Serves until told to stop. `source` is read again on SIGHUP.
pub fn serve(source: Source, config: Config) -> ExitCode {
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
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(source, config, logs, threads, open_files));
    runtime.shutdown_timeout(LAST_WORDS);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cannot serve");
            ExitCode::FAILURE
        }
    }
}

async fn run(
    source: Source,
    mut config: Config,
    logs: LogHandle,
    threads: usize,
    open_files: u64,
) -> Result<(), Failure> {
    // Before anything else: an unhandled SIGHUP or SIGUSR1 ends a process.
    let mut signals = Signals::new()?;
    let rooms = Rooms::build(&config, threads).await?;
    let mut listeners = Listeners::start(&config.listener, &rooms, open_files).await?;
    rooms.peers.own().replace(listeners.addresses().collect());
    let status = Arc::new(Status::new(&rooms)?);
    let admin = match &config.admin {
        Some(admin) => Some(admin::start(admin, &status, &rooms).await?),
        None => None,
    };
    rooms.peers.own().replace(listeners.addresses().chain(admin).collect());
    let addresses = listeners.addresses().map(|address| address.to_string()).collect();
    let jobs = Jobs::new(&config, Arc::new(Scheduled(rooms.integrated.clone())), &rooms.registry, SystemTime::now())?;
    let working = AbortOnDropHandle::new(tokio::spawn(jobs.clone().run(SystemTime::now)));
    status.serves(Presence::now(addresses, admin.map(|address| address.to_string())), jobs.clone());
    advice(&config);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), threads, "ready");
    loop {
        match signals.next().await {
            Order::Reload => {
                let outcome = reload(&source, &mut config, &rooms, &mut listeners, &logs).await;
                rooms.peers.own().replace(listeners.addresses().chain(admin).collect());
                status.reloaded(outcome.is_ok());
                status.registry_may_be_open();
                jobs.reconfigure(&config, SystemTime::now());
                audit_of_reload(&rooms, outcome.as_ref().err());
                match outcome {
                    Ok(()) => tracing::info!("the configuration was read again and is in force"),
                    Err(error) => tracing::error!("the configuration is refused, the old one goes on: {error}"),
                }
            }
            Order::Reopen => {
                if let Err(error) = rooms.access_log.reopen() {
                    tracing::error!(%error, "the access log cannot be opened again");
                }
                if let Err(error) = rooms.audit.reopen() {
                    tracing::error!(%error, "the audit cannot be opened again");
                }
            }
            Order::Stop => break,
        }
    }
    // What they do can be cut off anywhere, and goes on where it stopped.
    drop(working);
    drain(&config, &rooms, listeners, &status, &mut signals).await;
    // A collection that was cut off keeps the next one from beginning as long as that is not said.
    given_back().await;
    Ok(())
}

/// Everything or nothing: what can fail is built before anything is replaced.
async fn reload(
    source: &Source,
    config: &mut Config,
    rooms: &Rooms,
    listeners: &mut Listeners,
    logs: &LogHandle,
) -> Result<(), Failure> {
    let source = source.clone();
    let new = tokio::task::spawn_blocking(move || source.load()).await??;
    let registry_open = rooms.integrated.get().is_some();
    let fixed = config.needs_restart(&new, registry_open);
    if !fixed.is_empty() {
        tracing::warn!(keys = fixed.join(", "), "these keys take effect only after a restart");
    }
    let new = config.with_reload(new, registry_open);
    let keyring = secret::read(&new).await?;
    let (site, prepared) = rooms.site(&new).await?;
    let audit = rooms.audit.prepare(new.audit.as_ref()).map_err(|error| format!("audit.to: {error}"))?;
    write_log_to(rooms, &new.log.access).await?;
    if let Err(error) = listeners.follow(&new.listener, rooms).await {
        write_log_to(rooms, &config.log.access).await?;
        return Err(error);
    }
    rooms.audit.commit(audit);
    logs.set_level(new.log.level);
    rooms.cache.reconfigure(&new.cache);
    if let Some(registry) = rooms.integrated.get() {
        registry.reconfigure(&new.registry);
        registry.bound(&new.quota);
    }
    if let Some(works) = rooms.integrated.works() {
        works.reconfigure(&new);
    }
    rooms.secret.replace(keyring);
    rooms.fetching.peers.advertise(new.fleet.advertise.as_ref());
    rooms.authenticator.commit(prepared);
    rooms.front.replace_site(site);
    advice(&new);
    *config = new;
    Ok(())
}

/// A reload is the operator's deed.
fn audit_of_reload(rooms: &Rooms, error: Option<&Failure>) {
    let outcome = if error.is_none() { Outcome::Ok } else { Outcome::Failed };
    let ending = Ending { outcome, status: None, reason: error.map(ToString::to_string) };
    rooms.audit.note(&Origin::operator(None), &Deed { action: "reload", ..Deed::default() }, &ending);
}

/// What is allowed and may not be meant.
fn advice(config: &Config) {
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
}

async fn write_log_to(rooms: &Rooms, target: &AccessTarget) -> Result<(), Failure> {
    let (log, target) = (rooms.access_log.clone(), target.clone());
    Ok(tokio::task::spawn_blocking(move || log.set_target(&target)).await??)
}

/// Not ready, a delay, no more connections, the last request or the timeout.
async fn drain(config: &Config, rooms: &Rooms, listeners: Listeners, status: &Status, signals: &mut Signals) {
    status.drain();
    let timeout = config.drain.timeout.0;
    tracing::info!(delay = %config.drain.delay, timeout = %config.drain.timeout, "stopping");
    let ended = async {
        tokio::time::sleep(config.drain.delay.0).await;
        listeners.drain(timeout).await
    };
    tokio::select! {
        clean = ended => {
            if !clean {
                tracing::warn!("requests were cut off at drain.timeout");
            }
        }
        () = signals.insist() => tracing::warn!("told to stop again: requests under way are cut off"),
    }
    status.leave().await;
    rooms.shutdown().await;
    tracing::info!("stopped");
}

enum Order {
    Reload,
    Reopen,
    Stop,
}

struct Signals {
    reload: Signal,
    reopen: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Signals {
            reload: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Order {
        tokio::select! {
            _ = self.reload.recv() => Order::Reload,
            _ = self.reopen.recv() => Order::Reopen,
            _ = self.terminate.recv() => Order::Stop,
            _ = self.interrupt.recv() => Order::Stop,
        }
    }

    /// While we drain: a second SIGINT (Ctrl-C) or SIGTERM means now.
    async fn insist(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
