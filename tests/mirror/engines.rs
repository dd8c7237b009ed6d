//! Real clients pull through a mirror, each by the settings that it has for mirrors: nothing of it is known to them but an address.

use std::path::Path;
use std::process::Command;

use super::world::{Hub, is_unavailable, overlaying};
use crate::harness::tools::{Containers, busybox_tree, run};
use crate::harness::{Containerd, Dockerd, FakeRemote, Fault, Image, Manner, Reply, Rule, Setup, scratch};

/// An image that engines can unpack.
fn busybox(fake: &FakeRemote, name: &str, tag: &str) -> Image {
    let files = scratch();
    let layer = std::fs::read(busybox_tree(files.path())).expect("the archive");
    fake.shelf(|shelf| shelf.put_image(name, tag, &[layer]))
}

/// The mirror is a whole host too, as `registry-mirrors` has it.
fn with_host(setup: Setup) -> Setup {
    let routes =
        r#"[{ repositories = "docker.io/**", read = "remote.hub" }, { hosts = ["127.0.0.1"], read = "remote.hub" }]"#;
    setup.set("route", routes)
}

fn hub() -> Hub {
    Hub::start(Manner::hub(), with_host)
}

#[test]
fn docker_by_registry_mirrors() {
    let hub = hub();
    let image = busybox(&hub.remote, "library/alpine", "3");
    busybox(&hub.remote, "team/app", "1");
    let dockerd = Dockerd::mirrored(&format!("http://{}", hub.entrepot.address));
    for name in ["alpine:3", "docker.io/library/alpine:3", "team/app:1"] {
        dockerd.run(&["pull", name]);
    }
    assert_eq!(dockerd.digest("alpine:3"), image.digest);
    assert_eq!(hub.remote.gets(&image.layers[0]), 1, "the same layer came once");
    // A daemon that knows the password of Docker Hub offers it to a mirror that asks for one; this one does not ask.
    assert!(hub.remote.authorizations().iter().all(|(_, value)| value.starts_with("Bearer tok")));
    hub.remote.die();
    dockerd.forget(&["alpine:3", "team/app:1"]);
    dockerd.run(&["pull", "alpine:3"]);
}

/// dockerd skips the layers that HEAD says are there, and pushes a manifest that names them.
#[test]
fn docker_pushes_an_image_whose_base_only_the_mirror_holds() {
    let hub = Hub::start(Manner::hub(), overlaying);
    let base = busybox(&hub.remote, "library/base", "1");
    let dockerd = Dockerd::start();
    let at = |name: &str| format!("{}/docker.io/library/base:{name}", hub.entrepot.address);
    dockerd.run(&["pull", &at("1")]);
    let files = scratch();
    std::fs::write(files.path().join("own"), "of ours").expect("a file");
    std::fs::write(files.path().join("Dockerfile"), format!("FROM {}\nCOPY own /own\n", at("1"))).expect("a file");
    let mut build =
        dockerd.command(&["build", "--network=none", "-t", &at("mine"), &files.path().display().to_string()]);
    run(build.env("DOCKER_BUILDKIT", "0"));
    dockerd.run(&["push", &at("mine")]);
    hub.remote.die();
    dockerd.forget(&[&at("mine"), &at("1")]);
    dockerd.run(&["pull", &at("mine")]);
    assert_eq!(hub.remote.gets(&base.layers[0]), 1);
}

/// `hosts.toml` in a folder of the test's: mirrors, and where to go last.
fn hosts(folder: &Path, server: &str, mirror: &str, rest: &str) {
    let place = folder.join("docker.io");
    std::fs::create_dir_all(&place).expect("a folder");
    let text = format!("server = \"{server}\"\n[host.\"{mirror}\"]\n  capabilities = [\"pull\", \"resolve\"]\n{rest}");
    std::fs::write(place.join("hosts.toml"), text).expect("a file");
}

fn ctr_pull(containerd: &Containerd, folder: &Path, image: &str) -> Command {
    let folder = folder.display().to_string();
    containerd.ctr(&["images", "pull", "--hosts-dir", &folder, "--snapshotter", "native", image])
}

#[test]
fn containerd_by_ns_and_by_path() {
    let hub = Hub::start(Manner::hub(), |setup| setup);
    let image = busybox(&hub.remote, "library/alpine", "3");
    let (containerd, files) = (Containerd::start(), scratch());
    let mirror = format!("http://{}", hub.entrepot.address);
    // Nothing answers there: whatever comes, comes from the mirror.
    let nowhere = format!("http://{}", crate::harness::ports::free());
    hosts(files.path(), &nowhere, &mirror, "");
    run(&mut ctr_pull(&containerd, files.path(), "docker.io/library/alpine:3"));
    run(&mut containerd.ctr(&["images", "rm", "--sync", "docker.io/library/alpine:3"]));
    hosts(files.path(), &nowhere, &format!("{mirror}/v2/docker.io"), "  override_path = true\n");
    run(&mut ctr_pull(&containerd, files.path(), "docker.io/library/alpine:3"));
    assert_eq!(hub.remote.gets(&image.layers[0]), 1);
    hub.remote.die();
    run(&mut containerd.ctr(&["images", "rm", "--sync", "docker.io/library/alpine:3"]));
    run(&mut ctr_pull(&containerd, files.path(), "docker.io/library/alpine:3"));
}

#[test]
fn containerd_goes_on_to_the_next_at_once_when_the_mirror_cannot() {
    let hub = Hub::start(Manner::plain(), |setup| setup);
    let server = FakeRemote::start(Manner::plain());
    let image = busybox(&server, "library/alpine", "3");
    let (containerd, files) = (Containerd::start(), scratch());
    hosts(files.path(), &format!("http://{}", server.address()), &format!("http://{}", hub.entrepot.address), "");
    // The remote has no such image; then it is down; then it throttles.
    let pull = || {
        run(&mut ctr_pull(&containerd, files.path(), "docker.io/library/alpine:3"));
        run(&mut containerd.ctr(&["images", "rm", "--sync", "docker.io/library/alpine:3"]));
    };
    pull();
    assert_eq!(server.gets(&image.layers[0]), 1);
    hub.remote.wire.on(Rule::new("", "/v2/", Fault::Answer(Reply::new(429).body("slow down"))));
    pull();
    assert_eq!(server.gets(&image.layers[0]), 2);
    hub.remote.die();
    is_unavailable(&hub.client("library/other").get_manifest("3"));
    pull();
    assert_eq!(server.gets(&image.layers[0]), 3);
    // A name that nobody declared is told so at once.
    let place = files.path().join("_default");
    std::fs::create_dir_all(&place).expect("a folder");
    let text = format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
        server.address(),
        hub.entrepot.address
    );
    std::fs::write(place.join("hosts.toml"), text).expect("a file");
    busybox(&server, "team/app", "1");
    run(&mut ctr_pull(&containerd, files.path(), "elsewhere.example/team/app:1"));
}

/// A file of `conf/clients`, with the mirror of the test in place of `mirror.example.com`, which speaks plain HTTP.
fn client_file(path: &str, hub: &Hub) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/clients").join(path);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let here = hub.entrepot.address.to_string();
    let text = text.replace("https://", "http://").replace("hub.mirror.example.com", &here);
    let lines = text.replace("mirror.example.com", &here);
    let lines = lines.lines().map(|line| match line.starts_with("location = ") && line.contains(&here) {
        true => format!("{line}\ninsecure = true\n"),
        false => format!("{line}\n"),
    });
    lines.collect()
}

#[test]
fn every_file_for_clients_is_as_its_client_reads_it() {
    let hub = hub();
    let image = busybox(&hub.remote, "library/alpine", "3");
    let files = scratch();
    let dockerd = {
        let file = files.path().join("daemon.json");
        std::fs::write(&file, client_file("docker/daemon.json", &hub)).expect("a file");
        Dockerd::with(&["--config-file", &file.display().to_string()])
    };
    dockerd.run(&["pull", "alpine:3"]);
    assert_eq!(dockerd.digest("alpine:3"), image.digest);
    drop(dockerd);
    let containerd = Containerd::start();
    for place in ["docker.io", "_default"] {
        let folder = files.path().join(place);
        std::fs::create_dir_all(folder.join(place)).expect("a folder");
        let text = client_file(&format!("containerd/{place}/hosts.toml"), &hub);
        std::fs::write(folder.join(place).join("hosts.toml"), text).expect("a file");
        run(&mut ctr_pull(&containerd, &folder, "docker.io/library/alpine:3"));
        run(&mut containerd.ctr(&["images", "rm", "--sync", "docker.io/library/alpine:3"]));
    }
    let containers = Containers::new();
    containers.registries(&client_file("podman/registries.conf", &hub));
    run(containers.podman().args(["pull", "docker.io/library/alpine:3"]));
    run(containers.buildah().args(["pull", "docker.io/library/alpine:3"]));
    let to = format!("dir:{}", files.path().join("copied").display());
    run(containers.skopeo().args(["copy", "docker://docker.io/library/alpine:3", &to]));
    assert_eq!(hub.remote.gets(&image.layers[0]), 1);
}

#[test]
fn podman_buildah_and_skopeo_by_registries_conf() {
    let hub = Hub::start(Manner::hub(), |setup| setup);
    let image = busybox(&hub.remote, "library/alpine", "3");
    let containers = Containers::new();
    containers.registries(&client_file("podman/registries.conf", &hub));
    let files = scratch();
    let pull = |round: &str| {
        run(containers.podman().args(["pull", "docker.io/library/alpine:3"]));
        run(containers.podman().args(["rmi", "--all", "--force"]));
        run(containers.buildah().args(["pull", "docker.io/library/alpine:3"]));
        run(containers.buildah().args(["rmi", "--all", "--force"]));
        let to = format!("dir:{}", files.path().join(round).display());
        run(containers.skopeo().args(["copy", "docker://docker.io/library/alpine:3", &to]));
    };
    pull("cold");
    assert_eq!(hub.remote.gets(&image.layers[0]), 1);
    hub.remote.die();
    pull("without-the-remote");
}

#[test]
fn crane_and_skopeo_by_the_mirror_s_own_names() {
    let hub = Hub::start(Manner::hub(), |setup| setup);
    let image = hub.remote.put_multi("library/alpine", "3", 1, 50_000);
    let (containers, files) = (Containers::new(), scratch());
    let at = format!("{}/docker.io/library/alpine", hub.entrepot.address);
    assert_eq!(run(containers.built("crane").args(["digest", &format!("{at}:3")])), image.digest);
    assert_eq!(run(containers.built("crane").args(["ls", &at])), "3");
    let to = files.path().join("image.tar").display().to_string();
    run(containers.built("crane").args(["pull", "--format", "oci", &format!("{at}:3"), &to]));
    let dir = format!("dir:{}", files.path().join("all").display());
    let copy = ["copy", "--all", "--src-tls-verify=false"];
    run(containers.skopeo().args(copy).args([&format!("docker://{at}:3"), &dir]));
    assert_eq!(hub.remote.gets("/blobs/"), image.blobs().len());
}

#[test]
fn skopeo_and_podman_pull_what_is_kept_to_the_end_whatever_the_remote_does() {
    let hub = Hub::start(Manner::hub(), |setup| {
        let times = "{ manifest = \"1s\", first_byte = \"1s\", connect = \"1s\", read = \"1s\" }";
        setup.set("remote.hub.tag_ttl", "\"0s\"").set("remote.hub.timeouts", times)
    });
    let image = busybox(&hub.remote, "library/alpine", "3");
    let (containers, files) = (Containers::new(), scratch());
    containers.registries(&client_file("podman/registries.conf", &hub));
    let pull = |round: &str| {
        run(containers.podman().args(["pull", "docker.io/library/alpine:3"]));
        run(containers.podman().args(["rmi", "--all", "--force"]));
        let to = format!("dir:{}", files.path().join(round).display());
        run(containers.skopeo().args(["copy", "docker://docker.io/library/alpine:3", &to]));
    };
    pull("well");
    hub.kept("library/alpine", &image.layers);
    let gate = crate::harness::Gate::new();
    let page = Reply::new(200).header("Content-Type", "text/html").body("<html>sorry</html>");
    for (what, fault) in [
        ("hangs-up", Fault::Hangup),
        ("says-nothing", Fault::Hold(gate.clone())),
        ("is-a-page", Fault::Answer(page)),
        ("throttles", Fault::Answer(Reply::new(429).body("slow down"))),
        ("refuses", Fault::Answer(Reply::new(403))),
        ("fails", Fault::Answer(Reply::new(500))),
        ("is-corrupt", Fault::FlipAt(20)),
    ] {
        hub.remote.wire.on(Rule::new("", "/v2/", fault));
        pull(what);
        hub.remote.forget_rules();
    }
    gate.open();
    // A newer image of which only the manifest can be had is not served: these clients would fail in the middle of it.
    crate::harness::eventually("the remote is well", || {
        !super::world::is_stale(&hub.client("library/alpine").get_manifest("3"))
    });
    let newer = hub.remote.put("library/alpine", "3", 9, 1000);
    hub.remote.wire.on(Rule::new("GET", "/blobs/", Fault::Hangup));
    assert_eq!(hub.client("library/alpine").get_manifest("3").expect(200), newer.manifest);
    hub.remote.die();
    pull("older");
}
