//! The container image: made twice it is the same, Entrepot takes it, and docker runs it as nobody, without a network, on a root that
//! nothing can be written to.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{everything, script};
use crate::harness::entrepot::BINARY;
use crate::harness::tools::{Containers, fails, output, run};
use crate::harness::{Dockerd, Entrepot, PATIENCE, Repository, Setup, eventually, scratch, within};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// A user who may push, as the container is told, and as skopeo says it.
const WHO: [&str; 2] = ["--env=REGISTRY_USERNAME=operator", "--env=REGISTRY_PASSWORD=let-me-push-please"];
const LOGIN: &str = "operator:let-me-push-please";

pub(super) fn build(arguments: &[&str], out: &Path) -> String {
    run(script("packaging/image/build").args(arguments).arg(BINARY).arg(out))
}

/// Pushed into an Entrepot, from where docker takes it.
fn pushed(layout: &Path) -> (Entrepot, String) {
    let entrepot = Setup::registry().start();
    let image = format!("{}/tools/entrepot:{VERSION}", entrepot.address);
    let containers = Containers::new();
    let mut copy = containers.skopeo();
    copy.args(["copy", "--preserve-digests", "--dest-tls-verify=false"]);
    run(copy.arg(format!("oci:{}:{VERSION}", layout.display())).arg(format!("docker://{image}")));
    (entrepot, image)
}

fn inspected(dockerd: &Dockerd, what: &str) -> Value {
    let told: Value = serde_json::from_str(&dockerd.run(&["inspect", what])).expect("JSON");
    told[0].clone()
}

fn health(dockerd: &Dockerd, container: &str) -> Value {
    inspected(dockerd, container)["State"]["Health"]["Status"].clone()
}

/// What a volume of an image that is read-only gets, and nothing more.
const SHUT: [&str; 7] =
    ["run", "--detach", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network", "none"];

#[test]
fn it_is_the_same_to_the_byte_and_runs_as_nobody_without_a_network_on_a_read_only_root() {
    let folder = scratch();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    let digest = build(&[], &one);
    assert_eq!(build(&[], &other), digest);
    let files = everything(&one);
    assert!(files == everything(&other) && files.len() == 6, "{:?}", files.keys());
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).expect("a folder").flatten().map(|entry| entry.path()).collect();
    assert_eq!(left.len(), 2, "{left:?}");

    let (entrepot, image) = pushed(&one);
    let head = Repository::at(entrepot.address, "tools/entrepot").head_manifest(VERSION);
    assert_eq!(head.header("docker-content-digest"), Some(digest.as_str()));
    let dockerd = Dockerd::start();
    dockerd.run(&["pull", &image]);
    let config = inspected(&dockerd, &image)["Config"].clone();
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["ExposedPorts"], json!({ "5000/tcp": {} }));
    assert_eq!(config["Volumes"], json!({ "/var/lib/entrepot": {} }));
    assert_eq!(config["StopSignal"], "SIGTERM");
    assert_eq!(config["Healthcheck"]["Test"], json!(["CMD", "/usr/bin/entrepot", "health"]));
    let labels = &config["Labels"];
    assert_eq!(labels["org.opencontainers.image.version"], VERSION);
    assert_eq!(labels["org.opencontainers.image.licenses"], "Apache-2.0");
    assert_eq!(labels["org.opencontainers.image.created"], "2023-11-14T22:13:20Z");

    // Nobody has said who may push.
    let refused = dockerd.fails(&["run", "--rm", "--read-only", "--network", "none", &image]);
    assert!(refused.contains("/etc/entrepot/entrepot.toml") && refused.contains("open_writes"), "{refused}");

    let container = dockerd.run(&[&SHUT[..], &WHO, &["--name", "shut", &image]].concat());
    // It asks each ten seconds, and several times before it believes what it is told.
    within(PATIENCE * 3, "docker finds it healthy", || health(&dockerd, &container) == "healthy");
    assert_eq!(dockerd.run(&["exec", "shut", "/usr/bin/entrepot", "health"]), "ready");
    let changed = dockerd.run(&["diff", "shut"]);
    assert!(changed.lines().all(|line| line.ends_with("/var") || line.contains("/var/lib")), "{changed}");
    dockerd.run(&["stop", "-t", "20", "shut"]);
    let state = inspected(&dockerd, &container)["State"].clone();
    assert_eq!((&state["ExitCode"], &state["OOMKilled"]), (&json!(0), &json!(false)), "{state}");
    assert!(!dockerd.run(&["logs", "shut"]).contains("let-me-push"));
}

#[test]
fn docker_loads_it_and_its_volume_keeps_what_is_pushed() {
    let folder = scratch();
    let archive = folder.path().join("entrepot.tar");
    let said = build(&["--format", "docker", "--name", "entrepot:test"], &archive);
    let again = folder.path().join("again.tar");
    assert_eq!(build(&["--format", "docker", "--name", "entrepot:test"], &again), said);
    assert!(run(Command::new("cmp").arg(&archive).arg(&again)).is_empty());

    let dockerd = Dockerd::start();
    dockerd.run(&["load", "--input", &archive.display().to_string()]);
    assert_eq!(
        dockerd.run(&["run", "--rm", "--network", "none", "entrepot:test", "--version"]),
        format!("entrepot {VERSION}")
    );
    assert_eq!(inspected(&dockerd, "entrepot:test")["Id"], said.as_str());
    assert!(inspected(&dockerd, "entrepot:test")["Config"]["Healthcheck"]["Interval"].is_u64());

    let start = |name: &str| {
        let mount = ["--volume", "kept:/var/lib/entrepot", "--name", name, "entrepot:test"];
        let container = dockerd.run(&[&SHUT[..], &WHO, &mount].concat());
        eventually("it is ready", || answers(&dockerd, name));
        inspected(&dockerd, &container)["State"]["Pid"].to_string()
    };
    let (layout, containers) = (folder.path().join("layout"), Containers::new());
    build(&[], &layout);
    let (here, image) = (format!("oci:{}:{VERSION}", layout.display()), "docker://127.0.0.1:5000/team/app:1");
    let first = start("first");
    run(in_the_network_of(&first, &containers).args([
        "copy",
        "--dest-tls-verify=false",
        "--dest-creds",
        LOGIN,
        &here,
        image,
    ]));
    dockerd.run(&["rm", "--force", "first"]);
    let second = start("second");
    let inspect = ["inspect", "--tls-verify=false", "--format", "{{.Name}}"];
    let name = run(in_the_network_of(&second, &containers).args(inspect).args(["--creds", LOGIN, image]));
    assert_eq!(name, "127.0.0.1:5000/team/app");
    let stranger = fails(in_the_network_of(&second, &containers).args(inspect).arg(image));
    assert!(stranger.contains("unauthorized") || stranger.contains("authentication required"), "{stranger}");
    dockerd.run(&["rm", "--force", "second"]);
}

fn answers(dockerd: &Dockerd, container: &str) -> bool {
    output(&mut dockerd.command(&["exec", container, "/usr/bin/entrepot", "health"])).status.success()
}

/// skopeo, where nothing is but the container: its loopback.
pub(super) fn in_the_network_of(process: &str, containers: &Containers) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--target", process, "--net", "--"]);
    let skopeo = containers.skopeo();
    command.arg(skopeo.get_program()).args(skopeo.get_args());
    command.envs(skopeo.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

#[test]
fn what_is_no_entrepot_is_refused_and_nothing_is_left() {
    let folder = scratch();
    let out = folder.path().join("out");
    let text = folder.path().join("text");
    std::fs::write(&text, "no program at all, by no means\n").expect("written");
    let told = |binary: &Path, out: &Path| fails(script("packaging/image/build").arg(binary).arg(out));
    assert!(told(&text, &out).contains("is no program for a 64-bit little-endian Linux"));
    assert!(told(Path::new("/bin/true"), &out).contains("/bin/true is no Entrepot"));
    assert!(told(&folder.path().join("absent"), &out).contains("is no file"));
    assert!(told(Path::new(BINARY), &text).contains("is there already"));
    let without_a_tag =
        fails(script("packaging/image/build").args(["--format", "docker", "--name", "entrepot", BINARY]).arg(&out));
    assert!(without_a_tag.contains("has no tag"), "{without_a_tag}");
    let no_time = fails(script("packaging/image/build").env("SOURCE_DATE_EPOCH", "today").arg(BINARY).arg(&out));
    assert!(no_time.contains("SOURCE_DATE_EPOCH is 'today'"), "{no_time}");
    assert!(!out.exists());
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
}
