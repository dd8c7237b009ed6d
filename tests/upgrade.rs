//! Another process takes the place of the one that serves: no connection is refused, and no request fails.

mod activation;
mod killed;
mod load;
mod manager;
mod parent;
mod refused;
mod sockets;
mod storage;
mod world;

use std::io::Read;
use std::sync::mpsc;

use rustix::process::Signal;

use self::load::{Load, Scale};
use self::world::Serving;
use crate::harness::minio::{self, Minio};
use crate::harness::repository::{location, with_digest};
use crate::harness::{Entrepot, FaultProxy, Registry, Repository, Request, Setup, digest, eventually, random_bytes};

/// A body whose end comes when the test says so.
struct Held {
    bytes: std::io::Cursor<Vec<u8>>,
    until: u64,
    go_on: mpsc::Receiver<()>,
}

impl Held {
    fn new(bytes: &[u8], until: usize) -> (Self, mpsc::Sender<()>) {
        let (sender, go_on) = mpsc::channel();
        (Held { bytes: std::io::Cursor::new(bytes.to_vec()), until: until as u64, go_on }, sender)
    }
}

impl Read for Held {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let at = self.bytes.position();
        if at == self.until {
            // Once; a sender that is gone says the same.
            let _ = self.go_on.recv();
            self.until = u64::MAX;
        }
        let most = buffer.len().min(usize::try_from(self.until.saturating_sub(at)).unwrap_or(usize::MAX));
        self.bytes.read(&mut buffer[..most])
    }
}

#[test]
fn upgrades_under_load_refuse_nothing_and_what_is_under_way_ends() {
    // A machine that is busy is no slow client.
    let mut serving = Serving::start(Setup::registry().set("listener.0.timeouts.body", "\"300s\""));
    let client = serving.client("team/app");
    let image = client.push_random("v1", 1, 200_000);
    let large = random_bytes(2, 64 << 20);
    let large_digest = client.push_blob(&large);
    let load = Load::begin(serving.address(), &image, Scale::SMALL);
    // A download and an upload that are half done when the process changes.
    let mut download = client.request("GET", client.blob(&large_digest)).open(client.address);
    let begun = download.read_exactly(1 << 20);
    let content = random_bytes(3, 8 << 20);
    let upload = client.start_upload();
    let (body, go_on) = Held::new(&content, 4 << 20);
    let patch = client.request("PATCH", upload).stream(body, content.len() as u64);
    let (address, uploading) = (client.address, std::thread::spawn(move || patch.send(client.address)));
    let first = serving.process_id();
    let second = serving.upgrade(None).expect("an upgrade");
    assert!(second != first && serving.process_id() == second);
    load.goes_on();
    go_on.send(()).expect("the upload waits");
    let patched = uploading.join().expect("an answer");
    assert_eq!(patched.status, 202, "{}", patched.text());
    // It began at the old process, and ends at the new one.
    let closed = with_digest(&location(&patched), &digest(&content));
    Request::new("PUT", closed).send(address).expect(201);
    let rest = download.finish().expect(200);
    assert_eq!(digest(&[begun, rest].concat()), large_digest);
    serving.old_has_ended();
    // And again, by the successor.
    let third = serving.upgrade(None).expect("another upgrade");
    assert!(third != second && serving.process_id() == third);
    load.goes_on();
    let done = load.end();
    assert!(done.requests > 0 && done.pushes > 0 && done.streams > 0, "{done:?}");
    eventually("those that were replaced say no more that they serve", || {
        let status = Request::get("/api/v1/status").send(serving.admin()).json();
        status["instances"].as_array().expect("instances").iter().filter(|one| one["up"] == true).count() == 1
    });
    assert_eq!(serving.entrepot.metric("entrepot_upgrades_total", &[("result", "ok")]), 1.0);
}

#[test]
fn whoever_cannot_serve_takes_no_place_and_nobody_notices() {
    let serving = Serving::registry();
    let image = serving.client("team/app").push_random("v1", 1, 200_000);
    let load = Load::begin(serving.address(), &image, Scale::SMALL);
    let refused = refused::none_of_them_takes_the_place(&serving, &load);
    let done = load.end();
    assert!(done.requests > 0, "{done:?}");
    let shown = serving.cli(&["status"]);
    assert!(shown.contains("upgrade      given up at "), "{shown}");
    assert_eq!(serving.entrepot.metric("entrepot_upgrades_total", &[("result", "refused")]), refused as f64);
}

#[test]
fn kills_refuse_no_connection_where_the_socket_is_another_s() {
    killed::kills_refuse_no_connection(5, 500);
}

/// What only storage knows is wrong: the configuration can be read, and everything can be opened.
#[test]
fn whoever_has_the_wrong_key_of_the_storage_takes_no_place() {
    let minio = Minio::start(&["bucket"]);
    let serving = Serving::start(minio.bucket("bucket").set(Setup::registry()));
    let image = serving.client("team/app").push_random("v1", 1, 100_000);
    let first = serving.process_id();
    let good = std::fs::read_to_string(serving.entrepot.config_path()).expect("the configuration");
    let bad = good.replace(minio::SECRET_KEY, "none-of-its-keys");
    assert!(bad != good);
    std::fs::write(serving.entrepot.config_path(), bad).expect("a file");
    let said = serving.upgrade(None).expect_err("no successor");
    assert!(said.contains("the successor is not ready: registry"), "{said}");
    assert_eq!(serving.process_id(), first);
    serving.client("team/app").get_blob(&image.layers[0]).expect(200);
    std::fs::write(serving.entrepot.config_path(), good).expect("a file");
    serving.upgrade(None).expect("an upgrade");
    serving.client("team/app").get_blob(&image.layers[0]).expect(200);
}

#[test]
fn what_is_in_memory_alone_is_not_lost_by_an_upgrade() {
    let folder = tempfile::tempdir().expect("a folder");
    let audit = folder.path().join("audit.log");
    let setup = Setup::registry().set("audit.to", &format!("{:?}", audit.display().to_string()));
    let serving = Serving::start(setup.set("storage.driver", "\"memory\""));
    let image = serving.client("team/app").push_random("v1", 1, 100_000);
    let said = serving.upgrade(None).expect_err("no successor");
    assert!(said.contains("storage.driver is \"memory\""), "{said}");
    eventually("the audit tells of it once, and why", || {
        let lines = std::fs::read_to_string(&audit).unwrap_or_default();
        let mut told = lines.lines().filter(|line| line.contains("\"action\":\"upgrade\""));
        told.next().is_some_and(|line| line.contains("is in this process alone")) && told.next().is_none()
    });
    serving.client("team/app").get_blob(&image.layers[0]).expect(200);
}

/// Whoever asks the process that they know to read its configuration means the one that serves.
#[test]
fn what_the_old_process_is_told_while_it_ends_is_handed_on() {
    let mut serving = Serving::registry();
    let client = serving.client("team/app");
    let large = random_bytes(2, 64 << 20);
    let large_digest = client.push_blob(&large);
    let mut download = client.request("GET", client.blob(&large_digest)).open(client.address);
    let begun = download.read_exactly(1 << 20);
    serving.upgrade(None).expect("an upgrade");
    assert_eq!(serving.entrepot.metric("entrepot_config_reloads_total", &[("result", "ok")]), 0.0);
    serving.entrepot.process().signal(Signal::HUP);
    eventually("the successor reads its configuration", || {
        serving.entrepot.metric("entrepot_config_reloads_total", &[("result", "ok")]) == 1.0
    });
    // It is told to stop for the first time, and does that already.
    serving.entrepot.process().signal(Signal::TERM);
    assert_eq!(digest(&[begun, download.finish().expect(200)].concat()), large_digest);
    serving.old_has_ended();
}

#[test]
fn sigusr2_upgrades_and_an_order_over_the_network_does_not() {
    let mut serving = Serving::registry();
    let first = serving.process_id();
    let order = Request::new("POST", "/api/v1/upgrade").body("{}").send(serving.admin());
    assert_eq!((order.status, order.error_code().as_str()), (403, "DENIED"));
    let over_network = Entrepot::cli(&["upgrade", "--admin", &serving.admin().to_string()]);
    assert!(!over_network.status.success());
    assert!(String::from_utf8_lossy(&over_network.stderr).contains("SIGUSR2"));
    let relative = Request::new("POST", "/api/v1/upgrade").body(r#"{"binary":"entrepot"}"#);
    assert_eq!(serving.ask(relative).status, 409);
    assert_eq!(serving.process_id(), first);
    serving.entrepot.process().signal(Signal::USR2);
    eventually("another process serves", || serving.try_process_id().is_some_and(|process| process != first));
    serving.note(serving.process_id());
    serving.old_has_ended();
    Request::get("/v2/").send(serving.address()).expect(200);
}

#[test]
fn where_there_are_rules_an_upgrade_needs_the_socket_and_no_login() {
    let setup = Setup::registry().set("auth.username", "\"ann\"").set("auth.password", "\"the password of ann\"");
    let serving = Serving::start(setup);
    // Of a program that cannot be: who is understood is told so.
    let order = || Request::new("POST", "/api/v1/upgrade").body(r#"{"binary":"entrepot"}"#);
    assert_eq!(order().send(serving.admin()).status, 401);
    assert_eq!(serving.ask(order()).status, 409);
    assert_eq!(serving.ask(Request::get("/api/v1/status")).status, 401);
}

/// Two processes have the folder; what one keeps, the other serves.
#[test]
fn the_cache_goes_over_to_the_successor() {
    let registry = Registry::debian().start();
    let peer = FaultProxy::before(registry.address);
    let pushed = Repository::at(registry.address, "team/app");
    let blobs: Vec<_> = (1..=3).map(|seed| pushed.push_blob(&random_bytes(seed, 2 << 20))).collect();
    let setup = Setup::before(&[peer.address]).without_health_checks().set("cache.memory", "0");
    let mut serving = Serving::start(setup);
    let client = serving.client("team/app");
    client.get_blob(&blobs[0]).expect(200);
    serving.entrepot.settled();
    // One that comes while there are two.
    let mut download = client.request("GET", client.blob(&blobs[1])).open(client.address);
    let begun = download.read_exactly(1000);
    serving.upgrade(None).expect("an upgrade");
    assert_eq!(digest(&[begun, download.finish().expect(200)].concat()), blobs[1]);
    let asked = |blob: &str| peer.count("GET", blob);
    let before = asked(&blobs[0]);
    assert_eq!(digest(&client.get_blob(&blobs[0]).expect(200)), blobs[0]);
    assert_eq!(asked(&blobs[0]), before, "it is on the disk, and the successor knows it");
    client.get_blob(&blobs[2]).expect(200);
    eventually("the successor keeps what it fetches", || {
        let before = asked(&blobs[2]);
        client.get_blob(&blobs[2]).expect(200);
        asked(&blobs[2]) == before
    });
    serving.old_has_ended();
    let before = asked(&blobs[2]);
    assert_eq!(digest(&client.get_blob(&blobs[2]).expect(200)), blobs[2]);
    assert_eq!(asked(&blobs[2]), before, "and what the old one did at its end took nothing away");
}
