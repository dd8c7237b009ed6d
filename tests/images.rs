//! Real clients push and pull real images through Entrepot, before two registries over one volume.

use std::path::Path;

use crate::harness::repository::{ACCEPT, Repository};
use crate::harness::tools::{Containers, busybox_tree, debian_tree, run};
use crate::harness::{Authority, Dockerd, Entrepot, Registry, Request, Setup, docker, scratch};

/// Pushes the archive as an image, forgets it, pulls it by tag and by digest; returns its digest.
fn round_trip(dockerd: &Dockerd, entrepot: &Entrepot, archive: &Path, name: &str) -> String {
    let image = format!("{}/{name}:1", entrepot.address);
    docker::import(dockerd, archive, &image);
    dockerd.run(&["push", &image]);
    let digest = dockerd.digest(&image);
    dockerd.forget(&[&image]);
    dockerd.run(&["pull", &image]);
    assert_eq!(dockerd.digest(&image), digest);
    dockerd.forget(&[&image]);
    let by_digest = format!("{}/{name}@{digest}", entrepot.address);
    dockerd.run(&["pull", &by_digest]);
    assert_eq!(dockerd.digest(&by_digest), digest);
    dockerd.run(&["pull", &image]);
    digest
}

#[test]
fn docker_pushes_pulls_and_runs_busybox() {
    let (one, other, _volume) = Registry::pair();
    let entrepot = Entrepot::before(&[one.address, other.address]);
    let (dockerd, files) = (Dockerd::start(), scratch());
    let digest = round_trip(&dockerd, &entrepot, &busybox_tree(files.path()), "team/busybox");
    let image = format!("{}/team/busybox:1", entrepot.address);
    let said = dockerd.run(&["run", "--rm", "--network", "none", &image, "/bin/busybox", "echo", "hello"]);
    assert_eq!(said, "hello");
    for peer in [&one, &other] {
        let head = Request::head("/v2/team/busybox/manifests/1").header("Accept", ACCEPT).send(peer.address);
        assert_eq!(head.header("docker-content-digest"), Some(digest.as_str()));
    }
}

#[test]
fn docker_pushes_pulls_and_runs_a_debian_of_more_than_a_hundred_megabytes() {
    let archive = debian_tree();
    assert!(archive.metadata().is_ok_and(|file| file.len() > 100_000_000));
    let (one, other, _volume) = Registry::pair();
    let entrepot = Entrepot::before(&[one.address, other.address]);
    let dockerd = Dockerd::start();
    round_trip(&dockerd, &entrepot, &archive, "debian/tree");
    let image = format!("{}/debian/tree:1", entrepot.address);
    let said = dockerd.run(&["run", "--rm", "--network", "none", &image, "/bin/sh", "-c", "ls /usr/bin | wc -l"]);
    assert!(said.parse::<u32>().is_ok_and(|count| count > 100), "{said}");
}

#[test]
fn buildah_and_skopeo_push_and_pull_over_https_with_a_private_authority() {
    let authority = Authority::new();
    let issued = authority.issue("front", &["localhost", "127.0.0.1"]);
    let (one, other, _volume) = Registry::pair();
    let tls = format!("[{{certificate = {:?}, key = {:?}}}]", issued.certificate, issued.key);
    let entrepot = Setup::before(&[one.address, other.address]).set("listener.0.tls", &tls).start();
    let (containers, files) = (Containers::new(), scratch());
    let target = format!("docker://localhost:{}/team/busybox:1", entrepot.address.port());
    let trust = authority.folder().display().to_string();

    let container = run(containers.buildah().args(["from", "scratch"]));
    run(containers.buildah().arg("add").arg(&container).arg(busybox_tree(files.path())).arg("/"));
    run(containers.buildah().args(["config", "--cmd", "/bin/busybox", &container]));
    run(containers.buildah().args(["commit", &container, "busybox"]));
    let written = files.path().join("digest");
    run(containers
        .buildah()
        .args(["push", "--cert-dir", &trust])
        .arg("--digestfile")
        .arg(&written)
        .args(["busybox", &target]));
    let pushed = std::fs::read_to_string(&written).expect("a digest");

    let inspect = ["inspect", "--cert-dir", &trust, "--format", "{{.Digest}}", &target];
    assert_eq!(run(containers.skopeo().args(inspect)), pushed);
    let layout = format!("oci:{}", files.path().join("layout").display());
    run(containers.skopeo().args(["copy", "--src-cert-dir", &trust, "--preserve-digests", &target, &layout]));
    let direct = format!("docker://{}/team/busybox:1", other.address);
    let inspect = ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &direct];
    assert_eq!(run(containers.skopeo().args(inspect)), pushed);

    run(containers.buildah().args(["rmi", "--all", "--force"]));
    run(containers.buildah().args(["pull", "--cert-dir", &trust, &target]));
    let working = run(containers.buildah().args(["from", "--pull-never", &target["docker://".len()..]]));
    assert_eq!(run(containers.buildah().args(["run", &working, "--", "/bin/busybox", "echo", "hello"])), "hello");
}

#[test]
fn skopeo_copies_an_index_with_all_its_images() {
    let (one, other, _volume) = Registry::pair();
    let entrepot = Entrepot::before(&[one.address, other.address]);
    let source = Repository::at(entrepot.address, "team/many");
    let images: Vec<_> = (0..3).map(|n| source.push_random(&format!("v{n}"), n, 50_000)).collect();
    let architectures = ["amd64", "arm64", "riscv64"];
    let manifests: Vec<_> = images.iter().zip(architectures).map(|(image, architecture)| {
        serde_json::json!({
            "mediaType": crate::harness::repository::OCI_MANIFEST, "digest": image.digest, "size": image.manifest.len(),
            "platform": {"architecture": architecture, "os": "linux"},
        })
    }).collect();
    let media_type = crate::harness::repository::OCI_INDEX;
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}).to_string();
    let digest = source.push_manifest("all", media_type, index.as_bytes());
    let containers = Containers::new();
    let name = |repository: &str| format!("docker://{}/{repository}", entrepot.address);
    run(containers
        .skopeo()
        .args(["copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"])
        .args([name("team/many:all"), name("team/copy:all")]));
    let copied = Repository::at(entrepot.address, "team/copy").get_manifest("all");
    assert_eq!(copied.header("docker-content-digest"), Some(digest.as_str()));
    assert_eq!(copied.expect(200), index.as_bytes());
}
