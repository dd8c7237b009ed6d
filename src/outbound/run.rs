//! A program of others that is run to its end: without a shell, in bounded time and with bounded output.
//!
//! It has a group of its own, so that what it began ends with it when its time is over, or when whoever runs it has left.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::units::Span;

/// Of what it says of its failure, in bytes and in characters: read, and told. Programs are known to write what they were given.
const MAX_COMPLAINT: usize = 4 << 10;
const TOLD: usize = 200;
/// What it wrote just before its end is waited for so long.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Its output, if it ended well: of no more than `most` bytes. It may read `input`.
///
/// # Errors
/// Why there is none, for people; of its output nothing is told.
pub async fn ask(mut command: Command, input: &str, time: Span, most: u64) -> Result<Vec<u8>, String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = Running::start(command).await?;
    within(time, async {
        let output = running.talk(input, most).await?;
        running.ends_well().await.map(|()| output)
    })
    .await
}

/// It is done with what its arguments say. It reads nothing, and its output is nobody's.
///
/// # Errors
/// Why it did not end well, for people.
pub async fn tell(mut command: Command, time: Span) -> Result<(), String> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut running = Running::start(command).await?;
    within(time, running.ends_well()).await
}

async fn within<T>(time: Span, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(time.0, work).await.unwrap_or_else(|_| Err(format!("it did not end within {time}")))
}

struct Running {
    child: Ours,
    complaint: Arc<Mutex<Vec<u8>>>,
    listening: AbortOnDropHandle<()>,
}

impl Running {
    async fn start(mut command: Command) -> Result<Self, String> {
        command.stderr(Stdio::piped()).process_group(0);
        // It is ours from its first moment: whoever runs it may have left before this is told of it.
        let start = move || command.spawn().map(|child| Ours(Some(child)));
        let started = tokio::task::spawn_blocking(start).await.map_err(|error| error.to_string())?;
        let mut child = started.map_err(|error| format!("it cannot be run: {error}"))?;
        let stderr = child.get()?.stderr.take();
        let complaint = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&complaint);
        let stderr = stderr.map(|stderr| pipe::Receiver::from_owned_fd(OwnedFd::from(stderr)));
        let listening = AbortOnDropHandle::new(tokio::spawn(async move {
            if let Some(Ok(stderr)) = stderr {
                listen(stderr, &heard).await;
            }
        }));
        Ok(Running { child, complaint, listening })
    }

    async fn talk(&mut self, input: &str, most: u64) -> Result<Vec<u8>, String> {
        let child = self.child.get()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("it has no pipes".into());
        };
        let no_pipe = |error: std::io::Error| format!("its pipes cannot be used: {error}");
        let mut stdin = pipe::Sender::from_owned_fd(OwnedFd::from(stdin)).map_err(no_pipe)?;
        let stdout = pipe::Receiver::from_owned_fd(OwnedFd::from(stdout)).map_err(no_pipe)?;
        let write = async move {
            // One that needs no input may have ended already.
            let _ = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
        };
        let ((), output) = tokio::join!(write, read(stdout, most));
        let output = output.map_err(|error| format!("its output cannot be read: {error}"))?;
        match output.len() as u64 > most {
            true => Err(format!("it writes more than {most} bytes")),
            false => Ok(output),
        }
    }

    async fn ends_well(&mut self) -> Result<(), String> {
        // What it leaves running may keep the pipe for ever: its own end counts.
        let status = self.end().await?;
        if status.success() {
            return Ok(());
        }
        let _ = timeout(LAST_WORDS, &mut self.listening).await;
        Err(format!("it failed ({status}): {}", shown(&self.complaint.lock())))
    }

    /// The process stays ours meanwhile, so that it can be ended.
    async fn end(&mut self) -> Result<ExitStatus, String> {
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = self.child.get()?.try_wait().map_err(|error| error.to_string())? {
                self.child.0 = None;
                return Ok(status);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

/// Ended when dropped. `None`: it has ended.
struct Ours(Option<Child>);

impl Ours {
    fn get(&mut self) -> Result<&mut Child, &'static str> {
        self.0.as_mut().ok_or("it is gone")
    }
}

impl Drop for Ours {
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
    (&mut from).take(most.saturating_add(1)).read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(bytes)
}

/// The beginning of what it says. The rest is thrown away here too.
async fn listen(mut from: pipe::Receiver, complaint: &Mutex<Vec<u8>>) {
    let mut piece = [0; 1 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let mut complaint = complaint.lock();
        let room = MAX_COMPLAINT.saturating_sub(complaint.len());
        complaint.extend(piece.iter().take(length.min(room)));
    }
}

/// The first line of what it says of its failure, cut, without what would break a log's line.
fn shown(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it does not say why");
    line.trim().chars().filter(|c| !c.is_control()).take(TOLD).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::outbound::program;
    use crate::units::seconds;

    /// Longer than any of these takes.
    const LONG: u64 = 20;

    fn script(text: &str) -> Command {
        let mut command = program("/bin/sh");
        command.args(["-c", text]);
        command
    }

    async fn asked(text: &str) -> Result<Vec<u8>, String> {
        ask(script(text), "a name", seconds(LONG), 100).await
    }

    #[tokio::test]
    async fn it_is_given_input_and_its_output_is_had() {
        assert_eq!(asked("cat").await, Ok(b"a name".to_vec()));
        assert_eq!(asked("exec <&-; echo x").await, Ok(b"x\n".to_vec()));
        assert_eq!(tell(script("cat; echo x"), seconds(LONG)).await, Ok(()));
    }

    #[tokio::test]
    async fn why_it_failed_is_told_and_nothing_of_its_output() {
        for (text, told) in [
            ("echo 'no such zone' >&2; echo hidden; exit 3", "it failed (exit status: 3): no such zone"),
            ("echo hidden; exit 3", "it does not say why"),
            ("kill -9 $$", "it failed"),
        ] {
            let of = [asked(text).await.unwrap_err(), tell(script(text), seconds(LONG)).await.unwrap_err()];
            assert!(of.iter().all(|error| error.contains(told) && !error.contains("hidden")), "{text}: {of:?}");
        }
        let absent = tell(program("/no/such/program"), seconds(LONG)).await.unwrap_err();
        assert!(absent.starts_with("it cannot be run: "), "{absent}");
    }

    #[tokio::test]
    async fn what_it_complains_of_is_cut() {
        let text = "yes complaint | head -c 100000 | tr '\\n' ' ' >&2; exit 1";
        for error in [asked(text).await.unwrap_err(), tell(script(text), seconds(LONG)).await.unwrap_err()] {
            assert!(error.contains("complaint") && error.len() < 500, "{}", error.len());
        }
    }

    #[tokio::test]
    async fn endless_output_is_refused_and_does_not_hold_it_up() {
        let error = asked("yes | head -c 1000000").await.unwrap_err();
        assert_eq!(error, "it writes more than 100 bytes");
    }

    #[tokio::test]
    async fn it_has_so_much_time() {
        let short = Span(Duration::from_millis(50));
        let late = [
            ask(script("sleep 1000"), "", short, 100).await.unwrap_err(),
            tell(script("sleep 1000"), short).await.unwrap_err(),
        ];
        assert_eq!(late, ["it did not end within 50ms", "it did not end within 50ms"]);
    }

    #[tokio::test]
    async fn what_it_leaves_running_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        // As long as the folder, which goes with the test.
        let left = format!("(while [ -e {} ]; do sleep 0.05; done) & exit 0", folder.path().display());
        tell(script(&left), seconds(LONG)).await.unwrap();
    }

    #[tokio::test]
    async fn one_that_does_not_end_is_ended_with_what_it_began() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("began");
        let command = script(&format!("sleep 600 & echo \"$!\" > {}; wait", path.display()));
        let asking = tokio::spawn(async move { ask(command, "", seconds(600), 100).await });
        let began = number(&path).await;
        asking.abort();
        assert!(asking.await.is_err());
        ended(&began).await;
    }

    #[tokio::test]
    async fn one_that_nobody_has_been_told_of_is_ended_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("began");
        let command = script(&format!("sleep 600 & echo \"$!\" > {}; wait", path.display()));
        let mut starting = Box::pin(Running::start(command));
        let told = futures::poll!(&mut starting);
        let began = number(&path).await;
        drop((starting, told));
        ended(&began).await;
    }

    async fn ended(process: &str) {
        let stat = Path::new("/proc").join(process).join("stat");
        until(|| std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))).await;
    }

    async fn number(path: &Path) -> String {
        let written = || std::fs::read_to_string(path).ok().filter(|text| text.ends_with('\n'));
        until(|| written().is_some()).await;
        written().unwrap().trim().to_owned()
    }

    async fn until(mut is: impl FnMut() -> bool) {
        let began = std::time::Instant::now();
        while !is() {
            assert!(began.elapsed() < Duration::from_secs(LONG), "never");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
