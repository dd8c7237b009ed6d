//! What the service manager hears of us (systemd's `Type=notify`): that we are ready, read the configuration again, stop, live, and
//! who comes after us. Without one, nothing is said.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio_util::task::AbortOnDropHandle;

/// Where it listens.
const SOCKET: &str = "NOTIFY_SOCKET";
/// How long it waits for a sign of life, in microseconds, and of whom.
const WATCHDOG: &str = "WATCHDOG_USEC";
const WATCHED: &str = "WATCHDOG_PID";
/// The process that it started, since systemd 248.
const STARTED: &str = "SYSTEMD_EXEC_PID";
/// Everything that a unit starts has this, and nothing in a container.
const INVOCATION: &str = "INVOCATION_ID";
/// A successor is of the same unit, and is not the process that these speak of.
pub const NOT_INHERITED: [&str; 6] = [WATCHED, STARTED, "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Signs of life do not come more often than this.
const SHORTEST: Duration = Duration::from_millis(20);
/// For room in the queue of a manager that is busy: a word that changes what it does must not be lost. The main thread waits, on which no
/// request depends. Signs of life wait for nothing, since another one follows.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct Manager {
    to: Option<SocketAddr>,
    watchdog: Option<Duration>,
}

/// Whether this process is of a unit of systemd's. The socket alone says nothing: podman gives it to a container, which has no systemd.
pub fn has_started_us() -> bool {
    let has = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    is_started() || (has(SOCKET) && has(INVOCATION))
}

/// By systemd since 248, which says so.
fn is_started() -> bool {
    std::env::var(STARTED).is_ok_and(|process| process == std::process::id().to_string())
}

impl Manager {
    pub fn of_environment() -> Manager {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let to = variable(SOCKET).and_then(|place| {
            let found = match place.as_bytes() {
                // Of no file: Linux's own namespace of names.
                [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
                _ => SocketAddr::from_pathname(&place),
            };
            found.inspect_err(|error| tracing::warn!(%error, "{SOCKET} is no socket that can be told anything")).ok()
        });
        let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
        let ours = number(WATCHED).is_none_or(|process| process == u64::from(std::process::id()));
        let watchdog = number(WATCHDOG).filter(|micros| ours && *micros > 0).map(Duration::from_micros);
        Manager { to, watchdog }
    }

    /// Why it would end our successor together with us, if it would: a sentence.
    pub fn would_end_a_successor(&self) -> Option<&'static str> {
        let what = "systemd started this process and would end its successor with it: write Type=notify in the unit's [Service]";
        (is_started() && self.to.is_none()).then_some(what)
    }

    /// New requests are answered, by the present configuration.
    pub fn ready(&self) {
        self.tell("READY=1\nSTATUS=serves");
    }

    /// The configuration is read again; [`Self::ready`] follows.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stops: requests under way end");
    }

    /// From now on that process is the service. It is heard only after this.
    pub fn succeeded_by(&self, process: u32) {
        self.tell(&format!("MAINPID={process}"));
    }

    /// Signs of life, the first one now and then at half of the time that is waited for one, as long as this is kept, `lives` says yes and the threads work
    /// things off.
    pub fn watch(&self, lives: impl Fn() -> bool + Send + 'static) -> Option<AbortOnDropHandle<()>> {
        let (to, every) = (self.to.clone()?, (self.watchdog? / 2).max(SHORTEST));
        Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let mut complained = false;
            loop {
                // Another task's turn comes, too.
                let works = tokio::spawn(async {}).await.is_ok();
                if works && lives() {
                    complained = false;
                    tell(&to, "WATCHDOG=1", None);
                } else if !complained {
                    complained = true;
                    tracing::error!("a listener does not accept any more: the service manager gets no sign of life");
                }
                tokio::time::sleep(every).await;
            }
        })))
    }

    fn tell(&self, words: &str) {
        if let Some(to) = &self.to {
            tell(to, words, Some(PATIENCE));
        }
    }
}

/// Without patience, what finds no room at once is lost.
fn tell(to: &SocketAddr, words: &str, patience: Option<Duration>) {
    let told = UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(patience.is_none())?;
        socket.set_write_timeout(patience)?;
        socket.send_to_addr(words.as_bytes(), to)
    });
    if let Err(error) = told {
        tracing::warn!(%error, "the service manager cannot be told: {}", words.lines().next().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(ear: &UnixDatagram) -> String {
        let mut buffer = [0; 200];
        let count = ear.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }

    fn manager(watchdog: Option<Duration>) -> (Manager, UnixDatagram) {
        let name = format!("entrepot-test-{:016x}", rand::random::<u64>());
        let to = SocketAddr::from_abstract_name(name).unwrap();
        let ear = UnixDatagram::bind_addr(&to).unwrap();
        ear.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        (Manager { to: Some(to), watchdog }, ear)
    }

    #[test]
    fn it_hears_what_happens() {
        let (manager, ear) = manager(None);
        manager.ready();
        manager.reloading();
        manager.succeeded_by(7);
        manager.stopping();
        assert!(heard(&ear).starts_with("READY=1\n"));
        let reloading = heard(&ear);
        let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(micros.parse::<u64>().unwrap() > 0);
        assert_eq!(heard(&ear), "MAINPID=7");
        assert!(heard(&ear).starts_with("STOPPING=1\n"));
        Manager { to: None, watchdog: None }.ready();
    }

    /// How many datagrams may wait is the system's to say.
    #[test]
    fn a_manager_that_is_busy_hears_every_word_once_it_listens() {
        let (manager, ear) = manager(None);
        let to = manager.to.clone().unwrap();
        // A socket each: what one may have on its way is bounded, too.
        let fills = || {
            let socket = UnixDatagram::unbound().unwrap();
            socket.set_nonblocking(true).unwrap();
            socket.send_to_addr(b"WATCHDOG=1", &to).is_ok()
        };
        let waiting = std::iter::repeat_with(fills).take_while(|sent| *sent).count();
        tell(&to, "WATCHDOG=1", None);
        let telling = std::thread::spawn(move || manager.succeeded_by(7));
        // It has no room, and waits.
        std::thread::sleep(Duration::from_millis(100));
        (0..waiting).for_each(|_| assert_eq!(heard(&ear), "WATCHDOG=1"));
        assert_eq!(heard(&ear), "MAINPID=7");
        telling.join().unwrap();
    }

    #[tokio::test]
    async fn signs_of_life_come_as_long_as_there_is_life() {
        let (manager, ear) = manager(Some(Duration::from_millis(40)));
        let alive = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let of_task = alive.clone();
        let watching = manager.watch(move || of_task.load(std::sync::atomic::Ordering::Relaxed)).unwrap();
        let ear = tokio::task::spawn_blocking(move || {
            assert_eq!((heard(&ear), heard(&ear)), ("WATCHDOG=1".into(), "WATCHDOG=1".into()));
            ear
        });
        let ear = ear.await.unwrap();
        alive.store(false, std::sync::atomic::Ordering::Relaxed);
        ear.set_nonblocking(true).unwrap();
        // What was sent before.
        tokio::time::sleep(Duration::from_millis(100)).await;
        while ear.recv(&mut [0; 20]).is_ok() {}
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(ear.recv(&mut [0; 20]).is_err());
        drop(watching);
        assert!(Manager { to: None, watchdog: Some(SHORTEST) }.watch(|| true).is_none());
    }
}
