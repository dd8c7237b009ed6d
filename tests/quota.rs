//! Quotas: what repositories may hold together, with real clients, over three instances, and as the commands show it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::fleet::instances::Fleet;
use crate::ground::Ground;
use crate::harness::repository::{OCI_MANIFEST, Repository, location, with_digest};
use crate::harness::tools::{Containers, output};
use crate::harness::{Answer, Entrepot, Setup, digest, eventually, random_bytes, scratch};

const MIB: u64 = 1 << 20;

fn bounded(setup: Setup, quotas: &str) -> Setup {
    setup.set("quota", quotas)
}

/// Distinct content that repositories below a name link, in bytes, as it lies in storage.
fn held(ground: &Ground, below: &str) -> u64 {
    let keys = ground.keys();
    let start = format!("docker/registry/v2/repositories/{below}");
    let links = keys.iter().filter(|key| key.starts_with(&start) && key.ends_with("/link"));
    let linked = links.filter(|key| key.contains("/_layers/") || key.contains("/_manifests/revisions/"));
    let hexes: BTreeSet<&str> = linked.filter_map(|key| key.rsplit('/').nth(1)).collect();
    let blob = |hex: &str| format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
    hexes.iter().map(|hex| ground.read(&blob(hex)).map_or(0, |bytes| bytes.len() as u64)).sum()
}

fn command(entrepot: &Entrepot, arguments: &[&str]) -> Output {
    let config = entrepot.config_path().display().to_string();
    Entrepot::cli(&[&["quota"], arguments, &["--config", &config]].concat())
}

/// What `entrepot quota … --json` says.
fn told(entrepot: &Entrepot, arguments: &[&str]) -> Value {
    let output = command(entrepot, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn used(entrepot: &Entrepot) -> u64 {
    told(entrepot, &[])["quotas"][0]["used"]["bytes"].as_u64().expect("a number")
}

fn reserved(entrepot: &Entrepot) -> u64 {
    told(entrepot, &[])["quotas"][0]["reserved"]["bytes"].as_u64().expect("a number")
}

fn is_refusal(answer: &Answer) -> bool {
    let message = || answer.json()["errors"][0]["message"].as_str().unwrap_or_default().to_owned();
    answer.status == 403 && answer.error_code() == "DENIED" && message().contains("the quota of 'team/**'")
}

/// An image of one layer, by the API: as docker sends it, or as containerd does. Whether it was taken; else it was refused.
fn push(address: SocketAddr, number: u64, size: usize) -> bool {
    let repository = Repository::at(address, &format!("team/api-{}", number % 5));
    let layer = random_bytes(number, size);
    let config = format!("{{\"architecture\":\"amd64\",\"os\":\"linux\",\"number\":{number}}}").into_bytes();
    for bytes in [&config, &layer] {
        let begun = repository.request("POST", repository.uploads()).send(address);
        if is_refusal(&begun) {
            return false;
        }
        assert_eq!(begun.status, 202, "{}", begun.text());
        let mut upload = location(&begun);
        let mut last = repository.request("PUT", with_digest(&upload, &digest(bytes)));
        if number.is_multiple_of(2) {
            let source = std::io::Cursor::new(bytes.clone());
            let patched = repository.request("PATCH", upload).chunked(source).send(address);
            if is_refusal(&patched) {
                return false;
            }
            assert_eq!(patched.status, 202, "{}", patched.text());
            upload = location(&patched);
            last = repository.request("PUT", with_digest(&upload, &digest(bytes)));
        } else {
            last = last.body(bytes.clone());
        }
        let put = last.send(address);
        if is_refusal(&put) {
            return false;
        }
        assert_eq!(put.status, 201, "{}", put.text());
    }
    let descriptor =
        |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let put = repository.request("PUT", repository.manifest(&format!("v{number}")));
    let put = put.header("Content-Type", OCI_MANIFEST).body(manifest.to_string()).send(address);
    assert!(put.status == 201 || is_refusal(&put), "{}", put.text());
    put.status == 201
}

/// The same by a program: whether it succeeded; what it says of a refusal is what it was told.
fn push_by(containers: &Containers, folder: &Path, address: SocketAddr, number: u64, size: usize) -> bool {
    let name = format!("{address}/team/programs-{}:v{number}", number % 3);
    let mut program = if number.is_multiple_of(3) {
        let image = folder.join(format!("image-{number}"));
        directory(&image, number, size);
        let mut skopeo = containers.skopeo();
        skopeo.args(["copy", "--retry-times", "0", "--dest-tls-verify=false"]);
        skopeo.arg(format!("dir:{}", image.display())).arg(format!("docker://{name}"));
        skopeo
    } else {
        let file = format!("layer-{number}");
        std::fs::write(folder.join(&file), random_bytes(number, size)).expect("a file");
        let mut oras = containers.built("oras");
        oras.current_dir(folder).args(["push", "--plain-http", &name, &format!("{file}:application/x")]);
        oras
    };
    let output = output(&mut program);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // A program that is refused in the midst of a body may not read why.
    let known = ["quota", "denied", "broken pipe", "reset", "closed", "EOF"].iter().any(|word| said.contains(word));
    assert!(output.status.success() || known, "{said}");
    output.status.success()
}

/// An image as skopeo keeps one in a folder.
fn directory(folder: &Path, number: u64, size: usize) {
    std::fs::create_dir(folder).expect("a folder");
    let layer = random_bytes(number, size);
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {}, "number": number,
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    });
    let config = config.to_string().into_bytes();
    let described = |media_type: &str, bytes: &[u8]| {
        std::fs::write(folder.join(digest(bytes).trim_start_matches("sha256:")), bytes).expect("a file");
        json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described("application/vnd.oci.image.config.v1+json", &config),
        "layers": [described("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    std::fs::write(folder.join("manifest.json"), manifest.to_string()).expect("a file");
    std::fs::write(folder.join("version"), "Directory Transport Version: 1.1\n").expect("a file");
}

#[test]
fn fifty_pushes_at_the_edge_over_three_instances_end_within_the_quota() {
    const LIMIT: u64 = 8 * MIB;
    const SIZE: usize = 400 << 10;
    let mut fleet = Fleet::without_redis();
    fleet.change(|setup| bounded(setup, "[{repositories = \"team/**\", bytes = \"8MiB\"}]"));
    let (addresses, files, containers) = (fleet.addresses(), scratch(), Containers::new());
    let taken: usize = std::thread::scope(|scope| {
        let api = (0..36_u64).map(|number| {
            let address = addresses[number as usize % 3];
            scope.spawn(move || usize::from(push(address, number, SIZE)))
        });
        let (containers, files, addresses) = (&containers, files.path(), &addresses);
        let programs = (100..114_u64).map(|number| {
            let address = addresses[number as usize % 3];
            scope.spawn(move || usize::from(push_by(containers, files, address, number, SIZE)))
        });
        let all: Vec<_> = api.chain(programs).collect();
        all.into_iter().map(|push| push.join().expect("a push")).sum()
    });
    let first = &fleet.instances[0];
    let truth = held(&fleet.ground, "team/");
    assert!(truth <= LIMIT + LIMIT / 20, "{truth} of {LIMIT}");
    assert!((1..=20).contains(&taken), "{taken}");
    eventually("it is known what is held", || used(first) == truth);
    eventually("what nobody needs is given back", || reserved(first) == 0);
    // Those that were refused while others had their room find it now, and no more than there is.
    let more = (200..230_u64).filter(|number| push(addresses[*number as usize % 3], *number, SIZE)).count();
    let truth = held(&fleet.ground, "team/");
    assert!(truth <= LIMIT && truth + 2 * SIZE as u64 > LIMIT, "{truth} of {LIMIT} after {taken} and {more}");
    eventually("it is known what is held", || used(first) == truth);
    assert_eq!(told(first, &["recount"])["counted"][0]["used"]["bytes"], truth);
    assert_eq!(used(first), truth);
    assert!(fleet.metric("entrepot_registry_quota_refused_total", &[("quota", "team/**")]) >= 20.0);
    // Others are not concerned.
    Repository::at(addresses[1], "other").push_random("1", 7, SIZE);
}

#[test]
fn what_several_repositories_share_is_pushed_by_all_instances_and_counts_once() {
    let mut fleet = Fleet::without_redis();
    fleet.change(|setup| bounded(setup, "[{repositories = \"team/**\", bytes = \"6MiB\", tags = 20}]"));
    let base = random_bytes(1, 4 << 20);
    fleet.repositories("team/base")[0].push_image("1", &[&base]);
    let first = &fleet.instances[0];
    eventually("it is known what is held", || used(first) > 4 * MIB);
    for (number, address) in fleet.addresses().into_iter().cycle().take(9).enumerate() {
        let repository = Repository::at(address, &format!("team/{number}"));
        let mount = format!("{}?mount={}&from=team/base", repository.uploads(), digest(&base));
        repository.request("POST", mount).send(address).expect(201);
        // Sent again, where it is known what comes.
        let whole = format!("{}?digest={}", repository.uploads(), digest(&base));
        repository
            .named(&format!("team/again-{number}"))
            .request("POST", whole)
            .body(base.as_slice())
            .send(address)
            .expect(201);
    }
    eventually("it is known what is held", || used(first) == held(&fleet.ground, "team/"));
    // Tags are counted by all together.
    let tagged = |number: u64| {
        let repository = Repository::at(fleet.addresses()[number as usize % 3], "team/tags");
        let empty = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
        let put = repository.request("PUT", repository.manifest(&format!("v{number}"))).body(empty.as_slice());
        let answer = put.header("Content-Type", "application/vnd.oci.image.index.v1+json").send(repository.address);
        assert!(answer.status == 201 || is_refusal(&answer), "{}", answer.text());
        answer
    };
    let answers: Vec<Answer> = (0..30).map(tagged).collect();
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 19);
    let warned = |answer: &&Answer| answer.header("warning").is_some_and(|text| text.contains("of 20 tags are used"));
    assert!(answers.iter().filter(warned).count() >= 1);
}

#[test]
fn the_command_shows_how_full_quotas_are_and_counts_them() {
    let ground = Ground::volume();
    let setup =
        bounded(ground.setup(), "[{repositories = \"team/**\", bytes = \"10MiB\"}, {repositories = \"b\", tags = 3}]");
    // What was there before there was a quota.
    let mut before = ground.entrepot();
    Repository::at(before.address, "team/a").push_random("1", 1, 1 << 20);
    before.terminate();
    let mut entrepot = setup.start();
    let shown = command(&entrepot, &[]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success() && text.contains("team/**") && text.contains("10.0 MiB"), "{text}");
    eventually("it counts by itself", || used(&entrepot) == held(&ground, "team/"));
    Repository::at(entrepot.address, "team/b").push_random("1", 2, 1 << 20);
    Repository::at(entrepot.address, "b").push_random("1", 3, 1 << 10);
    // Without a server, too: what it had to tell it told before it ended.
    entrepot.terminate();
    assert_eq!((used(&entrepot), reserved(&entrepot)), (held(&ground, "team/"), 0));
    let counted = command(&entrepot, &["recount"]);
    let text = String::from_utf8_lossy(&counted.stdout).into_owned();
    assert!(counted.status.success() && text.starts_with("team/**: 2.0 MiB in 5 contents, 2 tags\nb: "), "{text}");
    assert_eq!(told(&entrepot, &[])["quotas"][1]["used"]["tags"], 1);
}

#[test]
fn the_command_says_what_keeps_it_from_working() {
    let folder = scratch();
    let file = folder.path().join("entrepot.toml");
    let config = file.display().to_string();
    let fails = |text: &str, arguments: &[&str]| {
        std::fs::write(&file, text).expect("a file");
        let output = Entrepot::cli(&[&["quota"], arguments, &["--config", &config]].concat());
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\n";
    let route = "[[route]]\nread = \"registry\"\nwrite = \"registry\"\n";
    let quota = "[[quota]]\nrepositories = \"a\"\nbytes = \"1GiB\"\n";
    let storage = format!("[storage]\nroot = {:?}\n", folder.path().display().to_string());
    assert!(fails(&format!("{listener}{route}{storage}"), &[]).contains("has no [[quota]]"));
    let memory = format!("{listener}{route}{quota}[storage]\ndriver = \"memory\"\n");
    assert!(fails(&memory, &["recount"]).contains("only the process that serves it"));
    let bad = format!("{listener}{route}{quota}{quota}");
    assert!(fails(&bad, &[]).contains("which another [[quota]] has"));
    let nowhere = format!(
        "{listener}{route}{quota}[storage]\ndriver = \"s3\"\nbucket = \"a\"\nendpoint = \"http://127.0.0.1:1\"\n\
         access_key_id = \"a\"\nsecret_access_key = \"b\"\nretries = 0\n"
    );
    assert!(fails(&nowhere, &[]).starts_with("storage: "));
    std::fs::remove_file(&file).expect("removed");
    let absent = Entrepot::cli(&["quota", "--json", "--config", &config]);
    assert_eq!(absent.status.code(), Some(1));
}
