//! Commands between others: into pipes that close, and until Ctrl-C.

use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::world::{Kept, command};
use crate::harness::{eventually, scratch};

/// Its exit code when nobody reads what it prints.
fn unread(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().expect("stderr").read_to_string(&mut said).expect("text");
    (child.wait().expect("it ends").code(), said)
}

#[test]
fn nobody_who_stops_reading_makes_a_command_panic() {
    let kept = Kept::new();
    kept.repository("team/app").push_random("1", 1, 10_000);
    let config = kept.server.config_path().display().to_string();
    for arguments in [
        &["--help"][..],
        &["gc", "--help"],
        &["check", &config],
        &["auth", "explain", "ann", "pull", "team/app", "--config", &config],
        &["fleet", "secret"],
        &["completions", "bash"],
        &["status", "--config", &config],
        &["status", "--json", "--config", &config],
        &["uploads", "--config", &config],
        &["health", "--config", &config],
        &["tag", "team/app:1", "team/app:2", "--config", &config],
        &["cp", "team/app", "team/other", "--config", &config],
        &["cp", "team/app", "team/third", "--no-server", "--config", &config],
        &["maintenance", "status", "--config", &config],
        &["mirror", "status", "--config", &config],
        &["gc", "plan", "--config", &config],
        &["gc", "status", "--config", &config],
    ] {
        let (code, said) = unread(command(arguments));
        assert!(code == Some(0) && !said.contains("panicked"), "{arguments:?}: {code:?} {said}");
    }
    let digest = format!("sha256:{}", "a".repeat(64));
    let (code, said) = unread(command(&["cache", "purge", &digest, "--config", &config]));
    assert!(code == Some(0) && !said.contains("panicked"), "{code:?} {said}");
    // Nor who does not read why it failed.
    for arguments in [&["status", "--admin", "127.0.0.1:1"][..], &["check", "/nowhere"], &["tag", "x", "y"]] {
        let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(child.wait().expect("it ends").code(), Some(1), "{arguments:?}");
    }
}

/// A server that takes what is asked and never answers.
#[test]
fn ctrl_c_ends_every_command_with_a_word_and_130() {
    every_command_is_ended_by(Signal::INT);
}

/// By a timer, or by systemd.
#[test]
fn sigterm_ends_every_command_as_ctrl_c_does() {
    every_command_is_ended_by(Signal::TERM);
}

fn every_command_is_ended_by(signal: Signal) {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    for (arguments, hint) in [
        (&["status"][..], ""),
        (&["health"], ""),
        (&["uploads"], ""),
        (&["tag", "a:1", "a:2"], ""),
        (&["cp", "a", "b"], "what was copied stays; the same command goes on from there\n"),
        (&["repo", "rm", "a", "--yes"], "what is gone by now is in a journal"),
        (&["gc", "run"], "what was done stays, and nothing is half done"),
        (&["gc", "plan"], ""),
        (&["retention", "run"], "tags that went by now are in a journal"),
        (&["cache", "purge", &format!("sha256:{}", "a".repeat(64))], ""),
        (&["mirror", "status"], ""),
    ] {
        let mut child = command(arguments);
        let child = child.args(["--admin", &address]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.expect("it runs");
        let (mut stream, _) = silent.accept().expect("it asks");
        stream.read_exact(&mut [0; 16]).expect("a question");
        kill_process(Pid::from_raw(child.id() as i32).expect("an id"), signal).expect("told");
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(130), "{arguments:?}: {said}");
        assert!(said.contains(hint) && said.ends_with("interrupted\n"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_copy_without_a_server_that_is_interrupted_goes_on_from_there() {
    let kept = Kept::new();
    let app = kept.repository("team/app");
    let image = app.push_random("t0", 1, 10_000);
    for number in 1..200 {
        app.push_manifest(&format!("t{number}"), crate::harness::repository::OCI_MANIFEST, &image.manifest);
    }
    let lines = scratch();
    let out = std::fs::File::create(lines.path().join("out")).expect("a file");
    let mut copy = command(&["cp", "team/app", "team/copy", "--no-server", "--config"]);
    let child = copy.arg(kept.server.config_path()).stdout(out).stderr(Stdio::piped()).spawn().expect("it runs");
    eventually("some are there", || super::world::tags(&kept.server, "team/copy").len() > 2);
    // It may be done by now.
    let _ = kill_process(Pid::from_raw(child.id() as i32).expect("an id"), Signal::INT);
    let output = child.wait_with_output().expect("it ends");
    assert!(matches!(output.status.code(), Some(0 | 130)), "{output:?}");
    super::world::on(&kept.server, &["cp", "team/app", "team/copy"]).well();
    eventually("all are there", || super::world::tags(&kept.server, "team/copy").len() == 200);
}
