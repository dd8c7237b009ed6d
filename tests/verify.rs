//! `entrepot verify` and `entrepot stats`, as an operator uses them: beside what serves, from a cron job, in a terminal.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::ground::Ground;
use crate::ground::pieces::{assert_whole, push_index};
use crate::harness::content::{Random, digest_of};
use crate::harness::entrepot::BINARY;
use crate::harness::process::{Ending, Process, command};
use crate::harness::{Entrepot, Image, Registry, Repository, Setup, eventually, scratch};

const TREE: &str = "docker/registry/v2";

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ENTREPOT_")) {
        command.env_remove(name);
    }
    command.args(arguments).output().expect("entrepot runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `verify --json` of what `entrepot` serves, with its exit status.
#[track_caller]
fn verify(entrepot: &Entrepot, arguments: &[&str]) -> (Value, i32) {
    let config = entrepot.config_path().display().to_string();
    let output = run(&[&["verify", "--json", "--config", &config], arguments].concat());
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)));
    (report, output.status.code().expect("a status"))
}

fn blob_key(digest: &str) -> String {
    let hex = digest.trim_start_matches("sha256:");
    format!("{TREE}/blobs/sha256/{}/{hex}/data", &hex[..2])
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

fn remove(ground: &Ground, key: &str) {
    match ground {
        Ground::Volume(folder) => std::fs::remove_file(folder.path().join(key)).expect("removed"),
        Ground::Bucket(_, bucket) => bucket.delete(key),
        Ground::Container(..) => panic!("not asked of Azurite"),
    }
}

/// The same images wherever they are pushed.
fn push(address: std::net::SocketAddr) -> Vec<(Repository, Image)> {
    let images = ["team/app", "team/app", "library/tool"].into_iter().enumerate();
    let images: Vec<_> = images
        .map(|(number, name)| {
            let repository = Repository::at(address, name);
            let image = repository.push_random(&format!("v{number}"), number as u64 + 1, 300_000);
            (repository, image)
        })
        .collect();
    let children: Vec<&Image> = images.iter().take(2).map(|(_, image)| image).collect();
    push_index(&images[0].0, "all", &children);
    images
}

/// One of each kind; what is told of them.
fn damage(ground: &Ground, images: &[(Repository, Image)]) -> BTreeSet<String> {
    let [one, two, three] = images else { panic!("three images") };
    let mut bytes = ground.read(&blob_key(&one.1.layers[0])).expect("a layer");
    bytes[1000] ^= 1;
    ground.write(&blob_key(&one.1.layers[0]), &bytes);
    ground.write(&blob_key(&one.1.config), b"{}");
    remove(ground, &blob_key(&two.1.digest));
    remove(ground, &blob_key(&two.1.layers[0]));
    let of = |name: &str, rest: String| format!("{TREE}/repositories/{name}/{rest}");
    ground.write(&of("library/tool", format!("_layers/sha256/{}/link", hex(&three.1.layers[0]))), b"");
    ground.write(&of("library/tool", format!("_layers/sha256/{}/link", hex(&three.1.config))), one.1.config.as_bytes());
    remove(ground, &of("library/tool", format!("_manifests/revisions/sha256/{}/link", hex(&three.1.digest))));
    ["wrong_bytes", "no_bytes", "torn_link", "wrong_link", "tag_to_nothing"].map(str::to_owned).into()
}

fn kinds(report: &Value) -> BTreeSet<String> {
    let damages = report["damages"].as_array().expect("damages");
    damages.iter().map(|damage| damage["kind"].as_str().expect("a kind").to_owned()).collect()
}

#[test]
fn a_damaged_volume_is_repaired_from_another_entrepot_while_it_serves() {
    is_repaired_from_another_entrepot(&Ground::volume());
}

#[test]
fn a_damaged_bucket_is_repaired_from_another_entrepot_while_it_serves() {
    is_repaired_from_another_entrepot(&Ground::bucket());
}

fn is_repaired_from_another_entrepot(ground: &Ground) {
    let (entrepot, other) = (ground.entrepot(), Setup::registry().start());
    let images = push(entrepot.address);
    push(other.address);
    let (report, status) = verify(&entrepot, &[]);
    assert_eq!((status, &report["found"]), (0, &0.into()), "{report:#}");
    assert_eq!((&report["repositories"], &report["manifests"]["looked_at"]), (&2.into(), &4.into()), "{report:#}");

    let damaged = damage(ground, &images);
    let (report, status) = verify(&entrepot, &[]);
    assert_eq!((status, kinds(&report), &report["left"]), (1, damaged.clone(), &7.into()), "{report:#}");

    let address = format!("http://{}", other.address);
    let (report, status) = verify(&entrepot, &["--repair-from", &address]);
    assert_eq!((status, kinds(&report)), (0, damaged), "{report:#}");
    assert_eq!((&report["repaired"], &report["left"]), (&7.into(), &0.into()), "{report:#}");
    for (number, (repository, image)) in images.iter().enumerate() {
        assert_whole(repository, &format!("v{number}"), image);
    }
    assert_eq!(verify(&entrepot, &[]).0["found"], 0);
}

#[test]
fn a_registry_with_a_login_gives_what_is_lost_to_who_has_one() {
    let (volume, other) = (Ground::volume(), Registry::debian().account("ann", "not-to-be-shown").start());
    let entrepot = volume.entrepot();
    let ours = Repository::at(entrepot.address, "team/app");
    let image = ours.push_random("v1", 1, 100_000);
    Repository::at(other.address, "team/app").basic("ann", "not-to-be-shown").push_random("v1", 1, 100_000);
    remove(&volume, &blob_key(&image.layers[0]));
    let address = format!("http://{}", other.address);
    let (report, status) = verify(&entrepot, &["--repair-from", &address]);
    assert_eq!((status, &report["left"]), (1, &1.into()), "{report:#}");
    assert!(report["damages"][0]["by"].as_str().is_some_and(|by| by.contains("refuses us")), "{report:#}");
    let folder = scratch();
    let login = folder.path().join("login");
    std::fs::write(&login, "ann:not-to-be-shown\n").expect("written");
    let login = login.display().to_string();
    let (report, status) =
        verify(&entrepot, &["--repair-from", "trash", "--repair-from", &address, "--credentials", &login]);
    assert_eq!((status, &report["repaired"]), (0, &1.into()), "{report:#}");
    assert_eq!(report["damages"][0]["by"], address);
    assert!(!report.to_string().contains("not-to-be-shown"));
    assert_whole(&ours, "v1", &image);
}

/// A configuration of a registry in `root`, beside which nothing runs.
fn configured(folder: &Path, root: &Path) -> String {
    let file = folder.join("entrepot.toml");
    std::fs::write(&file, Setup::registry().storage_at(root).text()).expect("written");
    file.display().to_string()
}

#[test]
fn each_way_to_come_to_nothing_has_its_sentence_and_status() {
    let folder = scratch();
    let (absent, root) = (folder.path().join("absent"), folder.path().join("root"));
    std::fs::create_dir(&root).expect("a folder");
    let (nowhere, empty) = (folder.path().join("nowhere"), folder.path().join("empty"));
    for place in [&nowhere, &empty] {
        std::fs::create_dir(place).expect("a folder");
    }
    let missing = configured(&nowhere, &absent);
    let config = configured(folder.path(), &root);
    let empty = empty.display().to_string();
    let gone = absent.display().to_string();
    for (arguments, status, said) in [
        (&["verify", "--config", &gone][..], 1, "cannot read"),
        (&["verify", "--config", &missing], 1, "(storage.root): nothing was ever kept there"),
        (&["verify", "--config", &config, "--sample", "0%"], 2, "a sample of 0% is nothing"),
        (&["verify", "--config", &config, "--repair-from", "ftp://x"], 2, "neither https:// nor http://"),
        (&["verify", "--config", &config, "--repair-from", &gone], 2, "is no folder"),
        (&["verify", "--config", &config, "--repair-from", &empty], 2, "there is no docker/registry/v2 in it"),
        (&["verify", "--config", &config, "--credentials", &gone], 2, "--repair-from"),
        (&["stats", "--config", &missing], 1, "(storage.root): nothing was ever kept there"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(said), "{arguments:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty() && !absent.exists(), "{arguments:?}");
    }
    let output = run(&["verify", "--config", &config]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    assert!(text(&output.stdout).ends_with("\nnothing is wrong\n"), "{}", text(&output.stdout));
    assert_eq!(std::fs::read_dir(&root).expect("the root").count(), 0, "who looks leaves nothing");
}

#[test]
fn ctrl_c_ends_it_with_a_sentence() {
    let folder = scratch();
    let root = folder.path().join("root");
    std::fs::create_dir(&root).expect("a folder");
    let config = configured(folder.path(), &root);
    let log = folder.path().join("log");
    let mut looking = command(BINARY);
    looking.args(["verify", "--rate", "1/h", "--config", &config]);
    let mut looking = Process::start("verify", looking, &log, Ending::Kill);
    let listens = |process: &Process| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        caught & (1 << (2 - 1)) != 0
    };
    eventually("it listens to signals", || listens(&looking));
    looking.signal(Signal::INT);
    let status = looking.wait(Duration::from_secs(30)).expect("it ends");
    assert_eq!((status.code(), looking.log().as_str()), (Some(130), "interrupted\n"));
}

/// The most memory that a run takes, in bytes; it ends well.
fn peak(arguments: &[&str], log: &Path) -> u64 {
    let mut looking = command(BINARY);
    looking.args(arguments);
    let mut looking = Process::start("verify", looking, log, Ending::Kill);
    let mut peak = 0;
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", looking.id())).unwrap_or_default();
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let most = most.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) << 10;
        peak = peak.max(most);
        if let Some(status) = looking.wait(Duration::from_millis(20)) {
            assert!(status.success(), "{}", looking.log());
            return peak;
        }
    }
}

#[test]
fn a_blob_of_a_gibibyte_takes_no_more_memory_than_any() {
    let folder = scratch();
    let root = folder.path().join("root");
    let size = 1_u64 << 30;
    let (digest, _) = digest_of(std::io::Read::take(std::io::repeat(0), size)).expect("a digest");
    let path = root.join(blob_key(&digest));
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    // All holes: it takes no room on the disk.
    File::create(path).and_then(|file| file.set_len(size)).expect("a file");
    let config = configured(folder.path(), &root);
    let most = peak(&["verify", "--config", &config], &folder.path().join("log"));
    assert!(most > 0 && most < 200 << 20, "{} MiB", most >> 20);

    // A repair of a smaller one, which is written.
    let size = 64_u64 << 20;
    let (digest, _) = digest_of(std::io::Read::take(Random::new(7), size)).expect("a digest");
    let copy = folder.path().join("copy");
    let right = |root: &Path| -> PathBuf {
        let path = root.join(blob_key(&digest));
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let mut file = File::create(&path).expect("a file");
        std::io::copy(&mut std::io::Read::take(Random::new(7), size), &mut file).expect("written");
        path
    };
    let (_, damaged) = (right(&copy), right(&root));
    File::options().write(true).open(&damaged).and_then(|file| file.write_all_at(b"x", size / 2)).expect("damaged");
    let copy = copy.display().to_string();
    let most = peak(&["verify", "--config", &config, "--repair-from", &copy], &folder.path().join("log"));
    assert!(most > 0 && most < 250 << 20, "{} MiB", most >> 20);
    assert_eq!(digest_of(File::open(&damaged).expect("a blob")).expect("read").0, digest);
}

#[test]
fn what_there_is_is_counted_and_kept_for_the_day() {
    let ground = Ground::volume();
    let entrepot = ground.entrepot();
    let images = push(entrepot.address);
    // The first image once more, in a repository of its own.
    Repository::at(entrepot.address, "team/copy").push_random("v0", 1, 300_000);
    let orphan = Repository::at(entrepot.address, "team/app").push_blob(&[7; 5000]);
    let link = format!("{TREE}/repositories/team/app/_layers/sha256/{}/link", hex(&orphan));
    remove(&ground, &link);
    let config = entrepot.config_path().display().to_string();
    let output = run(&["stats", "--json", "--config", &config]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let stats: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let number = |key: &str| stats[key].as_u64().unwrap_or_else(|| panic!("{key}: {stats:#}"));
    assert_eq!((number("repositories"), number("manifests"), number("tags")), (3, 5, 5), "{stats:#}");
    // Of three images, an index, and the orphan.
    assert_eq!(number("blobs"), 3 * 3 + 1 + 1, "{stats:#}");
    assert_eq!((&stats["unlinked"]["blobs"], &stats["unlinked"]["bytes"]), (&1.into(), &5000.into()));
    assert!(number("saved") > 300_000 && number("saved") < 310_000, "{stats:#}");
    assert_eq!(stats["largest_repositories"][0]["repository"], "team/app");
    assert_eq!(stats["largest_blobs"][0]["bytes"], 300_000);
    assert!(stats["days"].as_array().is_some_and(Vec::is_empty), "{stats:#}");

    let again = run(&["stats", "--json", "--config", &config]);
    let again: Value = serde_json::from_slice(&again.stdout).expect("JSON");
    assert_eq!(again["days"][0]["blobs"], stats["blobs"], "{again:#}");
    let shown = text(&run(&["stats", "--config", &config]).stdout);
    assert!(shown.contains("\nsaved by sharing  29") && shown.contains("team/app"), "{shown}");
    assert_whole(&images[0].0, "v0", &images[0].1);
}
