//! The service, its user and its folders, by systemd's own programs. That it is run by systemd, nothing here shows: there is none to run it.

use std::collections::BTreeSet;
use std::process::Command;

use super::{read, shipped};
use crate::harness::entrepot::BINARY;
use crate::harness::tools::{output, run};
use crate::harness::{Entrepot, scratch};

/// What its sandbox may leave open at most, in tenths, by systemd's own count from 0 (nothing) to 100 (everything).
const EXPOSED: &str = "20";

/// The values of a key of the unit.
fn values(unit: &str, key: &str) -> Vec<String> {
    let start = format!("{key}=");
    unit.lines().filter_map(|line| line.strip_prefix(&start)).map(str::to_owned).collect()
}

#[test]
fn systemd_understands_the_service_and_its_socket() {
    let folder = scratch();
    let unit = read("packaging/systemd/entrepot.service");
    let (service, socket) = (folder.path().join("entrepot.service"), folder.path().join("entrepot.socket"));
    // The program has to be there.
    std::fs::write(&service, unit.replace("/usr/bin/entrepot", BINARY)).expect("written");
    std::fs::copy(shipped("packaging/systemd/entrepot.socket"), &socket).expect("copied");
    let verify = |arguments: &[&std::path::Path]| {
        let told = output(Command::new("systemd-analyze").args(["verify", "--man=no"]).args(arguments));
        (told.status.success(), String::from_utf8_lossy(&told.stderr).into_owned())
    };
    assert_eq!(verify(&[&service, &socket]), (true, String::new()));
    // It would have said so.
    std::fs::write(&service, unit.replace("/usr/bin/entrepot", BINARY).replace("ProtectHome=yes", "ProtectHouse=yes"))
        .expect("written");
    assert!(verify(&[&service]).1.contains("ProtectHouse"));
}

#[test]
fn little_is_left_open_to_it() {
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=true", "--no-pager", "--threshold", EXPOSED]);
    run(command.arg(shipped("packaging/systemd/entrepot.service")));
}

#[test]
fn its_user_and_folders_are_made() {
    let root = scratch();
    let root = root.path();
    std::fs::create_dir(root.join("etc")).expect("a folder");
    let within = format!("--root={}", root.display());
    run(Command::new("systemd-sysusers").arg(&within).arg(shipped("packaging/systemd/sysusers.conf")));
    let users = std::fs::read_to_string(root.join("etc/passwd")).expect("users");
    assert!(
        users.starts_with("entrepot:x:") && users.trim().ends_with(":/var/lib/entrepot:/usr/sbin/nologin"),
        "{users}"
    );
    run(Command::new("systemd-tmpfiles").args([&within, "--create"]).arg(shipped("packaging/systemd/tmpfiles.conf")));
    let uid = users.split(':').nth(2).expect("a number");
    for (folder, owner) in [("var/lib", uid), ("var/cache", uid), ("var/log", uid), ("etc", "0")] {
        let told = run(Command::new("stat").args(["--format", "%u %a"]).arg(root.join(folder).join("entrepot")));
        assert_eq!(told, format!("{owner} 750"), "{folder}");
    }
}

/// The configuration, the unit and the other files are of one mind.
#[test]
fn the_configuration_is_good_and_stays_in_the_folders_of_the_unit() {
    let file = shipped("packaging/systemd/entrepot.toml");
    let output = Entrepot::cli(&["check", file.to_str().expect("UTF-8")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("warning"));

    let unit = read("packaging/systemd/entrepot.service");
    let folders: Vec<String> = [("StateDirectory", "lib"), ("CacheDirectory", "cache"), ("LogsDirectory", "log")]
        .into_iter()
        .flat_map(|(key, place)| values(&unit, key).into_iter().map(move |name| format!("/var/{place}/{name}/")))
        .chain(values(&unit, "RuntimeDirectory").iter().map(|name| format!("/run/{name}/")))
        .collect();
    assert_eq!(folders.len(), 4, "{folders:?}");
    let text = read("packaging/systemd/entrepot.toml");
    let config: toml::Table = text.parse().expect("TOML");
    let mut paths = BTreeSet::new();
    let mut left: Vec<&toml::Value> = config.values().collect();
    while let Some(value) = left.pop() {
        match value {
            toml::Value::String(text) if text.starts_with('/') => drop(paths.insert(text.clone())),
            toml::Value::Array(items) => left.extend(items),
            toml::Value::Table(table) => left.extend(table.values()),
            _ => {}
        }
    }
    assert_eq!(paths.len(), 5, "{paths:?}");
    assert!(paths.iter().all(|path| folders.iter().any(|folder| format!("{path}/").starts_with(folder))), "{paths:?}");
    let made = read("packaging/systemd/tmpfiles.conf");
    assert!(folders[..3].iter().all(|folder| made.contains(&format!("d {} 0750", folder.trim_end_matches('/')))));

    assert_eq!(values(&unit, "User"), ["entrepot"]);
    assert!(read("packaging/systemd/sysusers.conf").contains("\nu entrepot - "));
    let address = config["listener"][0]["address"].as_str().expect("an address");
    assert_eq!(values(&read("packaging/systemd/entrepot.socket"), "ListenStream"), [address]);
    // [drain] timeout is five minutes, and the last lines have to be written.
    let patience: u32 = values(&unit, "TimeoutStopSec")[0].trim_end_matches('s').parse().expect("seconds");
    assert!(patience > 300, "{patience}");
}
