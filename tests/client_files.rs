//! The files that are shipped for clients, and the examples of the README, are what they say they are. That their clients take them,
//! mirror/engines.rs shows.

use std::path::{Path, PathBuf};

use crate::harness::{Entrepot, scratch};

/// Whom the files send their clients to.
const MIRROR: &str = "mirror.example.com";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    let file = root().join("conf/clients").join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn toml(path: &str) -> toml::Table {
    read(path).parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn is_mirror(address: &str) -> bool {
    address.strip_prefix("https://").unwrap_or(address).trim_start_matches("hub.").starts_with(MIRROR)
}

#[test]
fn containerd_is_sent_to_the_mirror_and_nowhere_else_by_force() {
    for (place, last) in [("docker.io", Some("https://mirror.example.com")), ("_default", None)] {
        let hosts = toml(&format!("containerd/{place}/hosts.toml"));
        assert_eq!(hosts.get("server").and_then(toml::Value::as_str), last, "{place}");
        let named = hosts["host"].as_table().expect("hosts");
        assert_eq!(named.keys().collect::<Vec<_>>(), ["https://mirror.example.com"], "{place}");
        let may = named["https://mirror.example.com"]["capabilities"].as_array().expect("capabilities");
        assert_eq!(may.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>(), ["pull", "resolve"], "{place}");
    }
}

#[test]
fn docker_has_one_mirror_of_docker_hub() {
    let daemon: serde_json::Value = serde_json::from_str(&read("docker/daemon.json")).expect("JSON");
    assert_eq!(daemon, serde_json::json!({ "registry-mirrors": ["https://hub.mirror.example.com"] }));
}

#[test]
fn podman_goes_to_registries_by_the_mirror_and_to_one_by_it_alone() {
    let conf = toml("podman/registries.conf");
    let registries = conf["registry"].as_array().expect("registries");
    assert_eq!(registries.len(), 3);
    for registry in registries {
        let prefix = registry["prefix"].as_str().expect("a prefix");
        let own = registry["location"].as_str().expect("a location");
        let first = match registry.get("mirror") {
            Some(mirrors) => mirrors[0]["location"].as_str().expect("a location"),
            None => own,
        };
        assert_eq!(first, format!("{MIRROR}/{prefix}"));
        assert!(own == prefix || prefix == "quay.io", "{prefix}");
    }
}

#[test]
fn k3s_and_buildkit_send_the_same_registries_to_the_mirror() {
    let k3s: serde_yaml::Value = serde_yaml::from_str(&read("k3s/registries.yaml")).expect("YAML");
    let buildkit = toml("buildkit/buildkitd.toml");
    for name in ["docker.io", "ghcr.io", "quay.io"] {
        let endpoint = k3s["mirrors"][name]["endpoint"][0].as_str().expect("an endpoint");
        assert!(is_mirror(endpoint) && endpoint.starts_with("https://"), "{name}: {endpoint}");
        let mirrors = buildkit["registry"][name]["mirrors"].as_array().expect("mirrors");
        assert!(mirrors.len() == 1 && mirrors[0].as_str().is_some_and(is_mirror), "{name}");
    }
    assert_eq!(buildkit["registry"][MIRROR]["http"].as_bool(), Some(false));
}

#[test]
fn every_file_for_clients_is_in_their_table() {
    let page = read("README.md");
    let mut found = 0;
    let mut folders = vec![root().join("conf/clients")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(root().join("conf/clients")).expect("below").display().to_string();
            let client = name.split('/').next().unwrap_or_default();
            assert!(
                name == "README.md" || page.contains(&format!("({name})")) || page.contains(&format!("({client})")),
                "{name}"
            );
            found += 1;
        }
    }
    assert_eq!(found, 7);
}

/// Whoever copies the README's example has a configuration.
#[test]
fn the_readme_s_mirror_is_a_good_configuration() {
    let page = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let section = page.split("\n## ").find(|section| section.starts_with("Mirror\n")).expect("its section");
    let example = section.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    assert!(example.lines().count() <= 12, "it is short");
    let folder = scratch();
    let file = folder.path().join("lab.toml");
    std::fs::write(&file, example).expect("written");
    let output = Entrepot::cli(&["check", Path::new(&file).to_str().expect("a path in UTF-8")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(!told.contains("warning"), "{told}");
}
