//! In a container: whether its process 1 has started the process that serves, and ends with it. Each test is alone with the processes that
//! it starts, as in a container.

use std::path::Path;
use std::process::Output;

use super::world::configured;
use crate::harness::entrepot::BINARY;
use crate::harness::process::{Ending, Process, command};
use crate::harness::{Entrepot, Request, ports};

/// What `entrepot upgrade` says of an Entrepot that a shell starts, which is process 1 and is told by `line` to start `"$@"`.
fn upgraded(line: &str, folder: &Path) -> Output {
    let (address, socket) = (ports::free(), folder.join("admin.sock").display().to_string());
    let config = configured(folder, &format!("[[listener]]\naddress = \"{address}\""));
    let mut container = command("unshare");
    container.args([
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "setsid",
        "sh",
        "-c",
        line,
        "sh",
        BINARY,
        "serve",
    ]);
    container
        .arg("--config")
        .arg(config)
        .env("KUBERNETES_SERVICE_HOST", "10.0.0.1")
        .env("ENTREPOT_ADMIN__UNIX", &socket);
    let mut process = Process::start("a container", container, &folder.join("log"), Ending::Kill);
    let ready = process.wait_ready(|| {
        Request::get("/v2/").try_send(address).is_ok_and(|answer| answer.status == 200)
            && process_is_ready(&folder.join("log"))
    });
    assert!(ready, "{}", process.log());
    let output = Entrepot::cli(&["upgrade", "--admin", &socket]);
    Request::get("/v2/").send(address).expect(200);
    output
}

/// Orders are taken once it has said so.
fn process_is_ready(log: &Path) -> bool {
    std::fs::read_to_string(log).is_ok_and(|log| log.contains(" ready version="))
}

fn refused(line: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let output = upgraded(line, folder.path());
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn process_1_and_what_it_waits_for_have_no_successor() {
    let said = refused("exec \"$@\"");
    assert!(said.contains("this is process 1 of a container, which ends with it"), "{said}");
    // As an init does, or an entrypoint that is a shell.
    let said = refused("\"$@\"; exit $?");
    assert!(said.contains("process 1 of this container has started this process and ends with it"), "{said}");
}

/// Its parent is process 1, which has not started it: the shell that did has ended.
#[test]
fn what_was_started_in_a_shell_of_a_container_has_one() {
    let folder = tempfile::tempdir().expect("a folder");
    // As `docker exec` does it: a session of its own.
    let line = "setsid sh -c '\"$@\" & :' sh \"$@\"; sleep 1000";
    let output = upgraded(line, folder.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("accepts now"), "{said}");
}
