//! A run that is ended before it is done takes away what it has pushed.

use std::time::Duration;

use rustix::process::Signal;

use super::run::{REPOSITORY, small, tags};
use crate::harness::entrepot::BINARY;
use crate::harness::process::{Ending, Process, command};
use crate::harness::{Fault, FaultProxy, Gate, Registry, Rule, Setup, eventually, scratch};

/// What would go on for hours.
fn long(address: &str, more: &[&str], folder: &std::path::Path) -> Process {
    let mut running = command(BINARY);
    running.args(["bench", address, "--repository", REPOSITORY, "--layer", "70000", "--time", "20h"]);
    running.args(["--pushes", "3", "--requests", "100000"]).args(more);
    Process::start("bench", running, &folder.join("log"), Ending::Kill)
}

#[test]
fn ctrl_c_tells_what_was_measured_and_deletes() {
    tells_and_deletes_after(Signal::INT);
}

#[test]
fn sigterm_does_as_ctrl_c_does() {
    tells_and_deletes_after(Signal::TERM);
}

fn tells_and_deletes_after(signal: Signal) {
    let (server, other) = (Setup::registry().start(), Registry::debian().start());
    let proxy = FaultProxy::before(server.address);
    let folder = scratch();
    let vs = other.address.to_string();
    let mut running = long(&proxy.address.to_string(), &["--vs", &vs], folder.path());
    // All is pushed by now.
    eventually("it pulls", || proxy.count("GET", "/v2/") > 60);
    running.signal(signal);
    let status = running.wait(Duration::from_secs(60)).expect("it ends");
    let log = running.log();
    assert_eq!(status.code(), Some(130), "{log}");
    assert!(log.contains("push of an image") && log.contains("interrupted before all was done"), "{log}");
    assert_eq!(log.matches("3 images deleted from team/measured").count(), 2, "{log}");
    assert!(log.ends_with("interrupted\n"), "{log}");
    assert_eq!((tags(server.address, None), tags(other.address, None)), (Vec::new(), Vec::new()));
}

#[test]
fn an_upload_that_is_cut_off_is_given_up() {
    let server = Setup::registry().start();
    let proxy = FaultProxy::before(server.address);
    let gate = Gate::new();
    // The second image's last word never comes: its blobs are there, and its manifest is or will be.
    proxy.on(Rule::new("PUT", "-a-1", Fault::Hold(gate.clone())));
    let folder = scratch();
    let mut running = long(&proxy.address.to_string(), &["--json"], folder.path());
    eventually("it waits for the second manifest", || proxy.count("PUT", "-a-1") == 1);
    running.signal(Signal::INT);
    // What was sent is waited for, so that it is not there afterwards.
    gate.open();
    assert_eq!(running.wait(Duration::from_secs(60)).expect("it ends").code(), Some(130), "{}", running.log());
    assert!(running.log().contains("\"ended\": \"interrupted\""), "{}", running.log());
    assert_eq!(tags(server.address, None), Vec::<String>::new());
    // A layer on its way.
    let gate = Gate::new();
    proxy.forget_rules();
    proxy.forget_seen();
    proxy.on(Rule::new("PUT", "digest=", Fault::Hold(gate.clone())));
    let mut running = long(&proxy.address.to_string(), &[], folder.path());
    eventually("it sends a blob", || proxy.count("PUT", "digest=") == 1);
    running.signal(Signal::INT);
    assert_eq!(running.wait(Duration::from_secs(60)).expect("it ends").code(), Some(130), "{}", running.log());
    assert_eq!(proxy.count("DELETE", "/blobs/uploads/"), 1, "{}", running.log());
    gate.open();
    assert_eq!(tags(server.address, None), Vec::<String>::new());
}

#[test]
fn the_end_of_its_time_is_told_and_deletes_too() {
    let server = Registry::debian().start();
    let told = small(&server.address.to_string(), &["--requests", "100000", "--time", "5s", "--json"]);
    let json = told.json();
    assert_eq!(json["ended"], "time", "{json:#}");
    // On a machine that pushes nothing in this time, it fails.
    let any = json["sides"][0]["measures"]["push"].is_object();
    let cleanup = &json["sides"][0]["cleanup"];
    assert_eq!((&cleanup["left"], cleanup["trouble"].is_null()), (&0.into(), true), "{json:#}");
    told.ended(i32::from(!any));
    assert_eq!(tags(server.address, None), Vec::<String>::new());
}
