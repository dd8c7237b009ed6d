//! Listeners in the file system.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::process::Signal;

use super::world::{Serving, is_there, kill};
use crate::harness::tools::run;
use crate::harness::{Setup, digest, eventually, random_bytes};

#[test]
fn an_image_is_pulled_and_pushed_through_a_socket_in_the_file_system() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("entrepot.sock");
    let address = format!("\"unix:{}\"", socket.display());
    let mut setup = Setup::registry();
    setup = setup.set("listener.1.address", &address).set("listener.1.trusted_proxies", "[\"127.0.0.1/32\"]");
    let mut serving = Serving::start(setup);
    assert_eq!(std::fs::metadata(&socket).expect("the socket").permissions().mode() & 0o777, 0o660);
    let image = serving.client("team/app").push_random("v1", 1, 300_000);
    let curl = |arguments: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--unix-socket"]).arg(&socket).args(arguments);
        command
    };
    let pulled = |name: &str| {
        let (file, url) = (folder.path().join(name), format!("http://localhost/v2/team/app/blobs/{}", image.layers[0]));
        let _ = run(curl(&["--output"]).arg(&file).arg(url));
        digest(&std::fs::read(file).expect("what was pulled"))
    };
    assert_eq!(pulled("first"), image.layers[0]);
    // A body comes in, and HTTP/2 goes through as well.
    let content = random_bytes(2, 100_000);
    let file = folder.path().join("content");
    std::fs::write(&file, &content).expect("a file");
    let url = format!("http://localhost/v2/team/app/blobs/uploads/?digest={}", digest(&content));
    let _ = run(curl(&[
        "--http2-prior-knowledge",
        "--header",
        "Content-Type: application/octet-stream",
        "--request",
        "POST",
    ])
    .arg("--data-binary")
    .arg(format!("@{}", file.display()))
    .arg(url));
    assert_eq!(serving.client("team/app").get_blob(&digest(&content)).expect(200), content);
    // Who comes so is this machine, or whom its proxy names.
    let _ = run(curl(&["--header", "X-Forwarded-For: 203.0.113.9", "--header", "X-Request-Id: through-the-socket"])
        .arg("http://localhost/v2/"));
    let logged = serving.entrepot.logged("through-the-socket").to_string();
    assert!(logged.contains("203.0.113.9"), "{logged}");
    let inode = std::fs::metadata(&socket).expect("the socket").ino();
    let process = serving.upgrade(None).expect("an upgrade");
    assert_eq!(pulled("second"), image.layers[0]);
    serving.old_has_ended();
    assert_eq!(std::fs::metadata(&socket).expect("the socket").ino(), inode, "it is the same");
    assert_eq!(pulled("third"), image.layers[0]);
    assert!(serving.socket().exists());
    // It goes with whoever serves last.
    kill(process, Signal::TERM);
    eventually("the successor ends", || !is_there(process));
    assert!(!socket.exists() && !serving.socket().exists());
}

/// What the successor's configuration has otherwise, or no more.
#[test]
fn a_socket_goes_with_its_listener_and_has_the_permissions_that_are_configured() {
    let folder = tempfile::tempdir().expect("a folder");
    let [stays, goes] = ["stays.sock", "goes.sock"].map(|name| folder.path().join(name));
    let address = |path: &std::path::Path| format!("\"unix:{}\"", path.display());
    let setup = Setup::registry().set("listener.1.address", &address(&stays));
    let mut serving = Serving::start(setup.set("listener.2.address", &address(&goes)));
    let configured = std::fs::read_to_string(serving.entrepot.config_path()).expect("the configuration");
    let mut table: toml::Table = configured.parse().expect("TOML");
    let listeners = table["listener"].as_array_mut().expect("listeners");
    assert!(listeners.pop().expect("the last one")["address"].as_str().expect("text").ends_with("goes.sock"));
    listeners[1].as_table_mut().expect("a listener").insert("socket_mode".into(), "0600".into());
    std::fs::write(serving.entrepot.config_path(), toml::to_string(&table).expect("TOML")).expect("a file");
    serving.upgrade(None).expect("an upgrade");
    serving.old_has_ended();
    assert!(!goes.exists() && stays.exists() && serving.socket().exists());
    assert_eq!(std::fs::metadata(&stays).expect("the socket").permissions().mode() & 0o777, 0o600);
    UnixStream::connect(&stays).expect("somebody listens");
}
