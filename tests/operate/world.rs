//! A registry that is looked after, and commands that do it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::entrepot::BINARY;
use crate::harness::{Entrepot, Repository, Setup, scratch, tools};

/// What a command came to.
#[derive(Debug)]
pub struct Told {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Told {
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Told { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// What it printed; it succeeded.
    #[track_caller]
    pub fn well(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// What it said; it failed, with a sentence and without anything else.
    #[track_caller]
    pub fn badly(self) -> String {
        assert!(self.code == Some(1) && !self.err.is_empty() && !self.err.contains("panicked"), "{self:?}");
        self.err
    }

    /// The JSON that it printed, however it ended.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// `entrepot …` with nothing of ours in its environment.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ENTREPOT_")) {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

pub fn entrepot(arguments: &[&str]) -> Told {
    Told::of(&command(arguments).output().expect("entrepot runs"))
}

/// Told the configuration of a server, whether it runs or not.
pub fn on(server: &Entrepot, arguments: &[&str]) -> Told {
    Told::of(&command(arguments).arg("--config").arg(server.config_path()).output().expect("entrepot runs"))
}

/// The same, as somebody.
pub fn as_user(server: &Entrepot, user: &str, password: &str, arguments: &[&str]) -> Told {
    let mut command = command(arguments);
    command.arg("--config").arg(server.config_path()).env("ENTREPOT_ADMIN_USER", user);
    Told::of(&command.env("ENTREPOT_ADMIN_PASSWORD", password).output().expect("entrepot runs"))
}

/// A registry on a disk, which stays while the server is stopped and started again.
pub struct Kept {
    pub server: Entrepot,
    pub folder: tempfile::TempDir,
}

impl Kept {
    pub fn start(change: impl FnOnce(Setup) -> Setup) -> Self {
        let folder = scratch();
        let setup = Setup::registry().storage_at(&folder.path().join("data"));
        Kept { server: change(setup).start(), folder }
    }

    pub fn new() -> Self {
        Kept::start(|setup| setup)
    }

    /// All that is there was written three days ago.
    pub fn age(&self) {
        let mut find = Command::new("find");
        tools::run(find.arg(self.folder.path()).args(["-exec", "touch", "-d", "3 days ago", "{}", "+"]));
    }

    pub fn repository(&self, name: &str) -> Repository {
        Repository::at(self.server.address, name)
    }

    pub fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    /// Files of blobs, with their sizes: what costs space.
    pub fn blobs(&self) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        gather(&self.data().join("docker/registry/v2/blobs"), &mut found);
        found.sort();
        found
    }

    /// Runs the same twice: while the server runs, and while it does not; then it runs again.
    pub fn with_and_without_server(&mut self, mut test: impl FnMut(&mut Kept, bool)) {
        test(self, true);
        self.server.kill();
        test(self, false);
        self.server.restart();
    }
}

fn gather(folder: &Path, found: &mut Vec<(String, u64)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => gather(&entry.path(), found),
            Ok(metadata) => found.push((entry.path().display().to_string(), metadata.len())),
            Err(_) => {}
        }
    }
}

pub fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

/// Names in the catalog.
pub fn catalog(server: &Entrepot) -> Vec<String> {
    let repository = Repository::at(server.address, "x");
    let answer = repository.request("GET", "/v2/_catalog").send(server.address).json();
    answer["repositories"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str())
        .map(str::to_owned)
        .collect()
}

/// Tags of a repository; none where there is no such repository.
pub fn tags(server: &Entrepot, name: &str) -> Vec<String> {
    let repository = Repository::at(server.address, name);
    let answer = repository.request("GET", format!("/v2/{name}/tags/list")).send(server.address);
    if answer.status == 404 {
        return Vec::new();
    }
    let answer = answer.json();
    answer["tags"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).map(str::to_owned).collect()
}
