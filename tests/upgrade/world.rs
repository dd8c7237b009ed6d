//! An Entrepot whose process changes; whoever serves last is ended with the test.
#![allow(dead_code, reason = "the quick tests and the proofs share it, and each uses its part")]

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Answer, Connection, Entrepot, PATIENCE, Repository, Request, Setup, eventually, ports};

pub struct Serving {
    pub entrepot: Entrepot,
    /// Of the admin endpoint's socket: a short path.
    folder: tempfile::TempDir,
    /// Processes that others than the test have started; each ends with it, by its own id.
    successors: Mutex<Vec<u32>>,
}

impl Serving {
    /// The integrated registry.
    pub fn registry() -> Self {
        Serving::start(Setup::registry())
    }

    pub fn start(setup: Setup) -> Self {
        Serving::start_draining(setup, "60s")
    }

    /// What is under way when its process changes has so long to end.
    pub fn start_draining(setup: Setup, timeout: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = format!("{:?}", folder.path().join("admin.sock").display().to_string());
        let entrepot = setup.set("admin.unix", &socket).set("drain.timeout", &format!("{timeout:?}")).start();
        let serving = Serving { entrepot, folder, successors: Mutex::default() };
        eventually("it says that it is ready", || serving.entrepot.log().contains(" ready version="));
        serving
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    pub fn address(&self) -> SocketAddr {
        self.entrepot.address
    }

    pub fn admin(&self) -> SocketAddr {
        self.entrepot.admin
    }

    pub fn client(&self, repository: &str) -> Repository {
        Repository::at(self.address(), repository)
    }

    /// At the admin endpoint's socket.
    pub fn ask(&self, request: Request) -> Answer {
        let stream = UnixStream::connect(self.socket()).expect("the socket");
        Connection::over(stream, "localhost").exchange(request).expect("an answer").finish()
    }

    pub fn try_process_id(&self) -> Option<u32> {
        let answer = Request::get("/api/v1/status").try_send(self.admin()).ok()?;
        let process =
            serde_json::from_slice::<serde_json::Value>(&answer.body).ok()?["instance"]["process"].as_u64()?;
        u32::try_from(process).ok()
    }

    /// Of the process that answers.
    pub fn process_id(&self) -> u32 {
        self.try_process_id().expect("a process that serves")
    }

    /// What a command says on stdout.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let socket = self.socket().display().to_string();
        let output = Entrepot::cli(&[arguments, &["--admin", &socket]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `entrepot upgrade`: the process that serves now, or why it is still the old one.
    pub fn upgrade(&self, binary: Option<&Path>) -> Result<u32, String> {
        let socket = self.socket().display().to_string();
        let binary = binary.map(|binary| binary.display().to_string());
        let arguments = ["upgrade", "--json", "--admin", &socket];
        let output = Entrepot::cli(&[&arguments[..], &binary.as_deref().into_iter().collect::<Vec<_>>()].concat());
        if !output.status.success() {
            assert_eq!(output.status.code(), Some(1));
            let told = String::from_utf8_lossy(&output.stderr);
            let last: serde_json::Value =
                told.lines().last().and_then(|line| serde_json::from_str(line).ok()).expect("JSON");
            return Err(last["errors"][0]["message"].as_str().expect("an error").to_owned());
        }
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let process = report["process"].as_u64().and_then(|process| u32::try_from(process).ok()).expect("a process");
        self.note(process);
        eventually("the new one says that it serves", || self.try_process_id() == Some(process));
        Ok(process)
    }

    /// A process that was started by a signal, or by another.
    pub fn note(&self, process: u32) {
        self.successors.lock().unwrap().push(process);
    }

    /// The process that the test started.
    pub fn old_has_ended(&mut self) {
        let status = self.entrepot.process().wait(PATIENCE * 3).expect("the old process ends");
        assert!(status.success(), "{status}: {}", self.entrepot.log());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.successors.get_mut().unwrap().iter().for_each(|process| kill(*process, Signal::KILL));
    }
}

/// A registry at a port that it would have to open itself: it must not.
pub fn configured(folder: &Path, listener: &str) -> PathBuf {
    let path = folder.join("entrepot.toml");
    let (data, cache) = (folder.join("data"), folder.join("cache"));
    let text = format!(
        "{listener}\n[admin]\naddress = \"{}\"\n[storage]\ndriver = \"filesystem\"\nroot = {:?}\n[cache]\npath = {:?}\n[[route]]\nread \
         = \"registry\"\nwrite = \"registry\"\n",
        ports::free(),
        data.display().to_string(),
        cache.display().to_string()
    );
    std::fs::write(&path, text).expect("the configuration");
    path
}

pub fn kill(process: u32, signal: Signal) {
    if let Some(process) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process(process, signal);
    }
}

pub fn is_there(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// A program of these lines.
pub fn script(folder: &Path, name: &str, lines: &str) -> PathBuf {
    let path = folder.join(name);
    // By another process: while this one has it open, others that are started meanwhile have it too, and nobody may start it.
    let write = "printf '#!/bin/sh\\n%s\\n' \"$2\" > \"$1\" && chmod 755 \"$1\"";
    let mut writing = Command::new("sh");
    writing.args(["-c", write, "sh"]).arg(&path).arg(lines);
    assert!(writing.status().expect("a shell").success());
    path
}
