//! `entrepot maintenance`: writes are refused for a while.

use super::world::{Kept, on, quoted};
use crate::harness::{Entrepot, Repository, Setup, eventually};

const SIZE: usize = 10_000;

#[track_caller]
fn refuses(server: &Entrepot, reason: &str) {
    let app = Repository::at(server.address, "team/app");
    eventually("writes are refused", || app.request("POST", app.uploads()).send(app.address).status == 503);
    let answer = app.request("PUT", app.manifest("x")).body(b"{}").send(app.address);
    assert_eq!((answer.status, answer.error_code().as_str()), (503, "UNAVAILABLE"));
    assert!(answer.header("retry-after").is_some() && answer.text().contains(reason), "{}", answer.text());
}

#[track_caller]
fn takes(server: &Entrepot, seed: u64) {
    let app = Repository::at(server.address, "team/app");
    eventually("writes are taken", || app.request("POST", app.uploads()).send(app.address).status == 202);
    app.push_random("new", seed, SIZE);
}

#[test]
fn two_instances_refuse_writes_serve_reads_and_go_on_afterwards() {
    let kept = Kept::new();
    let other = Setup::registry().storage_at(&kept.data()).start();
    let image = kept.repository("team/app").push_random("1", 1, SIZE);
    for (more, seed) in [(&[][..], 2), (&["--no-server"], 3)] {
        assert_eq!(on(&kept.server, &[&["maintenance", "status"], more].concat()).well(), "writes are taken\n");
        let order = [&["maintenance", "on", "--reason", "the disk is replaced until noon"], more].concat();
        let said = on(&kept.server, &order).well();
        assert!(
            said.starts_with("writes are refused since ") && said.ends_with(": the disk is replaced until noon\n"),
            "{said}"
        );
        for server in [&kept.server, &other] {
            refuses(server, "the disk is replaced until noon");
            let app = Repository::at(server.address, "team/app");
            assert_eq!(app.get_manifest("1").expect(200), image.manifest);
            app.get_blob(&image.layers[0]).expect(200);
        }
        let told = on(&kept.server, &[&["maintenance", "status", "--json"], more].concat());
        assert_eq!((told.code, told.json()["maintenance"]["on"].as_bool()), (Some(1), Some(true)));
        // What operators would change is refused as well.
        let said = on(&kept.server, &[&["tag", "team/app:1", "team/app:x"], more].concat()).badly();
        assert!(said.contains("under maintenance"), "{said}");
        let said = on(&kept.server, &[&["repo", "rm", "team/app", "--yes"], more].concat()).badly();
        assert!(said.contains("under maintenance"), "{said}");
        assert_eq!(on(&kept.server, &[&["maintenance", "off"], more].concat()).well(), "writes are taken\n");
        assert_eq!(on(&kept.server, &[&["maintenance", "off"], more].concat()).well(), "writes are taken, as before\n");
        takes(&kept.server, seed);
        takes(&other, seed + 10);
    }
}

#[test]
fn it_outlasts_the_server_and_is_the_deed_of_somebody() {
    let mut kept = Kept::start(|setup| setup.set("log.level", "\"info\""));
    let audit = kept.folder.path().join("audit.log");
    let to = quoted(&audit);
    kept.server.reload(|setup| setup.set("audit.to", &to), "ok");
    on(&kept.server, &["maintenance", "on"]).well();
    refuses(&kept.server, "under maintenance");
    kept.server.restart();
    refuses(&kept.server, "under maintenance");
    on(&kept.server, &["maintenance", "off", "--no-server"]).well();
    takes(&kept.server, 5);
    eventually("both are recorded", || {
        let text = std::fs::read_to_string(&audit).unwrap_or_default();
        text.contains("\"action\":\"maintenance_on\"") && text.contains("\"action\":\"maintenance_off\"")
    });
    for reason in ["two\nlines", &"x".repeat(501)] {
        let said = on(&kept.server, &["maintenance", "on", "--reason", reason]).badly();
        assert!(said.contains("a reason is one line of at most 500 characters"), "{said}");
    }
}
