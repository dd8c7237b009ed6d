//! Another process takes our place, and no connection is refused: it is started beside us, proves itself, gets our sockets, and
//! accepts once we do not. Whatever goes wrong before, we go on, and it is ended.
//!
//! Clients that come meanwhile wait in the sockets' queues, which both processes have. What the cache's folder is written by is one
//! process at any time.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::manager::NOT_INHERITED;
use super::words::{ANSWER, DOOR, ENDING, Home, OPENING, PROOF, PROOF_SOCKET, TAKING_OVER, Word};
use crate::admin::Refusal;
use crate::audit::Origin;
use crate::config::SUCCESSOR_VARIABLE;
use crate::sockets::{Channel, Door, Peer, Role, Socket, Told};

/// Of the head of the successor's answer, in bytes.
const MAX_ANSWER: usize = 8 << 10;
/// How often it is looked whether a successor that has not come has ended.
const LOOK: Duration = Duration::from_millis(50);

/// What can be handed on: a socket, and what the successor has to know of it.
pub type Heirloom = (Arc<Socket>, Told);

/// An upgrade that somebody ordered, and where they hear of it.
pub struct Asked {
    pub binary: Option<PathBuf>,
    /// Who, for the audit.
    pub origin: Origin,
    pub told: oneshot::Sender<Result<Value, String>>,
}

/// Asks for an upgrade; what came of it, which whoever did it has put in the audit.
///
/// # Errors
/// None was begun.
pub async fn ask(
    orders: &mpsc::Sender<Asked>,
    binary: Option<PathBuf>,
    origin: Origin,
) -> Result<Result<Value, Refusal>, Refusal> {
    let refused = |why: String| Refusal::new(StatusCode::CONFLICT, "UNSUPPORTED", why);
    if let Some(binary) = binary.as_ref().filter(|binary| !binary.is_absolute()) {
        return Err(refused(format!("{} is no whole path of a program", binary.display())));
    }
    let (told, hears) = oneshot::channel();
    if orders.try_send(Asked { binary, origin, told }).is_err() {
        return Err(refused("an upgrade is under way already, or this process is about to end".to_owned()));
    }
    let ended = || refused("this process ends: another one has its place already, or it was told to stop".to_owned());
    Ok(hears.await.map_err(|_| ended())?.map_err(refused))
}

/// There is no process whose place could be taken.
pub fn nobody_serves() -> Refusal {
    let what = "no Entrepot serves: there is nothing to upgrade";
    Refusal::new(StatusCode::CONFLICT, "UNSUPPORTED", what)
}

/// How a process is, as the other one is compared with it.
#[derive(Default)]
pub struct Condition {
    /// Why it is not ready to have requests: a successor may have the same reasons.
    pub reasons: Vec<String>,
    pub storage: Option<Home>,
}

/// A process that is to take our place. Dropped before it has, it is ended.
pub struct Successor {
    child: Arc<Mutex<Child>>,
    channel: Arc<Channel>,
    pub process: u32,
    pub version: String,
    kept: AtomicBool,
    /// The folder of the sockets by which we speak.
    folder: tempfile::TempDir,
}

impl Successor {
    /// Starts it and waits for its proof.
    ///
    /// # Errors
    /// For people: why it is none.
    pub async fn find(program: PathBuf, folders: Vec<PathBuf>, ours: Condition) -> Result<Successor, String> {
        let given_up = Arc::new(AtomicBool::new(false));
        // Nobody may wait for us any more.
        let _guard = SetWhenDropped(given_up.clone());
        let finding = move || found(&program, &folders, &ours, &given_up);
        tokio::task::spawn_blocking(finding).await.map_err(|error| error.to_string())?
    }

    /// Gives it the sockets, which it does not accept at yet. Those that it has no use for are ours alone.
    pub async fn endow(&self, heirlooms: Vec<Heirloom>) -> Result<Vec<Told>, String> {
        let channel = self.channel.clone();
        let opened = self.exchange(OPENING, move || {
            let sockets: Vec<_> = heirlooms.iter().map(|(socket, _)| socket.as_fd()).collect();
            let told = heirlooms.iter().map(|(_, told)| told.clone()).collect();
            channel.send(&Word::Sockets { told }, &sockets)
        });
        match opened.await? {
            Word::Opened { left } => Ok(left),
            other => Err(odd(&other)),
        }
    }

    /// It may accept: we do not any more.
    pub async fn go(&self) -> Result<(), String> {
        let channel = self.channel.clone();
        match self.exchange(TAKING_OVER, move || channel.send(&Word::Go, &[])).await? {
            Word::Serving => Ok(()),
            other => Err(odd(&other)),
        }
    }

    /// It is ended, and all that it has is closed when this returns.
    pub async fn give_up(self) {
        // It may have to be waited for.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }

    /// It serves, and whoever looks after us knows it.
    pub async fn settle(self) {
        self.kept.store(true, Ordering::Release);
        let channel = self.channel.clone();
        let _ = tokio::task::spawn_blocking(move || channel.send(&Word::Settled, &[])).await;
    }

    /// Says something, and hears an answer.
    async fn exchange(
        &self,
        patience: Duration,
        say: impl FnOnce() -> std::io::Result<()> + Send + 'static,
    ) -> Result<Word, String> {
        let (channel, child) = (self.channel.clone(), self.child.clone());
        let exchanged = move || {
            say().map_err(|error| format!("the successor takes nothing more: {error}"))?;
            hear(&channel, &child, Instant::now() + patience, || {
                format!("the successor says nothing for {} seconds", patience.as_secs())
            })
        };
        tokio::task::spawn_blocking(exchanged).await.map_err(|error| error.to_string())?
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if self.kept.load(Ordering::Acquire) {
            return;
        }
        let mut child = self.child.lock();
        end(&mut child);
        // Who speaks with us may be a child of the program that we started.
        if child.id() != self.process {
            end_another(&self.channel, self.process);
        }
    }
}

struct SetWhenDropped(Arc<AtomicBool>);

impl Drop for SetWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A child that is ended when it is not wanted any more.
struct Started(Option<Child>);

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end(child);
        }
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// Ends a process that is not our own child, and waits for it. Its end of the channel goes with it, and is open as long as its number
/// is nobody else's.
fn end_another(channel: &Channel, process: u32) {
    let until = Instant::now() + ENDING;
    loop {
        match channel.receive::<Word>(Instant::now() + LOOK) {
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut && Instant::now() < until => {
                signal(process, Signal::KILL);
            }
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                return tracing::error!(process, "a successor that was given up does not end");
            }
            // What it said before.
            Ok(_) => {}
            // What else it has open is closed with the channel, one after the other.
            Err(_) => return std::thread::sleep(LOOK),
        }
    }
}

/// Tells a process something, if it is still there.
pub fn signal(process: u32, signal: Signal) {
    if let Some(process) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        let _ = kill_process(process, signal);
    }
}

fn found(program: &Path, folders: &[PathBuf], ours: &Condition, given_up: &AtomicBool) -> Result<Successor, String> {
    let until = Instant::now() + PROOF;
    let (folder, door) = opened(folders)?;
    let mut started = Started(Some(start(program, &folder.path().join(DOOR))?));
    tracing::info!(program = %program.display(), "a successor is started");
    let channel = come(&door, &mut started, until, given_up)?;
    let child = started.0.take().ok_or("the successor has ended")?;
    let (child, channel) = (Arc::new(Mutex::new(child)), Arc::new(channel));
    let process = channel.peer().process;
    let kept = AtomicBool::new(false);
    let mut successor = Successor { child, channel, process, version: String::new(), kept, folder };
    let word = hear(&successor.channel, &successor.child, until, unproven)?;
    let (version, its) = match word {
        Word::Proved { version, reasons, storage } => (version, Condition { reasons, storage }),
        other => return Err(odd(&other)),
    };
    successor.version = version;
    if let Some(why) = Home::hindrance(ours.storage.as_ref(), its.storage.as_ref()) {
        return Err(why);
    }
    ask_for_health(&successor.folder.path().join(PROOF_SOCKET), process)
        .map_err(|error| format!("the successor does not answer: {error}"))?;
    let worse: Vec<_> = its.reasons.into_iter().filter(|reason| !ours.reasons.contains(reason)).collect();
    match worse.is_empty() {
        true => Ok(successor),
        false => Err(format!("the successor is not ready: {}", worse.join("; "))),
    }
}

/// A folder that only we may enter, and the door in it.
fn opened(folders: &[PathBuf]) -> Result<(tempfile::TempDir, Door), String> {
    let mut why = String::new();
    for parent in folders {
        let folder = tempfile::Builder::new().prefix("entrepot-").tempdir_in(parent);
        let opened = folder.and_then(|folder| Door::open(&folder.path().join(DOOR)).map(|door| (folder, door)));
        match opened {
            Ok(opened) => return Ok(opened),
            Err(error) => why = format!("{}: {error}", parent.display()),
        }
    }
    Err(format!("there is no folder to speak with a successor in: {why}"))
}

/// With our own arguments.
fn start(program: &Path, door: &Path) -> Result<Child, String> {
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).env(SUCCESSOR_VARIABLE, door).stdin(Stdio::null());
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    command.spawn().map_err(|error| format!("{} cannot be started: {error}", program.display()))
}

fn come(door: &Door, started: &mut Started, until: Instant, given_up: &AtomicBool) -> Result<Channel, String> {
    while Instant::now() < until && !given_up.load(Ordering::Acquire) {
        // First: it may have come, said why it cannot serve, and ended.
        let ended = started.0.as_mut().and_then(|child| child.try_wait().ok().flatten());
        if let Some(channel) = door.look().map_err(|error| error.to_string())? {
            return Ok(channel);
        }
        if let Some(status) = ended {
            return Err(format!("the successor ended before it came to us: {status}"));
        }
    }
    Err(unproven())
}

fn unproven() -> String {
    format!("the successor has not proven itself in {} seconds", PROOF.as_secs())
}

/// Its next word.
fn hear(channel: &Channel, child: &Mutex<Child>, until: Instant, silent: impl Fn() -> String) -> Result<Word, String> {
    match channel.receive::<Word>(until) {
        Ok((Word::Failed { why }, _)) => Err(format!("the successor cannot serve: {why}")),
        Ok((word, _)) => Ok(word),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(silent()),
        Err(error) => {
            std::thread::sleep(LOOK);
            let status = child.lock().try_wait().ok().flatten();
            Err(match status {
                Some(status) => format!("the successor ended: {status}"),
                None => format!("the successor cannot be understood: {error}"),
            })
        }
    }
}

fn odd(word: &Word) -> String {
    format!("the successor says {word:?} at the wrong time")
}

/// A request through all of it, at a socket that nobody else knows: at ours, either of us could answer.
fn ask_for_health(path: &Path, process: u32) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    let mut stream = UnixStream::connect(path).map_err(told)?;
    if Peer::of(&stream).map_err(told)?.process != process {
        return Err("another process is there".to_owned());
    }
    stream.set_read_timeout(Some(ANSWER)).map_err(told)?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").map_err(told)?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
    while answer.len() < MAX_ANSWER && !answer.contains(&b'\n') {
        match stream.read(&mut buffer).map_err(told)? {
            0 => break,
            count => answer.extend_from_slice(buffer.get(..count).unwrap_or_default()),
        }
    }
    if answer.starts_with(b"HTTP/1.1 200 ") {
        return Ok(());
    }
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    Err(format!("to GET /healthz it says \"{}\"", String::from_utf8_lossy(line).escape_debug()))
}

/// What a successor is told of one of our sockets.
pub fn told(role: Role, configured: crate::sockets::Address, socket: &Socket) -> Told {
    Told { role, address: configured, ours: socket.owns_file() }
}

/// What is said of an upgrade that came to its end.
pub fn report(successor: &Successor) -> Value {
    json!({ "process": successor.process, "version": successor.version })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(script: &str) -> Result<Successor, String> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("successor");
        // By another process: while this one has it open, others that are started meanwhile have it too, and nobody may start it.
        let write = "printf '#!/bin/sh\\n%s\\n' \"$2\" > \"$1\" && chmod 755 \"$1\"";
        let mut writing = Command::new("sh");
        writing.args(["-c", write, "sh"]).arg(&program).arg(script);
        assert!(writing.status().unwrap().success());
        found(&program, &[folder.path().to_owned()], &Condition::default(), &AtomicBool::new(false))
    }

    #[test]
    fn one_that_ends_is_none_and_why_is_told() {
        assert_eq!(find("exit 3").err().unwrap(), "the successor ended before it came to us: exit status: 3");
        let absent =
            found(Path::new("/nonexistent"), &[std::env::temp_dir()], &Condition::default(), &AtomicBool::new(false));
        assert!(absent.err().unwrap().starts_with("/nonexistent cannot be started: "));
        let nowhere =
            found(Path::new("/bin/true"), &["/nonexistent".into()], &Condition::default(), &AtomicBool::new(false));
        assert!(nowhere.err().unwrap().starts_with("there is no folder to speak with a successor in: /nonexistent: "));
    }

    #[test]
    fn one_that_another_program_has_started_is_ended_too() {
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(DOOR);
        let door = Door::open(&path).unwrap();
        let its = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        connect(&its, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        let channel = door.look().unwrap().unwrap();
        let mut other = Command::new("sleep").arg("300").stdin(Stdio::from(its)).spawn().unwrap();
        end_another(&channel, other.id());
        let error = channel.receive::<Word>(Instant::now()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&other.wait().unwrap()), Some(9));
    }

    #[test]
    fn whoever_gives_up_waits_no_longer() {
        let folder = std::env::temp_dir();
        let given_up = AtomicBool::new(true);
        let one = found(Path::new("/bin/cat"), &[folder], &Condition::default(), &given_up);
        assert_eq!(one.err().unwrap(), unproven());
    }
}
