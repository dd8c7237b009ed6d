//! The program that sets and takes away records in DNS (dns-01): run without a shell, to its end, in bounded time.
//!
//! It is given `present` or `cleanup`, the record's name with a dot at its end, and the value of a TXT record. More than one value can
//! stand at one name at once.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::config::Dns;
use crate::outbound;

/// Of what it says of its failure: read, and told.
const MAX_COMPLAINT: usize = 4 << 10;
const TOLD: usize = 200;
/// What it wrote just before its end is waited for so long.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A record that proves a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub name: String,
    pub value: String,
}

/// The record is there when this returns, as far as the program knows.
pub async fn present(dns: &Dns, record: &Record) -> Result<(), String> {
    run(dns, "present", record).await
}

pub async fn cleanup(dns: &Dns, record: &Record) -> Result<(), String> {
    run(dns, "cleanup", record).await
}

async fn run(dns: &Dns, word: &str, record: &Record) -> Result<(), String> {
    let (program, arguments) = dns.exec.split_first().ok_or("no program is named")?;
    let mut command = outbound::program(program);
    command.args(arguments).arg(word).arg(format!("{}.", record.name)).arg(&record.value);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // With a group of its own, what it began ends with it.
    command.process_group(0);
    let started = tokio::task::spawn_blocking(move || command.spawn()).await.map_err(|error| error.to_string())?;
    let mut running = Running(Some(started.map_err(|error| format!("{program} cannot be run: {error}"))?));
    match timeout(dns.timeout.0, running.wait()).await {
        Ok(ended) => ended.map_err(|what| format!("{program} {word}: {what}")),
        Err(_) => Err(format!("{program} {word}: it did not end within {}", dns.timeout)),
    }
}

/// Ended when dropped.
struct Running(Option<Child>);

impl Running {
    async fn wait(&mut self) -> Result<(), String> {
        let stderr = self.0.as_mut().and_then(|child| child.stderr.take()).ok_or("it has no pipe")?;
        let stderr = pipe::Receiver::from_owned_fd(OwnedFd::from(stderr)).map_err(|error| error.to_string())?;
        let complaint = Arc::new(Mutex::new(Vec::new()));
        let reading = AbortOnDropHandle::new(tokio::spawn(read(stderr, complaint.clone())));
        // What it leaves running may keep the pipe for ever: its own end counts.
        let status = self.end().await?;
        if status.success() {
            return Ok(());
        }
        let _ = timeout(LAST_WORDS, reading).await;
        Err(format!("it failed ({status}): {}", shown(&complaint.lock())))
    }

    /// The process stays ours meanwhile, so that it can be ended.
    async fn end(&mut self) -> Result<ExitStatus, String> {
        let mut pause = Duration::from_millis(1);
        loop {
            let child = self.0.as_mut().ok_or("it is gone")?;
            if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
                self.0 = None;
                return Ok(status);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.0.take() else { return };
        if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL); // it may have ended just now
        }
        let _ = child.kill();
        // After a kill this takes no time to speak of; whoever does not wait leaves a zombie.
        let mut wait = move || drop(child.wait());
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(wait)),
            Err(_) => wait(),
        }
    }
}

/// The beginning of what it says. The rest is thrown away, so that the program can write it.
async fn read(mut from: pipe::Receiver, complaint: Arc<Mutex<Vec<u8>>>) {
    let mut piece = [0; 1 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let mut complaint = complaint.lock();
        let room = MAX_COMPLAINT.saturating_sub(complaint.len());
        complaint.extend(piece.iter().take(length.min(room)));
    }
}

/// The first line of what it says, cut, without what would break a log's line.
fn shown(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it does not say why");
    line.trim().chars().filter(|c| !c.is_control()).take(TOLD).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::seconds;

    fn dns(script: &str) -> Dns {
        let exec = ["/bin/sh", "-c", script, "hook"].map(str::to_owned).to_vec();
        Dns { exec, timeout: seconds(20), wait: seconds(0) }
    }

    fn record() -> Record {
        Record { name: "_acme-challenge.a.example".into(), value: "-abc $(x)".into() }
    }

    #[tokio::test]
    async fn it_is_told_what_to_set_and_what_to_take_away() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("said");
        let dns = dns(&format!("printf '%s|' \"$@\" >> {}", file.display()));
        present(&dns, &record()).await.unwrap();
        cleanup(&dns, &record()).await.unwrap();
        let said = std::fs::read_to_string(file).unwrap();
        assert_eq!(said, "present|_acme-challenge.a.example.|-abc $(x)|cleanup|_acme-challenge.a.example.|-abc $(x)|");
    }

    #[tokio::test]
    async fn why_it_failed_is_told() {
        let failed = present(&dns("echo 'no such zone' >&2; exit 3"), &record()).await.unwrap_err();
        assert!(failed.contains("present") && failed.contains("no such zone") && failed.contains('3'), "{failed}");
        let absent = Dns { exec: vec!["/no/such/hook".into()], ..dns("") };
        assert!(present(&absent, &record()).await.unwrap_err().contains("cannot be run"));
        let endless = Dns { timeout: crate::units::Span(Duration::from_millis(50)), ..dns("sleep 1000") };
        assert!(present(&endless, &record()).await.unwrap_err().contains("did not end"));
    }

    #[tokio::test]
    async fn what_it_leaves_running_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        // As long as the folder, which goes with the test.
        let left = format!("(while [ -e {} ]; do sleep 0.05; done) & exit 0", folder.path().display());
        present(&dns(&left), &record()).await.unwrap();
    }
}
