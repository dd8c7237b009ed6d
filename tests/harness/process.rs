//! A child process that ends with its owner: on drop, and by the kernel's hand when the test binary itself is killed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How a process is ended on drop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Nothing is lost by SIGKILL.
    Kill,
    /// It has children of its own to end: SIGTERM, and SIGKILL only if it does not listen.
    Terminate,
}

pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
    ending: Ending,
}

/// The command for `program`, told to end when the thread that starts it ends: start processes from the test's own thread.
pub fn command(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", program]);
    command
}

impl Process {
    /// Starts what `command` (made by [`command`]) describes; both its outputs go to `log`, after what is there.
    pub fn start(name: &str, mut command: Command, log: &Path, ending: Ending) -> Process {
        let output = File::options().create(true).append(true).open(log).expect("a log file");
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("a second handle")).stderr(output);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}: {command:?}"));
        Process { child, name: name.to_owned(), log: log.to_owned(), ending }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child's state").is_none()
    }

    /// Waits until `ready` says so; `false` when the process ended before (its port was taken, its configuration is bad).
    pub fn wait_ready(&mut self, mut ready: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + super::PATIENCE;
        while !ready() {
            if !self.is_running() {
                return false;
            }
            assert!(Instant::now() < deadline, "{} does not get ready:\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id() as i32).expect("a child's id is not 0");
        kill_process(id, signal).unwrap_or_else(|error| panic!("{} does not take {signal:?}: {error}", self.name));
    }

    /// SIGSTOP, and none of its threads runs any more when this returns: on a busy machine those that are in the kernel go on
    /// for a moment, and could answer.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let deadline = Instant::now() + super::PATIENCE;
        while !self.is_stopped() {
            assert!(Instant::now() < deadline, "{} does not stop on SIGSTOP", self.name);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Whether each thread is in the state `T` (proc_pid_stat(5): the third field, after a name in brackets).
    fn is_stopped(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        threads.into_iter().all(|thread| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // A thread that has ended meanwhile has nothing to read.
            stat.is_empty() || stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        })
    }

    /// SIGKILL, and the process is gone when this returns.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self, patience: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(patience).unwrap_or_else(|| panic!("{} does not end on SIGTERM:\n{}", self.name, self.log()))
    }

    /// How it ended, if it does in time.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child's state") {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Resident memory now, in bytes.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most resident memory that it ever had, in bytes.
    pub fn peak_resident(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// Processor time of all its threads so far. The kernel counts it in hundredths of a second.
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("a running process");
        // After the name, which may hold anything, the 12th and 13th fields are user and system time.
        let fields = stat.rsplit(')').next().into_iter().flat_map(str::split_whitespace);
        let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("a number of ticks")).sum();
        Duration::from_millis(ticks * 10)
    }

    fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a running process");
        let line = status.lines().find(|line| line.starts_with(field)).expect("a memory figure");
        let kibibytes: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number of kB");
        kibibytes << 10
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let from = log.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
            eprintln!("--- the last of {}:\n{}", self.name, &log[from..]);
        }
        if self.ending == Ending::Terminate && self.is_running() {
            self.signal(Signal::TERM);
            if self.wait(Duration::from_secs(15)).is_some() {
                return;
            }
        }
        self.kill();
    }
}
