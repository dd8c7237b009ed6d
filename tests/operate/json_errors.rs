//! Errors of commands whose answer can be JSON are JSON too.

use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::entrepot::BINARY;
use crate::harness::process::{Ending, Process, command};
use crate::harness::{FaultProxy, Gate, Rule, Setup, eventually, scratch};

/// Words that a command fails of, and its exit status.
type Wrong = (Vec<&'static str>, i32);

/// Every command that has `--json`, with what it fails of. `None`: nothing can go wrong.
fn commands() -> Vec<(&'static str, Option<Wrong>)> {
    let nowhere = |words: &[&'static str]| Some(([words, &["--config", "/nowhere/entrepot.toml"]].concat(), 1));
    vec![
        ("bench", Some((vec!["127.0.0.1:1"], 1))),
        ("cp", nowhere(&["a/b:1", "a/c:1"])),
        ("doctor", Some((vec!["--user", "ann", "--password-file", "/nowhere/word"], 2))),
        ("explain", nowhere(&["alpine:3"])),
        ("gc pause", nowhere(&[])),
        ("gc plan", nowhere(&[])),
        ("gc resume", nowhere(&[])),
        ("gc run", nowhere(&[])),
        ("gc status", nowhere(&[])),
        ("gc undelete", nowhere(&["a/b"])),
        ("health", nowhere(&[])),
        ("maintenance off", nowhere(&[])),
        ("maintenance on", nowhere(&[])),
        ("maintenance status", nowhere(&[])),
        ("mirror status", nowhere(&[])),
        ("mirror warm", nowhere(&["alpine:3"])),
        ("quota", nowhere(&[])),
        ("quota recount", nowhere(&[])),
        ("repo rm", nowhere(&["a/b"])),
        ("retention plan", nowhere(&[])),
        ("retention run", nowhere(&[])),
        ("rm", nowhere(&["a/b:1"])),
        ("stats", nowhere(&[])),
        ("status", nowhere(&[])),
        ("tag", nowhere(&["a/b:1", "a/b:2"])),
        ("untag", nowhere(&["a/b:1"])),
        ("upgrade", nowhere(&[])),
        ("uploads", nowhere(&[])),
        ("uploads cancel", nowhere(&["id"])),
        ("verify", nowhere(&[])),
        ("version", None),
    ]
}

fn entrepot(words: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ENTREPOT_") || name.starts_with("REGISTRY_"))
    {
        command.env_remove(name);
    }
    command.args(words).stdin(Stdio::null()).output().expect("entrepot runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The one error of what is on stderr, all of which is JSON: its code and message.
#[track_caller]
fn error(stderr: &str) -> (String, String) {
    let lines: Vec<Value> = stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {stderr}")))
        .collect();
    let errors: Vec<&Value> = lines.iter().filter(|line| line["errors"].is_array()).collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    assert!(lines.iter().all(|line| line["errors"].is_array() || line["notes"].is_array()), "{stderr}");
    let error = &errors[0]["errors"][0];
    let word = |key: &str| error[key].as_str().unwrap_or_else(|| panic!("no {key}: {stderr}")).to_owned();
    (word("code"), word("message"))
}

/// Commands below a page of help that have the flag.
fn with_flag(path: &[String], found: &mut BTreeSet<String>) {
    let words: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
    let help = text(&entrepot(&words).stdout);
    if help.lines().any(|line| line.trim_start().starts_with("--json")) {
        found.insert(path.join(" "));
    }
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // Long help has more lines to each.
    let names = list.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        with_flag(&[path, &[name.to_owned()]].concat(), found);
    }
}

#[test]
fn every_command_with_the_flag_is_looked_at_here() {
    let mut found = BTreeSet::new();
    with_flag(&[], &mut found);
    let known: BTreeSet<String> = commands().into_iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(found, known);
}

#[test]
fn what_fails_is_a_line_of_json_and_the_exit_status_is_as_it_was() {
    for (name, fails) in commands() {
        let Some((words, code)) = fails else { continue };
        let words: Vec<&str> = name.split(' ').chain(words).collect();
        let plain = entrepot(&words);
        let json = entrepot(&[&words[..], &["--json"]].concat());
        let (said, told) = (text(&plain.stderr), text(&json.stderr));
        assert_eq!((plain.status.code(), json.status.code()), (Some(code), Some(code)), "{name}: {said}{told}");
        let word = if code == 1 { "FAILED" } else { "MISUSED" };
        let (code, message) = error(&told);
        assert_eq!(code, word, "{name}: {told}");
        assert!(said.ends_with(&format!("{message}\n")), "{name}: people are told\n{said}and programs\n{message}");
        // Whether requests should be sent there is what it answers, and an answer that nobody gives is no.
        if name == "health" {
            let answer: Value = serde_json::from_slice(&json.stdout).expect("an answer");
            assert_eq!((&answer["ready"], &answer["reasons"][0]), (&false.into(), &message.into()));
        } else {
            assert_eq!(text(&json.stdout), "", "{name}");
        }
    }
}

#[test]
fn what_cannot_be_understood_is_json_where_json_is_asked_for() {
    for (name, _) in commands() {
        let words: Vec<&str> = name.split(' ').chain(["--json", "--no-such-option"]).collect();
        let output = entrepot(&words);
        let (code, message) = error(&text(&output.stderr));
        assert_eq!((output.status.code(), code.as_str()), (Some(2), "MISUSED"), "{name}: {message}");
        assert!(message.contains("--no-such-option") && !message.contains("Usage"), "{name}: {message}");
        assert_eq!(text(&output.stdout), "", "{name}");
    }
    let output = entrepot(&["status", "--no-such-option"]);
    assert!(text(&output.stderr).starts_with("error: unexpected argument"), "people are told as ever");
    let output = entrepot(&["status", "--json", "--help"]);
    assert!(output.status.success() && text(&output.stdout).contains("Usage: entrepot status"));
}

/// Something that should be known is not mistaken for an error.
#[test]
fn notes_are_json_too() {
    let folder = scratch();
    let root = folder.path().join("root");
    std::fs::create_dir_all(root.join("docker/registry/v2")).expect("a folder");
    let config = folder.path().join("entrepot.toml");
    let (address, admin) = (crate::harness::ports::free(), crate::harness::ports::free());
    let text_of = format!(
        "listener = [{{ address = \"{address}\" }}]\nroute = [{{ read = \"registry\", write = \"registry\" }}]\n[admin]\naddress = \
         \"{admin}\"\n[storage]\nroot = {:?}\n",
        root.display().to_string()
    );
    std::fs::write(&config, text_of).expect("a file");
    let output = entrepot(&["gc", "plan", "--json", "--config", &config.display().to_string()]);
    let told = text(&output.stderr);
    assert!(output.status.success(), "{told}");
    let note: Value = serde_json::from_str(told.lines().next().expect("a note")).expect("JSON");
    let note = note["notes"][0]["message"].as_str().expect("a sentence");
    assert!(note.contains("working on the storage itself"), "{told}");
    serde_json::from_slice::<Value>(&output.stdout).expect("the report alone");
}

#[test]
fn what_is_interrupted_says_so() {
    let server = Setup::registry().start();
    let proxy = FaultProxy::before(server.address);
    let gate = Gate::new();
    proxy.on(Rule::new("GET", "/v2/", crate::harness::Fault::Hold(gate.clone())));
    let folder = scratch();
    let mut running = command(BINARY);
    running.args(["bench", &proxy.address.to_string(), "--json"]);
    let mut running = Process::start("bench", running, &folder.path().join("log"), Ending::Kill);
    eventually("it asks", || proxy.count("GET", "/v2/") == 1);
    running.signal(Signal::TERM);
    let status = running.wait(std::time::Duration::from_secs(60)).expect("it ends");
    gate.open();
    assert_eq!(status.code(), Some(130), "{}", running.log());
    let last = running.log().lines().last().expect("a line").to_owned();
    assert_eq!(error(&last), ("INTERRUPTED".to_owned(), "interrupted".to_owned()));
}
