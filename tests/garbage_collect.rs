//! `entrepot garbage-collect` in the place of distribution's own: the same file, the same lines, the same exit status, while
//! distribution serves and reads the result.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use crate::ground::pieces::{assert_whole, push_index};
use crate::ground::{Ground, walk};
use crate::harness::entrepot::BINARY;
use crate::harness::repository::{OCI_MANIFEST, with_digest};
use crate::harness::tools::{output, run};
use crate::harness::{Image, Minio, Registry, Repository, Serving, Setup, digest, eventually, random_bytes, scratch};

/// Older than `[gc] grace`.
const LONG_AGO: Duration = Duration::from_secs(3 * 24 * 3600);

/// The command, with nothing of this process's environment that concerns it.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ENTREPOT_") || name.starts_with("REGISTRY_"))
    {
        command.env_remove(name);
    }
    command.arg("garbage-collect");
    command
}

fn collect(arguments: &[&str], config: &Path) -> String {
    run(command(Path::new(BINARY)).args(arguments).arg(config))
}

fn refused(config: &str, said: &str) -> Output {
    let folder = scratch();
    let file = folder.path().join("config.yml");
    std::fs::write(&file, config).expect("a file");
    let output = output(command(Path::new(BINARY)).arg(&file));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(said), "{config}: {told}");
    output
}

/// Everything was written long ago.
fn age(volume: &Path) {
    let then = SystemTime::now() - LONG_AGO;
    for file in walk(volume) {
        let file = std::fs::File::options().append(true).open(volume.join(file)).expect("a file");
        file.set_modified(then).expect("its time");
    }
}

/// What is said to go: kinds and digests.
fn eligible(said: &str) -> BTreeSet<String> {
    said.lines().filter(|line| line.contains("eligible for deletion:")).map(str::to_owned).collect()
}

/// `12 blobs marked, 3 blobs and 0 manifests eligible for deletion`
fn summary(said: &str) -> String {
    let line = said.lines().find(|line| line.ends_with("manifests eligible for deletion"));
    line.unwrap_or_else(|| panic!("no summary:\n{said}")).to_owned()
}

/// Digests that are said to stay: distribution tells of each once, in whatever repository and as whatever it meets it first.
fn marked(said: &str) -> BTreeSet<String> {
    let lines = said.lines().filter(|line| line.contains(": marking "));
    lines.filter_map(|line| line.trim_end().rsplit(' ').next()).map(str::to_owned).collect()
}

/// What a registry of a team has after some months.
struct Pushed {
    tagged: Image,
    children: [Image; 2],
    index: Vec<u8>,
    untagged: Image,
    deleted: Image,
    orphan: String,
}

fn push(repository: &Repository) -> Pushed {
    let tagged = repository.push_random("v1", 1, 50_000);
    let children = [repository.push_random("tmp", 2, 20_000), repository.push_random("tmp", 3, 20_000)];
    let index = push_index(repository, "all", &[&children[0], &children[1]]).1;
    let untagged = repository.push_random("tmp", 4, 20_000);
    let deleted = repository.push_random("tmp", 5, 20_000);
    repository.push_random("tmp", 6, 100);
    repository.request("DELETE", repository.manifest(&deleted.digest)).send(repository.address).expect(202);
    let orphan = repository.push_blob(&random_bytes(7, 30_000));
    Pushed { tagged, children, index, untagged, deleted, orphan }
}

fn all_that_is_named(peer: &Serving, pushed: &Pushed) {
    let repository = Repository::at(peer.address, "team/app");
    assert_whole(&repository, "v1", &pushed.tagged);
    assert_eq!(repository.get_manifest("all").expect(200), pushed.index);
    pushed.children.iter().for_each(|child| assert_whole(&repository, &child.digest, child));
}

/// The cron job of a user: first what would go, then it goes, by the same words.
fn a_cron_job_goes_on(peer: &mut Serving, volume: &Path, layer_links: bool) {
    let ours = Repository::at(peer.address, "team/app");
    let pushed = push(&ours);
    let other = Repository::at(peer.address, "other").push_random("v1", 9, 1000);
    age(volume);
    let config = peer.config_path();
    let (theirs, said) = (peer.plan_garbage(false), collect(&["--dry-run"], &config));
    let of_their_kind = |said: &str| -> BTreeSet<String> {
        eligible(said).into_iter().filter(|line| layer_links || !line.contains("layer link")).collect()
    };
    assert_eq!(of_their_kind(&said), of_their_kind(&theirs));
    assert_eq!(summary(&said), summary(&theirs));
    assert_eq!(marked(&said), marked(&theirs));
    for name in ["team/app", "other"] {
        assert!(said.lines().any(|line| line == name), "{said}");
    }
    // Nothing went.
    assert_eq!(ours.head_blob(&pushed.orphan).status, 200);
    let said = collect(&[], &config);
    assert_eq!(of_their_kind(&said), of_their_kind(&theirs), "what was said went");
    peer.restart();
    all_that_is_named(peer, &pushed);
    assert_whole(&Repository::at(peer.address, "other"), "v1", &other);
    assert_whole(&ours, &pushed.untagged.digest, &pushed.untagged);
    for gone in [&pushed.orphan, &pushed.deleted.layers[0]] {
        assert_eq!(ours.head_blob(gone).status, 404);
        assert!(!walk(volume).iter().any(|file| file.ends_with(&format!("{}/data", &gone[7..]))), "{gone} is freed");
    }
    // Nothing is left that distribution's own would take.
    assert!(eligible(&peer.plan_garbage(false)).is_empty());
    let said = collect(&["-m", "--dry-run"], &config);
    assert!(
        eligible(&said).iter().any(|line| line.starts_with("manifest eligible for deletion: {team/app ")),
        "{said}"
    );
    collect(&["--delete-untagged", "--quiet"], &config);
    peer.restart();
    all_that_is_named(peer, &pushed);
    assert_eq!(ours.get_manifest(&pushed.untagged.digest).status, 404);
    assert_eq!(ours.head_blob(&pushed.untagged.layers[0]).status, 404);
}

#[test]
fn a_cron_job_of_v3_goes_on() {
    let ground = Ground::volume();
    let mut peer = ground.v3();
    let Ground::Volume(folder) = &ground else { panic!("a volume") };
    a_cron_job_goes_on(&mut peer, folder.path(), true);
}

#[test]
fn a_cron_job_of_debians_registry_goes_on() {
    let ground = Ground::volume();
    let mut peer = ground.debian();
    let Ground::Volume(folder) = &ground else { panic!("a volume") };
    a_cron_job_goes_on(&mut peer, folder.path(), false);
}

#[test]
fn what_was_pushed_today_stays_and_quiet_says_nothing() {
    let ground = Ground::volume();
    let peer = ground.v3();
    let repository = Repository::at(peer.address, "team/app");
    let pushed = push(&repository);
    let begun = SystemTime::now();
    let told = output(command(Path::new(BINARY)).arg("-m").arg(peer.config_path()));
    let said = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.status.success() && eligible(&said).is_empty(), "{said}");
    let young = Young::of(&String::from_utf8_lossy(&told.stderr));
    // Of an image without a tag, one that was deleted, and a blob that no image ever named.
    assert!(young.manifests == 1 && young.blobs >= 3, "{young:?}");
    let day = Duration::from_secs(24 * 3600);
    assert!(young.until >= begun && young.until <= SystemTime::now() + day + Duration::from_secs(2), "{young:?}");
    for digest in [&pushed.orphan, &pushed.untagged.layers[0], &pushed.deleted.layers[0]] {
        assert_eq!(repository.head_blob(digest).status, 200);
    }
    assert_whole(&repository, &pushed.untagged.digest, &pushed.untagged);
    let quiet = output(command(Path::new(BINARY)).arg("-q").arg(peer.config_path()));
    assert_eq!((quiet.stdout.len(), quiet.stderr.len()), (0, 0));
    // Nothing but its age kept it: what was told is what goes later, with the bytes of the manifest.
    let Ground::Volume(folder) = &ground else { panic!("a volume") };
    age(folder.path());
    let told = output(command(Path::new(BINARY)).args(["-m", "-d"]).arg(peer.config_path()));
    let sum = summary(&String::from_utf8_lossy(&told.stdout));
    let end = format!(" {} blobs and 1 manifests eligible for deletion", young.blobs + young.manifests);
    assert!(sum.ends_with(&end), "{sum}: {young:?}");
    assert!(!String::from_utf8_lossy(&told.stderr).contains("that nothing needs stay"));
}

/// What a run says of what is too young.
#[derive(Debug)]
struct Young {
    blobs: u64,
    manifests: u64,
    until: SystemTime,
}

impl Young {
    #[track_caller]
    fn of(told: &str) -> Self {
        let line = told.lines().find(|line| line.contains("that nothing needs stay"));
        let line = line.unwrap_or_else(|| panic!("it is not told: {told}"));
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap_or_else(|error| panic!("{error}: {line}"));
        let after = line.split(" after ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a time");
        let seconds = run(Command::new("date").args(["-d", after, "+%s"])).trim().parse::<u64>().expect("seconds");
        Young { blobs: number(0), manifests: number(3), until: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) }
    }
}

/// It says that it has what it once saw, for as long as it runs, and takes a manifest without looking: deleted at once, the image that
/// it acknowledged would be lost.
#[test]
fn a_registry_that_remembers_loses_nothing_since_bytes_go_to_the_trash_first() {
    let folder = scratch();
    let mut peer = Registry::debian().remembering().volume(folder.path()).start();
    let repository = Repository::at(peer.address, "team/app");
    let image = repository.push_random("v1", 1, 50_000);
    repository.push_random("other", 2, 1000);
    let layer = &image.layers[0];
    repository.request("DELETE", repository.manifest(&image.digest)).send(repository.address).expect(202);
    age(folder.path());
    assert_eq!(repository.head_blob(layer).status, 200);
    let run = output(command(Path::new(BINARY)).arg(peer.config_path()));
    let (said, told) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{told}");
    assert!(said.lines().any(|line| *line == format!("blob eligible for deletion: {layer}")), "{said}");
    assert!(told.contains("in the trash") && told.contains("inmemory") && told.contains("--at-once"), "{told}");
    let in_place = |digest: &str| {
        let file = format!("{}/data", &digest[7..]);
        walk(folder.path()).iter().any(|found| found.contains("/v2/blobs/") && found.ends_with(&file))
    };
    assert!(!in_place(layer));
    // It believes so still.
    assert_eq!(repository.head_blob(layer).status, 200);
    let put = repository.request("PUT", repository.manifest("v1")).header("Content-Type", OCI_MANIFEST);
    put.body(image.manifest.clone()).send(repository.address).expect(201);
    collect(&["-q"], &peer.config_path());
    peer.restart();
    assert_whole(&repository, "v1", &image);
    // Who says that no such registry runs has the bytes freed.
    repository.request("DELETE", repository.manifest(&image.digest)).send(repository.address).expect(202);
    age(folder.path());
    collect(&["--at-once"], &peer.config_path());
    assert!(!in_place(layer));
}

/// The script and the file of the seeds, on MinIO: `docker exec registry bin/registry garbage-collect …`, as a symlink has it.
#[test]
fn the_script_of_a_user_on_minio_goes_on() {
    let minio = Minio::start(&["registry-storage"]);
    let peer = Registry::v3().bucket(&minio.bucket("registry-storage")).start();
    let repository = Repository::at(peer.address, "team/app");
    let pushed = push(&repository);
    let folder = scratch();
    let config = folder.path().join("registry-s3.yml");
    let text = include_str!("garbage_collect/registry-s3.yml");
    let text = text.replace("http://minio:9000", &format!("http://{}", minio.address));
    std::fs::write(&config, text).expect("the user's file");
    let bin = folder.path().join("bin");
    std::fs::create_dir(&bin).expect("a folder");
    std::os::unix::fs::symlink(BINARY, bin.join("registry")).expect("a symlink");
    let script = format!(
        "set -e -o pipefail\n\
         bin/registry garbage-collect --dry-run {config} | tee -a gc.log\n\
         bin/registry garbage-collect {config} | tee -a gc.log\n",
        config = config.display()
    );
    let mut bash = Command::new("bash");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ENTREPOT_") || name.starts_with("REGISTRY_"))
    {
        bash.env_remove(name);
    }
    // The file's own credentials are others' here.
    let said = run(bash
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("REGISTRY_STORAGE_S3_ACCESSKEY", crate::harness::minio::ACCESS_KEY)
        .env("REGISTRY_STORAGE_S3_SECRETKEY", crate::harness::minio::SECRET_KEY));
    // All of it is of today.
    assert_eq!(said.matches(" 0 blobs and 0 manifests eligible for deletion").count(), 2, "{said}");
    assert!(said.contains(&format!("team/app: marking manifest {}", pushed.tagged.digest)), "{said}");
    all_that_is_named(&peer, &pushed);
    assert_eq!(repository.head_blob(&pushed.orphan).status, 200);
}

/// As `docker run -e REGISTRY_STORAGE=filesystem -e REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=…` has it.
#[test]
fn variables_count_over_the_file_and_name_it() {
    let ground = Ground::volume();
    let peer = ground.v3();
    Repository::at(peer.address, "by/variables").push_random("v1", 1, 1000);
    let Ground::Volume(volume) = &ground else { panic!("a volume") };
    let folder = scratch();
    let file = folder.path().join("config.yml");
    std::fs::write(&file, "version: 0.1\nstorage: {s3: {bucket: b, region: r}}\n").expect("a file");
    let said = run(command(Path::new(BINARY))
        .arg("-d=true")
        .env("REGISTRY_CONFIGURATION_PATH", &file)
        .env("REGISTRY_STORAGE", "filesystem")
        .env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", volume.path()));
    assert!(said.lines().any(|line| line == "by/variables"), "{said}");
}

#[test]
fn what_is_wrong_is_said_and_ends_it_as_distribution_does() {
    refused("version: 0.2\n", "configuration error: error parsing ");
    refused("version: 0.1\nstorage: {swift: {}}\n", "storage.swift is not supported here");
    refused("version: 0.1\nstorage: {s3: {bucket: b, region: r, skipverify: true}}\n", "storage.s3.skipverify is true");
    refused("version: 0.1\nlog: {}\n", "no storage configuration provided");
    let none = output(&mut command(Path::new(BINARY)));
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).starts_with("configuration error: configuration path unspecified"));
    let absent = output(command(Path::new(BINARY)).arg("/nowhere/config.yml"));
    assert_eq!(absent.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&absent.stderr).contains("open /nowhere/config.yml: "));
    // A root that is not there is not made.
    let folder = scratch();
    let root = folder.path().join("none");
    let text = format!("version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n", root.display());
    let said =
        "failed to garbage collect: failed to mark: filesystem: Path not found: /docker/registry/v2/repositories";
    refused(&text, said);
    assert!(!root.exists());
    std::fs::create_dir(&root).expect("a folder");
    refused(&text, said);
    assert_eq!(walk(&root), Vec::<String>::new());
    // Nobody answers there: a sentence, not a wait without end.
    let text = "version: 0.1\nstorage: {s3: {bucket: b, region: r, regionendpoint: 'http://127.0.0.1:1', accesskey: a, secretkey: b}}\n";
    refused(text, "failed to garbage collect: ");
}

/// Distribution serves and pushes; Entrepot serves the same storage, and is pushed what is about to go; the job runs again and again
/// beside both.
#[test]
fn it_runs_while_everybody_pushes() {
    let ground = Ground::volume();
    let (peer, entrepot) = (ground.v3(), ground.entrepot());
    let Ground::Volume(folder) = &ground else { panic!("a volume") };
    let old = push(&Repository::at(peer.address, "team/app"));
    for seed in 50..70 {
        Repository::at(peer.address, "orphans").push_blob(&random_bytes(seed, 30_000));
    }
    age(folder.path());
    let config = peer.config_path();
    let stop = crate::harness::Stop::default();
    let images: Vec<(String, Image)> = std::thread::scope(|scope| {
        let guard = stop.guard();
        let theirs = scope.spawn(|| {
            let push = |round: u64| {
                let name = format!("theirs/{}", round % 3);
                let image = Repository::at(peer.address, &name).push_random(&format!("v{round}"), 100 + round, 2000);
                (name, image)
            };
            (0..20).map(push).collect::<Vec<_>>()
        });
        let ours = scope.spawn(|| {
            let push = |round: u64| {
                let name = format!("ours/{}", round % 3);
                let repository = Repository::at(entrepot.address, &name);
                (name, patiently(&repository, &format!("v{round}"), &random_bytes(50 + round, 30_000)))
            };
            (0..20).map(push).collect::<Vec<_>>()
        });
        let collector = scope.spawn(|| {
            while !stop.is_set() {
                collect(&["-m", "-q"], &config);
            }
        });
        let mut images = theirs.join().expect("who pushes to distribution");
        images.extend(ours.join().expect("who pushes to Entrepot"));
        drop(guard);
        collector.join().expect("the collector");
        images
    });
    for (name, image) in &images {
        for address in [peer.address, entrepot.address] {
            assert_whole(&Repository::at(address, name), &image.digest, image);
        }
    }
    all_that_is_named(&peer, &old);
    for address in [peer.address, entrepot.address] {
        let orphan = Repository::at(address, "orphans").head_blob(&digest(&random_bytes(50, 30_000)));
        assert_eq!(orphan.status, 404, "nobody named it there");
    }
}

/// As docker pushes: what a HEAD finds is left out, and after a 503 all of it is tried again.
fn patiently(repository: &Repository, tag: &str, layer: &[u8]) -> Image {
    let descriptor =
        |kind: &str, bytes: &[u8]| serde_json::json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", b"{}"),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
        "annotations": {"tag": tag},
    });
    let manifest = manifest.to_string().into_bytes();
    let mut image = None;
    eventually("it is pushed", || {
        for bytes in [&b"{}"[..], layer] {
            if repository.head_blob(&digest(bytes)).status != 200 {
                let target = with_digest(&repository.start_upload(), &digest(bytes));
                let put = repository.request("PUT", target).body(bytes).send(repository.address);
                assert!(matches!(put.status, 201 | 503), "{}", put.text());
            }
        }
        let put = repository.request("PUT", repository.manifest(tag)).header("Content-Type", OCI_MANIFEST);
        let put = put.body(manifest.clone()).send(repository.address);
        // 400: what a HEAD found went before the manifest came; docker pushes again.
        assert!(matches!(put.status, 201 | 400 | 503), "{}", put.text());
        let layers = vec![digest(layer)];
        image = (put.status == 201).then(|| Image {
            digest: digest(&manifest),
            manifest: manifest.clone(),
            config: digest(b"{}"),
            layers,
        });
        image.is_some()
    });
    image.expect("just pushed")
}

/// `[gc]` of Entrepot's own configuration counts, from its variables too.
#[test]
fn the_grace_is_entrepots_own() {
    let ground = Ground::volume();
    let peer = ground.v3();
    let Ground::Volume(folder) = &ground else { panic!("a volume") };
    let repository = Repository::at(peer.address, "team/app");
    let orphan = repository.push_blob(&random_bytes(7, 30_000));
    repository.push_random("v1", 1, 1000);
    age(folder.path());
    let config: PathBuf = peer.config_path();
    let said = run(command(Path::new(BINARY))
        .arg(&config)
        .env("ENTREPOT_GC__GRACE", "7d")
        .env("ENTREPOT_GC__REAP_AFTER", "7d"));
    assert!(eligible(&said).is_empty(), "{said}");
    let wrong = output(command(Path::new(BINARY)).arg(&config).env("ENTREPOT_GC__GRACE", "1m"));
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("gc.grace"), "{wrong:?}");
    assert_eq!(repository.head_blob(&orphan).status, 200);
    let setup = Setup::registry().set("gc.grace", "\"2h\"").set("listener.0.address", "\"127.0.0.1:1\"");
    let own = scratch();
    let file = own.path().join("entrepot.toml");
    std::fs::write(&file, setup.text()).expect("a file");
    let said = run(command(Path::new(BINARY)).arg(&config).env("ENTREPOT_CONFIG", &file));
    assert_eq!(eligible(&said).len(), 2, "{said}");
}
