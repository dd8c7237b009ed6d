//! The secret that the instances of a fleet share: made by one that is alone, refused with its reason, changed by a reload.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::harness::{Entrepot, Request, Setup, eventually, scratch};

fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

/// A registry in memory whose secret is in `file`.
fn with_secret_in(file: &Path) -> Setup {
    Setup::registry().set("storage.driver", "\"memory\"").set("fleet.secret_file", &quoted(file))
}

fn status(entrepot: &Entrepot) -> String {
    let status = Request::get("/status").send(entrepot.admin).json();
    status["fleet"]["secret"].as_str().unwrap_or_default().to_owned()
}

/// What `entrepot fleet secret` prints.
fn fresh() -> String {
    let output = Entrepot::cli(&["fleet", "secret"]);
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text")
}

/// What is told of a start with this `[fleet]`, which must fail.
fn refused(folder: &Path, rest: &str) -> String {
    let file = folder.join("entrepot.toml");
    let text = format!("[[listener]]\naddress = \"127.0.0.1:0\"\n[[route]]\nread = \"registry\"\n{rest}");
    std::fs::write(&file, text).expect("written");
    let output = Entrepot::cli(&["serve", "--config", file.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn one_instance_makes_its_secret_and_keeps_it() {
    let folder = scratch();
    let file = folder.path().join("fleet.secret");
    let mut entrepot = with_secret_in(&file).start();
    assert_eq!(status(&entrepot), "present");
    let made = std::fs::read_to_string(&file).expect("a secret");
    assert_eq!(made.len(), 45);
    assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    entrepot.restart();
    assert_eq!(
        (status(&entrepot).as_str(), std::fs::read_to_string(&file).expect("a secret")),
        ("present", made.clone())
    );
    let told = Request::get("/status").send(entrepot.admin).text();
    for text in [entrepot.log(), told] {
        assert!(!text.contains(made.trim()), "{text}");
    }
    assert!(!entrepot.log().contains("chmod 600"));
}

#[test]
fn without_a_file_there_is_none() {
    let entrepot = Setup::registry().set("storage.driver", "\"memory\"").start();
    assert_eq!(status(&entrepot), "absent");
}

#[test]
fn one_of_several_makes_no_secret_and_starts_with_one_that_is_given() {
    let folder = scratch();
    let file = folder.path().join("fleet.secret");
    let section = format!("[fleet]\nadvertise = \"http://127.0.0.1:5000\"\nsecret_file = {}\n", quoted(&file));
    let told = refused(folder.path(), &section);
    assert!(told.contains("entrepot.toml:7: fleet.secret_file: "), "{told}");
    assert!(told.contains("entrepot fleet secret > FILE") && !file.exists(), "{told}");
    std::fs::write(&file, fresh()).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("changed");
    let entrepot = with_secret_in(&file).set("fleet.advertise", "\"http://127.0.0.1:5000\"").start();
    assert_eq!(status(&entrepot), "present");
    eventually("the warning", || entrepot.log().contains("chmod 600"));
}

#[test]
fn a_secret_that_is_none_or_cannot_be_made_ends_the_start() {
    let folder = scratch();
    let file = folder.path().join("fleet.secret");
    let section = format!("[fleet]\nsecret_file = {}\n", quoted(&file));
    for (text, fragment) in [("", "holds no secret"), ("hunter2!", "neither base64"), ("c2hvcnQ=", "too short")] {
        std::fs::write(&file, text).expect("written");
        let told = refused(folder.path(), &section);
        assert!(told.contains("entrepot.toml:6: fleet.secret_file: ") && told.contains(fragment), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    let deep = folder.path().join("absent/fleet.secret");
    let told = refused(folder.path(), &format!("[fleet]\nsecret_file = {}\n", quoted(&deep)));
    assert!(told.contains("fleet.secret_file") && told.contains("cannot be made"), "{told}");
}

#[test]
fn a_reload_reads_the_secret_again_and_refuses_one_that_is_none() {
    let folder = scratch();
    let file = folder.path().join("fleet.secret");
    let mut entrepot = with_secret_in(&file).start();
    let old = std::fs::read_to_string(&file).expect("a secret");
    std::fs::write(&file, "hunter2!").expect("written");
    entrepot.reload(|setup| setup, "refused");
    assert_eq!(status(&entrepot), "present");
    std::fs::write(&file, format!("{}{old}", fresh())).expect("written");
    entrepot.reload(|setup| setup, "ok");
    eventually("both are there", || entrepot.log().contains("secrets=2"));
    let without = |setup: Setup| setup.set("fleet", "{}");
    entrepot.reload(without, "ok");
    assert_eq!(status(&entrepot), "absent");
}
