//! What runs containers, or makes their images: docker, containerd, podman, buildah.

use std::process::Command;

use super::Open;
use crate::harness::tools::{Containers, fails, run};
use crate::harness::{Containerd, Dockerd};
use crate::permissions::PASSWORD;

#[test]
fn docker_logs_in_to_push_and_pulls_without() {
    let open = Open::start();
    let dockerd = Dockerd::start();
    let (seed, own, other) = (open.image("seed/busybox:1"), open.image("team/app:1"), open.image("other/app:1"));
    dockerd.run(&["pull", &seed]);
    dockerd.run(&["tag", &seed, &own]);
    dockerd.run(&["tag", &seed, &other]);
    dockerd.fails(&["push", &own]);
    dockerd.fails(&["login", "-u", "ann", "-p", "wrong", &open.host]);
    dockerd.fails(&["login", "-u", "eve", "-p", PASSWORD, &open.host]);
    dockerd.run(&["login", "-u", "ann", "-p", PASSWORD, &open.host]);
    for image in [&own, &other] {
        dockerd.run(&["push", image]);
        assert!(open.mounted() >= 1, "{image}");
    }
    dockerd.run(&["logout", &open.host]);
    dockerd.forget(&[&seed, &own, &other]);
    dockerd.run(&["pull", &own]);
    dockerd.run(&["tag", &own, &open.image("third/app:1")]);
    dockerd.fails(&["push", &open.image("third/app:1")]);
    dockerd.run(&["login", "-u", "whoever", "-p", &open.robot(), &open.host]);
    dockerd.run(&["tag", &own, &open.image("robots/app:1")]);
    dockerd.run(&["push", &open.image("robots/app:1")]);
    dockerd.fails(&["push", &open.image("third/app:1")]);
    assert!(open.is_there("robots/app", "1") && !open.is_there("third/app", "1"));
}

/// `ctr` has no login: it is told the user with each command.
#[test]
fn containerd_shows_its_user_to_push_and_pulls_without() {
    let open = Open::start();
    let containerd = Containerd::start();
    let (seed, own, other) = (open.image("seed/busybox:1"), open.image("team/app:1"), open.image("other/app:1"));
    let right = format!("ann:{PASSWORD}");
    let pull = ["images", "pull", "--plain-http", "--snapshotter", "native"];
    let push = ["images", "push", "--plain-http"];
    run(containerd.ctr(&pull).arg(&seed));
    for image in [&own, &other] {
        run(&mut containerd.ctr(&["images", "tag", &seed, image]));
        fails(containerd.ctr(&push).arg(image));
        fails(containerd.ctr(&push).args(["--user", "ann:wrong", image]));
        run(containerd.ctr(&push).args(["--user", &right, image]));
        assert!(open.mounted() >= 1, "{image}");
    }
    assert!(open.is_there("team/app", "1") && open.is_there("other/app", "1"));
    run(&mut containerd.ctr(&["images", "rm", "--sync", &seed, &own, &other]));
    run(containerd.ctr(&pull).arg(&own));
    run(containerd.ctr(&pull).args(["--user", &right, &other]));
}

/// podman and buildah have the same commands for what is asked here.
fn logs_in_pushes_and_pulls(open: &Open, client: impl Fn() -> Command) {
    let (seed, own, other) = (open.image("seed/busybox:1"), open.image("team/app:1"), open.image("other/app:1"));
    let plain = "--tls-verify=false";
    run(client().args(["pull", plain, &seed]));
    fails(client().args(["push", plain, &seed, &own]));
    fails(client().args(["login", plain, "-u", "ann", "-p", "wrong", &open.host]));
    fails(client().args(["push", plain, "--creds", "ann:wrong", &seed, &own]));
    run(client().args(["login", plain, "-u", "ann", "-p", PASSWORD, &open.host]));
    for image in [&own, &other] {
        run(client().args(["push", plain, &seed, image]));
    }
    run(client().args(["logout", &open.host]));
    fails(client().args(["push", plain, &seed, &open.image("third/app:1")]));
    run(client().args(["rmi", "--all", "--force"]));
    run(client().args(["pull", plain, &own]));
    let robot = format!("ci:{}", open.robot());
    run(client().args(["push", plain, "--creds", &robot, &own, &open.image("robots/app:1")]));
    fails(client().args(["push", plain, "--creds", &robot, &own, &open.image("third/app:1")]));
    assert!(open.is_there("other/app", "1") && open.is_there("robots/app", "1") && !open.is_there("third/app", "1"));
}

#[test]
fn podman_logs_in_to_push_and_pulls_without() {
    let (open, containers) = (Open::start(), Containers::new());
    logs_in_pushes_and_pulls(&open, || containers.podman());
}

#[test]
fn buildah_logs_in_to_push_and_pulls_without() {
    let (open, containers) = (Open::start(), Containers::new());
    logs_in_pushes_and_pulls(&open, || containers.buildah());
}
