//! Starting the integrated registry: without a file, by routes, across reloads, and what readiness says of it.

use std::net::SocketAddr;
use std::path::Path;

use crate::harness::entrepot::BINARY;
use crate::harness::minio::Minio;
use crate::harness::process::{Ending, Process, command};
use crate::harness::repository::ACCEPT;
use crate::harness::{
    Entrepot, Registry, Repository, Request, Setup, digest, eventually, ports, random_bytes, scratch,
};

/// Entrepot with nothing but these variables, in `folder`.
fn serve(folder: &Path, variables: &[(&str, &str)]) -> Process {
    let mut command = command(BINARY);
    command.arg("serve").current_dir(folder).env_clear().envs(variables.iter().copied());
    Process::start("entrepot", command, &folder.join("log"), Ending::Kill)
}

fn ready(address: SocketAddr) -> bool {
    Request::get("/readyz").try_send(address).is_ok_and(|answer| answer.status == 200)
}

#[test]
fn without_a_file_it_is_a_registry_that_keeps_all_in_one_folder() {
    let (folder, address, admin) = (scratch(), ports::free(), ports::free());
    let (own, asked) = (address.to_string(), admin.to_string());
    let variables = [("ENTREPOT_LISTENER__0__ADDRESS", own.as_str()), ("ENTREPOT_ADMIN__ADDRESS", &asked)];
    let mut entrepot = serve(folder.path(), &variables);
    assert!(entrepot.wait_ready(|| ready(admin)), "{}", entrepot.log());
    let image = Repository::at(address, "team/app").push_random("v1", 1, 1 << 20);
    drop(entrepot);
    let tag = "data/registry/docker/registry/v2/repositories/team/app/_manifests/tags/v1/current/link";
    assert_eq!(std::fs::read_to_string(folder.path().join(tag)).expect("a link"), image.digest);
    let mut entrepot = serve(folder.path(), &variables);
    assert!(entrepot.wait_ready(|| ready(admin)), "{}", entrepot.log());
    let client = Repository::at(address, "team/app");
    assert_eq!(client.get_manifest("v1").expect(200), image.manifest);
    assert_eq!(digest(&client.get_blob(&image.layers[0]).expect(200)), image.layers[0]);
    assert!(!entrepot.log().contains("asks nobody"), "{}", entrepot.log());
}

#[test]
fn an_open_registry_that_others_reach_starts_only_if_that_is_meant() {
    let (folder, port, admin) = (scratch(), ports::free().port(), ports::free());
    let (own, asked) = (format!("0.0.0.0:{port}"), admin.to_string());
    let variables = [("ENTREPOT_LISTENER__0__ADDRESS", own.as_str()), ("ENTREPOT_ADMIN__ADDRESS", &asked)];
    let mut refused = serve(folder.path(), &variables);
    assert!(!refused.wait_ready(|| ready(admin)));
    assert!(refused.log().contains("registry.open_writes") && refused.log().contains(&own), "{}", refused.log());
    for meant in [("ENTREPOT_REGISTRY__OPEN_WRITES", "true"), ("REGISTRY_PASSWORD", "x")] {
        let with = [variables[0], variables[1], meant, ("REGISTRY_USERNAME", if meant.1 == "x" { "ann" } else { "" })];
        let mut entrepot = serve(folder.path(), &with);
        assert!(entrepot.wait_ready(|| ready(admin)), "{}", entrepot.log());
        let status = Request::get("/v2/").send(([127, 0, 0, 1], port).into()).status;
        assert_eq!(status, if meant.1 == "x" { 401 } else { 200 });
    }
}

#[test]
fn what_is_pushed_to_the_registry_is_pulled_from_a_cluster_over_the_same_volume_and_the_reverse() {
    let (one, other, volume) = Registry::pair();
    let peers = format!("[\"{}\", \"{}\"]", one.address, other.address);
    for (read, write) in [("cluster.main", "registry"), ("registry", "cluster.main")] {
        let setup = Setup::registry().storage_at(volume.path()).set("cluster.main.peers", &peers);
        let entrepot = setup.set("route.0.read", &format!("\"{read}\"")).set("route.0.write", &format!("\"{write}\""));
        let entrepot = entrepot.start();
        let client = Repository::at(entrepot.address, &format!("from/{}", read.replace('.', "-")));
        let image = client.push_random("v1", 1, 200_000);
        assert_eq!(client.get_manifest("v1").expect(200), image.manifest, "{read} {write}");
        assert_eq!(digest(&client.get_blob(&image.layers[0]).expect(200)), image.layers[0]);
        let moved = client.push_random("v1", 2, 1000);
        assert_eq!(client.get_manifest("v1").expect(200), moved.manifest, "{read} {write}");
        Request::new("DELETE", client.manifest(&moved.digest)).send(client.address).expect(202);
        let gone = Request::get(client.manifest(&moved.digest)).header("Accept", ACCEPT).send(client.address);
        assert_eq!(gone.status, 404, "{read} {write}");
    }
}

#[test]
fn hosts_and_repositories_choose_between_registry_and_cluster() {
    let peer = crate::harness::FaultProxy::recording();
    let setup = Setup::registry().set("cluster.main.peers", &format!("[\"{}\"]", peer.address));
    let routes = r#"[
        { hosts = ["front.example.com"], read = "cluster.main" },
        { repositories = "own/**", read = "registry", write = "registry" },
        { read = "cluster.main", write = "cluster.main" },
    ]"#;
    let entrepot = setup.set("route", routes).set("cluster.main.health", "{ interval = \"0s\" }").start();
    let ask = |host: &str, path: &str| Request::get(path).header("Host", host).send(entrepot.address).status;
    Repository::at(entrepot.address, "own/app").push_random("v1", 1, 1000);
    assert_eq!(ask("any", "/v2/own/app/tags/list"), 200);
    assert_eq!(peer.seen().len(), 0);
    assert_eq!((ask("any", "/v2/other/app/tags/list"), peer.seen().len()), (200, 1));
    assert_eq!((ask("front.example.com", "/v2/own/app/tags/list"), peer.seen().len()), (200, 2));
    // What belongs to no repository goes to the first route of the host.
    let catalog = Request::get("/v2/_catalog").header("Host", "any").send(entrepot.address);
    assert_eq!(catalog.json()["repositories"], serde_json::json!(["own/app"]));
    assert_eq!((ask("any", "/v2/"), peer.seen().len()), (200, 2));
    assert_eq!(ask("any", "/elsewhere"), 404);
}

#[test]
fn a_reload_changes_what_the_registry_allows_and_says_what_it_cannot_change() {
    let mut entrepot = Setup::registry().start();
    let client = Repository::at(entrepot.address, "team/app");
    let image = client.push_random("v1", 1, 1000);
    let delete = || Request::new("DELETE", client.manifest(&image.digest)).send(client.address).status;
    entrepot.reload(|setup| setup.set("registry.delete", "false"), "ok");
    assert_eq!(delete(), 405);
    let elsewhere = scratch();
    entrepot.reload(|setup| setup.set("registry.delete", "true").storage_at(elsewhere.path()), "ok");
    assert!(entrepot.log().contains("these keys take effect only after a restart"), "{}", entrepot.log());
    client.get_manifest("v1").expect(200);
    assert_eq!(delete(), 202);
}

#[test]
fn a_reload_may_bring_the_registry_and_take_it_away() {
    let peer = crate::harness::FaultProxy::recording();
    let mut entrepot = Setup::before(&[peer.address]).without_health_checks().start();
    let folder = scratch();
    assert!(entrepot.metrics().lines().all(|line| !line.starts_with("registry_storage")));
    let with = |setup: Setup| {
        let setup = setup.storage_at(folder.path()).set("route.0.read", "\"registry\"");
        setup.set("route.0.write", "\"registry\"")
    };
    entrepot.reload(with, "ok");
    let client = Repository::at(entrepot.address, "team/app");
    let image = client.push_random("v1", 1, 1000);
    entrepot.reload(|setup| setup.set("route.0.read", "\"cluster.main\""), "ok");
    peer.forget_seen();
    client.head_manifest("v1");
    assert_eq!(peer.seen().len(), 1);
    entrepot.reload(with, "ok");
    assert_eq!(client.get_manifest("v1").expect(200), image.manifest);
}

#[test]
fn readiness_says_that_the_storage_does_not_answer_and_when_it_does_again() {
    let mut minio = Minio::start(&["bucket"]);
    let entrepot: Entrepot = minio.bucket("bucket").set(Setup::registry()).start();
    eventually("it is ready", || entrepot.is_ready());
    minio.kill();
    eventually("it is not ready", || !entrepot.is_ready());
    let said = Request::get("/readyz").send(entrepot.admin);
    assert!(said.status == 503 && said.text().contains("registry: "), "{}", said.text());
    let status = Request::get("/status").send(entrepot.admin).json();
    assert!(status["registry"]["trouble"].is_string(), "{status}");
    let up = |access| entrepot.metric("entrepot_storage_up", &[("access", access)]);
    assert_eq!(up("read"), 0.0);
    minio.restart();
    eventually("it is ready again", || entrepot.is_ready());
    eventually("a metric says so", || up("read") == 1.0 && up("write") == 1.0);
    Repository::at(entrepot.address, "team/app").push_blob(&random_bytes(1, 1000));
}

#[test]
fn it_starts_while_its_storage_does_not_answer() {
    let mut minio = Minio::start(&["bucket"]);
    minio.kill();
    let entrepot: Entrepot = minio.bucket("bucket").set(Setup::registry()).start();
    let answer = Request::get("/v2/team/app/tags/list").send(entrepot.address);
    assert_eq!((answer.status, answer.error_code().as_str()), (503, "UNAVAILABLE"));
    assert!(answer.header("retry-after").is_some());
    minio.restart();
    eventually("it is ready", || entrepot.is_ready());
    Repository::at(entrepot.address, "team/app").push_random("v1", 1, 1000);
}

#[test]
fn a_machine_without_any_authority_serves_and_is_asked() {
    let folder = scratch();
    let none = folder.path().join("none.pem");
    std::fs::write(&none, "").expect("a file");
    let none = none.display().to_string();
    let setup = Setup::registry().environment("SSL_CERT_FILE", &none).environment("SSL_CERT_DIR", "");
    let entrepot = setup.start();
    Repository::at(entrepot.address, "team/app").push_random("v1", 1, 1000);
    let mut status = std::process::Command::new(BINARY);
    status.args(["status", "--config"]).arg(entrepot.config_path()).env("SSL_CERT_FILE", &none);
    let told = status.output().expect("it runs");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
}
