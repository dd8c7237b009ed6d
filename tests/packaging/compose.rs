//! The files for compose, as it understands them: what they mount is there, their configurations are good, and between a developer's
//! machine and production nothing differs but the environment.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use serde_yaml::Value;

use super::image::{build, in_the_network_of};
use super::{read, shipped};
use crate::harness::entrepot::BINARY;
use crate::harness::tools::{Containers, fails, output, run};
use crate::harness::{Authority, Dockerd, eventually, scratch};

/// A file with an environment, and the services of it that are Entrepot.
const STACKS: [(&str, &str, &[&str]); 3] = [
    ("registry.yml", ".env.example", &["entrepot"]),
    ("registry.yml", ".env.production.example", &["entrepot"]),
    ("stack.yml", ".env.stack.example", &["front", "registry-1", "registry-2"]),
];

fn compose(file: &str, environment: &Path) -> Command {
    let mut command = Command::new("docker-compose");
    command.current_dir(shipped("packaging/compose")).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
    command.args(["-f", file, "--env-file"]).arg(environment).arg("config");
    command
}

/// All variables and paths resolved.
fn resolved(file: &str, environment: &str) -> Value {
    let text = run(&mut compose(file, &shipped("packaging/compose").join(environment)));
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}\n{text}"))
}

fn texts(value: &Value) -> Vec<String> {
    value.as_sequence().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn environment_of(service: &Value) -> BTreeMap<String, String> {
    let table = service["environment"].as_mapping().expect("an environment");
    table
        .iter()
        .map(|(name, value)| (name.as_str().expect("a name").into(), value.as_str().expect("a text").into()))
        .collect()
}

/// What is mounted where: a path of this machine or a volume, and the path in the container.
fn mounts(service: &Value) -> Vec<(String, String)> {
    let parts = |mount: String| {
        mount.split_once(':').map(|(from, to)| (from.to_owned(), to.split(':').next().unwrap_or_default().to_owned()))
    };
    texts(&service["volumes"]).into_iter().filter_map(parts).collect()
}

/// `entrepot check` of what a container would start with: files that are its owner's to make, a certificate and a secret, are made here.
fn check(service: &Value) -> Output {
    let folder = scratch();
    let place = format!("{}/", folder.path().display());
    issue(&Authority::new(), &folder.path().join("certificates"));
    std::fs::write(folder.path().join("fleet.secret"), output(Command::new(BINARY).args(["fleet", "secret"])).stdout)
        .expect("written");
    let here = |text: &str| text.replace("/etc/entrepot/", &place);
    let mounted = mounts(service).into_iter().find(|(_, to)| to == "/etc/entrepot/entrepot.toml");
    let config = mounted.map_or_else(|| shipped("packaging/image/entrepot.toml"), |(from, _)| from.into());
    let file = folder.path().join("entrepot.toml");
    std::fs::write(&file, here(&std::fs::read_to_string(config).expect("a configuration"))).expect("written");
    let variables = environment_of(service).into_iter().map(|(name, value)| (name, here(&value)));
    output(Command::new(BINARY).env_clear().envs(variables).arg("check").arg(&file))
}

/// A certificate and its key by the names that the examples have.
fn issue(authority: &Authority, folder: &Path) {
    let issued = authority.issue_in(folder, &["registry.example.com", "localhost", "127.0.0.1"]);
    std::fs::rename(issued.certificate, folder.join("registry.pem")).expect("renamed");
    std::fs::rename(issued.key, folder.join("registry.key")).expect("renamed");
}

#[test]
fn compose_takes_them_their_configurations_are_good_and_what_they_mount_is_there() {
    for (file, environment, ours) in STACKS {
        let stack = resolved(file, environment);
        for (name, service) in stack["services"].as_mapping().expect("services") {
            let name = name.as_str().expect("a name");
            for (from, _) in mounts(service) {
                // What its owner makes.
                let own =
                    ["compose/certificates", "compose/secrets/fleet.secret"].iter().any(|end| from.ends_with(end));
                let volume = !from.starts_with('/') && !stack["volumes"][from.as_str()].is_null();
                assert!(own || volume || Path::new(&from).exists(), "{file}: {name} mounts {from}");
            }
            if !ours.contains(&name) {
                continue;
            }
            assert_eq!(service["read_only"].as_bool(), Some(true), "{file}: {name}");
            assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{file}: {name}");
            assert!(
                mounts(service).iter().any(|(_, to)| to == "/var/lib/entrepot"),
                "{file}: {name} keeps what it has"
            );
            let variables = environment_of(service);
            if let Some(user) = variables.get("REGISTRY_USERNAME") {
                assert_eq!(variables["ENTREPOT_AUTH__RULE__1__WHO"], format!("[\"user:{user}\"]"), "{file}: {name}");
                assert_eq!(&variables["ENTREPOT_ADMIN_USER"], user, "commands in it log in");
                assert_eq!(variables["ENTREPOT_ADMIN_PASSWORD"], variables["REGISTRY_PASSWORD"], "{file}: {name}");
            }
            let checked = check(service);
            assert!(checked.status.success(), "{file}: {name}: {}", String::from_utf8_lossy(&checked.stderr));
        }
    }
}

#[test]
fn nothing_starts_while_secrets_are_not_said() {
    let folder = scratch();
    let nothing = folder.path().join("environment");
    std::fs::write(&nothing, "").expect("written");
    for (file, sentence) in [("registry.yml", "who may push is not said"), ("stack.yml", "is not said")] {
        assert!(fails(&mut compose(file, &nothing)).contains(sentence), "{file}");
    }
    for name in [".env.production.example", ".env.stack.example"] {
        let text = read(&format!("packaging/compose/{name}"));
        let passwords: Vec<_> = text.lines().filter(|line| line.contains("PASSWORD=")).collect();
        assert!(
            !passwords.is_empty() && passwords.iter().all(|line| line.ends_with("=CHANGE_ME_IN_PRODUCTION")),
            "{name}"
        );
    }
}

#[test]
fn only_what_clients_and_operators_need_is_reached_from_outside() {
    let stack = resolved("stack.yml", ".env.stack.example");
    assert_eq!(stack["networks"]["registry"]["internal"].as_bool(), Some(true));
    let services = stack["services"].as_mapping().expect("services");
    let published: Vec<&str> = services
        .iter()
        .filter(|(_, service)| !service["ports"].is_null())
        .filter_map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(published, ["alertmanager", "front", "grafana", "prometheus"]);
    for name in ["alertmanager", "grafana", "prometheus"] {
        assert!(texts(&stack["services"][name]["ports"]).iter().all(|port| port.starts_with("127.0.0.1:")), "{name}");
    }
}

/// What Prometheus scrapes is what the stack has, at the address that its configurations say.
#[test]
fn prometheus_and_alertmanager_take_their_files() {
    let folder = scratch();
    let text = read("packaging/compose/stack/prometheus.yml");
    let rules = shipped("conf/prometheus/rules.yml").display().to_string();
    let file = folder.path().join("prometheus.yml");
    std::fs::write(&file, text.replace("/etc/prometheus/rules.yml", &rules)).expect("written");
    run(Command::new("promtool").args(["check", "config"]).arg(&file));
    run(Command::new("amtool").arg("check-config").arg(shipped("packaging/compose/stack/alertmanager.yml")));
    let stack = resolved("stack.yml", ".env.stack.example");
    let config: Value = serde_yaml::from_str(&text).expect("YAML");
    let mut scraped = 0;
    for job in config["scrape_configs"].as_sequence().expect("jobs") {
        for target in texts(&job["static_configs"][0]["targets"]) {
            let (name, port) = target.split_once(':').expect("a port");
            assert!(!stack["services"][name].is_null(), "{target}");
            assert_eq!(port, if name == "minio" { "9000" } else { "5001" });
            scraped += 1;
        }
    }
    assert_eq!(scraped, 4);
}

/// A service as compose would start it, but without a network.
fn start(dockerd: &Dockerd, stack: &Value, image: &str, certificates: &Path) -> String {
    let service = &stack["services"]["entrepot"];
    let mut arguments: Vec<String> =
        ["run", "--detach", "--network=none", "--name=entrepot", "--read-only"].map(String::from).into();
    arguments.extend(texts(&service["cap_drop"]).iter().map(|what| format!("--cap-drop={what}")));
    arguments.extend(texts(&service["security_opt"]).iter().map(|what| format!("--security-opt={what}")));
    arguments.extend(environment_of(service).iter().map(|(name, value)| format!("--env={name}={value}")));
    for (from, to) in mounts(service) {
        let from = if to.ends_with("/certificates") { certificates.display().to_string() } else { from };
        arguments.push(format!("--volume={from}:{to}"));
    }
    arguments.push(image.into());
    let container = dockerd.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    eventually("it is ready", || {
        output(&mut dockerd.command(&["exec", "entrepot", "/usr/bin/entrepot", "health"])).status.success()
    });
    dockerd.run(&["inspect", "--format", "{{.State.Pid}}", &container])
}

#[test]
fn from_a_developer_s_machine_to_production_and_back_nothing_changes_but_the_environment() {
    let (dockerd, containers, folder) = (Dockerd::start(), Containers::new(), scratch());
    let archive = folder.path().join("entrepot.tar");
    build(&["--format", "docker", "--name", "entrepot:test"], &archive);
    dockerd.run(&["load", "--input", &archive.display().to_string()]);
    let layout = folder.path().join("layout");
    build(&[], &layout);
    let layout = format!("oci:{}:{}", layout.display(), env!("CARGO_PKG_VERSION"));
    let authority = Authority::new();
    let certificates = folder.path().join("certificates");
    issue(&authority, &certificates);
    run(Command::new("chown").args(["-R", "65532"]).arg(&certificates));

    let (here, production) =
        (resolved("registry.yml", ".env.example"), resolved("registry.yml", ".env.production.example"));
    let login = |stack: &Value| {
        let variables = environment_of(&stack["services"]["entrepot"]);
        format!("{}:{}", variables["REGISTRY_USERNAME"], variables["REGISTRY_PASSWORD"])
    };
    let image = "docker://127.0.0.1:5000/team/app:1";
    let digest = |process: &str, stack: &Value, trust: &str| {
        let inspect = ["inspect", trust, "--format", "{{.Digest}}", "--creds", &login(stack), image];
        run(in_the_network_of(process, &containers).args(inspect))
    };
    let in_the_clear = "--tls-verify=false";
    let process = start(&dockerd, &here, "entrepot:test", &certificates);
    let push = ["copy", "--dest-tls-verify=false", "--dest-creds", &login(&here), &layout, image];
    run(in_the_network_of(&process, &containers).args(push));
    let pushed = digest(&process, &here, in_the_clear);
    dockerd.run(&["rm", "--force", "entrepot"]);

    let process = start(&dockerd, &production, "entrepot:test", &certificates);
    let trust = format!("--cert-dir={}", authority.folder().display());
    assert_eq!(digest(&process, &production, &trust), pushed);
    let status = ["entrepot", "/usr/bin/entrepot", "status"];
    assert!(dockerd.run(&[&["exec"][..], &status].concat()).contains(": ready"), "as README has it");
    let nobody = ["exec", "--env=ENTREPOT_ADMIN_USER=", "--env=ENTREPOT_ADMIN_PASSWORD="];
    assert!(dockerd.fails(&[&nobody[..], &status].concat()).contains("answered 401"));
    let sent_on = ["--net", "--", "curl", "--silent", "--head", "http://localhost:8080/v2/"];
    let told = run(Command::new("nsenter").args(["--target", &process]).args(sent_on));
    assert!(
        told.starts_with("HTTP/1.1 308") && told.to_lowercase().contains("location: https://localhost/v2/"),
        "{told}"
    );
    dockerd.run(&["rm", "--force", "entrepot"]);

    let process = start(&dockerd, &here, "entrepot:test", &certificates);
    assert_eq!(digest(&process, &here, in_the_clear), pushed);
    dockerd.run(&["rm", "--force", "entrepot"]);
}
