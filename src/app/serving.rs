//! A process that serves: its beginning, what it is told meanwhile, and its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::admin::{Door, Status};
use super::jobs::Jobs;
use super::listeners::{Bound, Listeners};
use super::maintenance::Scheduled;
use super::manager::Manager;
use super::parent::Parent;
use super::presence::Presence;
use super::rooms::Rooms;
use super::signals::{Order, Signals};
use super::upgrade::{self, Asked, Condition, Successor};
use super::words::Home;
use super::{Beginning, Failure, acme, secret};
use crate::audit::{Deed, Ending, Origin, Outcome};
use crate::config::{Config, Source};
use crate::maintenance::gc::given_back;
use crate::sockets::{Inherited, Told};
use crate::storage::config::DriverKind;
use crate::telemetry::{AccessTarget, LogHandle};

/// Once another process accepts, connections that wait for a request are kept open this long: it may be on its way.
const GRACE: Duration = Duration::from_secs(10);

type Working = AbortOnDropHandle<std::convert::Infallible>;

/// All that serves.
struct Serving {
    config: Config,
    rooms: Rooms,
    listeners: Listeners,
    admin: Option<Door>,
    status: Arc<Status>,
    jobs: Arc<Jobs>,
    /// The jobs; `None` once another process has them.
    working: Option<Working>,
    manager: Manager,
    program: Option<PathBuf>,
    parent: Parent,
}

/// Why a process that serves ends.
enum End {
    Stopped,
    /// That process serves, and has no use for the sockets that are left.
    Succeeded {
        successor: u32,
        left: Vec<Told>,
    },
}

/// Why another process has not taken our place.
#[derive(Debug, thiserror::Error)]
enum Vain {
    #[error("told to stop")]
    Stopped,
    #[error("{0}")]
    Because(String),
}

pub async fn run(beginning: Beginning, config: Config, logs: LogHandle, bounds: (usize, u64)) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let (successors, mut asked) = mpsc::channel(1);
    let Beginning { source, program, parent, inherited, predecessor } = beginning;
    let begun = begin((config, program, parent), (inherited, predecessor.as_ref()), successors, bounds).await;
    let mut serving = match begun {
        Ok(serving) => serving,
        Err(error) => {
            if let Some(predecessor) = &predecessor {
                predecessor.failed(&error.to_string());
            }
            return Err(error);
        }
    };
    drop(predecessor);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), threads = bounds.0, "ready");
    serving.manager.ready();
    let alive = serving.listeners.alive();
    let watching = serving.manager.watch(move || alive.is());
    let end = loop {
        let order = tokio::select! {
            order = signals.next() => order,
            Some(asked) = asked.recv() => {
                if asked.told.is_closed() {
                    tracing::info!("whoever ordered an upgrade has gone: none is begun");
                    continue;
                }
                match serving.upgrade(Some(asked), &mut signals).await {
                    Some(end) => break end,
                    None => continue,
                }
            }
        };
        match order {
            Order::Reload => serving.reload(&source, &logs).await,
            Order::Reopen => reopen(&serving.rooms),
            Order::Upgrade => {
                if let Some(end) = serving.upgrade(None, &mut signals).await {
                    break end;
                }
            }
            Order::Stop => break End::Stopped,
        }
    };
    // Whoever asks for an upgrade now is told that there is nobody any more.
    drop(asked);
    drop(watching);
    serving.end(end, &mut signals).await;
    Ok(())
}

/// Everything is built and open before anything is accepted; beside a process whose place is taken, once that accepts no more.
async fn begin(
    (config, program, parent): (Config, Option<PathBuf>, Parent),
    (mut inherited, predecessor): (Inherited, Option<&super::Predecessor>),
    successors: mpsc::Sender<Asked>,
    (threads, open_files): (usize, u64),
) -> Result<Serving, Failure> {
    let rooms = Rooms::build(&config, threads, predecessor.is_some()).await?;
    let status = Arc::new(Status::new(&rooms, successors)?);
    if let Some(predecessor) = predecessor {
        use crate::admin::AdminState as _;
        // Its turn has not come yet, and a wrong key of the storage's must not take over.
        if let Some(registry) = rooms.integrated.get() {
            registry.probe().await;
        }
        inherited = predecessor.prove(&config, &rooms, status.ready().reasons).await?;
    }
    let certificates = acme::prepare(&config, &rooms.acme).await?;
    if let Err(why) = rooms.acme.load(&certificates).await
        && predecessor.is_some()
    {
        // Whose place would be taken has them.
        return Err(why.into());
    }
    let bound = Bound::open(&config.listener, &rooms, open_files, &mut inherited).await?;
    let mut admin = match &config.admin {
        Some(admin) => Some(Door::open(admin, &status, &rooms, &mut inherited)?),
        None => None,
    };
    for socket in inherited.left() {
        tracing::warn!(socket, "a socket was handed over that no [[listener]] has, nor [admin]: it is closed here");
    }
    let left = inherited.unclaimed();
    drop(inherited);
    let jobs = Jobs::new(&config, Arc::new(Scheduled(rooms.integrated.clone())), &rooms.registry, SystemTime::now())?;
    let admin_address = admin.as_ref().map(Door::address);
    rooms.peers.own().replace(bound.addresses().chain(admin_address).collect());
    if let Some(predecessor) = predecessor {
        predecessor.may_accept(left).await?;
        rooms.take_over(&config).await?;
    }
    let listeners = bound.accept(&rooms);
    // Not before somebody answers authorities.
    rooms.acme.commit(certificates);
    if let Some(admin) = &mut admin {
        admin.serve();
    }
    if let Some(predecessor) = predecessor {
        predecessor.accepts().await;
        status.upgraded(Ok(()));
        tracing::info!("this process has taken another one's place");
    }
    let addresses = listeners.addresses().map(ToString::to_string).collect();
    let working = Some(work(&jobs));
    status.serves(Presence::now(addresses, admin_address.map(|address| address.to_string())), jobs.clone());
    advice(&config);
    let manager = Manager::of_environment();
    Ok(Serving { config, rooms, listeners, admin, status, jobs, working, manager, program, parent })
}

fn work(jobs: &Arc<Jobs>) -> Working {
    AbortOnDropHandle::new(tokio::spawn(jobs.clone().run(SystemTime::now)))
}

impl Serving {
    async fn reload(&mut self, source: &Source, logs: &LogHandle) {
        self.manager.reloading();
        let outcome = reload(source, &mut self.config, &self.rooms, &mut self.listeners, logs).await;
        let admin = self.admin.as_ref().map(Door::address);
        let addresses = self.listeners.addresses().filter_map(crate::sockets::Address::tcp);
        self.rooms.peers.own().replace(addresses.chain(admin).collect());
        self.status.reloaded(outcome.is_ok());
        self.status.registry_may_be_open();
        self.jobs.reconfigure(&self.config, SystemTime::now());
        let deed = Deed { action: "reload", ..Deed::default() };
        self.audit(&Origin::operator(None), &deed, outcome.as_ref().err().map(ToString::to_string));
        match outcome {
            Ok(()) => tracing::info!("the configuration was read again and is in force"),
            Err(error) => tracing::error!("the configuration is refused, the old one goes on: {error}"),
        }
        self.manager.ready();
    }

    /// The operator's deed, and why it failed.
    fn audit(&self, origin: &Origin, deed: &Deed, reason: Option<String>) {
        let outcome = if reason.is_none() { Outcome::Ok } else { Outcome::Failed };
        self.rooms.audit.note(origin, deed, &Ending { outcome, status: None, reason });
    }

    /// Has another process take our place. `None`: we go on.
    async fn upgrade(&mut self, asked: Option<Asked>, signals: &mut Signals) -> Option<End> {
        let (binary, origin, told) = match asked {
            Some(Asked { binary, origin, told }) => (binary, origin, Some(told)),
            None => (None, Origin::operator(None), None),
        };
        let reference = binary.as_ref().map(|binary| binary.display().to_string());
        let outcome = self.hand_over(binary, signals).await;
        let (outcome, end) = match outcome {
            Ok((report, end)) => {
                tracing::info!(successor = %report, "another process has taken this one's place");
                (Ok(report), Some(end))
            }
            Err(vain) => {
                let (why, stopped) = (vain.to_string(), matches!(vain, Vain::Stopped));
                match stopped {
                    true => tracing::warn!("told to stop: the upgrade is given up"),
                    false => tracing::error!("the upgrade is given up, this process goes on: {why}"),
                }
                self.status.upgraded(Err(&why));
                (Err(why), stopped.then_some(End::Stopped))
            }
        };
        let deed = Deed { action: "upgrade", reference, ..Deed::default() };
        self.audit(&origin, &deed, outcome.as_ref().err().cloned());
        if let Some(told) = told {
            // It has gone meanwhile, or it hears.
            let _ = told.send(outcome);
        }
        end
    }

    /// Once nothing is accepted here, being told to stop waits until somebody does again: clients are in the sockets' queues.
    async fn hand_over(&mut self, binary: Option<PathBuf>, signals: &mut Signals) -> Result<(Value, End), Vain> {
        let found = tokio::select! {
            biased;
            found = self.successor(binary) => found,
            () = signals.insist() => return Err(Vain::Stopped),
        };
        let (successor, left) = found.map_err(Vain::Because)?;
        let gone = match self.pause(&left).await {
            true => successor.go().await,
            false => {
                Err("what is remembered of peers cannot be written down to its end in the cache's folder".to_owned())
            }
        };
        if let Err(why) = gone {
            // Before anything is ours again.
            successor.give_up().await;
            self.resume().await;
            return Err(Vain::Because(why));
        }
        self.working = None;
        self.listeners.give_away(&left);
        self.admin.iter().for_each(|admin| admin.give_away(&left));
        self.manager.succeeded_by(successor.process);
        let (report, end) = (upgrade::report(&successor), End::Succeeded { successor: successor.process, left });
        successor.settle().await;
        Ok((report, end))
    }

    /// One that has all it needs, and which of our sockets it does not.
    async fn successor(&self, binary: Option<PathBuf>) -> Result<(Successor, Vec<Told>), String> {
        if let Some(why) = self.hindrance() {
            return Err(why);
        }
        let program = binary.or_else(|| self.program.clone());
        let program = program.ok_or("where this program was started from is not known: name one")?;
        let reasons = crate::admin::AdminState::ready(&*self.status).reasons;
        let storage = Home::of(self.rooms.integrated.storage()).await?;
        let successor = Successor::find(program, self.folders(), Condition { reasons, storage }).await?;
        let admin = self.admin.iter().flat_map(Door::heirlooms);
        let endowed = successor.endow(self.listeners.heirlooms().into_iter().chain(admin).collect()).await;
        let left = match endowed {
            Ok(left) => left,
            Err(why) => {
                successor.give_up().await;
                return Err(why);
            }
        };
        // While clients are still answered.
        self.rooms.write_down().await;
        Ok((successor, left))
    }

    /// Why there can be no successor.
    fn hindrance(&self) -> Option<String> {
        let forgets = self.config.storage.driver == DriverKind::Memory && self.rooms.integrated.get().is_some();
        let forgotten = "storage.driver is \"memory\": what was pushed is in this process alone, and another one would have none of \
                         it";
        self.parent
            .hindrance()
            .or_else(|| self.manager.would_end_a_successor().map(str::to_owned))
            .or_else(|| forgets.then(|| forgotten.to_owned()))
    }

    /// Where a successor may be met.
    fn folders(&self) -> Vec<PathBuf> {
        let of_unit = std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from).filter(|folder| folder.is_absolute());
        let of_admin = self.config.admin.as_ref().and_then(|admin| Some(admin.unix.as_ref()?.parent()?.to_owned()));
        of_unit.into_iter().chain(of_admin).chain([std::env::temp_dir()]).collect()
    }

    /// Nothing is accepted where a successor will, or written to where only one may write. False: it cannot be that one.
    async fn pause(&mut self, left: &[Told]) -> bool {
        self.listeners.pause(left).await;
        if let Some(admin) = &mut self.admin {
            admin.pause().await;
        }
        self.rooms.hand_over().await
    }

    async fn resume(&mut self) {
        // First those who wait: without the folder, contents pass through.
        self.listeners.resume();
        if let Some(admin) = &mut self.admin {
            admin.serve();
        }
        if let Err(error) = self.rooms.take_over(&self.config).await {
            tracing::error!(%error, "the cache's folder is not written to any more");
        }
    }

    /// Not ready, a delay, no more connections, the last request or the timeout. Where another process accepts, nobody has to be told
    /// and there is nothing to wait for but the requests.
    async fn end(self, end: End, signals: &mut Signals) {
        let Serving { config, rooms, listeners, admin, status, working, manager, .. } = self;
        // What they do can be cut off anywhere, and goes on where it stopped.
        drop(working);
        status.drain();
        let (delay, timeout) = (config.drain.delay, config.drain.timeout);
        let successor = match end {
            End::Stopped => None,
            End::Succeeded { successor, .. } => Some(successor),
        };
        tracing::info!(%delay, %timeout, succeeded = successor.is_some(), "stopping");
        // Of an endpoint that another process has, only what was asked here is still answered.
        let (admin, answered) = match successor {
            Some(_) => (None, admin.map(Door::close)),
            None => (admin, None),
        };
        let ended = async {
            match &end {
                End::Stopped => {
                    manager.stopping();
                    tokio::time::sleep(delay.0).await;
                    listeners.drain(timeout.0).await
                }
                End::Succeeded { left, .. } => {
                    status.leave().await;
                    listeners.leave(left, GRACE, timeout.0).await
                }
            }
        };
        tokio::select! {
            clean = ended => {
                if !clean {
                    tracing::warn!("requests were cut off at drain.timeout");
                }
            }
            () = insisted(signals, &rooms, successor) => {
                tracing::warn!("told to stop again: requests under way are cut off");
            }
        }
        status.leave().await;
        if let Some(answered) = answered {
            answered.await;
        }
        rooms.shutdown().await;
        // A collection that was cut off keeps the next one from beginning as long as that is not said.
        given_back().await;
        drop(admin);
        tracing::info!("stopped");
    }
}

/// Told to stop again, while requests under way end. Whose place another process has taken is told so for the first time then, and hands
/// on what is meant for whoever serves.
async fn insisted(signals: &mut Signals, rooms: &Rooms, successor: Option<u32>) {
    let Some(successor) = successor else { return signals.insist().await };
    let mut stops = 0;
    while stops < 2 {
        match signals.next().await {
            Order::Stop => stops += 1,
            Order::Reload => upgrade::signal(successor, Signal::HUP),
            Order::Reopen => {
                reopen(rooms);
                upgrade::signal(successor, Signal::USR1);
            }
            Order::Upgrade => tracing::warn!(successor, "another process has this one's place already"),
        }
    }
}

/// What is written to was moved away.
fn reopen(rooms: &Rooms) {
    if let Err(error) = rooms.access_log.reopen() {
        tracing::error!(%error, "the access log cannot be opened again");
    }
    if let Err(error) = rooms.audit.reopen() {
        tracing::error!(%error, "the audit cannot be opened again");
    }
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
    let certificates = acme::prepare(&new, &rooms.acme).await?;
    let audit = rooms.audit.prepare(new.audit.as_ref()).map_err(|error| format!("audit.to: {error}"))?;
    let tracing = rooms.tracer.prepare(new.tracing.as_ref()).map_err(|error| format!("tracing: {error}"))?;
    // What cannot be read now may be later: what is shown for the same names stands in.
    let _ = rooms.acme.load(&certificates).await;
    write_log_to(rooms, &new.log.access).await?;
    if let Err(error) = listeners.follow(&new.listener, rooms).await {
        write_log_to(rooms, &config.log.access).await?;
        return Err(error);
    }
    rooms.audit.commit(audit);
    rooms.tracer.commit(tracing);
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
    rooms.acme.commit(certificates);
    rooms.fetching.peers.advertise(new.fleet.advertise.as_ref());
    rooms.authenticator.commit(prepared);
    rooms.front.replace_site(site);
    advice(&new);
    *config = new;
    Ok(())
}

/// What was made of another program's configuration; what is allowed and may not be meant.
fn advice(config: &Config) {
    if let Some(told) = &config.translated {
        told.keys.iter().chain(&told.needless).for_each(|what| tracing::info!("distribution's {what}"));
    }
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
}

async fn write_log_to(rooms: &Rooms, target: &AccessTarget) -> Result<(), Failure> {
    let (log, target) = (rooms.access_log.clone(), target.clone());
    Ok(tokio::task::spawn_blocking(move || log.set_target(&target)).await??)
}
