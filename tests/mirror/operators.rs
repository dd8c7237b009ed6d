//! What operators see of a mirror and do with it: status, explain, warm.

use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::world::{Hub, pulls_image};
use crate::harness::entrepot::BINARY;
use crate::harness::{Entrepot, Fault, Gate, Manner, Reply, Repository, Rule, eventually, scratch};

const SIZE: usize = 100_000;

fn command(entrepot: &Entrepot, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).arg("--config").arg(entrepot.config_path());
    command
}

fn asked(entrepot: &Entrepot, arguments: &[&str]) -> Output {
    command(entrepot, arguments).output().expect("entrepot runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a command prints that has to succeed.
#[track_caller]
fn told(entrepot: &Entrepot, arguments: &[&str]) -> String {
    let output = asked(entrepot, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn json(entrepot: &Entrepot, arguments: &[&str]) -> Value {
    serde_json::from_str(&told(entrepot, arguments)).expect("JSON")
}

/// What a command says that has to fail.
#[track_caller]
fn fails(entrepot: &Entrepot, arguments: &[&str]) -> String {
    let output = asked(entrepot, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stderr)
}

#[test]
fn what_was_warmed_pulls_without_its_remote_and_nothing_else_came() {
    let hub = Hub::new();
    let image = hub.remote.put_multi("library/alpine", "3", 1, SIZE);
    let (amd64, arm64) = (&image.platforms[0], &image.platforms[1]);
    let said = told(&hub.entrepot, &["mirror", "warm", "alpine:3", "--platform", "linux/amd64"]);
    assert!(said.contains("alpine:3: whole for linux/amd64, 3 blobs of "), "{said}");
    assert!(said.contains("alpine:3: blob 3 of 3, "), "{said}");
    assert_eq!(hub.remote.gets(&arm64.layers[0]) + hub.remote.gets(&arm64.digest), 0, "nobody asked for that");
    let again = told(&hub.entrepot, &["mirror", "warm", "docker.io/library/alpine:3", "--platform", "linux/amd64"]);
    assert!(again.contains(", 0 B fetched"), "{again}");
    for blob in amd64.layers.iter().chain([&amd64.config]) {
        assert_eq!(hub.remote.gets(blob), 1);
    }
    hub.remote.die();
    pulls_image(&hub.client("library/alpine"), &amd64.digest, amd64);
    assert_eq!(hub.client("library/alpine").get_manifest("3").expect(200), image.index);
    let status = told(&hub.entrepot, &["mirror", "status", "hub"]);
    assert!(status.contains("docker.io/library/alpine:3  sha256:"), "{status}");
    assert!(status.contains("pulls offline: linux/amd64 yes\n"), "{status}");
}

#[test]
fn all_platforms_of_a_list_and_each_step_for_programs() {
    let hub = Hub::new();
    let image = hub.remote.put_multi("team/app", "1", 1, SIZE);
    hub.remote.put("team/other", "1", 2, SIZE);
    let files = scratch();
    let list = files.path().join("images");
    std::fs::write(&list, "# ours\nteam/app:1\n\nteam/other:1 # small\n").expect("a list");
    let list = list.display().to_string();
    let steps = told(&hub.entrepot, &["mirror", "warm", "--from", &list, "--all-platforms", "--json"]);
    let steps: Vec<Value> = steps.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of = |event: &str| steps.iter().filter(|step| step["event"] == event).collect::<Vec<_>>();
    assert_eq!(of("manifest").len(), 4, "an index, two platforms, and an image: {steps:?}");
    assert_eq!(of("end"), [&serde_json::json!({ "event": "end", "images": 2, "failed": 0 })]);
    let done = of("done");
    let app = done.iter().find(|step| step["image"] == "team/app:1").expect("it is done");
    assert_eq!(
        (app["name"].as_str(), app["digest"].as_str()),
        (Some("docker.io/team/app"), Some(image.digest.as_str()))
    );
    assert_eq!(app["platforms"].as_array().map(Vec::len), Some(2));
    assert_eq!(app["bytes"], app["fetched"]);
    let blobs = of("blob").into_iter().filter(|step| step["image"] == "team/app:1").count();
    assert_eq!(app["blobs"].as_u64(), Some(blobs as u64));
}

#[test]
fn one_that_cannot_be_had_is_told_of_and_the_others_come() {
    let hub = Hub::new();
    hub.remote.put("team/app", "1", 1, SIZE);
    let broken = hub.remote.put_multi("team/broken", "1", 2, SIZE);
    hub.remote.wire.on(Rule::new("", &broken.platforms[0].layers[0], Fault::Answer(Reply::new(404))));
    let order = [
        "mirror",
        "warm",
        "team/app:1",
        "team/none:1",
        "ghcr.io/a/b:1",
        "a//b",
        "team/broken:1",
        "--platform",
        "linux/amd64",
    ];
    let output = asked(&hub.entrepot, &order);
    let (said, failed) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}{failed}");
    assert!(said.contains("team/app:1: whole, 2 blobs of ") && said.contains("1 of 5 images are whole"), "{said}");
    for line in [
        "team/none:1: the remote says that it is not there (404 Not Found)\n",
        "ghcr.io/a/b:1: ghcr.io/a/b is no image of a registry that is mirrored here\n",
        "a//b: an image is written [REGISTRY/]NAME[:TAG][@DIGEST]",
        &format!("team/broken:1: blob {}: the remote says that it is not there", broken.platforms[0].layers[0]),
    ] {
        assert!(failed.contains(line), "{line}\n{failed}");
    }
    let failed = fails(&hub.entrepot, &["mirror", "warm", "team/broken:1", "--platform", "windows/amd64"]);
    assert!(failed.contains("it has no such platform, but linux/amd64, linux/arm64"), "{failed}");
    let failed = fails(&hub.entrepot, &["mirror", "warm", "team/app:1", "--platform", "amd64"]);
    assert!(failed.contains("of the form OS/ARCH"), "{failed}");
}

#[test]
fn an_image_is_explained_as_it_is_pulled_and_when_its_remote_is_gone() {
    let hub = Hub::start(Manner::plain(), |setup| setup.set("remote.hub.tag_ttl", "\"1h\""));
    let image = hub.remote.put_multi("library/alpine", "3", 1, SIZE);
    let (client, amd64) = (hub.client("library/alpine"), &image.platforms[0]);
    let output = asked(&hub.entrepot, &["explain", "alpine:3"]);
    let said = text(&output.stdout);
    assert!(output.status.code() == Some(1) && said.contains("  here      nothing\n"), "{said}");
    assert!(said.contains("the remote is asked; if it gives no answer, this is 503"), "{said}");
    assert_eq!(hub.remote.asked(), 0, "nobody is asked for an explanation");

    client.get_manifest("3").expect(200);
    pulls_image(&client, &amd64.digest, amd64);
    hub.kept("library/alpine", &[amd64.layers[0].clone(), amd64.layers[1].clone(), amd64.config.clone()]);
    let asked_before = hub.remote.asked();
    let digest = format!("docker.io/library/alpine@{}", amd64.digest);
    for name in ["alpine:3", "docker.io/alpine:3", "index.docker.io/library/alpine:3", &digest] {
        let said = told(&hub.entrepot, &["explain", name]);
        for line in [
            "  route     any host, docker.io/**: read remote.hub, write refused; everybody may pull: nobody is asked who they are\n",
            "  remote    hub: library/alpine at docker.io (http://127.0.0.1:",
            "  so        what is here is served without asking the remote\n",
            ": whole here\n",
        ] {
            assert!(said.contains(line), "{name}: {line}\n{said}");
        }
        let blobs: Vec<_> = said.lines().filter(|line| line.starts_with("    blob ")).collect();
        assert!(blobs.len() == 3 && blobs.iter().all(|line| line.contains("storage")), "{said}");
        assert!(!said.contains("linux/arm64"), "nobody took it: {said}");
    }
    assert_eq!(hub.remote.asked(), asked_before, "nobody is asked for an explanation");
    let told = json(&hub.entrepot, &["explain", "alpine:3", "--json"]);
    assert_eq!(
        (told["tag"]["fresh"].as_bool(), told["tag"]["offline"].as_str()),
        (Some(true), Some(image.digest.as_str()))
    );
    assert_eq!(told["name"], "docker.io/library/alpine");
    assert_eq!(told["remote"]["state"]["up"], true);
}

#[test]
fn a_newer_image_that_is_not_whole_is_told_apart_from_the_one_that_is_served() {
    let hub = Hub::start(Manner::plain(), |setup| setup.set("remote.hub.tag_ttl", "\"0s\""));
    let client = hub.client("team/app");
    let older = hub.remote.put("team/app", "1", 1, SIZE);
    pulls_image(&client, "1", &older);
    hub.kept("team/app", &[older.layers[0].clone(), older.config.clone()]);
    let newer = hub.remote.put("team/app", "1", 2, SIZE);
    client.get_manifest("1").expect(200);
    hub.remote.die();
    eventually("what is whole is looked at anew", || {
        let told = json(&hub.entrepot, &["explain", "team/app:1", "--json"]);
        told["tag"]["digests"][0] == newer.digest.as_str() && told["tag"]["offline"] == older.digest.as_str()
    });
    let said = told(&hub.entrepot, &["explain", "team/app:1"]);
    assert!(said.contains(&format!("  newest    {}\n  before    {}\n", newer.digest, older.digest)), "{said}");
    assert!(said.contains("is served while the remote is down: of the newest not all is here"), "{said}");
    assert!(said.contains("absent"), "{said}");
    let status = json(&hub.entrepot, &["mirror", "status", "--json"]);
    let image = &status["remotes"][0]["images"][0];
    assert_eq!(
        (image["digest"].as_str(), image["served"].as_str()),
        (Some(newer.digest.as_str()), Some(older.digest.as_str()))
    );
}

#[test]
fn a_command_that_finds_nobody_to_ask_says_what_is_missing() {
    let hub = Hub::new();
    let said = fails(&hub.entrepot, &["mirror", "status", "quay"]);
    assert!(said.contains("there is no remote 'quay': the remotes are hub"), "{said}");
    let said = fails(&hub.entrepot, &["explain", "localhost:9/a"]);
    assert!(said.contains("localhost:9 is no registry that is mirrored here"), "{said}");

    let alone = crate::harness::Setup::registry().start();
    assert!(told(&alone, &["mirror", "status"]).contains("no registry is mirrored"), "a registry alone");
    let said = fails(&alone, &["mirror", "warm", "alpine"]);
    assert!(said.contains("alpine: no registry is mirrored here: the configuration has no [remote.NAME]"), "{said}");
    let of_no_remote = "it is of no remote: registry answers for it";
    let nothing = asked(&alone, &["explain", "team/app:v1"]);
    assert_eq!(nothing.status.code(), Some(1), "nothing of it is here");
    assert!(text(&nothing.stdout).contains(of_no_remote));
    let pushed = Repository::at(alone.address, "team/app").push_random("v1", 1, 10);
    assert!(told(&alone, &["explain", "team/app:v1"]).contains(of_no_remote));
    assert!(told(&alone, &["explain", &format!("team/app@{}", pushed.digest)]).contains(of_no_remote));

    let files = scratch();
    let config = files.path().join("no-admin.toml");
    std::fs::write(&config, "[[listener]]\naddress = \"127.0.0.1:1\"\n[[route]]\nread = \"registry\"\n")
        .expect("written");
    let config = config.display().to_string();
    for (arguments, what) in [
        (
            &["mirror", "status", "--config", &config][..],
            "the configuration has no [admin] address; give --admin ADDRESS",
        ),
        (&["explain", "a", "--config", "absent.toml"], "absent.toml: cannot read it"),
        (
            &["mirror", "warm", "a", "--admin", "127.0.0.1:1"],
            "no answer from the admin endpoint 127.0.0.1:1: Connection refused",
        ),
        (&["mirror", "warm", "--from", "absent", "--admin", "127.0.0.1:1"], "absent cannot be read: "),
    ] {
        let output = Entrepot::cli(arguments);
        let said = text(&output.stderr);
        assert!(
            output.status.code() == Some(1) && said.contains(what) && said.lines().count() == 1,
            "{arguments:?}: {said}"
        );
    }
    let output = Entrepot::cli(&["mirror", "warm", "--admin", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(2), "no image: {}", text(&output.stderr));
}

#[test]
fn ctrl_c_ends_the_command_and_the_server_goes_no_further() {
    let hub = Hub::new();
    let gate = Gate::new();
    for (number, name) in ["team/a", "team/b"].into_iter().enumerate() {
        let image = hub.remote.put(name, "1", number as u64, SIZE);
        hub.remote.wire.on(Rule::new("", &image.layers[0], Fault::Hold(gate.clone())));
    }
    hub.remote.put("team/c", "1", 9, SIZE);
    let mut warm = command(&hub.entrepot, &["mirror", "warm", "team/a:1", "team/b:1", "team/c:1"]);
    let warm = warm.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    eventually("both blobs are asked for", || hub.remote.asked() >= 6);
    kill_process(Pid::from_raw(warm.id() as i32).expect("an id"), Signal::INT).expect("told");
    let output = warm.wait_with_output().expect("it ends");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("what was fetched stays") && said.contains("interrupted"), "{said}");
    eventually("the server has noticed", || hub.entrepot.log().contains("who ordered images to be warmed has left"));
    gate.open();
    told(&hub.entrepot, &["mirror", "warm", "team/a:1"]);
    assert_eq!(hub.remote.heads("team/c/manifests") + hub.remote.gets("team/c/manifests"), 0, "its turn never came");
}
