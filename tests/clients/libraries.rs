//! What copies images from here to there: skopeo, crane.

use super::Open;
use crate::harness::tools::{Containers, fails, run};
use crate::permissions::PASSWORD;

#[test]
fn skopeo_logs_in_to_push_mount_and_delete_and_pulls_without() {
    let (mut open, containers) = (Open::start(), Containers::new());
    let docker = |name: &str| format!("docker://{}", open.image(name));
    let (seed, own, other) = (docker("seed/busybox:1"), docker("team/app:1"), docker("other/app:1"));
    let oci = format!("oci:{}:1", open.path("image"));
    let copy = ["copy", "--src-tls-verify=false", "--dest-tls-verify=false"];
    let login = |password: &str| {
        let mut skopeo = containers.skopeo();
        skopeo.args(["login", "--tls-verify=false", "-u", "ann", "-p", password, &open.host]);
        skopeo
    };
    run(containers.skopeo().args(["copy", "--src-tls-verify=false", &seed, &oci]));
    fails(containers.skopeo().args(copy).args([&oci, &own]));
    fails(&mut login("wrong"));
    fails(containers.skopeo().args(copy).args(["--dest-creds", "ann:wrong", &oci, &own]));
    run(&mut login(PASSWORD));
    run(containers.skopeo().args(copy).args([&oci, &own]));
    run(containers.skopeo().args(copy).args([&own, &other]));
    assert!(open.mounted() >= 1);
    let delete = ["delete", "--tls-verify=false", &other];
    fails(containers.skopeo().args(delete));
    open.with_deletion();
    run(containers.skopeo().args(delete));
    run(containers.skopeo().args(["logout", &open.host]));
    fails(containers.skopeo().args(["delete", "--tls-verify=false", &own]));
    let back = format!("dir:{}", open.path("back"));
    run(containers.skopeo().args(["inspect", "--raw", "--tls-verify=false", &own]));
    run(containers.skopeo().args(["copy", "--src-tls-verify=false", &own, &back]));
    assert!(open.is_there("team/app", "1") && !open.is_there("other/app", "1"));
}

/// Its login asks nobody; what it is worth shows when it is used.
#[test]
fn crane_shows_its_login_to_push_mount_and_delete_and_pulls_without() {
    let (mut open, containers) = (Open::start(), Containers::new());
    let (seed, own, other) = (open.image("seed/busybox:1"), open.image("team/app:1"), open.image("other/app:1"));
    let crane = |arguments: &[&str]| {
        let mut crane = containers.built("crane");
        crane.args(arguments);
        crane
    };
    let archive = open.path("image.tar");
    run(&mut crane(&["pull", &seed, &archive]));
    fails(&mut crane(&["push", &archive, &own]));
    run(&mut crane(&["auth", "login", "-u", "ann", "-p", "wrong", &open.host]));
    fails(&mut crane(&["push", &archive, &own]));
    // A wrong password is never taken for nobody.
    fails(&mut crane(&["manifest", &seed]));
    run(&mut crane(&["auth", "login", "-u", "ann", "-p", PASSWORD, &open.host]));
    run(&mut crane(&["push", &archive, &own]));
    run(&mut crane(&["copy", &own, &other]));
    assert!(open.mounted() >= 1);
    let digest = run(&mut crane(&["digest", &other]));
    let by_digest = open.image(&format!("other/app@{digest}"));
    fails(&mut crane(&["delete", &by_digest]));
    fails(&mut crane(&["catalog", &open.host]));
    open.with_deletion();
    run(&mut crane(&["delete", &by_digest]));
    assert!(run(&mut crane(&["catalog", &open.host])).lines().any(|name| name == "team/app"));
    run(&mut crane(&["auth", "logout", &open.host]));
    fails(&mut crane(&["delete", &open.image(&format!("team/app@{digest}"))]));
    assert_eq!(run(&mut crane(&["ls", &open.image("team/app")])), "1");
    run(&mut crane(&["pull", &own, &open.path("back.tar")]));
    assert!(open.is_there("team/app", "1") && !open.is_there("other/app", "1"));
}
