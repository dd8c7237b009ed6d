//! A program that is run to its end, in bounded time and with bounded output.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::time::timeout;

use crate::outbound;

/// Until the program has ended.
const TIME: Duration = Duration::from_secs(10);
/// Most that is read of what it writes.
pub(super) const MAX_OUTPUT: u64 = 64 << 10;
/// Of what it says of its failure: read, and told. Helpers are known to write what they were given.
const MAX_COMPLAINT: u64 = 4 << 10;
const TOLD: usize = 200;

/// Its output, if it ended well.
pub(super) async fn run(program: &str, arguments: &[String], input: &str) -> Result<Vec<u8>, String> {
    let mut command = outbound::program(program);
    command.args(arguments).arg("get");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // With a group of its own, what it began ends with it.
    command.process_group(0);
    let started = tokio::task::spawn_blocking(move || command.spawn()).await.map_err(|error| error.to_string())?;
    let mut running = Running(Some(started.map_err(|error| format!("it cannot be run: {error}"))?));
    match timeout(TIME, running.talk(input)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("it did not end within {TIME:?}")),
    }
}

/// Ended when dropped.
struct Running(Option<Child>);

impl Running {
    async fn talk(&mut self, input: &str) -> Result<Vec<u8>, String> {
        let child = self.0.as_mut().ok_or("it is gone")?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else { return Err("it has no pipes".into()) };
        let no_pipe = |error: std::io::Error| format!("its pipes cannot be used: {error}");
        let mut stdin = pipe::Sender::from_owned_fd(OwnedFd::from(stdin)).map_err(no_pipe)?;
        let stdout = pipe::Receiver::from_owned_fd(OwnedFd::from(stdout)).map_err(no_pipe)?;
        let stderr = pipe::Receiver::from_owned_fd(OwnedFd::from(stderr)).map_err(no_pipe)?;
        let write = async move {
            // One that needs no name may have ended already.
            let _ = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
        };
        let ((), output, complaint) = tokio::join!(write, read(stdout, MAX_OUTPUT), read(stderr, MAX_COMPLAINT));
        let output = output.map_err(|error| format!("its output cannot be read: {error}"))?;
        if output.len() as u64 > MAX_OUTPUT {
            return Err(format!("it writes more than {MAX_OUTPUT} bytes"));
        }
        let status = self.end().await?;
        match status.success() {
            true => Ok(output),
            false => Err(format!("it failed ({status}): {}", shown(&complaint.unwrap_or_default()))),
        }
    }

    /// Waits for its end. The process stays ours meanwhile, so that it can be ended.
    async fn end(&mut self) -> Result<ExitStatus, String> {
        let mut pause = Duration::from_millis(1);
        loop {
            let child = self.0.as_mut().ok_or("it is gone")?;
            if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
                self.0 = None;
                return Ok(status);
            }
            // It has closed its output, so this seldom takes more than one turn.
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

/// Up to one byte more than `most`. The rest is thrown away, so that the program can write it.
async fn read(mut from: impl AsyncRead + Unpin, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    (&mut from).take(most + 1).read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(bytes)
}

/// The first line of what it says of its failure, cut, without what would break a log's line.
fn shown(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it does not say why");
    line.trim().chars().filter(|c| !c.is_control()).take(TOLD).collect()
}
