//! Completions and manual pages, from the same definitions as the commands.

use std::process::Command;

use super::world::entrepot;
use crate::harness::{scratch, tools};

const COMMANDS: [&str; 21] = [
    "serve",
    "check",
    "status",
    "health",
    "tag",
    "untag",
    "rm",
    "cp",
    "repo",
    "uploads",
    "maintenance",
    "gc",
    "retention",
    "quota",
    "verify",
    "stats",
    "garbage-collect",
    "mirror",
    "explain",
    "completions",
    "version",
];

#[test]
fn shells_are_told_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = entrepot(&["completions", shell]).well();
        for command in COMMANDS {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    assert_eq!(entrepot(&["completions", "tcsh"]).code, Some(2));
    let folder = scratch();
    let file = folder.path().join("entrepot.bash");
    std::fs::write(&file, entrepot(&["completions", "bash"]).well()).expect("written");
    let line =
        "source \"$1\"; COMP_WORDS=(entrepot gc un); COMP_CWORD=2; _entrepot entrepot un gc; echo \"${COMPREPLY[@]}\"";
    let completed = tools::run(Command::new("bash").args(["-c", line, "bash"]).arg(&file));
    assert_eq!(completed, "undelete");
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let folder = scratch();
    let place = folder.path().join("man1");
    let said = entrepot(&["man", &place.display().to_string()]).well();
    assert!(said.contains(" pages are in "), "{said}");
    for command in COMMANDS
        .iter()
        .map(|command| format!("entrepot-{command}.1"))
        .chain(["entrepot.1".to_owned(), "entrepot-gc-run.1".into()])
    {
        let text = std::fs::read_to_string(place.join(&command)).unwrap_or_else(|error| panic!("{command}: {error}"));
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{command}");
    }
    assert!(entrepot(&["man", "/proc/nowhere"]).badly().contains("/proc/nowhere"));
}

#[test]
fn every_command_explains_itself() {
    let help = entrepot(&["--help"]).well();
    for command in COMMANDS {
        assert!(help.contains(&format!("  {command} ")), "{command}\n{help}");
        assert!(entrepot(&[command, "--help"]).well().contains("Usage: entrepot"), "{command}");
    }
    assert_eq!(entrepot(&["nonsense"]).code, Some(2));
}
