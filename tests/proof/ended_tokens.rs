//! A push whose token ends in the middle, with real clients and real time: the upload that was begun is ended by the old token, and
//! what follows by a new one, which the client gets because it is told so.

use std::process::Command;
use std::time::Duration;

use crate::harness::tools::{Containers, busybox_tree, run};
use crate::harness::{Dockerd, Entrepot, Fault, FaultProxy, Repository, Rule, Setup, docker, scratch};

const PASSWORD: &str = "5ecret-p4ssword";
/// The shortest that there is.
const TTL: u64 = 60;

fn registry() -> Entrepot {
    Setup::registry()
        .set("auth.username", "\"ann\"")
        .set("auth.password", &format!("{PASSWORD:?}"))
        .set("auth.token", &format!("{{ ttl = \"{TTL}s\" }}"))
        .start()
}

/// A way to the registry on which the end of the first upload waits until its token has ended.
fn slow_way(entrepot: &Entrepot) -> FaultProxy {
    let way = FaultProxy::before(entrepot.address);
    way.on(Rule::new("PUT", "/blobs/uploads/", Fault::Delay(Duration::from_secs(TTL + 5))).times(1));
    way
}

fn came_through(entrepot: &Entrepot, way: &FaultProxy, client: &str) {
    assert_eq!(
        Repository::at(entrepot.address, client).basic("ann", PASSWORD).head_manifest("1").status,
        200,
        "{client}"
    );
    let tokens = way.count("GET", "/token") + way.count("POST", "/token");
    assert!(tokens >= 2, "{client} got {tokens} tokens");
    println!("{client}: {tokens} tokens, {} requests", way.seen().len());
}

#[test]
fn a_push_goes_on_when_its_token_ends_in_the_middle() {
    let entrepot = registry();
    let (containers, files, dockerd) = (Containers::new(), scratch(), Dockerd::start());
    let ways = [slow_way(&entrepot), slow_way(&entrepot), slow_way(&entrepot)];
    let image = |way: usize, name: &str| format!("{}/{name}:1", ways[way].address);
    // From elsewhere, so that nothing is mounted.
    let other = Setup::registry().start();
    Repository::at(other.address, "seed").push_random("1", 7, 300_000);
    let oci = files.path().join("image");
    let layout = format!("oci:{}:1", oci.display());
    let seed = format!("docker://{}/seed:1", other.address);
    run(containers.skopeo().args(["copy", "--src-tls-verify=false", &seed, &layout]));
    let local = image(2, "docker");
    docker::import(&dockerd, &busybox_tree(files.path()), &local);
    dockerd.run(&["login", "-u", "ann", "-p", PASSWORD, &ways[2].address.to_string()]);
    let crane = |arguments: &[&str]| {
        let mut crane = containers.built("crane");
        crane.args(arguments);
        crane
    };
    run(&mut crane(&["auth", "login", "-u", "ann", "-p", PASSWORD, &ways[1].address.to_string()]));
    let mut skopeo = containers.skopeo();
    skopeo.args(["copy", "--dest-tls-verify=false", "--dest-creds", &format!("ann:{PASSWORD}"), &layout]);
    skopeo.arg(format!("docker://{}", image(0, "skopeo")));
    let pushes: [Command; 3] =
        [skopeo, crane(&["push", &oci.display().to_string(), &image(1, "crane")]), dockerd.command(&["push", &local])];
    std::thread::scope(|scope| {
        for mut push in pushes {
            scope.spawn(move || run(&mut push));
        }
    });
    for (way, client) in ways.iter().zip(["skopeo", "crane", "docker"]) {
        came_through(&entrepot, way, client);
    }
}
