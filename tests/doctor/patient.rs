//! An installation to be looked at, and what is said of it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::entrepot::BINARY;
use crate::harness::{Entrepot, Setup, ports, scratch, secrets};

/// A configuration on the disk, whose server does not run.
pub struct Patient {
    pub folder: tempfile::TempDir,
    pub setup: Setup,
}

/// What a run said.
pub struct Told {
    pub json: Value,
    pub code: Option<i32>,
}

pub fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

impl Patient {
    /// A registry that is well, and could be started.
    pub fn registry() -> Self {
        let folder = scratch();
        let setup = Setup::registry().storage_at(&folder.path().join("data"));
        Patient::of(folder, setup)
    }

    pub fn before(peers: &[std::net::SocketAddr]) -> Self {
        Patient::of(scratch(), Setup::before(peers))
    }

    fn of(folder: tempfile::TempDir, setup: Setup) -> Self {
        let setup = well(setup, folder.path())
            .set("listener.0.address", &format!("\"{}\"", ports::free()))
            .set("admin.address", &format!("\"{}\"", ports::free()));
        Patient { folder, setup }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.setup = self.setup.set(key, value);
        self
    }

    /// A file in its folder, with this mode.
    pub fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("its mode");
        path
    }

    /// With a fleet's secret.
    pub fn in_a_fleet(self) -> Self {
        let output = Entrepot::cli(&["fleet", "secret"]);
        let path = self.file("fleet-secret", &String::from_utf8(output.stdout).expect("text"), 0o600);
        self.set("fleet.secret_file", &quoted(&path))
    }

    pub fn config(&self) -> PathBuf {
        self.file("entrepot.toml", &self.setup.text(), 0o600)
    }

    pub fn doctor(&self, more: &[&str]) -> Told {
        doctor(&self.config(), more)
    }
}

/// What would depend on the machine that the tests run on.
pub fn well(setup: Setup, folder: &Path) -> Setup {
    setup
        .set("log.access", "\"off\"")
        .set("cache.path", &quoted(&folder.join("cache")))
        .set("cache.disk", "\"0\"")
        .set("registry.disk_warn", "\"100%\"")
        .set("registry.disk_full", "\"100%\"")
        .set("listener.0.max_connections", "100")
}

pub fn doctor(config: &Path, more: &[&str]) -> Told {
    let mut command = Command::new(BINARY);
    command.arg("doctor").arg(config).arg("--json").args(more);
    run(command)
}

pub fn run(mut command: Command) -> Told {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ENTREPOT_") || name.starts_with("REGISTRY_"))
    {
        command.env_remove(name);
    }
    let output = command.stdin(Stdio::null()).output().expect("doctor runs");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let found = secrets::found_in(&format!("{text}{errors}"));
    assert!(found.is_empty(), "it shows secrets: {found:?}");
    let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{errors}"));
    Told { json, code: output.status.code() }
}

impl Told {
    /// The lines of a level (`""`: any) and check (`""`: any).
    pub fn lines(&self, level: &str, check: &str) -> Vec<String> {
        let all = self.json["findings"].as_array().expect("findings");
        let matches = |finding: &&Value| {
            (level.is_empty() || finding["level"] == level) && (check.is_empty() || finding["check"] == check)
        };
        let line = |finding: &Value| {
            let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
            format!("{} {}: {} -> {}", text("level"), text("check"), text("what"), text("advice"))
        };
        all.iter().filter(matches).map(line).collect()
    }

    /// There is such a line, and it says what to do; an error makes it fail, and nothing else does.
    #[track_caller]
    pub fn names(&self, level: &str, check: &str, part: &str) -> &Self {
        let lines = self.lines(level, check);
        let found = lines.iter().find(|line| line.contains(part));
        let found = found.unwrap_or_else(|| panic!("no {level} of {check} says {part:?}:\n{:#}", self.json));
        assert!(level == "ok" || !found.ends_with("-> "), "it says nothing to do: {found}");
        let errors = self.lines("error", "").len();
        assert_eq!(self.code, Some(i32::from(errors > 0)), "{:#}", self.json);
        self
    }

    /// That is the only thing that is wrong.
    #[track_caller]
    pub fn only(&self, level: &str, check: &str, part: &str) -> &Self {
        self.names(level, check, part);
        let other = self.lines(level, "").into_iter().filter(|line| !line.contains(&format!("{level} {check}: ")));
        assert_eq!(other.collect::<Vec<_>>(), Vec::<String>::new());
        self
    }
}
