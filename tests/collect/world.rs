//! Collections as operators order them, and what is left on the ground afterwards.
#![allow(dead_code, reason = "the quick tests and the proofs share it, and each uses its part")]

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::ground::Ground;
use crate::harness::entrepot::BINARY;
use crate::harness::{Entrepot, Setup};

/// How long until everything that nobody needs has gone through the trash, at the times of these tests.
pub const QUIET: Duration = Duration::from_secs(300);

/// Days are seconds here. Requests of other programs have to end within them, also on a machine with much to do.
pub fn short(setup: Setup, grace: &str, reap_after: &str) -> Setup {
    setup
        .set("gc.short_times", "true")
        .set("gc.grace", &format!("{grace:?}"))
        .set("gc.reap_after", &format!("{reap_after:?}"))
        .set("gc.foreign", "\"careful\"")
        .set("gc.rate", "\"\"")
}

/// `entrepot gc …` by a process of its own that opens storage itself, as a cron job does.
pub fn command(server: &Entrepot, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ENTREPOT_")) {
        command.env_remove(name);
    }
    command.arg("gc").args(arguments).args(["--no-server", "--json", "--config"]).arg(server.config_path());
    command
}

pub fn output(server: &Entrepot, arguments: &[&str]) -> Output {
    command(server, arguments).output().expect("entrepot runs")
}

/// What it reports; it succeeded.
#[track_caller]
pub fn gc(server: &Entrepot, arguments: &[&str]) -> Value {
    let output = output(server, arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "gc {arguments:?}: {}\n{err}\n{out}", output.status);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// The same, and it may be killed on the way.
pub fn begin(server: &Entrepot, arguments: &[&str]) -> Child {
    let mut command = command(server, arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("entrepot runs")
}

/// Whether it was, and had not ended by then.
pub fn was_killed(status: &ExitStatus) -> bool {
    status.signal() == Some(9)
}

pub fn number(report: &Value, key: &str) -> u64 {
    report[key].as_u64().unwrap_or_else(|| panic!("no number {key} in {report}"))
}

/// Collects again and again until nothing is unlinked and nothing in the trash. All reports.
pub fn until_quiet(server: &Entrepot, arguments: &[&str]) -> Vec<Value> {
    let (deadline, mut reports) = (Instant::now() + QUIET, Vec::new());
    loop {
        let report = gc(server, &[&["run"], arguments].concat());
        let left: u64 = ["condemned_blobs", "condemned_manifests", "unlinked", "trash"]
            .map(|key| number(&report, key))
            .iter()
            .sum();
        reports.push(report);
        // What is younger than `grace` counts as nothing: twice in a row, with some time between.
        let quiet = reports.len() > 1
            && left == 0
            && reports.iter().rev().nth(1).is_some_and(|before| number(before, "unlinked") == 0);
        if quiet {
            return reports;
        }
        assert!(Instant::now() < deadline, "it never comes to rest: {:?}", reports.last());
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// The lease of a collection that was killed is over at once, as it is after a while.
pub fn end_lease(ground: &Ground) {
    let key = "entrepot/v1/leases/gc";
    if ground.read(key).is_some() {
        ground.write(key, b"");
    }
}

/// Digests of all blobs whose bytes are in their place.
pub fn blobs(ground: &Ground) -> BTreeSet<String> {
    let keys = ground.keys();
    let blobs = keys.iter().filter_map(|key| key.strip_prefix("docker/registry/v2/blobs/")?.strip_suffix("/data"));
    blobs
        .map(|blob| {
            let mut parts = blob.split('/');
            format!("{}:{}", parts.next().unwrap_or_default(), parts.next_back().unwrap_or_default())
        })
        .collect()
}

/// Files in the trash.
pub fn trash(ground: &Ground) -> Vec<String> {
    ground.keys().into_iter().filter(|key| key.starts_with("entrepot/v1/trash/")).collect()
}

/// Everything of distribution's tree on a volume was written so long ago.
pub fn age_tree(ground: &Ground, by: Duration) {
    let Ground::Volume(folder) = ground else { panic!("only files can be aged") };
    let then = SystemTime::now() - by;
    for key in ground.keys().iter().filter(|key| key.starts_with("docker/")) {
        let file = std::fs::File::options().append(true).open(folder.path().join(key)).expect("a file");
        file.set_modified(then).expect("its time");
    }
}

/// What collections wrote down of when something became unlinked was so long before.
pub fn age_unlinked(ground: &Ground, by: Duration) {
    for key in ground.keys().iter().filter(|key| key.starts_with("entrepot/v1/gc/unlinked/")) {
        let mut file: Value = serde_json::from_slice(&ground.read(key).expect("just listed")).expect("JSON");
        for blob in file["blobs"].as_array_mut().expect("blobs") {
            let Some(since) = blob["since"].as_str() else { continue };
            let since = humantime::parse_rfc3339(since).expect("a time") - by;
            blob["since"] = humantime::format_rfc3339_millis(since).to_string().into();
        }
        ground.write(key, file.to_string().as_bytes());
    }
}
