//! `entrepot version`: what this program is, as whoever helps with it has to know.

use std::env::consts::{ARCH, OS};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

/// The kernel's own release, where there is a Linux.
const KERNEL: &str = "/proc/sys/kernel/osrelease";

#[derive(Args)]
pub struct Version {
    /// As JSON, errors too: version, commit where whoever built it has named it (ENTREPOT_COMMIT), what it was built for, and the kernel
    /// that it runs on
    #[arg(long)]
    json: bool,
}

pub fn run(command: &Version) -> ExitCode {
    super::say(Ok(if command.json { format!("{:#}\n", fields()) } else { line() }))
}

/// As --version has it.
fn line() -> String {
    format!("entrepot {}\n", env!("CARGO_PKG_VERSION"))
}

/// Nothing is asked while it is built, so that the same sources make the same program everywhere.
fn fields() -> Value {
    let kernel = std::fs::read_to_string(KERNEL).ok().map(|release| release.trim().to_owned());
    json!({
        "program": "entrepot",
        "version": env!("CARGO_PKG_VERSION"),
        "commit": option_env!("ENTREPOT_COMMIT").filter(|commit| !commit.is_empty()),
        "target": { "arch": ARCH, "os": OS, "libc": libc() },
        "debug": cfg!(debug_assertions),
        "kernel": kernel,
    })
}

fn libc() -> Option<&'static str> {
    if cfg!(target_env = "gnu") {
        Some("gnu")
    } else if cfg!(target_env = "musl") {
        Some("musl")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_is_does_not_depend_on_where_it_is_asked() {
        assert!(line().starts_with("entrepot ") && line().ends_with('\n'));
        let fields = fields();
        assert_eq!(fields["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!((&fields["target"]["arch"], &fields["target"]["os"]), (&ARCH.into(), &OS.into()));
        assert_eq!(fields["commit"].as_str(), option_env!("ENTREPOT_COMMIT").filter(|commit| !commit.is_empty()));
    }
}
